// SPDX-License-Identifier: MIT
// The family of whole sequences: through the sequence form, and one token at a time through the
// streaming state and its kinds of transitions.

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "families.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {
namespace {

/// The transition of a delta product with a number of steps known only at run time: a user's kind.
struct RankOneSteps {
  using Scalar = double;
  RankOneSteps(Eigen::Index, Eigen::Index) {}

  double decay = 1;
  std::vector<RankOneUpdate<Identity<double>>> steps;

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index d_v) const {
    return std::all_of(steps.begin(), steps.end(),
                       [&](const auto& step) { return step.fits(key_rows, d_v); });
  }
  void left(auto&& m) const {
    m *= decay;
    for (const auto& step : steps) step.left(m);
  }
  void right(auto&&) const {}
  void left_transposed(auto&& q) const {
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) step->left_transposed(q);
    q *= decay;
  }
  void pullback(const auto&, const auto&, const auto&, const auto&, RankOneSteps&) const {}
  [[nodiscard]] double norm_bound() const {
    double bound = 1;
    for (const auto& step : steps) bound *= std::max(1.0, step.norm_bound());
    return bound * std::max(1.0, std::abs(decay));
  }
  [[nodiscard]] bool all_finite() const {
    return std::all_of(steps.begin(), steps.end(), [](const auto& s) { return s.all_finite(); });
  }
};

/// Streams the case through a hierarchy, in the paper's order: `prepare(t, token)` fills in the
/// leaf and the transition of token t.
template <class Kind, class Prepare>
void stream(const Case& golden, Comparison& compare, Eigen::Index leaves, Prepare prepare) {
  const RowMajor q = golden.matrix("q"), lambda = golden.matrix("lambda");
  const auto tokens = q.rows(), d_k = q.cols();
  const auto d_v = golden.shape("v").back();
  const auto levels = static_cast<int>(lambda.cols());
  LogLinearState<double> state(levels, d_k, d_v);
  Token<Kind> token(d_k, d_v, leaves);
  RowMajor outputs(tokens, d_v), final_levels = RowMajor::Zero(levels, d_k * d_v);
  for (Eigen::Index t = 0; t < tokens; ++t) {
    prepare(t, token);
    state.undergo(token.transition);
    const RowMajor leaf = token.keys * token.values.transpose();
    // Level l of the state is level l + 1 of the read; the token's own leaf stands apart as level
    // 0.
    Eigen::VectorXd weights = Eigen::VectorXd::Zero(levels), older(d_v);
    weights.head(levels - 1) = lambda.row(t).tail(levels - 1).transpose();
    state.query_mixed(q.row(t), weights, older);
    outputs.row(t) = older.transpose() + lambda(t, 0) * q.row(t) * leaf;
    if (t + 1 == tokens) {
      final_levels.row(0) = leaf.reshaped<Eigen::RowMajor>().transpose();
      for (int l = 0; l + 1 < levels; ++l) {
        const RowMajor level = state.level(l);
        final_levels.row(l + 1) = level.reshaped<Eigen::RowMajor>().transpose();
      }
    }
    state.push_leaf(token.keys, token.values);
  }
  compare.array(golden, "o", outputs);
  if (golden.has("final_levels")) compare.array(golden, "final_levels", final_levels);
}

}  // namespace

void replay_sequence(const Case& golden, Comparison& compare) {
  compare_forms(golden, compare);
  const auto rule = golden.get<std::string>("rule");
  const RowMajor k = golden.matrix("k"), v = golden.matrix("v");
  const auto array = [&](const char* name) {
    return golden.has(name) ? golden.matrix(name) : RowMajor();
  };
  const RowMajor g = array("g"), beta = array("beta"), i = array("i");
  const auto simple_leaf = [&](Eigen::Index t, auto& token, double scale) {
    token.keys.col(0) = scale * k.row(t).transpose();
    token.values.col(0) = v.row(t).transpose();
  };

  if (rule == "plain") {
    return stream<Identity<double>>(golden, compare, 1,
                                    [&](auto t, auto& token) { simple_leaf(t, token, 1); });
  }
  if (rule == "scalar_gate" || rule == "input_gate") {
    return stream<ScalarDecay<double>>(golden, compare, 1, [&](auto t, auto& token) {
      simple_leaf(t, token, i.size() > 0 ? i(t) : 1);
      token.transition.decay = std::exp(g(t));
    });
  }
  if (rule == "vector_gate") {
    return stream<KeyDecay<double>>(golden, compare, 1, [&](auto t, auto& token) {
      simple_leaf(t, token, 1);
      token.transition.decay = g.row(t).array().exp().transpose();
    });
  }
  if (rule == "delta" || rule == "gated_delta") {
    return stream<RankOneUpdate<ScalarDecay<double>>>(golden, compare, 1, [&](auto t, auto& token) {
      const double a = g.size() > 0 ? std::exp(g(t)) : 1;
      simple_leaf(t, token, beta(t));
      token.transition.diagonal.decay = a;
      token.transition.p = k.row(t).transpose();
      token.transition.u = a * beta(t) * k.row(t).transpose();
    });
  }
  if (rule == "kda") {
    return stream<RankOneUpdate<KeyDecay<double>>>(golden, compare, 1, [&](auto t, auto& token) {
      simple_leaf(t, token, beta(t));
      token.transition.diagonal.decay = g.row(t).array().exp().transpose();
      token.transition.u = beta(t) * k.row(t).transpose();
      token.transition.p = k.row(t).transpose().cwiseProduct(token.transition.diagonal.decay);
    });
  }
  if (rule == "rwkv7") {
    const RowMajor w = golden.matrix("w"), a = golden.matrix("a"), kappa = golden.matrix("kappa");
    return stream<RankOneUpdate<KeyDecay<double>>>(golden, compare, 1, [&](auto t, auto& token) {
      simple_leaf(t, token, 1);
      token.transition.diagonal.decay = w.row(t).transpose();
      token.transition.p = kappa.row(t).transpose();
      token.transition.u = a.row(t).cwiseProduct(kappa.row(t)).transpose();
    });
  }
  if (rule == "delta_product") {
    const auto shape = golden.shape("k");
    const auto steps = shape[1], d_k = shape[2], d_v = golden.shape("v")[2];
    return stream<RankOneSteps>(golden, compare, steps, [&](auto t, auto& token) {
      token.transition.decay = std::exp(g(t));
      token.transition.steps.clear();
      for (Eigen::Index j = 0; j < steps; ++j) {
        RankOneUpdate<Identity<double>> step(d_k, d_v);
        step.p = k.row(t).segment(j * d_k, d_k).transpose();
        step.u = beta(t, j) * step.p;
        token.keys.col(j) = step.u;
        token.values.col(j) = v.row(t).segment(j * d_v, d_v).transpose();
        for (Eigen::Index earlier = 0; earlier < j; ++earlier) step.left(token.keys.col(earlier));
        token.transition.steps.push_back(step);
      }
    });
  }
  throw std::runtime_error("unknown rule " + rule);
}

}  // namespace loglinear::test
