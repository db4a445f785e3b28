// SPDX-License-Identifier: MIT
#include "loglinear/chunks/instantiations.hpp"

LOGLINEAR_CHUNKS(, float)
LOGLINEAR_CHUNKS(, double)
