// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_OBJECT_MESSAGES_HPP
#define LOGLINEAR_MPI_DETAIL_OBJECT_MESSAGES_HPP

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loglinear/mpi/detail/handles.hpp"
#include "loglinear/mpi/ranks.hpp"

namespace loglinear::detail {

// A message of any length is its length, then the bytes, in pieces of a size that an int counts.
// Without bytes it says that its sender has given up.

inline constexpr int object_tag = 2;
inline constexpr std::size_t most_bytes_of_piece = std::size_t{1} << 30;

/// Calls `use(data, size)` for each piece of the bytes, in order.
template <class Bytes, class Use>
void for_each_piece(Bytes& bytes, std::size_t most, Use use) {
  for (std::size_t at = 0; at < bytes.size(); at += most) {
    use(bytes.data() + at, static_cast<int>((std::min)(most, bytes.size() - at)));
  }
}

/// \param most  bytes of a piece, the same where they are received
inline void send_bytes(const std::vector<std::byte>& bytes, int to, const mpi::Ranks& ranks,
                       std::size_t most = most_bytes_of_piece) {
  const std::uint64_t length = bytes.size();
  require_mpi(MPI_Send(&length, 1, MPI_UINT64_T, to, object_tag, ranks.comm()), "MPI_Send");
  for_each_piece(bytes, most, [&](const std::byte* data, int size) {
    require_mpi(MPI_Send(data, size, MPI_BYTE, to, object_tag, ranks.comm()), "MPI_Send");
  });
}

/// If it runs out of memory for the bytes, it throws while the sender waits. That error must end
/// the program; `Environment` then ends all ranks.
[[nodiscard]] inline std::vector<std::byte> receive_bytes(int from, const mpi::Ranks& ranks,
                                                          std::size_t most = most_bytes_of_piece) {
  std::uint64_t length = 0;
  require_mpi(MPI_Recv(&length, 1, MPI_UINT64_T, from, object_tag, ranks.comm(), MPI_STATUS_IGNORE),
              "MPI_Recv");
  std::vector<std::byte> bytes(length);
  for_each_piece(bytes, most, [&](std::byte* data, int size) {
    require_mpi(MPI_Recv(data, size, MPI_BYTE, from, object_tag, ranks.comm(), MPI_STATUS_IGNORE),
                "MPI_Recv");
  });
  return bytes;
}

/// Copies the bytes of rank `from` to all ranks, which must have as many.
inline void broadcast_bytes(std::vector<std::byte>& bytes, int from, const mpi::Ranks& ranks,
                            std::size_t most = most_bytes_of_piece) {
  for_each_piece(bytes, most, [&](std::byte* data, int size) {
    require_mpi(MPI_Bcast(data, size, MPI_BYTE, from, ranks.comm()), "MPI_Bcast");
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_OBJECT_MESSAGES_HPP
