// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GLA_HPP
#define LOGLINEAR_RULES_GLA_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Gated linear attention with one gate for the whole state:
///
///     S <- a S + k v^T,   a = sg(w_gate . x + gate_bias)
///
/// Yang et al., *Gated Linear Attention Transformers with Hardware-Efficient Training*,
/// arXiv:2312.06635, section 4.1, with the gate shared by all key rows. Transition: one decay for
/// the whole state. Own weights: `w_gate` (1 x d_model).
struct GLA {
  double gate_bias = 0;  ///< added before the sigmoid; 0 forgets half at every token, 6 some 0.25 %

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{
      .name = "GLA", .text = "gla", .paper = "2312.06635", .equation = "S <- sg(w.x) S + k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    detail::write_leaf(in, token);
    token.transition.decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto& a = token.transition.decay;
    detail::pull_back_leaf(d_token, d_in);
    d_in.own[0] = d_token.transition.decay * a * (1 - a);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GLA&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GLA_HPP
