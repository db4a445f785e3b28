// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/stream/instantiations.hpp"

LOGLINEAR_COMPILE_FOR(LOGLINEAR_STREAMS, float)
