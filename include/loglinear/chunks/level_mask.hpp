// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_LEVEL_MASK_HPP
#define LOGLINEAR_CHUNKS_LEVEL_MASK_HPP

// Which level weight a query gives to what: to each earlier token of its own chunk, and to each
// bucket that is older than the chunk.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
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

/// The stretches of all queries of a chunk, one query after the other.
class LevelRuns {
 public:
  struct Run {
    int level;
    Index begin, size;
  };

  /// Computes the stretches of `tokens` tokens. Whole chunks one after the other all have the same,
  /// so that nothing is done for them.
  void prepare(const LevelMask& mask, Index tokens) {
    const bool is_regular = is_same_for_all_chunks(mask, tokens);
    if (is_regular && is_regular_ && tokens == tokens_) return;
    is_regular_ = false;
    runs_.clear();
    first_.assign(1, 0);
    for (Index t = 0; t < tokens; ++t) {
      mask.for_each_stretch(t, [&](int level, Index begin, Index size) {
        runs_.push_back({level, begin, size});
      });
      first_.push_back(runs_.size());
    }
    is_regular_ = is_regular;
    tokens_ = tokens;
  }
  /// Those of query t, the oldest first.
  [[nodiscard]] std::span<const Run> of(Index t) const {
    const std::size_t* const begin = first_.data() + t;
    return {runs_.data() + begin[0], begin[1] - begin[0]};
  }

 private:
  /// Whether the chunk begins where its size divides the position, no query sees beyond it, and no
  /// level of a query's is the last.
  [[nodiscard]] static bool is_same_for_all_chunks(const LevelMask& mask, Index tokens) {
    const auto size = std::bit_ceil(static_cast<std::uint64_t>(tokens));
    return mask.first % size == 0 && !mask.sees_itself() &&
           static_cast<int>(std::bit_width(size)) < mask.max_levels;
  }

  std::vector<Run> runs_{};
  std::vector<std::size_t> first_{};  // where the runs of each query begin
  bool is_regular_ = false;
  Index tokens_ = 0;
};

/// weighted(i, s) = lambda(t, level of s) scores(i, s) for the queries t = first + i; 0 where s is
/// not seen, of `leaves` columns a token. `factors(t)` is what row i of the scores is to be
/// multiplied by, or null for all rows. `lambda` has the rows of the whole chunk.
///
/// Scores and factors that are not seen may have any value, but must be initialised. `spare` more
/// numbers must lie behind the last row of the scores, and behind that of `weighted`, where they
/// are overwritten.
template <class Scalar, class Factors>
void weight_scores(const LevelMask& mask, const LevelRuns& runs, Index first, Index leaves,
                   const std::type_identity_t<ConstRowBlock<Scalar>>& scores,
                   const std::type_identity_t<ConstRowBlock<Scalar>>& lambda,
                   const RowBlock<Scalar>& weighted, Factors factors, Index spare) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const Index rows = scores.rows(), columns = scores.cols();
  for (Index i = 0; i < rows; ++i) {
    const Scalar *const from = scores.row(i), *const by = factors(first + i),
                        *const weights = lambda.row(first + i);
    Scalar* const to = weighted.row(i);
    // Runs are written in whole packets, which may reach beyond their end, even into the next row:
    // what comes later in the matrix is written later.
    const bool has_room = (rows - 1 - i) * columns + spare >= width;
    for (const auto& [level, begin, size] : runs.of(first + i)) {
      const Scalar weight = weights[level];
      const P factor = ei::pset1<P>(weight);
      const Index end = (begin + size) * leaves;
      Index s = begin * leaves;
      for (; has_room && s < end; s += width) {
        P score = ei::ploadu<P>(from + s);
        if (by != nullptr) score = ei::pmul(score, ei::ploadu<P>(by + s));
        ei::pstoreu(to + s, ei::pmul(factor, score));
      }
      for (; s < end; ++s) to[s] = weight * (by != nullptr ? Scalar(from[s] * by[s]) : from[s]);
    }
    std::fill(to + mask.seen(first + i, leaves), to + columns, Scalar(0));
  }
}

/// The pullback of `weight_scores`: d_weighted becomes the gradient of the scores; d_lambda is
/// added to.
template <class Scalar, class Factors>
void pull_back_weighted_scores(const LevelMask& mask, const LevelRuns& runs, Index leaves,
                               const RowMajorMatrix<Scalar>& scores,
                               const std::type_identity_t<ConstRowBlock<Scalar>>& lambda,
                               RowMajorMatrix<Scalar>& d_weighted, RowMajorMatrix<Scalar>& d_lambda,
                               Factors factors) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const Index columns = scores.cols();
  // Most runs are shorter than a packet: what is done to each number is done to whole rows.
  Vector<Scalar> weights(columns + width), products(columns);
  for (Index t = 0; t < scores.rows(); ++t) {
    const Scalar *const row = scores.data() + t * columns, *const by = factors(t);
    Scalar* const d_row = d_weighted.data() + t * columns;
    for (const auto& [level, begin, size] : runs.of(t)) {  // in packets, as above
      const Scalar weight = lambda(t, level);
      for (Index s = begin * leaves; s < (begin + size) * leaves; s += width) {
        ei::pstoreu(weights.data() + s, ei::pset1<P>(weight));
      }
    }
    const Index seen = mask.seen(t, leaves), size = whole_packets<Scalar>(seen, columns);
    multiply(d_row, row, size, products.data());
    if (by != nullptr) multiply(products.data(), by, size, products.data());
    multiply(d_row, weights.data(), size, d_row);
    for (const auto& [level, begin, count] : runs.of(t)) {
      d_lambda(t, level) += sum(products.data() + begin * leaves, count * leaves);
    }
    std::fill(d_row + seen, d_row + columns, Scalar(0));
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_LEVEL_MASK_HPP
