// SPDX-License-Identifier: MIT
// How far streaming steps alone, `train_one`, get at recalling two pairs, and what helps.
//
// A round: an empty state, one step on each of two pairs (x, y) or the same once or three times
// more, then a query for each x; the loss is the mean square error of the answers. With seed-size
// weights, key-only writing, each pair once and a constant learning rate of 0.1, the least loss of
// 200 rounds is 0.64 of the first, and the last 0.73.
//
// What to look at: the lines with two and four presentations. A step trains the answer to the pair
// just written. Where each pair comes once, the first is never asked for while the second is in the
// state: no step sees what one does to the answer to the other. The rule in full with equal weights
// does not learn there either.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <loglinear/layer/log_linear_attention.hpp>
#include <loglinear/rules/gated_delta_net.hpp>
#include <loglinear/rules/key_only.hpp>
#include <numbers>

namespace {

constexpr int pairs = 2, d_model = 8, d = 4, levels = 8, rounds = 200;

Eigen::VectorXd input(int i) {
  return Eigen::VectorXd::NullaryExpr(
      d_model, [&](Eigen::Index j) { return std::sin(13 * i + 7 * static_cast<double>(j)); });
}
Eigen::VectorXd target(int i) {
  return Eigen::VectorXd::NullaryExpr(
      d, [&](Eigen::Index j) { return 0.5 * std::cos(17 * i + 11 * static_cast<double>(j)); });
}

/// One round; the loss after its steps.
double round(auto& layer, int presentations) {
  layer.reset();
  for (int i = 0; i < presentations * pairs; ++i) {
    layer.train_one(input(i % pairs), target(i % pairs));
  }
  double loss = 0;
  for (int i = 0; i < pairs; ++i) {
    loss += (layer.query_readonly(input(i)) - target(i)).squaredNorm() / (pairs * d);
  }
  return loss;
}

struct Training {
  int presentations = 1;  ///< of each pair in a round
  bool falls = false;     ///< the learning rate, by a cosine to 0
  double scale = 1;       ///< of the first weights, over those that the seed draws
};

/// Losses over the first one.
struct Ratios {
  double last = 1, least = 1;
};

template <class Rule, class Weights>
Ratios trained(const Rule& rule, const Training& training, double peak) {
  loglinear::LogLinearAttention<Rule, double, Weights> layer({.inner = rule,
                                                              .d_model = d_model,
                                                              .d_k = d,
                                                              .d_v = d,
                                                              .max_levels = levels,
                                                              .learning_rate = peak,
                                                              .seed = 0xABCD});
  for (const auto& name : layer.weight_names()) {
    if (name.starts_with("w_")) layer.set_weight(name, layer.weight(name) * training.scale);
  }
  const double first = round(layer, training.presentations);
  Ratios ratios;
  for (int r = 0; r < rounds; ++r) {
    const double done = static_cast<double>(r) / rounds;
    if (training.falls) {
      layer.set_learning_rate(peak * (1 + std::cos(std::numbers::pi * done)) / 2);
    }
    ratios.last = round(layer, training.presentations) / first;
    ratios.least = std::min(ratios.least, ratios.last);
  }
  return ratios;
}

/// The last loss over the first, for the best of nine learning rates.
template <class Rule, class Weights>
double best(const Rule& rule, const Training& training) {
  double least = std::numeric_limits<double>::infinity();
  for (const double rate : {0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0}) {
    least = std::min(least, trained<Rule, Weights>(rule, training, rate).last);
  }
  return least;
}

template <class Weights, class Rule>
void lines(const char* rule_name, const char* weights_name, const Rule& rule) {
  for (const int presentations : {1, 2, 4}) {
    std::printf("%-8s  %-8s  %13d  %8.2g  %7.2g  %16.2g\n", rule_name, weights_name, presentations,
                best<Rule, Weights>(rule, {presentations}),
                best<Rule, Weights>(rule, {presentations, true}),
                best<Rule, Weights>(rule, {presentations, true, 10}));
  }
}

template <class Weights>
void lines(const char* weights_name) {
  using loglinear::GatedDeltaNet;
  lines<Weights>("key-only", weights_name, loglinear::KeyOnly<GatedDeltaNet>{});
  lines<Weights>("in full", weights_name, GatedDeltaNet{.gate_bias = 8});  // forgets slowly
}

}  // namespace

int main() {
  const Ratios plain =
      trained<loglinear::KeyOnly<loglinear::GatedDeltaNet>, loglinear::NormalizedMixture>({}, {},
                                                                                          0.1);
  std::printf("key-only, mixture, 200 rounds at 0.1: least %.2f, last %.2f\n\n", plain.least,
              plain.last);
  std::printf(
      "The last loss over the first, 200 rounds, the best of nine learning rates:\n\n"
      "rule      levels    presentations  constant  falling  and weights x 10\n");
  lines<loglinear::NormalizedMixture>("mixture");
  lines<loglinear::SoftplusWeights>("softplus");
  lines<loglinear::UnitWeights>("ones");
}
