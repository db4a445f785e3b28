// SPDX-License-Identifier: MIT
// Rules whose rows or columns decay by numbers of their own, and those without any decay.
#include "layer_memory.hpp"

STREAM_FORECAST_COMPILE(loglinear::GLAVector);
STREAM_FORECAST_COMPILE(loglinear::HGRN2);
STREAM_FORECAST_COMPILE(loglinear::Hawk);
STREAM_FORECAST_COMPILE(loglinear::KeyOnly<loglinear::RetNet>);
STREAM_FORECAST_COMPILE(loglinear::KeyOnly<loglinear::DeltaNet>);
