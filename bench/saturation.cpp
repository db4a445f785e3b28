// SPDX-License-Identifier: MIT
// After how many tokens the sums of an endless stream lie where tanh is flat, and what helps.
// Prints two tables: the share of outputs beyond 0.99 in streams of weights that do not learn, and
// the error of layers that do, both after 10, 100, ... tokens. Weights of unit variance, d = 16;
// docs/state.md shows what it prints.
//
// Usage: saturation [tokens = 1000000]

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using Eigen::VectorXd;
constexpr Index d = 16;

/// The share of coefficients of tanh(read) beyond 0.99.
double saturated(const VectorXd& read) {
  return static_cast<double>((read.array().tanh().abs() > 0.99).count()) /
         static_cast<double>(read.size());
}

/// A row of a table: at 10, 100, ... tokens a cell from what was added since the last `window`.
class Row {
 public:
  Row(const char* name, std::uint64_t first) : next_(first) { std::printf("| %s |", name); }
  ~Row() { std::puts(""); }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;

  [[nodiscard]] bool measures(std::uint64_t t) const { return t + window_of(next_) > next_; }
  void add(double value) { sum_ += value, ++count_; }
  template <class Print>
  void end_token(std::uint64_t t, Print print) {
    if (t < next_) return;
    print(sum_ / count_);
    std::fflush(stdout);
    sum_ = count_ = 0;
    next_ *= 10;
  }

 private:
  static std::uint64_t window_of(std::uint64_t count) { return count < 1000 ? 5 : 500; }
  std::uint64_t next_;
  double sum_ = 0, count_ = 0;
};

void header(std::uint64_t first, std::uint64_t tokens) {
  std::printf("| T |");
  for (std::uint64_t t = first; t <= tokens; t *= 10) {
    std::printf(" %llu |", static_cast<unsigned long long>(t));
  }
  std::printf("\n|---|");
  for (std::uint64_t t = first; t <= tokens; t *= 10) std::printf("--:|");
  std::puts("");
}

/// \param mean        of every input beside unit noise: keys and queries then point the same way
/// \param only_active  whether the mixture is normalised over the levels that hold something
template <class Layer>
void untrained(const char* name, typename Layer::Options options, std::uint64_t tokens, double mean,
               bool only_active = false) {
  options.d_model = options.d_k = options.d_v = d;
  Layer layer(options);
  for (const auto& weight : layer.weight_names()) {
    layer.set_weight(weight, (layer.weight(weight) * (100 / std::sqrt(d))).eval());
  }
  Xorshift64 normal(1);
  VectorXd x(d), read(d);
  auto state = layer.log_linear_state();
  Row row(name, 10);
  for (std::uint64_t t = 1; t <= tokens; ++t) {
    for (double& number : x) number = mean + normal.normal();
    if (only_active && row.measures(t)) layer.log_linear_state(state);
    layer.forward(x);
    if (row.measures(t)) {
      read = layer.raw_read();
      if (only_active) {
        double active = 0;
        for (const int l : state.active_levels()) active += layer.lambda()[l];
        if (active > 0) read /= active;
      }
      row.add(saturated(read));
    }
    row.end_token(t, [](double share) { std::printf(" %.0f %% |", 100 * share); });
  }
}

/// Two targets that are known functions of the input, with a bias among the inputs.
template <class Layer>
void trained(const char* name, typename Layer::Options options, std::uint64_t tokens) {
  options.d_model = 9;
  options.d_k = 8;
  options.d_v = 2;
  options.learning_rate = 0.3;
  Layer layer(options);
  VectorXd x(9), y(2);
  Row row(name, 1000);
  for (std::uint64_t t = 1; t <= tokens; ++t) {
    const double now = 0.1 * static_cast<double>(t);
    x << VectorXd::LinSpaced(8, now, now + 3).array().sin().matrix(), 1;
    y << 0.8 * std::sin(now + 4), 0.8 * std::cos(now + 4);
    const double error = (layer.train_one(x, y) - y).squaredNorm() / 2;
    if (row.measures(t)) row.add(error);
    row.end_token(t, [](double mean) { std::printf(" %.3f |", std::sqrt(mean)); });
  }
}

template <class Inner, class Weights = NormalizedMixture, LastLevel policy = LastLevel::fold>
using Layer = LogLinearAttention<Inner, double, Weights, double, policy>;
using Plain = KeyOnly<RetNet>;
using Normalised = KeyOnly<DeltaNet>;

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t tokens = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1000000;
  for (const double mean : {0.0, 1.0}) {
    std::printf("Outputs beyond 0.99, inputs of mean %.0f:\n\n", mean);
    header(10, tokens);
    untrained<Layer<Plain>>("plain", {}, tokens, mean);
    untrained<Layer<Plain>>("plain, mixture over active levels", {}, tokens, mean, true);
    untrained<Layer<Normalised>>("plain, normalised keys", {}, tokens, mean);
    untrained<Layer<Plain, MeanMixture>>("plain, mixture of means", {}, tokens, mean);
    untrained<Layer<RetNet>>("decay 0.999", {.inner = {.gamma = 0.999}}, tokens, mean);
    untrained<Layer<RetNet>>("decay 0.99", {.inner = {.gamma = 0.99}}, tokens, mean);
    untrained<Layer<DeltaNet>>("delta rule", {}, tokens, mean);
    untrained<Layer<Plain, NormalizedMixture, LastLevel::forget>>(
        "plain, 8 levels, the last forgets", {.max_levels = 8}, tokens, mean);
    std::puts("");
  }
  std::puts("Root mean square error of the last 500 predictions while training:\n");
  header(1000, tokens);
  trained<Layer<Plain>>("plain", {}, tokens);
  trained<Layer<Normalised>>("plain, normalised keys", {}, tokens);
  trained<Layer<Plain, MeanMixture>>("plain, mixture of means", {}, tokens);
  trained<Layer<Normalised, MeanMixture>>("plain, normalised keys, mixture of means", {}, tokens);
  trained<Layer<RetNet>>("decay 0.999", {.inner = {.gamma = 0.999}}, tokens);
  trained<Layer<RetNet>>("decay 0.99", {.inner = {.gamma = 0.99}}, tokens);
  trained<Layer<DeltaNet>>("delta rule", {}, tokens);
  trained<Layer<GatedDeltaNet>>("gated delta rule", {.inner = {.gate_bias = 4}}, tokens);
  trained<Layer<Plain, NormalizedMixture, LastLevel::forget>>("plain, 8 levels, the last forgets",
                                                              {.max_levels = 8}, tokens);
  trained<Layer<Plain, MeanMixture, LastLevel::forget>>(
      "plain, mixture of means, 8 levels, the last forgets", {.max_levels = 8}, tokens);
}
