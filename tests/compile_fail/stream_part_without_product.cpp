// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

using Layer = loglinear::LogLinearAttention<loglinear::DeltaNet>;

#ifndef BROKEN
loglinear::StreamPart<Layer, loglinear::PartProduct::matrix> part(const Layer& layer) {
  return {layer, 100};
}
#else
loglinear::StreamPart<Layer> part(const Layer& layer) {
  return {layer, 100};
}
#endif
