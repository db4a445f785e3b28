// SPDX-License-Identifier: MIT
// The tests of a program of many ranks: every rank runs all of them. What a rank other than the
// first prints is shown where one of its checks has failed.
#include <loglinear/mpi/environment.hpp>

#if LOGLINEAR_CATCH2_MAJOR < 3
#  define CATCH_CONFIG_RUNNER
#endif
#include <iostream>
#include <sstream>

#include "catch.hpp"

int main(int argc, char** argv) {
  const loglinear::mpi::Environment environment(argc, argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::ostringstream printed;
  std::streambuf* const terminal = std::cout.rdbuf();
  if (rank > 0) std::cout.rdbuf(printed.rdbuf());
  const int failures = Catch::Session().run(argc, argv);
  std::cout.rdbuf(terminal);
  if (rank > 0 && failures > 0) {
    std::cout << "on rank " << rank << ":\n" << printed.str() << std::flush;
  }
  return failures;
}
