// SPDX-License-Identifier: MIT
// Rules whose older states all decay by one number.
#include "layer_memory.hpp"

STREAM_FORECAST_COMPILE(loglinear::RetNet);
STREAM_FORECAST_COMPILE(loglinear::GLA);
STREAM_FORECAST_COMPILE(loglinear::RWKV);
STREAM_FORECAST_COMPILE(loglinear::MLSTM);
STREAM_FORECAST_COMPILE(loglinear::Mamba2);
