// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GATED_DELTA_NET_HPP
#define LOGLINEAR_RULES_GATED_DELTA_NET_HPP

#include <array>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// How strongly a gated delta rule writes.
enum class Beta {
  fixed,      ///< `beta_scale` at every token
  per_token,  ///< `sg(w_beta_scalar . x + beta_bias)`, the paper's form
};
[[nodiscard]] constexpr std::array<std::string_view, 2> words_of(Beta) {
  return {"fixed", "per_token"};
}  ///< their names in a text

/// The gated delta rule: forget, then replace what the key retrieves.
///
///     S <- a (I - b k^ k^^T) S + b k^ v^T,   k^ = k / |k|, or 0 where |k| < 1e-12
///     a = sg(w_gate . x + gate_bias),   b = beta_scale or sg(w_beta_scalar . x + beta_bias)
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

  static constexpr RuleInfo info{.name = "GatedDeltaNet",
                                 .text = "gated_delta_net",
                                 .paper = "2412.06464",
                                 .equation = "S <- a (I - beta k^ k^^T) S + beta k^ v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "beta_scale", .range = Range::between(0, 2), .example = 0.8, .slow = 0.5},
          self.beta_scale);
    visit({.name = "beta"}, self.beta);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "beta_bias", .example = -0.5}, self.beta_bias);
  }

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1), projection("w_beta_scalar", beta == Beta::per_token ? 1 : 0)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    auto& t = token.transition;
    const Scalar a = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    const Scalar b = strength<Scalar>(in);
    detail::unit_vector(in.k.data(), n, t.p.data());
    t.diagonal.decay = a;
    detail::scale_to(Scalar(a * b), t.p.data(), n, t.u.data());
    detail::scale_to(b, t.p.data(), n, token.keys.data());
    detail::copy(in.v.data(), in.v.size(), token.values.data());
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    const auto* const key = token.transition.p.data();
    const auto* const d_written = d_token.keys.data();
    const Scalar a = token.transition.diagonal.decay;
    const Scalar b = strength<Scalar>(in);
    const auto& d = d_token.transition;
    const Scalar key_du = detail::dot(key, d.u.data(), n);
    detail::pull_back_leaf(b, d_token, d_in);
    detail::axpy(Scalar(a * b), d.u.data(), n, d_in.k.data());
    detail::add(d_in.k.data(), d.p.data(), n, d_in.k.data());
    detail::unit_vector_pullback(in.k.data(), key, d_in.k.data(), n, d_in.k.data());
    d_in.own[0] = (d.diagonal.decay + b * key_du) * a * (1 - a);
    if (beta == Beta::per_token) {
      d_in.own[1] = (detail::dot(key, d_written, n) + a * key_du) * b * (1 - b);
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

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GATED_DELTA_NET_HPP
