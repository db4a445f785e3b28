// SPDX-License-Identifier: MIT
#include <vector>

#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA>& layer, const std::vector<double>& x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(Eigen::Map<const Eigen::VectorXd>(x.data(), static_cast<Eigen::Index>(x.size())));
#endif
}
