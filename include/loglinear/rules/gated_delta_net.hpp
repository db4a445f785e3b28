// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GATED_DELTA_NET_HPP
#define LOGLINEAR_RULES_GATED_DELTA_NET_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// How strongly a gated delta rule writes.
enum class Beta {
  fixed,      ///< `beta_scale` at every token
  per_token,  ///< `sg(w_beta_scalar . x + beta_bias)`, the paper's form
};

/// The gated delta rule: forget, then replace what the key retrieves,
/// `S <- a (I - b k^ k^^T) S + b k^ v^T`, `a = sg(w_gate . x + gate_bias)`, `k^ = k / |k|` (0 below
/// 1e-12), `b = beta_scale` or `sg(w_beta_scalar . x + beta_bias)`.
///
/// Yang, Kautz, Hatamizadeh, *Gated Delta Networks: Improving Mamba2 with Delta Rule*,
/// arXiv:2412.06464, equation 10. Transition: a scalar minus a matrix of rank one. Own weights:
/// `w_gate` (1 x d_model), and `w_beta_scalar` (1 x d_model) with `Beta::per_token`.
struct GatedDeltaNet {
  double beta_scale = 1;    ///< b for `Beta::fixed`, in [0, 2]; 1 replaces, 2 reflects
  Beta beta = Beta::fixed;  ///< where b comes from
  double gate_bias = 0;     ///< added before the gate's sigmoid; 0 forgets half at every token
  double beta_bias = 0;     ///< added before the sigmoid of a per-token b

  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<ScalarDecay<Scalar>>;

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1), projection("w_beta_scalar", beta == Beta::per_token ? 1 : 0)};
  }

  /// \throws std::invalid_argument unless the biases are finite and beta_scale is in [0, 2]
  void validate() const {
    detail::require_between("GatedDeltaNet::beta_scale", beta_scale, 0, 2);
    detail::require_finite_value("GatedDeltaNet::gate_bias", gate_bias);
    detail::require_finite_value("GatedDeltaNet::beta_bias", beta_bias);
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    auto& t = token.transition;
    const Scalar a = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    const Scalar b = strength<Scalar>(in);
    detail::unit_vector(in.k, t.p);
    t.diagonal.decay = a;
    t.u = (a * b) * t.p;
    token.keys.col(0) = b * t.p;
    token.values.col(0) = in.v;
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto& key = token.transition.p;
    const Scalar a = token.transition.diagonal.decay;
    const Scalar b = strength<Scalar>(in);
    const auto& d = d_token.transition;
    const auto d_written = d_token.keys.col(0);
    const Scalar key_du = key.dot(d.u);
    detail::unit_vector_pullback(in.k, key, b * d_written + (a * b) * d.u + d.p, d_in.k);
    d_in.v = d_token.values.col(0);
    d_in.own[0] = (d.diagonal.decay + b * key_du) * a * (1 - a);
    if (beta == Beta::per_token) {
      d_in.own[1] = (key.dot(d_written) + a * key_du) * b * (1 - b);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GatedDeltaNet&) const = default;

 private:
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in) const {
    return beta == Beta::fixed ? Scalar(beta_scale)
                               : detail::sigmoid<Scalar>(in.own[1] + Scalar(beta_bias));
  }
};

static_assert(InnerRule<GatedDeltaNet, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GATED_DELTA_NET_HPP
