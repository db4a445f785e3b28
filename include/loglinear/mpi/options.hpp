// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_OPTIONS_HPP
#define LOGLINEAR_MPI_OPTIONS_HPP

#include <Eigen/Core>

namespace loglinear::mpi {

/// How states go from rank to rank.
enum class Schedule {
  /// All ranks compute at once, each from empty levels at its absolute count. What they leave for
  /// states from before them goes through an exclusive scan; then each adds the reads of what came
  /// in. For any number of heads; equal to one process to rounding.
  scan,
  /// Head after head: a rank takes the states of a head from the one before it, runs its tokens and
  /// hands them on, while that one is at the next head. P ranks are at work together for H - P + 1
  /// of H + P - 1 steps, so that H should be several times P. The bits are those of one process
  /// that takes the same stretches one after the other; and of one pass where they begin at
  /// multiples of the chunk size, but for gradients of a hierarchy of one level, which are those
  /// to rounding.
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
