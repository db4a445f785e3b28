// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_TAPE_HPP
#define LOGLINEAR_MPI_TAPE_HPP

#include <optional>
#include <vector>

#include "loglinear/chunks/stretch.hpp"
#include "loglinear/mpi/detail/plan.hpp"
#include "loglinear/sequence/chunkwise.hpp"

namespace loglinear::mpi {

/// What `mpi::chunkwise` keeps of a rank's tokens for `mpi::chunkwise_gradient`. With the schedule
/// `scan` that is as many numbers again as q has, beside what one process keeps.
template <class Scalar>
struct Tape {
  /// One head.
  struct Head {
    SequenceTape<Scalar> tokens{};  ///< of this rank's tokens, with the states of the whole stream
    /// Of the schedule `scan`, but for the first rank.
    std::optional<detail::Stretch<Scalar>> stretch{};
  };

  Options options{};          ///< of the pass
  detail::RankPlan plan{};    ///< likewise
  std::vector<Head> heads{};  ///< in the order of `BatchStates`
};

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_TAPE_HPP
