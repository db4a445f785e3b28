// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_GLA_VECTOR_HPP
#define LOGLINEAR_RULES_GLA_VECTOR_HPP

#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/rules/detail/leaf.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear {

/// Gated linear attention with a gate for each key row:
///
///     S <- diag(w) S + k v^T,   w = sg(W_gate x + gate_bias)
///
/// Yang et al., *Gated Linear Attention Transformers with Hardware-Efficient Training*,
/// arXiv:2312.06635, equation 3. Transition: a decay per key row. Own weights: `w_gate_vec`
/// (d_k x d_model).
struct GLAVector {
  double gate_bias = 0;  ///< added before every sigmoid; 0 forgets half at every token

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  static constexpr RuleInfo info{.name = "GLAVector",
                                 .text = "gla_vector",
                                 .paper = "2312.06635",
                                 .equation = "S <- diag(sg(W x)) S + k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_gate_vec", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    detail::write_leaf(in, token);
    detail::sigmoid(in.own.data(), gate_bias, in.own.size(), token.transition.decay.data());
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto& w = token.transition.decay;
    detail::pull_back_leaf(d_token, d_in);
    for (Eigen::Index i = 0; i < w.size(); ++i) {
      d_in.own[i] = d_token.transition.decay[i] * w[i] * (1 - w[i]);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GLAVector&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GLA_VECTOR_HPP
