// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GLA_HPP
#define LOGLINEAR_RULES_GLA_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Gated linear attention with one gate for the state, `S <- a S + k v^T`,
/// `a = sg(w_gate . x + gate_bias)`.
///
/// Yang et al., *Gated Linear Attention Transformers with Hardware-Efficient Training*,
/// arXiv:2312.06635, section 4.1, with the gate shared by all key rows. Transition: one decay for
/// the state. Own weights: `w_gate` (1 x d_model).
struct GLA {
  double gate_bias = 0;  ///< added before the sigmoid; 0 forgets half at every token, 6 some 0.25 %

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1)};
  }

  /// \throws std::invalid_argument unless gate_bias is finite
  void validate() const { detail::require_finite_value("GLA::gate_bias", gate_bias); }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    token.keys.col(0) = in.k;
    token.values.col(0) = in.v;
    token.transition.decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto& a = token.transition.decay;
    d_in.k = d_token.keys.col(0);
    d_in.v = d_token.values.col(0);
    d_in.own[0] = d_token.transition.decay * a * (1 - a);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GLA&) const = default;
};

static_assert(InnerRule<GLA, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GLA_HPP
