// SPDX-License-Identifier: MIT
#include "factory.hpp"

template std::unique_ptr<loglinear::Attention<float>> loglinear::make_attention<float>(
    const AttentionConfig&);
