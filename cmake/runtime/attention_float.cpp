// SPDX-License-Identifier: MIT
#include "loglinear/mode/attention.hpp"

namespace loglinear {
LOGLINEAR_MAKE_ATTENTION(, float)
}
