// SPDX-License-Identifier: MIT
#include "loglinear/sequence/instantiations.hpp"

LOGLINEAR_COMPILE(LOGLINEAR_SEQUENCE)
