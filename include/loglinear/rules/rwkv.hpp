// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_RWKV_HPP
#define LOGLINEAR_RULES_RWKV_HPP

#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// RWKV: an exponential decay with a learned rate, and exponential keys.
///
///     S <- exp(-(initial_decay + softplus(w_decay . x - gate_bias))) S + exp(k) v^T
///
/// Peng et al., *RWKV: Reinventing RNNs for the Transformer Era*, arXiv:2305.13048, and *Eagle and
/// Finch*, arXiv:2404.05892, with one decay for the state. Transition: one decay. Own weights:
/// `w_decay` (1 x d_model). Coefficients of k above some 88 (float) or 700 (double) overflow and
/// are refused.
struct RWKV {
  double initial_decay = 0.5;  ///< the lower bound of the rate of forgetting per token, >= 0
  double gate_bias = 0;        ///< the larger, the slower the learned part forgets

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{.name = "RWKV",
                                 .text = "rwkv",
                                 .paper = "2305.13048",
                                 .equation = "S <- exp(-d - softplus(w.x)) S + exp(k) v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "initial_decay", .range = Range::at_least(0), .example = 0.05, .slow = 0},
          self.initial_decay);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_decay", 1)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    detail::write_leaf(in, token);
    detail::exp_of(token.keys.data(), token.keys.size(), token.keys.data());
    token.transition.decay =
        exp(-(Scalar(initial_decay) + detail::softplus<Scalar>(in.own[0] - Scalar(gate_bias))));
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto& t = token.transition;
    detail::pull_back_leaf(d_token, d_in);
    detail::multiply(d_in.k.data(), token.keys.data(), d_in.k.size(), d_in.k.data());
    d_in.own[0] = -d_token.transition.decay * t.decay *
                  detail::sigmoid<Scalar>(in.own[0] - Scalar(gate_bias));
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RWKV&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RWKV_HPP
