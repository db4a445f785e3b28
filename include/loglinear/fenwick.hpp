// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_FENWICK_HPP
#define LOGLINEAR_FENWICK_HPP

/// \file
/// Level arithmetic: which power-of-two bucket of the past holds which token.
///
/// A stream of `count` tokens is kept like a binary counter: level l holds the bucket of 2^l
/// consecutive tokens that bit l of `count` stands for (Guo et al., arXiv:2506.04761, section 2).
/// With `max_levels` levels everything older folds into the last one. All functions are constexpr,
/// need no Eigen and do not allocate. They throw std::invalid_argument unless `max_levels` is 1 to
/// 64 and `level` is 0 to `max_levels - 1`; in a constant expression that is a compiler error.

#include "loglinear/detail/base/cpp20.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "loglinear/detail/base/fail.hpp"

namespace loglinear {

/// The most levels a hierarchy can have: one for each bit of a 64-bit token count.
inline constexpr int max_level_limit = 64;

namespace detail {

constexpr void require_level_count(int max_levels) {
  if (max_levels < 1 || max_levels > max_level_limit) {
    fail("max_levels", max_levels, "between 1 and ", max_level_limit);
  }
}
/// `max_levels` must have been checked.
constexpr void require_level(int level, int max_levels) {
  if (level < 0 || level >= max_levels) fail("level", level, "between 0 and ", max_levels - 1);
}

}  // namespace detail

/// What becomes of the last level's content when a carry brings a bucket of `2^(max_levels - 1)`
/// tokens.
enum class LastLevel {
  fold,    ///< all of it stays: nothing is ever lost, only resolution
  forget,  ///< none of it stays: the last level holds the newest such bucket alone
  halve,   ///< half of it stays: a bucket counts 1, 1/2, 1/4, ... as newer ones come
};

/// The fraction of the last level's content that is left after `carries` more such buckets.
[[nodiscard]] constexpr double kept_fraction(LastLevel policy, std::uint64_t carries) noexcept {
  if (policy == LastLevel::fold || carries == 0) return 1;
  if (policy == LastLevel::forget || carries > 1074) return 0;  // 2^-1074: the smallest double
  double fraction = 1;
  for (; carries > 0; --carries) fraction /= 2;
  return fraction;
}

/// What a read at token t sees. The three orders of the field are easily confused, so every layer
/// and every function here that reads names the one it uses.
enum class ReadOrder {
  /// All earlier tokens, before this token's transition: token s is at level
  /// `bit_width(t ^ s) - 1`. M levels, M weights.
  before_push,
  /// Everything after this token's transition, carry and leaf: token s is at level
  /// `bit_width((t + 1) ^ s) - 1`. M levels, M weights.
  after_push,
  /// The paper's order: the transition is applied, and this token's own leaf stands apart as level
  /// 0, with the buckets above it. Token s is at level `bit_width(t ^ s)`. M levels, M + 1 weights.
  current_apart,
};

/// What one read order does.
struct ReadOrderInfo {
  ReadOrder order;        ///< its value
  std::string_view name;  ///< in texts
  bool reads_written;     ///< whether a read sees this token's transition, carry and leaf
  bool is_leaf_apart;     ///< whether the own leaf has a weight for itself, in front of the levels'

