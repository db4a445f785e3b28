// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

using Layer = loglinear::LogLinearAttention<loglinear::GLA>;
#ifdef BROKEN
using Tested = loglinear::LogLinearAttention<Layer>;
#else
using Tested = Layer;
#endif

Tested make() {
  return Tested({.d_model = 1, .d_k = 1, .d_v = 1});
}
