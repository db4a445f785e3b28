// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DELTA_PRODUCT_HPP
#define LOGLINEAR_RULES_DELTA_PRODUCT_HPP

#include <array>
#include <tuple>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// DeltaProduct: forget once, then n steps of the delta rule at every token: `S <- a S`, then for
/// j = 1..n `S <- S + b_j k_j (v_j - S^T k_j)^T`, each with its own unit key, value and strength.
///
///     a = sg(w_gate . x + gate_bias)    b_j = sg(w_comp_betas_j . x + beta_bias), twice that with
///     H_j = I - b_j k_j k_j^T           `reflections`
///     S <- H_n ... H_1 a S + sum_j H_n ... H_{j+1} b_j k_j v_j^T
///
/// Siems et al., *DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products*,
/// arXiv:2502.10297, equation 5. Transition: a product of one decay and n matrices of rank-one
/// update; n leaves a token. Own weights: `w_gate` (1 x d_model), `w_comp_keys` (n d_k x d_model),
/// `w_comp_values` (n d_v x d_model), `w_comp_betas` (n x d_model); W_k and W_v have no effect.
template <int Compositions = 2>
struct DeltaProduct {
  static_assert(Compositions >= 1 && Compositions <= 16,
                "DeltaProduct takes 1 to 16 steps a token");

  bool reflections = false;  ///< strengths up to 2, so that a key's component can change sign
  double gate_bias = 0;      ///< added before the gate's sigmoid; 0 forgets half at every token
  double beta_bias = 0;      ///< added before the sigmoid of every strength

  static constexpr int leaves = Compositions;
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RepeatedProduct<ScalarDecay<Scalar>, RankOneUpdate<Identity<Scalar>>,
                                     detail::array_size(Compositions)>;

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    return {projection("w_gate", 1), projection("w_comp_keys", Compositions * d_k),
            projection("w_comp_values", Compositions * d_v),
            projection("w_comp_betas", Compositions)};
  }

  /// \throws std::invalid_argument unless both biases are finite
  void validate() const {
    detail::require_finite_value("DeltaProduct::gate_bias", gate_bias);
    detail::require_finite_value("DeltaProduct::beta_bias", beta_bias);
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    auto& factors = token.transition.factors;
    std::get<0>(factors).decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    for_each_step([&](auto j) {
      auto& step = std::get<j + 1>(factors);
      const Scalar b = strength<Scalar>(in, j);
      detail::unit_vector(key(in.own, in.k.size(), j), step.p);
      step.u = b * step.p;
      token.values.col(j) = value(in.own, in.k.size(), in.v.size(), j);
      token.keys.col(j) = step.u;
      for (int i = 0; i < j; ++i) step.left(token.keys.col(i));  // earlier leaves undergo H_j
    });
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto d_k = in.k.size();
    const auto& factors = token.transition.factors;
    auto& d_factors = d_token.transition.factors;
    auto earlier = d_in.k;  // scratch: W_k is not used, its gradient is set to zero at the end

    for_each_step([&](auto i) {
      constexpr int j = Compositions - 1 - i;  // backwards
      const auto& step = std::get<j + 1>(factors);
      auto& d_step = std::get<j + 1>(d_factors);
      const Scalar b = strength<Scalar>(in, j);
      // What H_j did to the earlier leaves, each as it was when it met H_j.
      for (int leaf = 0; leaf < j; ++leaf) {
        rebuild_leaf(factors, leaf, j, earlier);
        auto d_leaf = d_token.keys.col(leaf);
        d_step.u -= step.p.dot(earlier) * d_leaf;
        d_step.p -= step.u.dot(d_leaf) * earlier;
        step.left_transposed(d_leaf);
      }
      // u = b k and p = k, and the own leaf is b k v^T.
      d_step.u += d_token.keys.col(j);
      auto d_key = key(d_in.own, d_k, j);
      d_key = b * d_step.u + d_step.p;
      const Scalar d_b = step.p.dot(d_step.u);
      detail::unit_vector_pullback(key(in.own, d_k, j), step.p, d_key, d_key);
      value(d_in.own, d_k, in.v.size(), j) = d_token.values.col(j);
      d_in.own.tail(Compositions)[j] = d_b * b * (1 - b / Scalar(reflections ? 2 : 1));
    });
    const Scalar a = std::get<0>(factors).decay;
    d_in.own[0] = std::get<0>(d_factors).decay * a * (1 - a);
    d_in.k.setZero();
    d_in.v.setZero();
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const DeltaProduct&) const = default;

 private:
  static void for_each_step(auto visit) {
    [&]<int... J>(std::integer_sequence<int, J...>) {
      (visit(std::integral_constant<int, J>{}), ...);
    }
    (std::make_integer_sequence<int, Compositions>{});
  }

  [[nodiscard]] static auto key(auto& own, Eigen::Index d_k, int j) {
    return own.segment(1 + j * d_k, d_k);
  }
  [[nodiscard]] static auto value(auto& own, Eigen::Index d_k, Eigen::Index d_v, int j) {
    return own.segment(1 + Compositions * d_k + j * d_v, d_v);
  }
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in, int j) const {
    const Scalar z = in.own.tail(Compositions)[j] + Scalar(beta_bias);
    return Scalar(reflections ? 2 : 1) * detail::sigmoid<Scalar>(z);
  }

  /// leaf = H_{end-1} ... H_{begin+1} b k of step `begin`.
  static void rebuild_leaf(const auto& factors, int begin, int end, auto& leaf) {
    for_each_step([&](auto i) {
      if (i == begin) leaf = std::get<i + 1>(factors).u;
      if (i > begin && i < end) std::get<i + 1>(factors).left(leaf);
    });
  }
};

static_assert(InnerRule<DeltaProduct<2>, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_PRODUCT_HPP
