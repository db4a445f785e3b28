// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_MLSTM_HPP
#define LOGLINEAR_RULES_MLSTM_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// The matrix memory of xLSTM with sigmoid gates:
///
///     S <- f S + i k v^T,   f = sg(w_gate . x + gate_bias),   i = sg(w_gate2 . x + input_bias)
///
/// After Beck et al., *xLSTM: Extended Long Short-Term Memory*, arXiv:2405.04517, section 2.3,
/// without exponential gates, stabiliser and normaliser, which `ExponentialGates` has. Transition:
/// one decay for the state. Own weights: `w_gate` and `w_gate2` (1 x d_model each).
struct MLSTM {
  double gate_bias = 0;   ///< added before the forget gate's sigmoid; 0 forgets half at every token
  double input_bias = 0;  ///< added before the input gate's sigmoid

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{.name = "MLSTM",
                                 .text = "mlstm",
                                 .paper = "2405.04517",
                                 .equation = "S <- sg(w.x) S + sg(w'.x) k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "input_bias", .example = 0.5}, self.input_bias);
  }

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1), projection("w_gate2", 1)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    detail::write_leaf(detail::sigmoid<Scalar>(in.own[1] + Scalar(input_bias)), in, token);
    token.transition.decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Scalar f = token.transition.decay;
    const Scalar i = detail::sigmoid<Scalar>(in.own[1] + Scalar(input_bias));
    const Scalar d_i = detail::dot(d_token.keys.data(), in.k.data(), in.k.size());
    detail::pull_back_leaf(i, d_token, d_in);
    d_in.own[0] = d_token.transition.decay * f * (1 - f);
    d_in.own[1] = d_i * i * (1 - i);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const MLSTM&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_MLSTM_HPP
