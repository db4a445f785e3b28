// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_OBJECT_MESSAGES_HPP
#define LOGLINEAR_MPI_DETAIL_OBJECT_MESSAGES_HPP

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "loglinear/mpi/detail/handles.hpp"
#include "loglinear/mpi/ranks.hpp"

namespace loglinear::detail {

// A message of any length is its length, then the bytes. Without bytes it says that its sender has
// given up.

inline constexpr int object_tag = 2;

inline void send_bytes(const std::vector<std::byte>& bytes, int to, const mpi::Ranks& ranks) {
  const std::uint64_t length = bytes.size();
  require_mpi(MPI_Send(&length, 1, MPI_UINT64_T, to, object_tag, ranks.comm()), "MPI_Send");
  if (length == 0) return;
  require_mpi(
      MPI_Send(bytes.data(), static_cast<int>(length), MPI_BYTE, to, object_tag, ranks.comm()),
      "MPI_Send");
}

/// Where there is no memory for the bytes it throws while their sender waits: that error has to
/// leave the program, which `Environment` then ends on all ranks.
[[nodiscard]] inline std::vector<std::byte> receive_bytes(int from, const mpi::Ranks& ranks) {
  std::uint64_t length = 0;
  require_mpi(MPI_Recv(&length, 1, MPI_UINT64_T, from, object_tag, ranks.comm(), MPI_STATUS_IGNORE),
              "MPI_Recv");
  std::vector<std::byte> bytes(length);
  if (length == 0) return bytes;
  require_mpi(MPI_Recv(bytes.data(), static_cast<int>(length), MPI_BYTE, from, object_tag,
                       ranks.comm(), MPI_STATUS_IGNORE),
              "MPI_Recv");
  return bytes;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_OBJECT_MESSAGES_HPP
