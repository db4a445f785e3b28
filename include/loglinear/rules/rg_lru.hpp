// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_RG_LRU_HPP
#define LOGLINEAR_RULES_RG_LRU_HPP

#include <algorithm>
#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// The real-gated linear recurrent unit of Hawk and Griffin, column by column:
///
///     r = sg(W_alpha x + gate_bias)      i = sg(W_beta x + input_bias)
///     a = sg(Lambda)^(8 r)
///     h <- a * h + sqrt(1 - a^2) * (i * v)
///
/// De et al., *Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language
/// Models*, arXiv:2402.19427, section 2.4, with v where the paper has its input. The factor
/// `sqrt(1 - a^2)` keeps the state as large as v, whatever the decay. The state is one key row,
/// with key and query 1: the projections W_k and W_q are drawn but not used. Transition: a decay
/// per value column. Own weights: `w_alpha` and `w_beta` (d_v x d_model each) and the free vector
/// `Lambda` (d_v), which starts at a constant.
struct RGLRU {
  double initial_lambda = 2;  ///< where Lambda starts; the paper draws 4.3 to 9: slow decays
  double gate_bias = 0;       ///< added before the sigmoid of r, the recurrence gate
  double input_bias = 0;      ///< added before the sigmoid of i, the input gate

  template <class Scalar>
  using Transition = ValueDecay<Scalar>;

  static constexpr RuleInfo info{.name = "RGLRU",
                                 .text = "rg_lru",
                                 .paper = "2402.19427",
                                 .equation =
                                     "h <- a * h + sqrt(1 - a^2) * sg(W' x) * v, "
                                     "a = sg(Lambda)^(8 sg(W x))"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "initial_lambda", .example = 3, .slow = 10}, self.initial_lambda);
    visit({.name = "gate_bias"}, self.gate_bias);
    visit({.name = "input_bias", .example = 0.5}, self.input_bias);
  }

  [[nodiscard]] std::array<Parameter, 3> parameters(Eigen::Index, Eigen::Index d_v) const {
    return {projection("w_alpha", d_v), projection("w_beta", d_v),
            free_vector("Lambda", d_v, initial_lambda)};
  }

  [[nodiscard]] Eigen::Index key_rows(Eigen::Index) const { return 1; }

  void prepare_query(const auto&, auto& query) const {
    using Scalar = typename std::decay_t<decltype(query)>::Scalar;
    std::fill_n(query.data(), query.size(), Scalar(1));
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const auto n = in.v.size();
    Scalar *const a = token.transition.decay.data(), *const value = token.values.data();
    std::fill_n(token.keys.data(), token.keys.size(), Scalar(1));
    detail::sigmoid(in.own.data(), gate_bias, n, a);
    detail::sigmoid(in.own.data() + n, input_bias, n, value);
    for (Eigen::Index j = 0; j < n; ++j) {
      const Scalar log_a = a[j] * log_fastest<Scalar>(in.free[j]);
      a[j] = exp(log_a);
      value[j] *= input_size(log_a) * in.v[j];
    }
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.v.size();
    const Scalar *const a = token.transition.decay.data(),
                        *const d_a = d_token.transition.decay.data(),
                        *const d_value = d_token.values.data();
    Scalar *const d_gate = d_in.own.data(), *const d_input = d_gate + n;
    detail::sigmoid(in.own.data(), gate_bias, n, d_gate);
    detail::sigmoid(in.own.data() + n, input_bias, n, d_input);
    std::fill_n(d_in.k.data(), d_in.k.size(), Scalar(0));
    std::fill_n(d_in.q.data(), d_in.q.size(), Scalar(0));
    for (Eigen::Index j = 0; j < n; ++j) {
      const Scalar r = d_gate[j], i = d_input[j], fastest = log_fastest<Scalar>(in.free[j]);
      const Scalar log_a = r * fastest, size = input_size(log_a);
      d_in.v[j] = d_value[j] * size * i;
      d_input[j] = d_value[j] * size * in.v[j] * i * (1 - i);
      // d size / d log a = -a^2 / size, times log a: it vanishes with log a.
      const Scalar through_size = size > Scalar(0) ? Scalar(-a[j] * a[j] * (log_a / size)) : size;
      const Scalar d_relative =  // the gradient with respect to log a, times log a
          d_a[j] * a[j] * log_a + d_value[j] * i * in.v[j] * through_size;
      d_gate[j] = d_relative * (1 - r);
      d_in.free[j] = d_relative * relative_slope<Scalar>(in.free[j]);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RGLRU&) const = default;

 private:
  /// 8 log sg(lambda) = -8 softplus(-lambda)
  template <class Scalar>
  [[nodiscard]] static Scalar log_fastest(const Scalar& lambda) {
    return Scalar(-8) * detail::softplus<Scalar>(-lambda);
  }
  /// d log(softplus(-lambda)) / d lambda, which tends to -1 where softplus itself vanishes.
  template <class Scalar>
  [[nodiscard]] static Scalar relative_slope(const Scalar& lambda) {
    if (lambda > Scalar(detail::softplus_linear_from)) return Scalar(-1);
    return -detail::sigmoid<Scalar>(-lambda) / detail::softplus<Scalar>(-lambda);
  }
  /// sqrt(1 - a^2) = sqrt((1 - a) (1 + a)) = sqrt(-expm1(2 log a)), to rounding where a is near 1.
  template <class Scalar>
  [[nodiscard]] static Scalar input_size(const Scalar& log_a) {
    using std::sqrt, std::tanh, std::exp;
    // -expm1(2 z) = -tanh(z) (1 + exp(2 z)); dual numbers have no expm1
    return sqrt(-tanh(log_a) * (Scalar(1) + exp(log_a + log_a)));
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RG_LRU_HPP
