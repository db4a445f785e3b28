// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_MAMBA2_HPP
#define LOGLINEAR_RULES_MAMBA2_HPP

#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Mamba-2's rule: one step size discretises both the decay and the input.
///
///     S <- exp(-D exp(A_log)) S + D k v^T,   D = softplus(w_dt . x + dt_bias)
///
/// Dao and Gu, *Transformers are SSMs*, arXiv:2405.21060, section 7; lifted in Guo et al.,
/// arXiv:2506.04761, section 3.4. Transition: one decay for the state. Own weights: `w_dt`
/// (1 x d_model) and the free scalars `A_log` and `dt_bias`, which start at constants.
struct Mamba2 {
  double initial_a_log = 0;     ///< where A_log starts; the rate of decay is exp(A_log) a unit step
  double initial_dt_bias = -4;  ///< where dt_bias starts; -4 is a step of 0.018

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{
      .name = "Mamba2",
      .text = "mamba2",
      .paper = "2405.21060",
      .equation = "S <- exp(-D exp A) S + D k v^T, D = softplus(w.x + b)"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "initial_a_log", .example = -0.5}, self.initial_a_log);
    visit({.name = "initial_dt_bias", .example = -1, .slow = -9}, self.initial_dt_bias);
  }

  [[nodiscard]] std::array<Parameter, 3> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_dt", 1), free_vector("A_log", 1, initial_a_log),
            free_vector("dt_bias", 1, initial_dt_bias)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const Scalar step = detail::softplus<Scalar>(in.own[0] + in.free[1]);
    detail::write_leaf(step, in, token);
    token.transition.decay = exp(-step * exp(in.free[0]));
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const Scalar z = in.own[0] + in.free[1], rate = exp(in.free[0]);
    const Scalar step = detail::softplus<Scalar>(z);
    const Scalar d_exponent = d_token.transition.decay * token.transition.decay;
    const Scalar d_step =
        detail::dot(d_token.keys.data(), in.k.data(), in.k.size()) - d_exponent * rate;
    detail::pull_back_leaf(step, d_token, d_in);
    d_in.own[0] = d_step * detail::sigmoid<Scalar>(z);
    d_in.free[0] = -d_exponent * step * rate;
    d_in.free[1] = d_in.own[0];
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const Mamba2&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_MAMBA2_HPP
