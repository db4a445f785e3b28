// SPDX-License-Identifier: MIT
#include <vector>

#include "loglinear/loglinear.hpp"

void use(loglinear::LogLinearAttention<loglinear::GLA, long double>& layer,
         const std::vector<long double>& x) {
#ifdef BROKEN
  layer.forward(x);
#else
  layer.forward(Eigen::Map<const Eigen::VectorX<long double> >(
      x.data(), static_cast<Eigen::Index>(x.size())));
#endif
}
