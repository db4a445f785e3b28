// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DELTA_PRODUCT_HPP
#define LOGLINEAR_RULES_DELTA_PRODUCT_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/delta_steps.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/rules/type_list.hpp"

namespace loglinear {

struct DeltaProductMode;

/// DeltaProduct: forget once, then n steps of the delta rule at every token: `S <- a S`, then for
/// j = 1..n `S <- S + b_j k_j (v_j - S^T k_j)^T`, each with its own unit key, value and strength.
///
///     a = sg(w_gate . x + gate_bias)
///     b_j = sg(w_comp_betas_j . x + beta_bias), twice that with `reflections`
///     H_j = I - b_j k_j k_j^T
///     S <- H_n ... H_1 a S + sum_j H_n ... H_{j+1} b_j k_j v_j^T
///
/// Siems et al., *DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products*,
/// arXiv:2502.10297, equation 5, with a plain gate; `GatedDeltaProduct` has the published one.
/// Transition: `UpdatePerLeaf`, one decay and n matrices of rank-one update; n leaves a token. Own
/// weights: `w_gate` (1 x d_model), `w_comp_keys` (n d_k x d_model), `w_comp_values`
/// (n d_v x d_model), `w_comp_betas` (n x d_model); W_k and W_v have no effect.
template <int Compositions = 2>
struct DeltaProduct {
  bool reflections = false;  ///< strengths up to 2, so that a key's component can change sign
  double gate_bias = 0;      ///< added before the gate's sigmoid; 0 forgets half at every token
  double beta_bias = 0;      ///< added before the sigmoid of every strength

  using Mode = DeltaProductMode;  ///< what texts and run-time modes have for it
  static constexpr int leaves = Compositions;
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = detail::DeltaSteps::Transition<Scalar>;

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
    const auto [keys, values, betas] = steps().parameters(d_k, d_v);
    return {projection("w_gate", 1), keys, values, betas};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    token.transition.decay.decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    steps().prepare(in, token);
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    const auto a = token.transition.decay.decay;
    d_in.own[0] = d_token.transition.decay.decay * a * (1 - a);
    steps().pullback(in, token, d_token, d_in);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const DeltaProduct&) const = default;

 private:
  static_assert(Compositions >= 1 && Compositions <= 16,
                "DeltaProduct and GatedDeltaProduct take 1 to 16 steps a token");

  [[nodiscard]] detail::DeltaSteps steps() const {
    return {.count = Compositions, .largest = reflections ? 2.0 : 1.0, .beta_bias = beta_bias};
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
    return detail::visit_compositions(info.name, n_compositions, [&](auto n) -> decltype(auto) {
      return visit(DeltaProduct<n>{
          .reflections = reflections, .gate_bias = gate_bias, .beta_bias = beta_bias});
    });
  }
  /// The mode of a rule.
  template <int Compositions>
  [[nodiscard]] static DeltaProductMode of(const DeltaProduct<Compositions>& rule) {
    return {Compositions, rule.reflections, rule.gate_bias, rule.beta_bias};
  }

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const DeltaProductMode&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_PRODUCT_HPP
