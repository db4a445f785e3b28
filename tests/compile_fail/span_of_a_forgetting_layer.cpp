// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

#ifndef BROKEN
constexpr auto policy = loglinear::LastLevel::fold;
#else
constexpr auto policy = loglinear::LastLevel::forget;
#endif

using Layer = loglinear::LogLinearAttention<loglinear::GLA, double, loglinear::NormalizedMixture,
                                            double, policy>;

Eigen::MatrixXd reads(Layer& layer, const Eigen::MatrixXd& x) {
  return layer.forward_span(x);
}
