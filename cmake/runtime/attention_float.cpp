// SPDX-License-Identifier: MIT
#include "loglinear/mode/attention.hpp"

template std::unique_ptr<loglinear::Attention<float>> loglinear::make_attention<float>(
    const AttentionConfig&);
