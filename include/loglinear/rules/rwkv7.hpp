// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_RWKV7_HPP
#define LOGLINEAR_RULES_RWKV7_HPP

#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
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
/// equations 9 to 17. With `decay_first` what is removed has already decayed: the transition is
/// then
/// `(I - (a * kappa) kappa^T) diag(w)`. Transition: a diagonal minus a matrix of rank one. Own
/// weights: `w_decay_vec` and `w_iclr` (d_k x d_model each), and the free vectors `w_xi` and
/// `w_alpha_rk` (d_k).
struct RWKV7 {
  bool decay_first = false;  ///< remove from the decayed state instead of the older one
  double gate_bias = 0;  ///< the larger, the slower the decay; 0 keeps 0.77 at seed-size weights
  double iclr_bias = 0;  ///< added before the sigmoid of the in-context learning rates

  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<KeyDecay<Scalar>>;

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_decay_vec", d_k), projection("w_iclr", d_k), free_vector("w_xi", d_k),
            free_vector("w_alpha_rk", d_k)};
  }

  /// \throws std::invalid_argument unless both biases are finite
  void validate() const {
    detail::require_finite_value("RWKV7::gate_bias", gate_bias);
    detail::require_finite_value("RWKV7::iclr_bias", iclr_bias);
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto d_k = in.k.size();
    auto& t = token.transition;
    auto key = token.keys.col(0).array();
    detail::sigmoid(in.own.head(d_k), -gate_bias, t.diagonal.decay);
    t.diagonal.decay = (static_cast<Scalar>(log_slowest) * t.diagonal.decay.array()).exp().matrix();
    detail::sigmoid(in.own.tail(d_k), iclr_bias, t.u);
    key = in.k.array() * (1 + in.free.tail(d_k).array() * (t.u.array() - 1));
    token.values.col(0) = in.v;
    detail::unit_vector(in.k.cwiseProduct(in.free.head(d_k)), t.p);
    t.u.array() *= t.p.array();
    if (decay_first) t.p.array() *= t.diagonal.decay.array();
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto d_k = in.k.size();
    const auto log_w = static_cast<Scalar>(log_slowest);
    const auto xi = in.free.head(d_k), alpha = in.free.tail(d_k);
    const auto w = token.transition.diagonal.decay.array();
    auto& d = d_token.transition;
    auto d_key = d_token.keys.col(0);
    auto d_decay_raw = d_in.own.head(d_k), d_rate_raw = d_in.own.tail(d_k);
    auto d_xi = d_in.free.head(d_k), d_alpha = d_in.free.tail(d_k);

    // kappa in d_in.k, a in d_rate_raw; what the decay is used for again is added to d.diagonal.
    detail::unit_vector(in.k.cwiseProduct(xi), d_in.k);
    const auto kappa = d_in.k.array();
    detail::sigmoid(in.own.tail(d_k), iclr_bias, d_rate_raw);
    const auto a = d_rate_raw.array();
    if (decay_first) {
      d.diagonal.decay.array() += d.p.array() * kappa;
      d.p.array() *= w;
    }
    d.p.array() += d.u.array() * a;  // now with respect to kappa
    d_alpha = (d_key.array() * in.k.array() * (a - 1)).matrix();

    // Through the decay, w = exp(log_w s): dw/dz = log_w w s (1 - s).
    detail::sigmoid(in.own.head(d_k), -gate_bias, d_decay_raw);
    d_decay_raw.array() *= log_w * w * d.diagonal.decay.array() * (1 - d_decay_raw.array());

    // Through kappa = unit(k * xi), then through both keys, last through a.
    d.u = d.u.cwiseProduct(d_in.k) + d_key.cwiseProduct(in.k).cwiseProduct(alpha);  // d a
    detail::unit_vector_pullback(in.k.cwiseProduct(xi), d_in.k, d.p, d_xi);
    d_in.k = (d_key.array() * (1 + alpha.array() * (a - 1)) + d_xi.array() * xi.array()).matrix();
    d_xi.array() *= in.k.array();
    d_rate_raw.array() *= d.u.array() * (1 - d_rate_raw.array());
    d_in.v = d_token.values.col(0);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RWKV7&) const = default;

 private:
  static constexpr double log_slowest = -0.51082562376599068;  // ln(0.6)
};

static_assert(InnerRule<RWKV7, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RWKV7_HPP
