// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/transitions/transition.hpp>

// An object that is made before main() and says so: the flags must have been compared by then.
const int early = std::fputs("an object was made\n", stderr);

int other() {
  return early < 0 ? 1 : 0;
}
