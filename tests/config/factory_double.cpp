// SPDX-License-Identifier: MIT
#include "compile.hpp"

LOGLINEAR_TEST_FACTORY(double);
