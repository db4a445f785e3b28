// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP

#include <Eigen/Core>
#include <algorithm>
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

/// The cotangents of a read: one for all levels, or one for each weight index, row by row.
template <class Scalar>
struct Cotangents {
  const Scalar* first;
  Eigen::Index stride = 0;  // from one to the next; 0 where all levels share one

  [[nodiscard]] const Scalar* operator()(int seen) const { return first + seen * stride; }
};

/// The weight index under which the next token sees a level, and the fraction of the level that is
/// left then.
class SeenLevels {
 public:
  /// After `size` tokens, for a read in `order`.
  SeenLevels(ReadOrder order, std::uint64_t size, int max_levels, LastLevel overflow)
      : last_(max_levels - 1),
        least_(seen_level(order, 0, size, max_levels)),
        shift_(seen_level(order, last_, size, max_levels) - last_) {
    const bool gives_way =
        order == ReadOrder::after_push && landed_level(size, max_levels) == last_;
    kept_of_last_ = kept_fraction(overflow, gives_way ? 1 : 0);
  }

  [[nodiscard]] int operator()(int level) const { return (std::max)(level + shift_, least_); }
  /// The fraction of the level's content that the token's carry leaves.
  [[nodiscard]] double kept(int level) const { return level == last_ ? kept_of_last_ : 1; }

 private:
  int last_, least_, shift_;
  double kept_of_last_ = 1;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP
