// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LOGLINEAR_HPP
#define LOGLINEAR_LOGLINEAR_HPP

/// \file
/// Everything.

#include "loglinear/batch.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/mixers.hpp"
#include "loglinear/parallel.hpp"
#include "loglinear/pool.hpp"
#include "loglinear/random.hpp"
#include "loglinear/readout/cascade.hpp"
#include "loglinear/readout/cascade_readout.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/rules.hpp"
#include "loglinear/rules/level_weights.hpp"
#include "loglinear/rules/rule.hpp"
#include "loglinear/sequence.hpp"
#include "loglinear/stream/level_reads.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "loglinear/stream/rewindable.hpp"
#include "loglinear/stream/snapshot.hpp"
#include "loglinear/stream/stream_part.hpp"
#include "loglinear/transitions/transition.hpp"
#include "loglinear/version.hpp"

#endif  // LOGLINEAR_LOGLINEAR_HPP
