// SPDX-License-Identifier: MIT
#include <vector>

#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA, float>& layer, const std::vector<float>& x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(Eigen::Map<const Eigen::VectorXf>(x.data(), static_cast<Eigen::Index>(x.size())));
#endif
}
