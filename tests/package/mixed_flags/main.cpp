// SPDX-License-Identifier: MIT
#include <loglinear/transition.hpp>

int other();

int main() {
  return other();
}