  /// Whether the own leaf is read at the level to which the carry takes it.
  [[nodiscard]] constexpr bool is_leaf_carried() const { return reads_written && !is_leaf_apart; }
};

/// All read orders, in the order of `ReadOrder`. A new one needs its value there and its row here.
inline constexpr std::array<ReadOrderInfo, 3> read_order_table{{
    {ReadOrder::before_push, "before_push", false, false},
    {ReadOrder::after_push, "after_push", true, false},
    {ReadOrder::current_apart, "current_apart", true, true},
}};

/// The row of an order.
[[nodiscard]] constexpr const ReadOrderInfo& info_of(ReadOrder order) noexcept {
  return read_order_table[static_cast<std::size_t>(order)];
}
static_assert([] {
  for (std::size_t i = 0; i < read_order_table.size(); ++i) {
    if (read_order_table[i].order != ReadOrder(i)) return false;
  }
  return true;
}());
/// The name of an order in texts.
[[nodiscard]] constexpr std::string_view name_of(ReadOrder order) noexcept {
  return info_of(order).name;
}
/// The order of a name; nothing for a name that no order has.
[[nodiscard]] constexpr std::optional<ReadOrder> find_read_order(std::string_view name) noexcept {
  for (const ReadOrderInfo& row : read_order_table) {
    if (row.name == name) return row.order;
  }
  return {};
}

/// Number of level weights a read over `max_levels` levels takes: one more for `current_apart`.
[[nodiscard]] constexpr int level_weight_count(ReadOrder order, int max_levels) {
  detail::require_level_count(max_levels);
  return max_levels + (info_of(order).is_leaf_apart ? 1 : 0);
}

/// The level at which the next leaf lands when `count` tokens have been pushed:
/// `min(countr_one(count), max_levels - 1)`. All active levels below it are merged into it.
[[nodiscard]] constexpr int landed_level(std::uint64_t count, int max_levels) {
  detail::require_level_count(max_levels);
  return (std::min)(std::countr_one(count), max_levels - 1);
}

/// Bit l is set iff level l holds a bucket after `count` tokens: the bits of `count`, with the last
/// level active iff `count >= 2^(max_levels - 1)`.
[[nodiscard]] constexpr std::uint64_t active_mask(std::uint64_t count, int max_levels) {
  detail::require_level_count(max_levels);
  const std::uint64_t last = std::uint64_t{1} << (max_levels - 1);
  return (count & (last - 1)) | (count >= last ? last : 0);
}

/// Whether level `level` holds a bucket after `count` tokens.
[[nodiscard]] constexpr bool is_active_level(std::uint64_t count, int level, int max_levels) {
  const std::uint64_t mask = active_mask(count, max_levels);
  detail::require_level(level, max_levels);
  return ((mask >> level) & 1u) != 0;
}

/// Number of levels that hold a bucket after `count` tokens: the set bits of `active_mask`.
[[nodiscard]] constexpr int active_level_count(std::uint64_t count, int max_levels) {
  return std::popcount(active_mask(count, max_levels));
}

/// How many of the first `tokens` tokens find level `level` holding a bucket: the counts below
/// `tokens` after which `is_active_level`. Takes constant time; the arguments are those of that
/// function, and so is what is thrown.
[[nodiscard]] constexpr std::uint64_t active_token_count(std::uint64_t tokens, int level,
                                                         int max_levels) {
  detail::require_level_count(max_levels);
  detail::require_level(level, max_levels);
  const std::uint64_t size = std::uint64_t{1} << level;  // tokens without it, then as many with it
  const std::uint64_t whole = level == max_levels - 1 ? 0 : tokens & ~(2 * size - 1);
  return whole / 2 + (std::max)(tokens - whole, size) - size;
}

/// The fewest levels that hold `length` tokens without overflow, `floor(log2(length)) + 1`; 1 for
/// an empty stream.
[[nodiscard]] constexpr int levels_needed(std::uint64_t length) noexcept {
  return (std::max)(1, static_cast<int>(std::bit_width(length)));
}

/// The level of token `s` seen from token `t >= s` (tokens are numbered from 0), clamped to the
/// last level: `max_levels - 1`, or `max_levels` for `current_apart`. In the order `before_push`
/// a token does not see itself: `s < t` there.
[[nodiscard]] constexpr int level_of(std::uint64_t s, std::uint64_t t, ReadOrder order,
                                     int max_levels) {
  const ReadOrderInfo& info = info_of(order);
  int level = static_cast<int>(std::bit_width(t ^ s)) - 1;
  if (info.is_leaf_apart) {
    level += 1;
  } else if (info.reads_written) {
    const std::uint64_t next = t + 1;  // 2^64 wraps to 0; every token is then 64 bits away
    level = next == 0 ? max_level_limit : static_cast<int>(std::bit_width(next ^ s)) - 1;
  }
  return (std::min)(level, level_weight_count(order, max_levels) - 1);
}

/// The consecutive tokens `[first, first + size)` that one level holds.
struct Bucket {
  int level;            ///< the level that holds them
  std::uint64_t first;  ///< the oldest token
  std::uint64_t size;   ///< how many: 2^level, but for the last level, which also takes overflow
};

/// The bucket that level `level` holds after `count` tokens; its `size` is 0 if the level is
/// inactive.
[[nodiscard]] constexpr Bucket bucket_of(std::uint64_t count, int level, int max_levels) {
  detail::require_level_count(max_levels);
  detail::require_level(level, max_levels);
  const std::uint64_t unit = std::uint64_t{1} << level;
  if (level == max_levels - 1) return {level, 0, count & ~(unit - 1)};
  return {level, count & ~(2 * unit - 1), count & unit};
}

/// The levels that hold a bucket after `count` tokens, newest (lowest) first, for range-for:
/// `for (int level : ActiveLevels(count, max_levels))`. One step costs one bit scan.
class ActiveLevels {
 public:
  /// The levels after `count` tokens.
  constexpr ActiveLevels(std::uint64_t count, int max_levels)
      : mask_(active_mask(count, max_levels)) {}
  /// Those of them that hold a token from `origin` on; these are the newest ones.
  constexpr ActiveLevels(std::uint64_t count, int max_levels, std::uint64_t origin)
      : ActiveLevels(count, max_levels) {
    // Above the highest bit in which the counts differ, buckets end at or before `origin`.
    const int differing = static_cast<int>(std::bit_width(count ^ origin));
    if (differing < 64) mask_ &= (std::uint64_t{1} << differing) - 1;
  }

