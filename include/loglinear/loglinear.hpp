// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LOGLINEAR_HPP
#define LOGLINEAR_LOGLINEAR_HPP

/// \file
/// Everything.

#include "loglinear/attention.hpp"
#include "loglinear/blocks.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/level_weights.hpp"
#include "loglinear/linear_attention.hpp"
#include "loglinear/multi_head.hpp"
#include "loglinear/random.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/rewindable.hpp"
#include "loglinear/rule.hpp"
#include "loglinear/rules.hpp"
#include "loglinear/sequence.hpp"
#include "loglinear/snapshot.hpp"
#include "loglinear/state.hpp"
#include "loglinear/stream_part.hpp"
#include "loglinear/transition.hpp"
#include "loglinear/version.hpp"

#endif  // LOGLINEAR_LOGLINEAR_HPP
