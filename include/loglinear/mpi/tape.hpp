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
/// `scan` that is what one process keeps, and as many numbers again as q has.
template <class Scalar>
struct Tape {
  /// One head.
  struct Head {
    SequenceTape<Scalar> tokens{};  ///< of this rank's tokens, with the states of the whole stream
    /// With the schedule `scan`, on all ranks but the first.
    std::optional<detail::Stretch<Scalar>> stretch{};
  };

  Options options{};          ///< of the pass
  detail::RankPlan plan{};    ///< likewise
  std::vector<Head> heads{};  ///< in the order of `BatchStates`
};

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_TAPE_HPP
