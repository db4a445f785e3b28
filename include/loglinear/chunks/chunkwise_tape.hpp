// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNKWISE_TAPE_HPP
#define LOGLINEAR_CHUNKS_CHUNKWISE_TAPE_HPP

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loglinear/chunks/hierarchy.hpp"

namespace loglinear::detail {

/// What a forward pass keeps for its gradient: where chunks begin, and the states before one in
/// `interval` of them. The interval is about half the number of levels, as many as are active on
/// average, so that all states together are some T / C matrices, one for each chunk.
template <class Scalar>
struct ChunkwiseTape {
  int interval = 1;
  std::vector<Index> begins{};
  std::vector<Hierarchy<Scalar>> kept{};

  /// Begins the tape of a pass over `chunks` chunks.
  void start(Index chunks) {
    interval = 1 + static_cast<int>(std::bit_width(static_cast<std::uint64_t>(chunks))) / 2;
    begins.clear();
    kept.clear();
  }
  void note(Index first, const Hierarchy<Scalar>& states) {
    if (is_due()) kept.push_back(states.snapshot());
    begins.push_back(first);
  }
  /// The same, but only allocates memory for the states, those after `count` tokens; the caller
  /// fills it.
  void allocate(Index first, std::uint64_t count, const Hierarchy<Scalar>& like) {
    if (is_due()) {
      kept.push_back(like.empty());
      kept.back().set_count(count);
      for (int l : kept.back().active()) kept.back().allocate(l);
    }
    begins.push_back(first);
  }

 private:
  /// Whether the states before the next chunk are kept.
  [[nodiscard]] bool is_due() const {
    return begins.size() % static_cast<std::size_t>(interval) == 0;
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNKWISE_TAPE_HPP
