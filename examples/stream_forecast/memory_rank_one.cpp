// SPDX-License-Identifier: MIT
// Rules that remove what a key retrieves.
#include "layer_memory.hpp"

STREAM_FORECAST_COMPILE(loglinear::DeltaNet);
STREAM_FORECAST_COMPILE(loglinear::GatedDeltaNet);
STREAM_FORECAST_COMPILE(loglinear::RWKV7);
