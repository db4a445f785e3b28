// SPDX-License-Identifier: MIT
#include "layer_memory.hpp"

template std::unique_ptr<stream_forecast::Memory<float>> stream_forecast::make_memory(
    const loglinear::LogLinear&, States, const MemoryShape&);
