// SPDX-License-Identifier: MIT
#include "factory.hpp"

template std::unique_ptr<loglinear::Attention<double>> loglinear::make_attention<double>(
    const AttentionConfig&);
