// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_POOL_HPP
#define LOGLINEAR_POOL_HPP

/// \file
/// Many streams at once.

#include "loglinear/pool/stream_pool.hpp"

#endif  // LOGLINEAR_POOL_HPP
