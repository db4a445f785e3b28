// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_LEVEL_MERGE_HPP
#define LOGLINEAR_CHUNKS_LEVEL_MERGE_HPP

#include <algorithm>
#include <bit>
#include <cstdint>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// Which levels become one while tokens pass. Where a level moves, so do all younger ones, and to
/// the same place: they can be added together before they undergo the tokens, and undergo them
/// once.
struct LevelMerge {
  /// From `before` tokens to `after`; `active` are the levels before.
  LevelMerge(ActiveLevels active, std::uint64_t before, std::uint64_t after, int max_levels) {
    for (int l : active) {
      if (landed < 0) {
        const std::uint64_t token = bucket_of(before, l, max_levels).first;
        landed = level_of(token, after, ReadOrder::before_push, max_levels);
      }
      if (l <= landed) oldest = l;
      held |= std::uint64_t{1} << (std::max)(l, landed);
    }
  }
  LevelMerge(std::uint64_t before, std::uint64_t after, int max_levels)
      : LevelMerge({before, max_levels}, before, after, max_levels) {}

  int oldest = -1;         ///< the oldest level that goes with the youngest one; -1 without levels
  int landed = -1;         ///< where these levels are afterwards
  std::uint64_t held = 0;  ///< the mask of the levels that hold one of these tokens afterwards

  [[nodiscard]] bool has(int level) const { return ((held >> level) & 1) != 0; }
  [[nodiscard]] Index states() const { return std::popcount(held); }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_LEVEL_MERGE_HPP
