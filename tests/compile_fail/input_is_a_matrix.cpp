// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA>& layer, const Eigen::MatrixXd& x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(x.row(0));
#endif
}
