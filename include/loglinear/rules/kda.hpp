// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_KDA_HPP
#define LOGLINEAR_RULES_KDA_HPP

#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Kimi Delta Attention: a decay per key row, then the delta rule on what has decayed.
///
///     alpha = exp(-exp(A_log) softplus(W_dt x + dt_bias))
///     beta = sg(w_beta_scalar . x + beta_bias)
///     S <- (I - beta k^ k^^T) diag(alpha) S + beta k^ v^T,   read S^T q^
///
/// with k^ = k / |k| and q^ = q / |q| (0 below 1e-12).
///
/// Kimi Team, *Kimi Linear: An Expressive, Efficient Attention Architecture*, arXiv:2510.26692,
/// with one matrix for the decays, where the paper has the product of two narrow ones. The paper's
/// convolutions, output gate and norm belong to a mixer. Transition: a diagonal minus a matrix of
/// rank one. Own weights: `w_dt_vec` (d_k x d_model), `w_beta_scalar` (1 x d_model), and the free
/// scalar `A_log` and free vector `dt_bias` (d_k), which start at constants.
struct KDA {
  double initial_a_log = 0;     ///< where A_log starts; the rate of decay is exp(A_log) a unit step
  double initial_dt_bias = -4;  ///< where dt_bias starts; -4 keeps 0.98 of every row at A_log = 0
  double beta_bias = 0;         ///< added before the sigmoid of beta

  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<KeyDecay<Scalar>>;

  static constexpr RuleInfo info{.name = "KDA",
                                 .text = "kda",
                                 .paper = "2510.26692",
                                 .equation = "S <- (I - beta k^ k^^T) diag(alpha) S + beta k^ v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "initial_a_log", .example = -0.5}, self.initial_a_log);
    visit({.name = "initial_dt_bias", .example = -1, .slow = -9}, self.initial_dt_bias);
    visit({.name = "beta_bias", .example = -0.5}, self.beta_bias);
  }

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_dt_vec", d_k), projection("w_beta_scalar", 1),
            free_vector("A_log", 1, initial_a_log), free_vector("dt_bias", d_k, initial_dt_bias)};
  }

  void prepare_query(const auto& in, auto& query) const {
    detail::unit_vector(in.q.data(), in.q.size(), query.data());
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const auto n = in.k.size();
    const Scalar rate = exp(in.free[0]), beta = strength<Scalar>(in);
    Scalar *const alpha = token.transition.diagonal.decay.data(),
                  *const u = token.transition.u.data(), *const p = token.transition.p.data();
    steps(in, alpha);
    detail::scale_by(Scalar(-rate), alpha, n);
    detail::exp_of(alpha, n, alpha);
    detail::unit_vector(in.k.data(), n, p);
    detail::scale_to(beta, p, n, u);
    detail::multiply(p, alpha, n, p);  // (I - u k^^T) diag(alpha) = diag(alpha) - u (alpha * k^)^T
    detail::copy(u, n, token.keys.data());
    detail::copy(in.v.data(), in.v.size(), token.values.data());
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const auto n = in.k.size();
    const Scalar rate = exp(in.free[0]), beta = strength<Scalar>(in);
    const Scalar* const alpha = token.transition.diagonal.decay.data();
    Scalar *const d_alpha = d_token.transition.diagonal.decay.data(),
                  *const d_p = d_token.transition.p.data(), *const d_written = d_token.keys.data(),
                  *const unit = d_token.transition.u.data();  // once its gradient is used
    Scalar *const step = d_in.own.data(), *const d_dt_bias = d_in.free.data() + 1;
    detail::add(d_written, unit, n, d_written);  // with respect to beta k^, in u and in the leaf
    detail::unit_vector(in.k.data(), n, unit);
    d_in.own[n] = detail::dot(d_written, unit, n) * beta * (1 - beta);

    steps(in, step);
    Scalar d_a_log(0);
    for (Eigen::Index i = 0; i < n; ++i) {
      const Scalar d_step = -rate * alpha[i] * (d_alpha[i] + d_p[i] * unit[i]);
      d_a_log += d_step * step[i];
      d_dt_bias[i] = d_step * detail::sigmoid<Scalar>(in.own[i] + in.free[1 + i]);
      d_p[i] = alpha[i] * d_p[i] + beta * d_written[i];  // with respect to k^
    }
    d_in.free[0] = d_a_log;
    detail::copy(d_dt_bias, n, step);

    detail::unit_vector_pullback(in.k.data(), unit, d_p, n, d_in.k.data());
    detail::unit_vector(in.q.data(), n, unit);
    detail::unit_vector_pullback(in.q.data(), unit, d_token.query.data(), n, d_in.q.data());
    detail::copy(d_token.values.data(), in.v.size(), d_in.v.data());
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const KDA&) const = default;

 private:
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in) const {
    return detail::sigmoid<Scalar>(in.own[in.k.size()] + Scalar(beta_bias));
  }
  /// step = softplus(W_dt x + dt_bias)
  static void steps(const auto& in, auto* step) {
    const auto n = in.k.size();
    detail::add(in.own.data(), in.free.data() + 1, n, step);
    detail::softplus(step, n, step);
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_KDA_HPP
