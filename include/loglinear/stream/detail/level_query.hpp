// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP

#include <cstdint>

#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// What a read asks for: `sum_l lambda[seen(l)] S_l^T query`.
template <class Scalar>
struct LevelQuery {
  const Scalar* query;
  const Scalar* lambda;
  ReadOrder order;  // in which the next token sees the levels
};

/// The weight index under which the next token sees a level, and how much of it is left then.
struct SeenLevels {
  ReadOrder order;
  std::uint64_t size;
  int max_levels;
  LastLevel overflow;

  [[nodiscard]] int operator()(int level) const {
    return seen_level(order, level, size, max_levels);
  }
  /// What the token's carry leaves of what the level holds.
  [[nodiscard]] double kept(int level) const {
    const int last = max_levels - 1;
    const bool gives_way =
        info_of(order).is_leaf_carried() && level == last && landed_level(size, max_levels) == last;
    return kept_fraction(overflow, gives_way ? 1 : 0);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP
