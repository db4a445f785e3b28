// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GLA_VECTOR_HPP
#define LOGLINEAR_RULES_GLA_VECTOR_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Gated linear attention with a gate for each key row, `S <- diag(w) S + k v^T`,
/// `w = sg(W_gate x + gate_bias)`.
///
/// Yang et al., *Gated Linear Attention Transformers with Hardware-Efficient Training*,
/// arXiv:2312.06635, equation 3. Transition: a decay per key row. Own weights: `w_gate_vec`
/// (d_k x d_model).
struct GLAVector {
  double gate_bias = 0;  ///< added before every sigmoid; 0 forgets half at every token

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_gate_vec", d_k)};
  }

  /// \throws std::invalid_argument unless gate_bias is finite
  void validate() const { detail::require_finite_value("GLAVector::gate_bias", gate_bias); }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    token.keys.col(0) = in.k;
    token.values.col(0) = in.v;
    token.transition.decay = in.own.unaryExpr(
        [bias = Scalar(gate_bias)](const Scalar& z) { return detail::sigmoid<Scalar>(z + bias); });
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto w = token.transition.decay.array();
    d_in.k = d_token.keys.col(0);
    d_in.v = d_token.values.col(0);
    d_in.own = (d_token.transition.decay.array() * w * (1 - w)).matrix();
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GLAVector&) const = default;
};

static_assert(InnerRule<GLAVector, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GLA_VECTOR_HPP
