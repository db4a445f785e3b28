// SPDX-License-Identifier: MIT
#include <loglinear/transitions/transition.hpp>

int other();

int main() {
  return other();
}
