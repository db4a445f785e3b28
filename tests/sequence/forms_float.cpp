// SPDX-License-Identifier: MIT
#include "sequence/forms.hpp"

LOGLINEAR_TEST_SEQUENCE_FORMS(, float);
