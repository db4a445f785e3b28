// SPDX-License-Identifier: MIT
#include <array>

#include "loglinear/loglinear.hpp"

struct Rule {
#ifdef BROKEN
  Rule() = default;
  Rule(const Rule&) = delete;
#endif
  template <class Scalar>
  using Transition = loglinear::Identity<Scalar>;
  std::array<loglinear::Parameter, 0> parameters(Eigen::Index, Eigen::Index) const {
    return {};
  }
  void prepare(const auto& in, auto& token) const {
    token.keys.col(0) = in.k;
  }
  void pullback(const auto&, const auto&, const auto&, auto&) const {}
};

loglinear::LogLinearAttention<Rule> make() {
  return loglinear::LogLinearAttention<Rule>({.d_model = 1, .d_k = 1, .d_v = 1});
}
