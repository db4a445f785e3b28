// SPDX-License-Identifier: MIT
#include "types.hpp"

TEST_CASE("The factory's layer is the layer of the compile-time type, double") {
  loglinear::test::check_all_types<double>();
}
