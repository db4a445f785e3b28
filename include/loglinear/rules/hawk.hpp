// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HAWK_HPP
#define LOGLINEAR_RULES_HAWK_HPP

#include <algorithm>
#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Hawk: a gated recurrence on a vector, column by column.
///
///     h <- a * h + b * v,   a = sg(W_alpha x + gate_bias),   b = sg(W_beta x + input_bias)
///
/// After De et al., *Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient
/// Language Models*, arXiv:2402.19427, in a simpler form with two independent gates; `RGLRU` is the
/// recurrence as published. Its state is one key row, with key and query 1: the projections W_k and
/// W_q are drawn but not used. Transition: a decay per value column. Own weights: `w_alpha` and
/// `w_beta` (d_v x d_model each).
struct Hawk {
  double gate_bias = 0;   ///< added before the forget gate's sigmoid; 0 forgets half at every token
  double input_bias = 0;  ///< added before the input gate's sigmoid

  template <class Scalar>
  using Transition = ValueDecay<Scalar>;

  static constexpr RuleInfo info{.name = "Hawk",
                                 .text = "hawk",
                                 .paper = "2402.19427",
                                 .equation = "h <- sg(W x) * h + sg(W' x) * v"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "input_bias", .example = 0.5}, self.input_bias);
  }

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index d_v) const {
    return {projection("w_alpha", d_v), projection("w_beta", d_v)};
  }

  [[nodiscard]] Eigen::Index key_rows(Eigen::Index) const { return 1; }

  void prepare_query(const auto&, auto& query) const {
    using Scalar = typename std::decay_t<decltype(query)>::Scalar;
    std::fill_n(query.data(), query.size(), Scalar(1));
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.v.size();
    auto* const value = token.values.data();
    std::fill_n(token.keys.data(), token.keys.size(), Scalar(1));
    detail::sigmoid(in.own.data(), gate_bias, n, token.transition.decay.data());
    detail::sigmoid(in.own.data() + n, input_bias, n, value);
    detail::multiply(value, in.v.data(), n, value);
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.v.size();
    const auto *const a = token.transition.decay.data(),
                      *const d_a = d_token.transition.decay.data(),
                      *const d_value = d_token.values.data();
    auto *const through_a = d_in.own.data(), *const through_b = through_a + n;
    detail::sigmoid(in.own.data() + n, input_bias, n, through_b);
    std::fill_n(d_in.k.data(), d_in.k.size(), Scalar(0));
    std::fill_n(d_in.q.data(), d_in.q.size(), Scalar(0));
    for (Eigen::Index i = 0; i < n; ++i) {
      const Scalar b = through_b[i];
      d_in.v[i] = d_value[i] * b;
      through_b[i] = b * (d_value[i] * in.v[i] * (1 - b));
      through_a[i] = d_a[i] * a[i] * (1 - a[i]);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const Hawk&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HAWK_HPP
