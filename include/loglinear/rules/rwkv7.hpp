// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_RWKV7_HPP
#define LOGLINEAR_RULES_RWKV7_HPP

#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// RWKV-7: a decay per key row, a vector of in-context learning rates, and separate keys for
/// removal and replacement.
///
///     w = exp(ln(0.6) sg(W_decay x - gate_bias))      a = sg(W_iclr x + iclr_bias)
///     kappa = unit(k * xi)                            k~ = k * (1 + alpha * (a - 1))
///     S <- (diag(w) - (a * kappa) kappa^T) S + k~ v^T
///
/// Peng et al., *RWKV-7 "Goose" with Expressive Dynamic State Evolution*, arXiv:2503.14456,
/// equations 9 to 17. With `decay_first` the state decays before the removal: the transition is
/// then `(I - (a * kappa) kappa^T) diag(w)`. Transition: a diagonal minus a matrix of rank one. Own
/// weights: `w_decay_vec` and `w_iclr` (d_k x d_model each), and the free vectors `w_xi` and
/// `w_alpha_rk` (d_k).
struct RWKV7 {
  bool decay_first = false;  ///< remove from the decayed state, not from the state before the decay
  double gate_bias = 0;      ///< the larger, the slower the decay; 0 keeps 0.77 with weights near 0
  double iclr_bias = 0;      ///< added before the sigmoid of the in-context learning rates

  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<KeyDecay<Scalar>>;

  static constexpr RuleInfo info{.name = "RWKV7",
                                 .text = "rwkv7",
                                 .paper = "2503.14456",
                                 .equation = "S <- (diag(w) - (a * kappa) kappa^T) S + k~ v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "decay_first"}, self.decay_first);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "iclr_bias", .example = 0.3}, self.iclr_bias);
  }

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_decay_vec", d_k), projection("w_iclr", d_k), free_vector("w_xi", d_k),
            free_vector("w_alpha_rk", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    const Scalar *const k = in.k.data(), *const xi = in.free.data(), *const alpha = xi + n;
    Scalar *const w = token.transition.diagonal.decay.data(), *const u = token.transition.u.data(),
                  *const p = token.transition.p.data(), *const key = token.keys.data();
    detail::sigmoid(in.own.data(), -gate_bias, n, w);
    detail::scale_by(static_cast<Scalar>(log_slowest), w, n);
    detail::exp_of(w, n, w);
    detail::sigmoid(in.own.data() + n, iclr_bias, n, u);
    for (Eigen::Index i = 0; i < n; ++i) key[i] = k[i] * (1 + alpha[i] * (u[i] - 1));
    detail::copy(in.v.data(), in.v.size(), token.values.data());
    detail::multiply(k, xi, n, p);
    detail::unit_vector(p, n, p);
    detail::multiply(u, p, n, u);
    if (decay_first) detail::multiply(p, w, n, p);
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    const auto log_w = static_cast<Scalar>(log_slowest);
    const Scalar *const k = in.k.data(), *const xi = in.free.data(), *const alpha = xi + n,
                        *const w = token.transition.diagonal.decay.data();
    Scalar *const d_w = d_token.transition.diagonal.decay.data(),
                  *const d_u = d_token.transition.u.data(),
                  *const d_p = d_token.transition.p.data(), *const d_key = d_token.keys.data();
    Scalar *const d_decay_raw = d_in.own.data(), *const d_rate_raw = d_decay_raw + n,
                  *const d_xi = d_in.free.data(), *const d_alpha = d_xi + n;
    Scalar *const kappa = d_in.k.data(), *const a = d_rate_raw;  // until their gradients are known

    detail::multiply(k, xi, n, kappa);
    detail::unit_vector(kappa, n, kappa);
    detail::sigmoid(in.own.data() + n, iclr_bias, n, a);
    detail::sigmoid(in.own.data(), -gate_bias, n, d_decay_raw);
    for (Eigen::Index i = 0; i < n; ++i) {
      if (decay_first) {  // p is kappa times the decay
        d_w[i] += d_p[i] * kappa[i];
        d_p[i] *= w[i];
      }
      d_p[i] += d_u[i] * a[i];  // now with respect to kappa
      d_alpha[i] = d_key[i] * k[i] * (a[i] - 1);
      // Through the decay, w = exp(log_w s): dw/dz = log_w w s (1 - s).
      d_decay_raw[i] *= log_w * w[i] * d_w[i] * (1 - d_decay_raw[i]);
      d_u[i] = d_u[i] * kappa[i] + d_key[i] * k[i] * alpha[i];  // now with respect to a
    }
    // Through kappa = unit(k * xi), then through both keys, last through a.
    detail::multiply(k, xi, n, d_w);  // scratch from here on
    detail::unit_vector_pullback(d_w, kappa, d_p, n, d_xi);
    for (Eigen::Index i = 0; i < n; ++i) {
      d_in.k[i] = d_key[i] * (1 + alpha[i] * (a[i] - 1)) + d_xi[i] * xi[i];
      d_xi[i] *= k[i];
      d_rate_raw[i] *= d_u[i] * (1 - a[i]);
    }
    detail::copy(d_token.values.data(), in.v.size(), d_in.v.data());
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RWKV7&) const = default;

 private:
  static constexpr double log_slowest = -0.51082562376599068;  // ln(0.6)
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RWKV7_HPP
