// SPDX-License-Identifier: MIT
// Rules that do so several times a token.
#include "layer_memory.hpp"

STREAM_FORECAST_COMPILE(loglinear::DeltaProduct<1>);
STREAM_FORECAST_COMPILE(loglinear::DeltaProduct<2>);
STREAM_FORECAST_COMPILE(loglinear::DeltaProduct<3>);
STREAM_FORECAST_COMPILE(loglinear::DeltaProduct<4>);
