// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_LEVEL_MASK_HPP
#define LOGLINEAR_CHUNKS_LEVEL_MASK_HPP

// Which level weight a query gives to what: to each earlier token of its own chunk, and to each
// bucket that is older than the chunk.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// The levels as tokens of one chunk see them; `first` is the absolute position of its first.
struct LevelMask {
  ReadOrder order;
  int max_levels;
  std::uint64_t first;

  /// The level under which query t of the chunk sees the bucket that begins at token `bucket`.
  [[nodiscard]] int level(std::uint64_t bucket, Index t) const {
    return level_of(bucket, first + static_cast<std::uint64_t>(t), order, max_levels);
  }

  /// Calls `visit(level, begin, size)` once for each stretch of the chunk that query t sees under
  /// one level, the oldest first; tokens are counted from the beginning of the chunk.
  template <class Visit>
  void for_each_stretch(Index t, Visit visit) const {
    const bool is_apart = info_of(order).is_leaf_apart;
    const int shift = is_apart ? 1 : 0, last = level_weight_count(order, max_levels) - 1;
    const std::uint64_t end = first + static_cast<std::uint64_t>(t) + (sees_itself() ? 1 : 0);
    for (std::uint64_t begin = first, next = 0; begin < end; begin = next) {
      const int bit = static_cast<int>(std::bit_width(begin ^ end)) - 1;  // begin's bucket of `end`
      next = ((begin >> bit) + 1) << bit;
      if (bit + shift >= last) next = end >> (last - shift) << (last - shift);  // all that it holds
      visit((std::min)(bit + shift, last), static_cast<Index>(begin - first),
            static_cast<Index>(next - begin));
    }
    if (is_apart) visit(0, t, Index{1});
  }

  /// Whether a query's own token counts among those of its level 0.
  [[nodiscard]] bool sees_itself() const { return info_of(order).is_leaf_carried(); }
  /// Columns of the chunk that query t sees, of `leaves` a token.
  [[nodiscard]] Index seen(Index t, Index leaves) const {
    return (t + (info_of(order).reads_written ? 1 : 0)) * leaves;
  }
};

/// Calls `visit(t, level, from, to, size)` for the coefficients of row t of `scores` and of
/// `weighted` that stand under one level, `leaves` columns a token; clears what of `weighted` is
/// not seen.
template <class Scalar, class Visit>
void for_each_run_of_scores(const LevelMask& mask, Index leaves,
                            const RowMajorMatrix<Scalar>& scores, RowMajorMatrix<Scalar>& weighted,
                            Visit visit) {
  const Index columns = scores.cols();
  for (Index t = 0; t < scores.rows(); ++t) {
    Scalar* const to = weighted.data() + t * columns;
    const Scalar* const from = scores.data() + t * columns;
    mask.for_each_stretch(t, [&](int level, Index begin, Index size) {
      visit(t, level, from + begin * leaves, to + begin * leaves, size * leaves);
    });
    std::fill(to + mask.seen(t, leaves), to + columns, Scalar(0));
  }
}

/// weighted(t, s) = lambda(t, level of s) scores(t, s); 0 where s is not seen.
template <class Scalar>
void weight_scores(const LevelMask& mask, Index leaves, const RowMajorMatrix<Scalar>& scores,
                   const std::type_identity_t<ConstRowBlock<Scalar>>& lambda,
                   RowMajorMatrix<Scalar>& weighted) {
  for_each_run_of_scores(mask, leaves, scores, weighted,
                         [&](Index t, int level, const Scalar* from, Scalar* to, Index size) {
                           const Scalar weight = lambda(t, level);
                           for (Index s = 0; s < size; ++s) to[s] = weight * from[s];
                         });
}

/// The pullback of `weight_scores`: d_weighted becomes the gradient of the scores; d_lambda is
/// added to.
template <class Scalar>
void pull_back_weighted_scores(const LevelMask& mask, Index leaves,
                               const RowMajorMatrix<Scalar>& scores,
                               const std::type_identity_t<ConstRowBlock<Scalar>>& lambda,
                               RowMajorMatrix<Scalar>& d_weighted,
                               RowMajorMatrix<Scalar>& d_lambda) {
  for_each_run_of_scores(mask, leaves, scores, d_weighted,
                         [&](Index t, int level, const Scalar* from, Scalar* to, Index size) {
                           const Scalar weight = lambda(t, level);
                           Scalar sum(0);
                           for (Index s = 0; s < size; ++s) {
                             sum += to[s] * from[s];
                             to[s] *= weight;
                           }
                           d_lambda(t, level) += sum;
                         });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_LEVEL_MASK_HPP
