// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_DELTA_NET_HPP
#define LOGLINEAR_RULES_DELTA_NET_HPP

#include <array>

#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// The delta rule: the value replaces what the key retrieves.
///
///     S <- S + k^ (v - S^T k^)^T = (I - k^ k^^T) S + k^ v^T
///     k^ = k / |k|, or 0 where |k| < 1e-12
///
/// Schlag, Irie, Schmidhuber, *Linear Transformers Are Secretly Fast Weight Programmers*,
/// arXiv:2102.11174, with write strength 1; Yang et al., arXiv:2406.06484. Transition: the identity
/// minus a matrix of rank one. No weights beyond W_k, W_v and W_q.
struct DeltaNet {
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<Identity<Scalar>>;

  static constexpr RuleInfo info{.name = "DeltaNet",
                                 .text = "delta_net",
                                 .paper = "2102.11174",
                                 .equation = "S <- (I - k^ k^^T) S + k^ v^T"};
  static constexpr void hyperparameters(auto&, auto&&) {}

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    const auto n = in.k.size();
    detail::unit_vector(in.k.data(), n, token.keys.data());
    detail::copy(in.v.data(), in.v.size(), token.values.data());
    detail::copy(token.keys.data(), n, token.transition.u.data());
    detail::copy(token.keys.data(), n, token.transition.p.data());
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    const auto n = in.k.size();
    const auto& d = d_token.transition;
    detail::pull_back_leaf(d_token, d_in);
    detail::add(d_in.k.data(), d.u.data(), n, d_in.k.data());
    detail::add(d_in.k.data(), d.p.data(), n, d_in.k.data());
    detail::unit_vector_pullback(in.k.data(), token.transition.p.data(), d_in.k.data(), n,
                                 d_in.k.data());
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const DeltaNet&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_NET_HPP
