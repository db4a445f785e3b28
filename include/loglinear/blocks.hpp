// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BLOCKS_HPP
#define LOGLINEAR_BLOCKS_HPP

/// \file
/// The blocks of the paper: complete token mixers around the sequence form, with the weights of
/// flash-linear-attention's layers.

#include "loglinear/blocks/log_linear_gated_delta_net.hpp"
#include "loglinear/blocks/log_linear_mamba2.hpp"
#include "loglinear/blocks/token_mixer.hpp"

#endif  // LOGLINEAR_BLOCKS_HPP
