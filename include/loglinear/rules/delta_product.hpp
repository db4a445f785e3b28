// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DELTA_PRODUCT_HPP
#define LOGLINEAR_RULES_DELTA_PRODUCT_HPP

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/rules/type_list.hpp"

namespace loglinear {

struct DeltaProductMode;

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

  using Mode = DeltaProductMode;  ///< what texts and run-time modes have for it
  static constexpr int leaves = Compositions;
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RepeatedProduct<ScalarDecay<Scalar>, RankOneUpdate<Identity<Scalar>>,
                                     detail::array_size(Compositions)>;

  static constexpr RuleInfo info{.name = "DeltaProduct",
                                 .text = "delta_product",
                                 .paper = "2502.10297",
                                 .equation =
                                     "S <- H_2 H_1 a S + beta_1 H_2 k^_1 v_1^T + beta_2 k^_2 "
                                     "v_2^T, H_j = I - beta_j k^_j k^_j^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "reflections"}, self.reflections);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "beta_bias", .example = 0.2, .slow = -1}, self.beta_bias);
  }

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    return {projection("w_gate", 1), projection("w_comp_keys", Compositions * d_k),
            projection("w_comp_values", Compositions * d_v),
            projection("w_comp_betas", Compositions)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Eigen::Index d_k = in.k.size(), d_v = in.v.size();
    auto& factors = token.transition.factors;
    std::get<0>(factors).decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    for_each_step([&](auto j) {
      auto& step = std::get<j + 1>(factors);
      Scalar* const leaf = token.keys.data() + j * d_k;
      detail::unit_vector(key(in.own, d_k, j), d_k, step.p.data());
      detail::scale_to(strength<Scalar>(in, j), step.p.data(), d_k, leaf);
      detail::copy(leaf, d_k, step.u.data());
      detail::copy(value(in.own, d_k, d_v, j), d_v, token.values.data() + j * d_v);
      for (int i = 0; i < j; ++i) undergo(step, d_k, token.keys.data() + i * d_k);
    });
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Eigen::Index d_k = in.k.size(), d_v = in.v.size();
    const auto& factors = token.transition.factors;
    auto& d_factors = d_token.transition.factors;
    Scalar* const earlier = d_in.k.data();  // scratch: W_k is not used, its gradient is zero

    for_each_step([&](auto i) {
      constexpr int j = Compositions - 1 - i;  // backwards
      const auto& step = std::get<j + 1>(factors);
      auto& d_step = std::get<j + 1>(d_factors);
      const Scalar *const u = step.u.data(), *const p = step.p.data();
      Scalar *const d_u = d_step.u.data(), *const d_p = d_step.p.data();
      const Scalar b = strength<Scalar>(in, j);
      // What H_j did to the earlier leaves, each as it was when it met H_j.
      for (int leaf = 0; leaf < j; ++leaf) {
        rebuild_leaf(factors, leaf, j, d_k, earlier);
        Scalar* const d_leaf = d_token.keys.data() + leaf * d_k;
        const Scalar along_u = detail::dot(u, d_leaf, d_k);
        detail::axpy(Scalar(-detail::dot(p, earlier, d_k)), d_leaf, d_k, d_u);
        detail::axpy(Scalar(-along_u), earlier, d_k, d_p);
        detail::axpy(Scalar(-along_u), p, d_k, d_leaf);  // d_leaf = H_j^T d_leaf
      }
      // u = b k and p = k, and the own leaf is b k v^T.
      detail::add(d_u, d_token.keys.data() + j * d_k, d_k, d_u);
      Scalar* const d_key = key(d_in.own, d_k, j);
      detail::scale_to(b, d_u, d_k, d_key);
      detail::add(d_key, d_p, d_k, d_key);
      const Scalar d_b = detail::dot(p, d_u, d_k);
      detail::unit_vector_pullback(key(in.own, d_k, j), p, d_key, d_k, d_key);
      detail::copy(d_token.values.data() + j * d_v, d_v, value(d_in.own, d_k, d_v, j));
      d_in.own[d_in.own.size() - Compositions + j] =
          d_b * b * (1 - b / Scalar(reflections ? 2 : 1));
    });
    const Scalar a = std::get<0>(factors).decay;
    d_in.own[0] = std::get<0>(d_factors).decay * a * (1 - a);
    std::fill_n(d_in.k.data(), d_k, Scalar(0));
    std::fill_n(d_in.v.data(), d_v, Scalar(0));
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

  [[nodiscard]] static auto* key(auto& own, Eigen::Index d_k, int j) {
    return own.data() + 1 + j * d_k;
  }
  [[nodiscard]] static auto* value(auto& own, Eigen::Index d_k, Eigen::Index d_v, int j) {
    return own.data() + 1 + Compositions * d_k + j * d_v;
  }
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in, int j) const {
    const Scalar z = in.own[in.own.size() - Compositions + j] + Scalar(beta_bias);
    return Scalar(reflections ? 2 : 1) * detail::sigmoid<Scalar>(z);
  }

