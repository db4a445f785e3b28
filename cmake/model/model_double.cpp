// SPDX-License-Identifier: MIT
#include "loglinear/model/instantiations.hpp"

LOGLINEAR_MODEL_OF(, double)
