// SPDX-License-Identifier: MIT
#include "loglinear/mode/attention.hpp"

template std::unique_ptr<loglinear::Attention<double>> loglinear::make_attention<double>(
    const AttentionConfig&);
