// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_LINEAR_ATTENTION_HPP
#define LOGLINEAR_LAYER_LINEAR_ATTENTION_HPP

#include "loglinear/layer/log_linear_attention.hpp"

namespace loglinear {

/// Linear attention, streaming: one `key_rows x d_v` state, `S <- L S diag(r) + k v^T`, driven by
/// the same rules, read orders and training step as log-linear attention.
///
/// It is the hierarchy of one level whose weight is 1: every carry overflows into that level, so
/// that it holds what the rule's own recurrence would. Hence the options, errors and guarantees are
/// those of `LogLinearAttention`, with `max_levels` 1 and no `w_lambda`. A token costs one read of
/// the state and one pass that rewrites it (stream/detail/one_state.hpp). A layer of another
/// weighting with `max_levels` 1 does not have that step.
template <class Inner, class Scalar = double>
using LinearAttention = LogLinearAttention<Inner, Scalar, OneLevel>;

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_LINEAR_ATTENTION_HPP
