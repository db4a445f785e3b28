// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_TIED_HGRN2_HPP
#define LOGLINEAR_RULES_TIED_HGRN2_HPP

#include <algorithm>
#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// HGRN2 as published, with the key tied to the gate: a key row writes with the weight 1 - w with
/// which it forgets.
///
///     w = lower_bound + (1 - lower_bound) sg(W_gate x + gate_bias)
///     S <- diag(w) S + (1 - w) v^T
///
/// Every row of the state is then a running average of values and does not outgrow them.
///
/// Qin et al., *HGRN2: Gated Linear RNNs with State Expansion*, arXiv:2404.07904, section 3; its
/// activations of value and query, its norm and the lower bounds that it learns for its layers
/// belong to a mixer. `HGRN2` has a key of its own instead. Transition: a decay per key row. Own
/// weights: `w_hgrn2_gate` (d_k x d_model); W_k has no effect.
struct TiedHGRN2 {
  double lower_bound = 0;  ///< the smallest forget gate w, in [0, 1); 0 in the paper's first layer
  double gate_bias = 0;    ///< added before every sigmoid; 0 forgets half at every token

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  static constexpr RuleInfo info{
      .name = "TiedHGRN2",
      .text = "tied_hgrn2",
      .paper = "2404.07904",
      .equation = "S <- diag(w) S + (1 - w) v^T, w = l + (1 - l) sg(W x)"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "lower_bound", .range = Range::from_to_below(0, 1), .example = 0.3},
          self.lower_bound);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_hgrn2_gate", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    const auto n = in.k.size();
    Scalar *const w = token.transition.decay.data(), *const key = token.keys.data();
    detail::sigmoid(in.own.data(), gate_bias, n, w);
    for (Eigen::Index i = 0; i < n; ++i) {
      // 1 - sg(z) = sg(-z), to rounding where the gate is near 1
      const Scalar z = in.own[i] + Scalar(gate_bias);
      key[i] = (1 - low) * detail::sigmoid<Scalar>(-z);
      w[i] = low + (1 - low) * w[i];
    }
    detail::copy(in.v.data(), in.v.size(), token.values.data());
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    const auto n = d_in.k.size();
    const Scalar *const w = token.transition.decay.data(), *const key = token.keys.data();
    // dw/dz = (1 - low) s (1 - s) with (1 - low) s = w - low and (1 - low) (1 - s) = 1 - w
    for (Eigen::Index i = 0; i < n; ++i) {
      const Scalar d_w = d_token.transition.decay[i] - d_token.keys.data()[i];
      d_in.own[i] = d_w * (w[i] - low) * key[i] / (1 - low);
    }
    std::fill_n(d_in.k.data(), n, Scalar(0));
    detail::copy(d_token.values.data(), d_in.v.size(), d_in.v.data());
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const TiedHGRN2&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_TIED_HGRN2_HPP
