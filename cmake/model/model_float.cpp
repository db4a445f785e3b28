// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/model/instantiations.hpp"

LOGLINEAR_COMPILE_FOR(LOGLINEAR_LANGUAGE_MODEL, float)
