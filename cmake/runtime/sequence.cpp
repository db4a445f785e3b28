// SPDX-License-Identifier: MIT
#include "loglinear/sequence/instantiations.hpp"

LOGLINEAR_SEQUENCE(, float)
LOGLINEAR_SEQUENCE(, double)
