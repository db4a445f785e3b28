// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA>& layer, const double* x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(Eigen::Map<const Eigen::VectorXd>(x, layer.d_model()));
#endif
}
