// SPDX-License-Identifier: MIT
#include <loglinear/mpi.hpp>

/// One process alone, which needs no mpirun: four keys, q.k = 2 each.
int main(int argc, char** argv) {
  const loglinear::mpi::Environment environment(argc, argv);
  const loglinear::mpi::Ranks ranks;
  using Matrix = loglinear::SequenceInputs<double>::Matrix;
  const Matrix ones = Matrix::Ones(4, 2), lambda = Matrix::Ones(4, 3);
  loglinear::LogLinearState<double> state(8, 2, 2);
  const Matrix out =
      loglinear::mpi::chunkwise({.q = ones, .k = ones, .v = ones, .lambda = lambda}, state, ranks);
  return out(3, 0) == 8 && state.size() == 4 ? 0 : 1;
}
