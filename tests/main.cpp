// SPDX-License-Identifier: MIT
#if LOGLINEAR_CATCH2_MAJOR < 3
#  define CATCH_CONFIG_RUNNER
#endif
#include "catch.hpp"

int main(int argc, char** argv) {
  return Catch::Session().run(argc, argv);
}
