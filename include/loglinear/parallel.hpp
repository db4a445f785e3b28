// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_PARALLEL_HPP
#define LOGLINEAR_PARALLEL_HPP

/// \file
/// Threads: how many there are, and who runs them.

#include "loglinear/parallel/executor.hpp"

#endif  // LOGLINEAR_PARALLEL_HPP
