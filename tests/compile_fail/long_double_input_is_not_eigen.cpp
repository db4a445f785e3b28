// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA, long double>& layer, const long double* x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(Eigen::Map<const Eigen::VectorX<long double> >(x, layer.d_model()));
#endif
}
