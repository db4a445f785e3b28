// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_RANKS_HPP
#define LOGLINEAR_MPI_RANKS_HPP

#include <mpi.h>

#include <array>
#include <exception>
#include <stdexcept>
#include <string>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/mpi/detail/handles.hpp"

namespace loglinear::detail {

/// What other ranks have to know about an error.
struct Failure {
  bool is_of_arguments = false;
  std::string text = "an exception that is no std::exception";
};
[[nodiscard]] inline Failure failure_of(const std::exception_ptr& thrown) {
  Failure failure;
  static_cast<void>(caught([&] {
    handling<std::exception>([&] { std::rethrow_exception(thrown); },
                             [&](const std::exception& error) {
                               using Refusal = std::invalid_argument;
                               failure.is_of_arguments =
                                   dynamic_cast<const Refusal*>(&error) != nullptr;
                               failure.text = error.what();
                             });
  }));
  return failure;
}

}  // namespace loglinear::detail

namespace loglinear::mpi {

/// The processes that work together, numbered from 0: a communicator of the library's own, so that
/// its messages meet no others. Made and destroyed by all of them together, before MPI ends. Every
/// function that takes one is called by all of its ranks, in the same order.
class Ranks {
 public:
  /// The processes of `comm`. \throws std::runtime_error where MPI fails and returns errors
  explicit Ranks(MPI_Comm comm = MPI_COMM_WORLD) {
    detail::require_mpi(MPI_Comm_dup(comm, &comm_), "MPI_Comm_dup");
    detail::require_mpi(MPI_Comm_rank(comm_, &rank_), "MPI_Comm_rank");
    detail::require_mpi(MPI_Comm_size(comm_, &count_), "MPI_Comm_size");
    detail::require_mpi(MPI_Comm_split(comm_, 0, count_ - 1 - rank_, &backwards_),
                        "MPI_Comm_split");
  }
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;
  ~Ranks() {
    MPI_Comm_free(&backwards_);
    MPI_Comm_free(&comm_);
  }

  [[nodiscard]] int rank() const { return rank_; }       ///< this process, 0 to count() - 1
  [[nodiscard]] int count() const { return count_; }     ///< how many there are
  [[nodiscard]] MPI_Comm comm() const { return comm_; }  ///< the communicator
  [[nodiscard]] MPI_Comm backwards() const { return backwards_; }     ///< the same, last rank first
  [[nodiscard]] bool is_first() const { return rank_ == 0; }          ///< whether it is rank 0
  [[nodiscard]] bool is_last() const { return rank_ == count_ - 1; }  ///< whether none is after it

 private:
  MPI_Comm comm_ = MPI_COMM_NULL, backwards_ = MPI_COMM_NULL;
  int rank_ = 0, count_ = 1;
};

/// Does some work on every rank and ends in the same way on all of them: where it throws on some,
/// all throw what the lowest of these ranks has thrown, with that rank's number. So no rank waits
/// for one that has given up. The work itself must not wait for other ranks. Costs one reduction of
/// an int.
///
/// \throws std::invalid_argument where that is what was thrown there, else std::runtime_error:
/// "loglinear: on rank 2: k[3, 1] is nan; it must be finite"
template <class Work>
void together(const Ranks& ranks, Work work) {
  const std::exception_ptr thrown = detail::caught(work);
  int own = thrown ? ranks.rank() : ranks.count(), first = own;
  detail::require_mpi(MPI_Allreduce(&own, &first, 1, MPI_INT, MPI_MIN, ranks.comm()),
                      "MPI_Allreduce");
  if (first == ranks.count()) return;
  detail::Failure failure;
  if (first == ranks.rank()) failure = detail::failure_of(thrown);
  std::array<int, 2> head{failure.is_of_arguments, static_cast<int>(failure.text.size())};
  detail::require_mpi(MPI_Bcast(head.data(), 2, MPI_INT, first, ranks.comm()), "MPI_Bcast");
  failure.text.resize(static_cast<std::size_t>(head[1]));
  detail::require_mpi(MPI_Bcast(failure.text.data(), head[1], MPI_CHAR, first, ranks.comm()),
                      "MPI_Bcast");
  const std::string prefix = "loglinear: ";
  if (failure.text.starts_with(prefix)) failure.text.erase(0, prefix.size());
  const std::string message = prefix + "on rank " + std::to_string(first) + ": " + failure.text;
  if (head[0] != 0) detail::raise(std::invalid_argument(message));
  detail::raise(std::runtime_error(message));
}

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_RANKS_HPP