  /// Walks the set bits of the mask upwards.
  class Iterator {
   public:
    /// At the lowest set bit of `mask`; 0 is the end.
    constexpr explicit Iterator(std::uint64_t mask) noexcept : mask_(mask) {}
    /// The level.
    constexpr int operator*() const noexcept { return std::countr_zero(mask_); }
    /// To the next level.
    constexpr Iterator& operator++() noexcept {
      mask_ &= mask_ - 1;
      return *this;
    }
    /// Whether both are at the same level of the same stream.
    constexpr bool operator==(const Iterator&) const noexcept = default;

   private:
    std::uint64_t mask_;
  };

  [[nodiscard]] constexpr Iterator begin() const noexcept { return Iterator(mask_); }  ///< newest
  [[nodiscard]] constexpr Iterator end() const noexcept { return Iterator(0); }        ///< the end

 private:
  std::uint64_t mask_;
};

/// The weight index under which a read at the next token sees the bucket now at level `level`, with
/// `count` tokens pushed: where the bucket is (`before_push`), where the carry takes it
/// (`after_push`), or one above (`current_apart`).
[[nodiscard]] constexpr int seen_level(ReadOrder order, int level, std::uint64_t count,
                                       int max_levels) {
  detail::require_level_count(max_levels);
  detail::require_level(level, max_levels);
  const ReadOrderInfo& info = info_of(order);
  if (info.is_leaf_apart) return level + 1;
  return info.reads_written ? (std::max)(level, landed_level(count, max_levels)) : level;
}

/// The weight index under which a read at the next token sees that token's own leaf, or -1 where
/// it does not (`before_push`).
[[nodiscard]] constexpr int seen_leaf_level(ReadOrder order, std::uint64_t count, int max_levels) {
  detail::require_level_count(max_levels);
  const ReadOrderInfo& info = info_of(order);
  if (!info.reads_written) return -1;
  return info.is_leaf_apart ? 0 : landed_level(count, max_levels);
}

}  // namespace loglinear

#endif  // LOGLINEAR_FENWICK_HPP
