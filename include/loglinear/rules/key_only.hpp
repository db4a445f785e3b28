// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_KEY_ONLY_HPP
#define LOGLINEAR_RULES_KEY_ONLY_HPP

#include <array>

#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// A rule reduced to its key: `S <- S + k v^T`, with `k / |k|` (0 below 1e-12) iff `Rule`
/// normalises its key. No transition, no gates, no weights of its own, `d_k x d_v` states always.
///
/// This is all that the Rust crate irithyll takes of an inner rule; it is kept exact so that its
/// numbers can be reproduced. Wrap the rule itself to have it applied in full.
template <class Rule>
struct KeyOnly {
  static constexpr bool normalizes_key = detail::normalizes_key<Rule>();

  template <class Scalar>
  using Transition = Identity<Scalar>;

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    if constexpr (normalizes_key) {
      detail::unit_vector(in.k, token.keys.col(0));
    } else {
      token.keys.col(0) = in.k;
    }
    token.values.col(0) = in.v;
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    if constexpr (normalizes_key) {
      detail::unit_vector_pullback(in.k, token.keys.col(0), d_token.keys.col(0), d_in.k);
    } else {
      d_in.k = d_token.keys.col(0);
    }
    d_in.v = d_token.values.col(0);
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const KeyOnly&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_KEY_ONLY_HPP
