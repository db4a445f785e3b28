// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HGRN2_HPP
#define LOGLINEAR_RULES_HGRN2_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// HGRN2: a forget gate with a lower bound for each key row.
///
///     S <- diag(w) S + k v^T,   w = lower_bound + (1 - lower_bound) sg(W_gate x + gate_bias)
///
/// After Qin et al., *HGRN2: Gated Linear RNNs with State Expansion*, arXiv:2404.07904, with a key
/// of its own; `TiedHGRN2` ties the key to the gate, as published. Transition: a decay per key row.
/// Own weights: `w_hgrn2_gate` (d_k x d_model).
struct HGRN2 {
  double lower_bound = 0.9;  ///< the smallest forget gate w, in [0, 1)
  double gate_bias = 0;      ///< added before every sigmoid

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  static constexpr RuleInfo info{.name = "HGRN2",
                                 .text = "hgrn2",
                                 .paper = "2404.07904",
                                 .equation = "S <- diag(l + (1 - l) sg(W x)) S + k v^T",
                                 .bounds_output = true};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "lower_bound",
           .range = Range::from_to_below(0, 1),
           .example = 0.8,
           .slow = 0.9998},
          self.lower_bound);
    visit({.name = "gate_bias"}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_hgrn2_gate", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    auto& w = token.transition.decay;
    detail::write_leaf(in, token);
    detail::sigmoid(in.own.data(), gate_bias, w.size(), w.data());
    for (Eigen::Index i = 0; i < w.size(); ++i) w[i] = low + (1 - low) * w[i];
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    const auto& w = token.transition.decay;
    detail::pull_back_leaf(d_token, d_in);
    // dw/dz = (1 - low) s (1 - s) with s = (w - low) / (1 - low)
    for (Eigen::Index i = 0; i < w.size(); ++i) {
      d_in.own[i] = d_token.transition.decay[i] * (w[i] - low) * (1 - w[i]) / (1 - low);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const HGRN2&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HGRN2_HPP
