// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DELTA_NET_HPP
#define LOGLINEAR_RULES_DELTA_NET_HPP

#include <array>

#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// The delta rule: what the key retrieves is replaced by the value,
/// `S <- S + k^ (v - S^T k^)^T = (I - k^ k^^T) S + k^ v^T` with `k^ = k / |k|` (0 below 1e-12).
///
/// Schlag, Irie, Schmidhuber, *Linear Transformers Are Secretly Fast Weight Programmers*,
/// arXiv:2102.11174, with write strength 1; Yang et al., arXiv:2406.06484. Transition: the identity
/// minus a matrix of rank one. No weights beyond W_k, W_v and W_q.
struct DeltaNet {
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<Identity<Scalar>>;

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    auto key = token.keys.col(0);
    detail::unit_vector(in.k, key);
    token.values.col(0) = in.v;
    token.transition.u = key;
    token.transition.p = key;
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    const auto& d = d_token.transition;
    detail::unit_vector_pullback(in.k, token.transition.p, d_token.keys.col(0) + d.u + d.p, d_in.k);
    d_in.v = d_token.values.col(0);
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const DeltaNet&) const = default;
};

static_assert(InnerRule<DeltaNet, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_NET_HPP
