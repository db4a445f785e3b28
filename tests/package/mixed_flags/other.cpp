// SPDX-License-Identifier: MIT
#include <loglinear/transition.hpp>

int other() {
  return 0;
}