  /// leaf = H leaf = leaf - u (p . leaf)
  template <class Scalar>
  static void undergo(const auto& step, Eigen::Index d_k, Scalar* leaf) {
    detail::axpy(Scalar(-detail::dot<Scalar>(step.p.data(), leaf, d_k)), step.u.data(), d_k, leaf);
  }

  /// leaf = H_{end-1} ... H_{begin+1} b k of step `begin`.
  template <class Scalar>
  static void rebuild_leaf(const auto& factors, int begin, int end, Eigen::Index d_k,
                           Scalar* leaf) {
    for_each_step([&](auto i) {
      const auto& step = std::get<i + 1>(factors);
      if (i == begin) detail::copy(step.u.data(), d_k, leaf);
      if (i > begin && i < end) undergo(step, d_k, leaf);
    });
  }
};

/// `DeltaProduct<n_compositions>` with the number of compositions chosen at run time.
struct DeltaProductMode {
  int n_compositions = 2;    ///< steps of the delta rule a token, 1 to 4
  bool reflections = false;  ///< as in `DeltaProduct`
  double gate_bias = 0;      ///< as in `DeltaProduct`
  double beta_bias = 0;      ///< as in `DeltaProduct`

  static constexpr bool normalizes_key = true;

  static constexpr RuleInfo info = DeltaProduct<>::info;
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "n_compositions", .range = Range::between(1, 4), .example = 3},
          self.n_compositions);
    DeltaProduct<>::hyperparameters(self, visit);
  }

  /// The rules that it can stand for.
  using Rules =
      detail::TypeList<DeltaProduct<1>, DeltaProduct<2>, DeltaProduct<3>, DeltaProduct<4>>;

  /// Calls `visit` with the rule that it stands for, and returns what it returns. \throws
  /// std::invalid_argument unless n_compositions is 1 to 4
  template <class Visitor>
  decltype(auto) visit_rule(Visitor&& visit) const {
    switch (n_compositions) {
      case 1:
        return visit(rule<1>());
      case 2:
        return visit(rule<2>());
      case 3:
        return visit(rule<3>());
      case 4:
        return visit(rule<4>());
      default:
        detail::fail("DeltaProduct::n_compositions", n_compositions, "between 1 and 4");
    }
  }
  /// The mode of a rule.
  template <int Compositions>
  [[nodiscard]] static DeltaProductMode of(const DeltaProduct<Compositions>& rule) {
    return {Compositions, rule.reflections, rule.gate_bias, rule.beta_bias};
  }

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const DeltaProductMode&) const = default;

 private:
  template <int Compositions>
  [[nodiscard]] DeltaProduct<Compositions> rule() const {
    return {.reflections = reflections, .gate_bias = gate_bias, .beta_bias = beta_bias};
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_PRODUCT_HPP
