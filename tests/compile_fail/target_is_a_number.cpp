// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA>& layer, const Eigen::VectorXd& x, double y) {
#ifdef BROKEN
  layer.train_one(x, y);
#else
  layer.train_one(x, Eigen::VectorXd::Constant(1, y));
#endif
}
