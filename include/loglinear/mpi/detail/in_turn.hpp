// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_IN_TURN_HPP
#define LOGLINEAR_MPI_DETAIL_IN_TURN_HPP

// Head after head from rank to rank: while a rank is at one head, the rank before it is at the
// next.

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>
#include <vector>

#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/mpi/detail/handles.hpp"
#include "loglinear/mpi/detail/plan.hpp"
#include "loglinear/mpi/detail/stretch_element.hpp"
#include "loglinear/mpi/ranks.hpp"

namespace loglinear::detail {

/// The levels of heads as messages: a byte that says whether all is well, then the active levels.
template <class Scalar>
class InTurn {
 public:
  using Levels = Hierarchy<Scalar>;

  /// \param from, to  ranks, or MPI_PROC_NULL for none
  /// \param levels    of each head; they are those of `from`, in the end those for `to`
  /// \param after     the count that they have then
  /// Allocates all that it needs.
  InTurn(int from, int to, std::vector<Levels>& levels, const std::vector<std::uint64_t>& after)
      : from_(from), to_(to), levels_(levels) {
    std::size_t longest = 1;
    for (std::size_t n = 0; n < levels.size(); ++n) {
      for (int l : levels[n].active()) levels[n].allocate(l);
      longest = (std::max)(longest, byte_count(levels[n], levels[n].count()));
      sent_.emplace_back(byte_count(levels[n], after[n]));
      static_cast<void>(
          int_of("the bytes of a head's states", (std::max)(longest, sent_.back().size())));
    }
    received_.resize(longest);
    sendings_.reserve(levels.size());
  }

  /// Calls `work(n)` for each head n that all ranks so far have computed, and says so to the next.
  /// \return what the first call that failed has thrown; none comes after it
  template <class Work>
  [[nodiscard]] std::exception_ptr run(MPI_Comm comm, Work work) {
    std::exception_ptr thrown;
    for (std::size_t n = 0; n < levels_.size(); ++n) {
      bool is_whole = receive(n, comm);
      if (is_whole && !thrown) thrown = caught([&] { work(n); });
      is_whole = is_whole && !thrown;
      send(n, is_whole, comm);
    }
    return thrown;
  }

 private:
  [[nodiscard]] static std::size_t byte_count(const Levels& levels, std::uint64_t count) {
    const auto active = static_cast<std::size_t>(active_level_count(count, levels.max_levels()));
    return 1 + active * array_size(levels.d_k() * levels.d_v()) * sizeof(Scalar);
  }
  [[nodiscard]] bool receive(std::size_t n, MPI_Comm comm) {
    if (from_ == MPI_PROC_NULL) return true;
    require_mpi(MPI_Recv(received_.data(), static_cast<int>(received_.size()), MPI_BYTE, from_, tag,
                         comm, MPI_STATUS_IGNORE),
                "MPI_Recv");
    if (received_[0] == std::byte{0}) return false;
    ByteReader read(received_.data() + 1);
    Levels& levels = levels_[n];
    for (int l : levels.active()) read(levels.level(l).data(), levels.level(l).size());
    return true;
  }
  void send(std::size_t n, bool is_whole, MPI_Comm comm) {
    if (to_ == MPI_PROC_NULL) return;
    std::vector<std::byte> message = std::move(sent_[n]);
    message[0] = std::byte{is_whole};
    ByteWriter write(message.data() + 1);
    const Levels& levels = levels_[n];
    if (is_whole) {
      for (int l : levels.active()) write(levels.level(l).data(), levels.level(l).size());
    } else {
      message.resize(1);
    }
    sendings_.send(std::move(message), to_, tag, comm);
  }

  static constexpr int tag = 1;
  int from_, to_;
  std::vector<Levels>& levels_;
  std::vector<std::vector<std::byte>> sent_{};
  std::vector<std::byte> received_{};
  Sendings sendings_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_IN_TURN_HPP
