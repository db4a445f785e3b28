// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_OPTIONS_HPP
#define LOGLINEAR_MPI_OPTIONS_HPP

#include <Eigen/Core>

namespace loglinear::mpi {

/// How states go from rank to rank.
enum class Schedule {
  /// All ranks compute at once, each from empty levels at its absolute count. An exclusive scan
  /// carries the states from rank to rank; then each rank adds the reads of the states that came
  /// in. For any number of heads; equal to one process to rounding.
  scan,
  /// Head after head: a rank takes the states of a head from the rank before it, runs its tokens
  /// and hands the states on, while the rank before is at the next head. P ranks work at the same
  /// time for H - P + 1 of H + P - 1 steps, so H should be several times P. The bits are those of
  /// one process that takes the same stretches one after the other. Where the stretches begin at
  /// multiples of the chunk size they are those of one pass, except gradients of a hierarchy of one
  /// level, which equal those to rounding.
  pipelined,
};

/// How one sequence is computed on many ranks; the same on all of them.
struct Options {
  Schedule schedule = Schedule::scan;  ///< see there
  /// Tokens of a chunk, as in `ChunkwiseOptions`.
  Eigen::Index chunk_size = 64;
};

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_OPTIONS_HPP
