// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_STREAM_PARTS_HPP
#define LOGLINEAR_MPI_STREAM_PARTS_HPP

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/mpi/detail/object_bytes.hpp"
#include "loglinear/mpi/detail/object_messages.hpp"
#include "loglinear/mpi/ranks.hpp"
#include "loglinear/stream/stream_part.hpp"

namespace loglinear::mpi {

/// The sum of `own` over the ranks before this one. If `own` is the number of a rank's tokens, that
/// is the count at which its part of a stream begins. Called by all ranks. \throws
/// std::runtime_error where MPI fails and returns errors
[[nodiscard]] inline std::uint64_t count_before(std::uint64_t own, const Ranks& ranks) {
  std::uint64_t before = 0;
  detail::require_mpi(MPI_Exscan(&own, &before, 1, MPI_UINT64_T, MPI_SUM, ranks.comm()),
                      "MPI_Exscan");
  return ranks.is_first() ? 0 : before;
}

/// Joins the parts of one stream that many ranks have computed. Each rank has ingested consecutive
/// tokens into its part, those of rank 0 first. `stream` on rank 0 becomes the stream that has
/// taken all of them, and goes on from there. All ranks call it.
///
/// \param stream  on rank 0 the stream that has taken the tokens before all parts; on others any
///                stream of the same options, which stays as it is
/// \param part    this rank's part, which begins where that of the rank before it ends; with the
///                same weights and options
/// \throws std::invalid_argument on all ranks, by the name of the rank, unless parts fit together
/// and to the stream, or where numbers get out of range; std::runtime_error for other failures. The
/// stream is as it was then
///
/// The parts meet in pairs, ceil(log2 P) times one after the other: the state is that of one pass
/// to the rounding of sums. A rank sends its part once.
template <class Layer, PartProduct product>
void append(Layer& stream, const StreamPart<Layer, product>& part, const Ranks& ranks) {
  std::optional<StreamPart<Layer, product>> whole;
  std::optional<Layer> merged;
  together(ranks, [&] {
    whole.emplace(part);
    merged.emplace(stream);
  });
  std::exception_ptr thrown;
  const auto attempt = [&](auto work) {
    if (!thrown) thrown = detail::caught(work);
  };
  for (int reach = 1; reach < ranks.count(); reach *= 2) {
    if (ranks.rank() % (2 * reach) != 0) {  // its part goes to the left, and it is done
      std::vector<std::byte> bytes;
      attempt([&] { detail::write_object(*whole, bytes); });
      if (thrown) bytes.clear();
      detail::send_bytes(bytes, ranks.rank() - reach, ranks);
      break;
    }
    if (ranks.rank() + reach >= ranks.count()) continue;
    const std::vector<std::byte> bytes = detail::receive_bytes(ranks.rank() + reach, ranks);
    if (bytes.empty()) continue;  // the other rank says why
    attempt([&] {
      StreamPart<Layer, product> later(*whole);
      std::size_t at = 0;
      detail::read_object(bytes, at, later);
      whole->append(later);
    });
  }
  together(ranks, [&] {
    if (thrown) std::rethrow_exception(thrown);
  });
  together(ranks, [&] {
    if (ranks.is_first()) whole->append_to(*merged);
  });
  if (ranks.is_first()) stream = std::move(*merged);
}

/// Copies a layer, with its stream and its weights, or another object that a checkpoint takes, from
/// one rank to all others, which have an object of the same options. All ranks call it. Compares
/// the options that `load` of a checkpoint compares (see checkpoint/configuration.hpp). Needs a
/// copy of the object.
/// \throws std::invalid_argument on all ranks, by the name of the rank and of the option, for other
/// options or another shape on one of them, std::runtime_error for other failures; all objects are
/// as they were then
template <class Object>
void broadcast(Object& object, int from, const Ranks& ranks) {
  std::vector<std::byte> bytes;
  std::uint64_t length = 0;
  together(ranks, [&] {
    detail::require_between("the rank to broadcast from", from, 0, ranks.count() - 1);
    if (ranks.rank() == from) detail::write_object(object, bytes);
    length = bytes.size();
  });
  detail::require_mpi(MPI_Bcast(&length, 1, MPI_UINT64_T, from, ranks.comm()), "MPI_Bcast");
  std::optional<Object> copy;
  together(ranks, [&] {
    bytes.resize(length);
    if (ranks.rank() != from) copy.emplace(object);
  });
  detail::broadcast_bytes(bytes, from, ranks);
  together(ranks, [&] {
    std::size_t at = 0;
    if (ranks.rank() != from) detail::read_object(bytes, at, *copy);
  });
  if (ranks.rank() != from) object = std::move(*copy);
}

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_STREAM_PARTS_HPP
