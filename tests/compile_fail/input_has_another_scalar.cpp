// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA>& layer, const Eigen::VectorXf& x) {
#ifdef BROKEN
  layer.query_readonly(x);
#else
  layer.query_readonly(x.cast<double>());
#endif
}
