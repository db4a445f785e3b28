// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_HPP
#define LOGLINEAR_MIXERS_HPP

/// \file
/// The mixers of the paper: complete token mixers around the sequence form, with the weights of
/// flash-linear-attention's layers.

#include "loglinear/mixers/log_linear_gated_delta_net.hpp"
#include "loglinear/mixers/log_linear_mamba2.hpp"
#include "loglinear/mixers/token_mixer.hpp"

#endif  // LOGLINEAR_MIXERS_HPP
