// SPDX-License-Identifier: MIT
#include <array>

#include "loglinear/loglinear.hpp"

struct Halves {
  std::array<loglinear::Parameter, 0> parameters(Eigen::Index) const { return {}; }
  template <class Scalar>
  void resolve(int) {}
#ifndef BROKEN
  void weigh(const auto&, const auto&, auto& lambda) const {
    lambda.setConstant(0.5);
  }
#endif
  void pullback(const auto&, const auto&, const auto&, const auto&, auto&, auto&) const {}
};

using Layer = loglinear::LogLinearAttention<loglinear::GLA, double, Halves>;
Layer make() {
  return Layer({.d_model = 1, .d_k = 1, .d_v = 1});
}
