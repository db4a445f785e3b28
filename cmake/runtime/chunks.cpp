// SPDX-License-Identifier: MIT
#include "loglinear/chunks/instantiations.hpp"

LOGLINEAR_COMPILE(LOGLINEAR_CHUNKS)
