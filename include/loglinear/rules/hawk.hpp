// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HAWK_HPP
#define LOGLINEAR_RULES_HAWK_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Hawk: a gated recurrence on a vector, `h <- a * h + b * v`, `a = sg(W_alpha x + gate_bias)`,
/// `b = sg(W_beta x + input_bias)`, column by column.
///
/// De et al., *Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language
/// Models*, arXiv:2402.19427, with sigmoid gates. Its state is one key row, with key and query 1:
/// the projections W_k and W_q are drawn but not used. Transition: a decay per value column. Own
/// weights: `w_alpha` and `w_beta` (d_v x d_model each).
struct Hawk {
  double gate_bias = 0;   ///< added before the forget gate's sigmoid; 0 forgets half at every token
  double input_bias = 0;  ///< added before the input gate's sigmoid

  template <class Scalar>
  using Transition = ValueDecay<Scalar>;

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index d_v) const {
    return {projection("w_alpha", d_v), projection("w_beta", d_v)};
  }

  [[nodiscard]] Eigen::Index key_rows(Eigen::Index) const { return 1; }

  /// \throws std::invalid_argument unless both biases are finite
  void validate() const {
    detail::require_finite_value("Hawk::gate_bias", gate_bias);
    detail::require_finite_value("Hawk::input_bias", input_bias);
  }

  void prepare_query(const auto&, auto& query) const { query.setOnes(); }

  void prepare(const auto& in, auto& token) const {
    const auto d_v = in.v.size();
    token.keys.setOnes();
    detail::sigmoid(in.own.head(d_v), gate_bias, token.transition.decay);
    detail::sigmoid(in.own.tail(d_v), input_bias, token.values.col(0));
    token.values.col(0).array() *= in.v.array();
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    const auto d_v = in.v.size();
    const auto a = token.transition.decay.array();
    const auto d_value = d_token.values.col(0).array();
    auto b = d_in.own.tail(d_v);
    detail::sigmoid(in.own.tail(d_v), input_bias, b);
    d_in.k.setZero();
    d_in.q.setZero();
    d_in.v = (d_value * b.array()).matrix();
    b.array() *= d_value * in.v.array() * (1 - b.array());
    d_in.own.head(d_v) = (d_token.transition.decay.array() * a * (1 - a)).matrix();
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const Hawk&) const = default;
};

static_assert(InnerRule<Hawk, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HAWK_HPP
