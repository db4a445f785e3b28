// SPDX-License-Identifier: MIT
#include "mixers_cases.hpp"

namespace loglinear {
LOGLINEAR_TEST_MIXERS(, double);
}  // namespace loglinear
