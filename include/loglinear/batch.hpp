// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_HPP
#define LOGLINEAR_BATCH_HPP

/// \file
/// Many sequences of many heads on plain arrays.

#include "loglinear/batch/batch_chunkwise.hpp"
#include "loglinear/batch/batch_gradient.hpp"
#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/batch_recurrent.hpp"
#include "loglinear/batch/head_array.hpp"

#endif  // LOGLINEAR_BATCH_HPP
