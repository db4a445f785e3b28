// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_RETNET_HPP
#define LOGLINEAR_RULES_RETNET_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// RetNet: a fixed exponential decay, `S <- gamma S + k v^T`.
///
/// Sun et al., *Retentive Network: A Successor to Transformer for Large Language Models*,
/// arXiv:2307.08621, equation 5 (per head, without the rotation of queries and keys). Transition:
/// one decay for the state. No weights beyond W_k, W_v and W_q.
struct RetNet {
  double gamma = 0.95;  ///< decay a token, in (0, 1]; a leaf halves in ln 2 / -ln gamma tokens

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{.name = "RetNet",
                                 .text = "retnet",
                                 .paper = "2307.08621",
                                 .equation = "S <- gamma S + k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gamma", .range = Range::above_to(0, 1), .example = 0.9, .slow = 0.9999},
          self.gamma);
  }

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    detail::write_leaf(in, token);
    token.transition.decay = static_cast<typename std::decay_t<decltype(token)>::Scalar>(gamma);
  }

  void pullback(const auto&, const auto&, const auto& d_token, auto& d_in) const {
    detail::pull_back_leaf(d_token, d_in);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RetNet&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RETNET_HPP
