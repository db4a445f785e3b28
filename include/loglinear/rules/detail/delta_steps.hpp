// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DETAIL_DELTA_STEPS_HPP
#define LOGLINEAR_RULES_DETAIL_DELTA_STEPS_HPP

// What the rules that take several steps of the delta rule a token have in common: steps, leaves,
// and the way back from their gradients.

#include <algorithm>
#include <array>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear::detail {

/// n steps of the delta rule, `S <- S + b_j k_j (v_j - S^T k_j)^T`, j = 1..n, after one decay. The
/// rule's own projections are that of the decay, 1 row, then those of `parameters`.
struct DeltaSteps {
  template <class Scalar>
  using Transition = UpdatePerLeaf<Scalar>;

  Index count;       ///< n
  double largest;    ///< strengths are b = largest sg(z + beta_bias)
  double beta_bias;  ///< added before the sigmoid of every strength

  /// The projections of keys, values and strengths.
  [[nodiscard]] std::array<Parameter, 3> parameters(Index d_k, Index d_v) const {
    return {projection("w_comp_keys", count * d_k), projection("w_comp_values", count * d_v),
            projection("w_comp_betas", count)};
  }

  /// Writes the steps and leaves of a token.
  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Index d_k = in.k.size(), d_v = in.v.size();
    for (Index j = 0; j < count; ++j) {
      auto& step = token.transition.updates[array_size(j)];
      Scalar* const leaf = token.keys.data() + j * d_k;
      unit_vector(key(in.own, d_k, j), d_k, step.p.data());
      scale_to(strength<Scalar>(in, j), step.p.data(), d_k, leaf);
      copy(leaf, d_k, step.u.data());
      copy(value(in.own, d_k, d_v, j), d_v, token.values.data() + j * d_v);
      for (Index i = 0; i < j; ++i) undergo(step, d_k, token.keys.data() + i * d_k);
    }
  }

  /// The pullback; the gradients of k and v are zero, since W_k and W_v have no effect. Overwrites
  /// d_token.
  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Index d_k = in.k.size(), d_v = in.v.size();
    const auto& steps = token.transition.updates;
    Scalar* const earlier = d_in.k.data();  // scratch: W_k is not used, its gradient is zero

    for (Index j = count - 1; j >= 0; --j) {
      const auto& step = steps[array_size(j)];
      auto& d_step = d_token.transition.updates[array_size(j)];
      const Scalar *const u = step.u.data(), *const p = step.p.data();
      Scalar *const d_u = d_step.u.data(), *const d_p = d_step.p.data();
      const Scalar b = strength<Scalar>(in, j);
      // What H_j did to the earlier leaves, each as it was when it met H_j.
      for (Index leaf = 0; leaf < j; ++leaf) {
        rebuild_leaf(steps, leaf, j, d_k, earlier);
        Scalar* const d_leaf = d_token.keys.data() + leaf * d_k;
        const Scalar along_u = dot(u, d_leaf, d_k);
        axpy(Scalar(-dot(p, earlier, d_k)), d_leaf, d_k, d_u);
        axpy(Scalar(-along_u), earlier, d_k, d_p);
        axpy(Scalar(-along_u), p, d_k, d_leaf);  // d_leaf = H_j^T d_leaf
      }
      // u = b k and p = k, and the own leaf is b k v^T.
      add(d_u, d_token.keys.data() + j * d_k, d_k, d_u);
      Scalar* const d_key = key(d_in.own, d_k, j);
      scale_to(b, d_u, d_k, d_key);
      add(d_key, d_p, d_k, d_key);
      const Scalar d_b = dot(p, d_u, d_k);
      unit_vector_pullback(key(in.own, d_k, j), p, d_key, d_k, d_key);
      copy(d_token.values.data() + j * d_v, d_v, value(d_in.own, d_k, d_v, j));
      d_in.own[d_in.own.size() - count + j] = d_b * b * (1 - b / Scalar(largest));
    }
    std::fill_n(d_in.k.data(), d_k, Scalar(0));
    std::fill_n(d_in.v.data(), d_v, Scalar(0));
  }

 private:
  [[nodiscard]] static auto* key(auto& own, Index d_k, Index j) { return own.data() + 1 + j * d_k; }
  [[nodiscard]] auto* value(auto& own, Index d_k, Index d_v, Index j) const {
    return own.data() + 1 + count * d_k + j * d_v;
  }
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in, Index j) const {
    const Scalar z = in.own[in.own.size() - count + j] + Scalar(beta_bias);
    return Scalar(largest) * sigmoid<Scalar>(z);
  }

  /// leaf = H leaf = leaf - u (p . leaf)
  template <class Scalar>
  static void undergo(const auto& step, Index d_k, Scalar* leaf) {
    axpy(Scalar(-dot<Scalar>(step.p.data(), leaf, d_k)), step.u.data(), d_k, leaf);
  }

  /// leaf = H_{end-1} ... H_{begin+1} b k of step `begin`.
  template <class Scalar>
  static void rebuild_leaf(const auto& steps, Index begin, Index end, Index d_k, Scalar* leaf) {
    copy(steps[array_size(begin)].u.data(), d_k, leaf);
    for (Index i = begin + 1; i < end; ++i) undergo(steps[array_size(i)], d_k, leaf);
  }
};

/// Calls `visit` with the number of steps as a constant and returns what it returns. \throws
/// std::invalid_argument unless it is 1 to 4
template <class Visitor>
decltype(auto) visit_compositions(std::string_view owner, int count, Visitor&& visit) {
  switch (count) {
    case 1:
      return visit(std::integral_constant<int, 1>{});
    case 2:
      return visit(std::integral_constant<int, 2>{});
    case 3:
      return visit(std::integral_constant<int, 3>{});
    case 4:
      return visit(std::integral_constant<int, 4>{});
    default:
      fail(Text(owner, "::n_compositions"), count, "between 1 and 4");
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_RULES_DETAIL_DELTA_STEPS_HPP
