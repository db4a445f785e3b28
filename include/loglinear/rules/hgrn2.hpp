// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HGRN2_HPP
#define LOGLINEAR_RULES_HGRN2_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// HGRN2: a forget gate with a lower bound for each key row, `S <- diag(w) S + k v^T`,
/// `w = lower_bound + (1 - lower_bound) sg(W_gate x + gate_bias)`.
///
/// Qin et al., *HGRN2: Gated Linear RNNs with State Expansion*, arXiv:2404.07904, with the key
/// projected rather than tied to the gate. Transition: a decay per key row. Own weights:
/// `w_hgrn2_gate` (d_k x d_model).
struct HGRN2 {
  double lower_bound = 0.9;  ///< the fastest forgetting, in [0, 1)
  double gate_bias = 0;      ///< added before every sigmoid

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_hgrn2_gate", d_k)};
  }

  /// \throws std::invalid_argument unless lower_bound is in [0, 1) and gate_bias finite
  void validate() const {
    if (!(lower_bound >= 0 && lower_bound < 1 && detail::is_finite(lower_bound))) {
      detail::fail("HGRN2::lower_bound", lower_bound, "in [0, 1)");
    }
    detail::require_finite_value("HGRN2::gate_bias", gate_bias);
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    auto w = token.transition.decay.array();
    token.keys.col(0) = in.k;
    token.values.col(0) = in.v;
    detail::sigmoid(in.own, gate_bias, token.transition.decay);
    w = low + (1 - low) * w;
  }

  void pullback(const auto&, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    const auto w = token.transition.decay.array();
    d_in.k = d_token.keys.col(0);
    d_in.v = d_token.values.col(0);
    // dw/dz = (1 - low) s (1 - s) with s = (w - low) / (1 - low)
    d_in.own = (d_token.transition.decay.array() * (w - low) * (1 - w) / (1 - low)).matrix();
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const HGRN2&) const = default;
};

static_assert(InnerRule<HGRN2, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HGRN2_HPP
