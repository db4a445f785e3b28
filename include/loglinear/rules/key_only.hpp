// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_KEY_ONLY_HPP
#define LOGLINEAR_RULES_KEY_ONLY_HPP

#include <array>

#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// A rule reduced to its key: `S <- S + k v^T`. The key is `k / |k|` (0 below 1e-12) if `Rule`
/// normalises its key. There is no transition, no gate and no weight of the rule's own; states are
/// always `d_k x d_v`.
///
/// The Rust crate irithyll reduces every inner rule to this. It is kept exact so that the crate's
/// numbers can be reproduced. Use the rule itself to have it applied in full.
template <class Rule>
struct KeyOnly {
  static constexpr bool normalizes_key = detail::normalizes_key<Rule>();

  template <class Scalar>
  using Transition = Identity<Scalar>;

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    detail::write_leaf(in, token);
    if constexpr (normalizes_key) {
      detail::unit_vector(in.k.data(), in.k.size(), token.keys.data());
    }
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    detail::pull_back_leaf(d_token, d_in);
    if constexpr (normalizes_key) {
      detail::unit_vector_pullback(in.k.data(), token.keys.data(), d_in.k.data(), in.k.size(),
                                   d_in.k.data());
    }
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const KeyOnly&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_KEY_ONLY_HPP
