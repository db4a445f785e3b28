// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA, float>& layer, const float* x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(Eigen::Map<const Eigen::VectorXf>(x, layer.d_model()));
#endif
}
