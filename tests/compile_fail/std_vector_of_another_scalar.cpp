// SPDX-License-Identifier: MIT
#include <vector>

#include "loglinear/loglinear.hpp"

#ifdef BROKEN
using Number = float;
#else
using Number = double;
#endif

void use(loglinear::LogLinearAttention<loglinear::GLA>& layer, const std::vector<Number>& x) {
  layer.forward(x);
}
