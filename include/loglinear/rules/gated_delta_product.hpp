// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GATED_DELTA_PRODUCT_HPP
#define LOGLINEAR_RULES_GATED_DELTA_PRODUCT_HPP

#include <array>
#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/detail/delta_steps.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/rules/type_list.hpp"

namespace loglinear {

struct GatedDeltaProductMode;

/// Gated DeltaProduct as published: the decay of Mamba-2, then n steps of the delta rule at every
/// token, each with its own unit key, value and strength.
///
///     a = exp(-exp(A_log) softplus(w_dt . x + dt_bias))
///     b_j = sg(w_comp_betas_j . x + beta_bias), twice that with `reflections`
///     H_j = I - b_j k_j k_j^T
///     S <- H_n ... H_1 a S + sum_j H_n ... H_{j+1} b_j k_j v_j^T,   read S^T q^
///
/// with q^ = q / |q| (0 below 1e-12).
///
/// Siems et al., *DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products*,
/// arXiv:2502.10297; its convolutions, activations, output gate and norm belong to a mixer.
/// Transition: `UpdatePerLeaf`, one decay and n matrices of rank-one update; n leaves a token. Own
/// weights: `w_dt` (1 x d_model), `w_comp_keys` (n d_k x d_model), `w_comp_values`
/// (n d_v x d_model), `w_comp_betas` (n x d_model), and the free scalars `A_log` and `dt_bias`,
/// which start at constants; W_k and W_v have no effect.
template <int Compositions = 2>
struct GatedDeltaProduct {
  bool reflections = false;     ///< strengths up to 2, so that a key's component can change sign
  double initial_a_log = 0;     ///< where A_log starts; the rate of decay is exp(A_log) a unit step
  double initial_dt_bias = -5;  ///< where dt_bias starts; -5 keeps 0.993 of the state at A_log = 0
  double beta_bias = 0;         ///< added before the sigmoid of every strength

  using Mode = GatedDeltaProductMode;  ///< what texts and run-time modes have for it
  static constexpr int leaves = Compositions;
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = detail::DeltaSteps::Transition<Scalar>;

  static constexpr RuleInfo info{.name = "GatedDeltaProduct",
                                 .text = "gated_delta_product",
                                 .paper = "2502.10297",
                                 .equation =
                                     "S <- H_2 H_1 a S + beta_1 H_2 k^_1 v_1^T + beta_2 k^_2 "
                                     "v_2^T, a = exp(-D exp A)"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "reflections"}, self.reflections);
    visit({.name = "initial_a_log", .example = -0.5}, self.initial_a_log);
    visit({.name = "initial_dt_bias", .example = -1, .slow = -9}, self.initial_dt_bias);
    visit({.name = "beta_bias", .example = 0.2, .slow = -1}, self.beta_bias);
  }

  [[nodiscard]] std::array<Parameter, 6> parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    const auto [keys, values, betas] = steps().parameters(d_k, d_v);
    return {projection("w_dt", 1),
            keys,
            values,
            betas,
            free_vector("A_log", 1, initial_a_log),
            free_vector("dt_bias", 1, initial_dt_bias)};
  }

  void prepare_query(const auto& in, auto& query) const {
    detail::unit_vector(in.q.data(), in.q.size(), query.data());
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const Scalar step = detail::softplus<Scalar>(in.own[0] + in.free[1]);
    token.transition.decay.decay = exp(-step * exp(in.free[0]));
    steps().prepare(in, token);
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const Scalar z = in.own[0] + in.free[1], rate = exp(in.free[0]);
    const Scalar d_exponent = d_token.transition.decay.decay * token.transition.decay.decay;
    d_in.own[0] = -d_exponent * rate * detail::sigmoid<Scalar>(z);
    d_in.free[0] = -d_exponent * rate * detail::softplus<Scalar>(z);
    d_in.free[1] = d_in.own[0];
    Scalar* const unit = d_in.k.data();  // scratch: W_k is not used, its gradient is zero
    const auto n = in.q.size();
    detail::unit_vector(in.q.data(), n, unit);
    detail::unit_vector_pullback(in.q.data(), unit, d_token.query.data(), n, d_in.q.data());
    steps().pullback(in, token, d_token, d_in);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GatedDeltaProduct&) const = default;

 private:
  static_assert(Compositions >= 1 && Compositions <= 16,
                "DeltaProduct and GatedDeltaProduct take 1 to 16 steps a token");

  [[nodiscard]] detail::DeltaSteps steps() const {
    return {.count = Compositions, .largest = reflections ? 2.0 : 1.0, .beta_bias = beta_bias};
  }
};

/// `GatedDeltaProduct<n_compositions>` with the number of compositions chosen at run time.
struct GatedDeltaProductMode {
  int n_compositions = 2;       ///< steps of the delta rule a token, 1 to 4
  bool reflections = false;     ///< as in `GatedDeltaProduct`
  double initial_a_log = 0;     ///< as in `GatedDeltaProduct`
  double initial_dt_bias = -5;  ///< as in `GatedDeltaProduct`
  double beta_bias = 0;         ///< as in `GatedDeltaProduct`

  static constexpr bool normalizes_key = true;

  static constexpr RuleInfo info = GatedDeltaProduct<>::info;
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "n_compositions", .range = Range::between(1, 4), .example = 3},
          self.n_compositions);
    GatedDeltaProduct<>::hyperparameters(self, visit);
  }

  /// The rules that it can stand for.
  using Rules = detail::TypeList<GatedDeltaProduct<1>, GatedDeltaProduct<2>, GatedDeltaProduct<3>,
                                 GatedDeltaProduct<4>>;

  /// Calls `visit` with the rule that it stands for, and returns what it returns. \throws
  /// std::invalid_argument unless n_compositions is 1 to 4
  template <class Visitor>
  decltype(auto) visit_rule(Visitor&& visit) const {
    return detail::visit_compositions(info.name, n_compositions, [&](auto n) -> decltype(auto) {
      return visit(GatedDeltaProduct<n>{.reflections = reflections,
                                        .initial_a_log = initial_a_log,
                                        .initial_dt_bias = initial_dt_bias,
                                        .beta_bias = beta_bias});
    });
  }
  /// The mode of a rule.
  template <int Compositions>
  [[nodiscard]] static GatedDeltaProductMode of(const GatedDeltaProduct<Compositions>& rule) {
    return {Compositions, rule.reflections, rule.initial_a_log, rule.initial_dt_bias,
            rule.beta_bias};
  }

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const GatedDeltaProductMode&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GATED_DELTA_PRODUCT_HPP
