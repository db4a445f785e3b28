// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_STEP_HPP
#define LOGLINEAR_CHUNKS_CHUNK_STEP_HPP

// What the chunkwise algorithm does with one chunk (Guo et al., arXiv:2506.04761, section 3.3 and
// algorithm 1). With the matrices of chunk_map.hpp a chunk
//
//     reads      out = (scores . level weights) values + sum_l diag(lambda_l) queries S_l
//     advances   S_l <- A S_l for every older level, where those that merge are added together
//                before, and S_l += keys^T values for the stretch of the chunk that level l then
//                holds

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/chunks/chunk_map.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/chunks/level_mask.hpp"
#include "loglinear/chunks/level_merge.hpp"
#include "loglinear/chunks/pairs.hpp"
#include "loglinear/chunks/state_share.hpp"
#include "loglinear/chunks/value_mix.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkStep {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Views = typename Chunk<Scalar>::Views;
  using Pass = typename ChunkMap<Scalar>::Pass;

  /// \param capacity  the most tokens of a chunk
  /// \param weights   columns of the level weights
  ChunkStep(const SequenceShape& shape, Index capacity, Index weights)
      : shape_(shape),
        chunk_(shape, capacity, weights),
        map_(shape, capacity),
        mix_(shape, capacity),
        all_{0, shape.d_v, 0, max_level_limit} {}

  /// Takes the `tokens` tokens from `first` on.
  void load(TokenSource<Scalar>& source, Index first, Index tokens, Pass pass) {
    chunk_.tokens = tokens;
    rows_ = source.load(first, chunk_);
    map_.forward(chunk_, rows_, pass);
    mix_.prepare(chunk_, rows_.v);
  }

  /// The first part of a pass for reads or for states. It needs no level of the states, only
  /// `before`, the number of tokens before the chunk.
  void begin(int max_levels, std::uint64_t before, bool reads) {
    if (reads) begin_reads(max_levels, before, [] {});
    const std::uint64_t after = before + static_cast<std::uint64_t>(chunk_.tokens);
    map_.prepare_carry(LevelMerge(before, after, max_levels).states());
  }
  /// The second part, for a share of the states: `states` has it alone; it is read if `reads`, and
  /// goes through the chunk. No share of columns depends on another, so that threads may take
  /// different ones at the same time. A share of older levels comes after that of the younger ones
  /// with the same columns, which leaves the sum of those that grow older than it in `handed`.
  void take(Hierarchy<Scalar>& states, StateShare<Scalar>& share, Matrix& handed,
            bool reads) const {
    const LevelMerge merging = merge_of(states);
    int given = -1;  // the level of that sum
    for (int l : states.active()) {
      if (l <= merging.oldest && l < share.border()) given = l;
    }
    const bool is_given = given >= 0 && merging.landed >= share.border();
    if (is_given && share.is_older()) states.level(given).swap(handed);
    take_share(states, share, reads);
    if (is_given && !share.is_older()) states.level(given).swap(handed);
    merge(states, states, share, [] {});
  }
  /// The third part of a pass for reads, once all columns are through.
  void end_reads() { mix_.end_reads(weighted_, rows_.v, rows_.out); }

  /// The states after the chunk from those before it, in place.
  void advance(Hierarchy<Scalar>& states) {
    map_.prepare_carry(merge_of(states).states());
    take_levels(states, all_, false, rows_.out, [] {});
    merge(states, states, all_, [] {});
  }
  /// The same into other memory. Calls `foresee(part, parts)` now and then, each part once.
  template <class Foresee>
  void advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& next, Foresee foresee) {
    const LevelMerge merging = merge_of(states);
    map_.prepare_carry(merging.states());
    std::size_t n = 0;
    for (int l : states.active()) {
      if (l < merging.oldest) continue;
      map_.carry(n++, l == merging.oldest ? merged(states, merging) : states.level(l),
                 next.level(l));
      end_carry(next.level(l), all_);
    }
    merge(states, next, all_, in_parts(pair_blocks(shape_.d_k), foresee));
  }

  /// Reads and advances in place: each level goes through the chunk right after it was read, while
  /// it is in the cache.
  template <class Foresee>
  void read_and_advance(Hierarchy<Scalar>& states, Foresee foresee) {
    const Index levels = active_level_count(states.count(), states.max_levels());
    const Index reads = pair_blocks(chunk_.tokens) * (levels + (map_.has_plain_scores() ? 1 : 0));
    auto next_part = in_parts(reads + pair_blocks(shape_.d_k), foresee);
    begin_reads(states.max_levels(), states.count(), next_part);
    map_.prepare_carry(merge_of(states).states());
    take_levels(states, all_, true, rows_.out, next_part);
    end_reads();
    merge(states, states, all_, next_part);
  }

  [[nodiscard]] const Chunk<Scalar>& chunk() const { return chunk_; }
  [[nodiscard]] ChunkMap<Scalar>& map() { return map_; }

  /// \name For the pullback
  /// \{

  [[nodiscard]] const SequenceShape& shape() const { return shape_; }
  [[nodiscard]] const Views& rows() const { return rows_; }
  [[nodiscard]] ValueMix<Scalar>& mix() { return mix_; }

  [[nodiscard]] LevelMask mask(int max_levels, std::uint64_t before) const {
    return {shape_.order, max_levels, before};
  }
  [[nodiscard]] LevelMask mask(const Hierarchy<Scalar>& states) const {
    return mask(states.max_levels(), states.count());
  }
  [[nodiscard]] std::uint64_t count_after(const Hierarchy<Scalar>& states) const {
    return states.count() + static_cast<std::uint64_t>(chunk_.tokens);
  }
  /// The levels that become one until the chunk is through.
  [[nodiscard]] LevelMerge merge_of(const Hierarchy<Scalar>& states) const {
    return states.merge_until(count_after(states));
  }
  /// Their sum, in `merged_` or in the states.
  const Matrix& merged(const Hierarchy<Scalar>& states, const LevelMerge& merging) {
    return states.sum_until(merging.oldest, merged_);
  }
  /// The rows of keys and values of each stretch of the chunk that a level holds after it.
  template <class Visit>
  void for_each_new_stretch(int max_levels, std::uint64_t before, Visit visit) const {
    const LevelMask after{ReadOrder::before_push, max_levels, before};
    after.for_each_stretch(chunk_.tokens, [&](int level, Index begin, Index size) {
      visit(level, begin * shape_.leaves, size * shape_.leaves);
    });
  }

  /// The stretches of the chunk under one level each, once its scores were weighted.
  [[nodiscard]] const LevelRuns& runs() const { return runs_; }
  /// The scores under their level weights.
  const Matrix& weighted_scores(const LevelMask& mask) {
    resize(weighted_, chunk_.tokens, chunk_.tokens * shape_.leaves);
    runs_.prepare(mask, chunk_.tokens);
    weight_scores<Scalar>(
        mask, runs_, 0, shape_.leaves, map_.scores(), rows_.lambda, weighted_,
        [&](Index t) { return map_.score_factors(t); }, 0);
    return weighted_;
  }
  /// lambda = what multiplies each query of the chunk where it reads level l.
  void gather_lambda(const Hierarchy<Scalar>& states, int l, Vector<Scalar>& lambda) const {
    resize(lambda, chunk_.tokens);
    for_each_weight_of(states, l, [&](Index t, int level) {
      lambda[t] = rows_.lambda(t, level) * map_.query_factor(t);
    });
  }
  /// Calls `visit(t, column of its level weights)` for each token t that reads level l of `states`.
  /// A bucket's level never falls while tokens pass, so that equal ends mean one level for all.
  template <class Visit>
  void for_each_weight_of(const Hierarchy<Scalar>& states, int l, Visit visit) const {
    const std::uint64_t bucket = states.bucket(l).first;
    const LevelMask levels = mask(states);
    const int first = levels.level(bucket, 0), last = levels.level(bucket, chunk_.tokens - 1);
    for (Index t = 0; t < chunk_.tokens; ++t) {
      visit(t, first == last ? first : levels.level(bucket, t));
    }
  }
  /// \}

 private:
  /// What the chunk's tokens read of each other, or what must come before they read of the states.
  template <class Before>
  void begin_reads(int max_levels, std::uint64_t before, Before&& before_stretch) {
    const LevelMask levels = mask(max_levels, before);
    const bool folds = map_.has_plain_scores();
    if (!folds) return mix_.begin_reads(weighted_scores(levels), rows_.v, rows_.out);
    runs_.prepare(levels, chunk_.tokens);
    // A few queries at a time, so that what is between two products stays in the nearest cache.
    const Index tokens = chunk_.tokens, spare = packet_size<Scalar>;
    if (folded_.cols() < tokens) set_zero(folded_, 3 * pair_rows, (std::max)(tokens, spare));
    for (Index first = 0; first < tokens; first += pair_rows) {
      const Index size = (std::min)(pair_rows, tokens - first);
      const Block scores = Block(folded_).block(0, 0, size, tokens),
                  weighted = Block(folded_).block(pair_rows, 0, size, tokens);
      before_stretch();
      map_.fold_scores(first, scores);
      weight_scores<Scalar>(
          levels, runs_, first, shape_.leaves, scores, rows_.lambda, weighted,
          [&](Index t) { return map_.score_factors(t); }, spare);
      product_of_pairs<Into::replace>(weighted, shape_.queries_at().from(first), shape_.leaves_at(),
                                      rows_.v, rows_.out.middleRows(first, size));
    }
  }
  /// Reads a share of the levels and takes it through the chunk.
  void take_share(Hierarchy<Scalar>& states, StateShare<Scalar>& share, bool reads) const {
    if (!reads || share.size == shape_.d_v) {
      return take_levels(states, share, reads, rows_.out, [] {});
    }
    // Columns in memory of their own, so that no other thread writes to the same lines of a cache.
    const Block all = rows_.out.block(0, share.first, chunk_.tokens, share.size);
    resize(share.reads, all.rows(), all.cols());
    copy_rows(ConstBlock(all), share.reads);
    take_levels(states, share, reads, share.reads, [] {});
    copy_rows(ConstBlock(share.reads), all);
  }
  /// Takes each level through the chunk right after it was read, while it is in the cache. Those
  /// that merge are added to the next older one, which has been read then, and go with that.
  template <class Before>
  void take_levels(Hierarchy<Scalar>& states, StateShare<Scalar>& share, bool reads,
                   const Block& out, Before&& before_stretch) const {
    const LevelMerge merging = merge_of(states);
    const Matrix* younger = nullptr;  // what is to be added to the next level
    for (int l : states.active()) {
      Matrix& level = states.level(l);
      if (share.has(l)) {
        if (reads) read_level(states, l, share, out, before_stretch);
        if (younger != nullptr) add(level.data(), younger->data(), level.size(), level.data());
        if (l >= merging.oldest) {
          map_.carry(level, level, share.found, share.carried);
          end_carry(level, share);
        }
      }
      younger = l < merging.oldest ? &level : nullptr;
    }
  }
  template <class Before>
  void read_level(const Hierarchy<Scalar>& states, int l, StateShare<Scalar>& share,
                  const Block& out, Before&& before_stretch) const {
    gather_lambda(states, l, share.lambda);
    for (Index first = 0; first < chunk_.tokens; first += pair_rows) {
      const Index size = (std::min)(pair_rows, chunk_.tokens - first);
      before_stretch();
      product<Into::add_scaled>(map_.queries().middleRows(first, size), states.level(l),
                                out.middleRows(first, size), share.lambda.data() + first);
    }
  }
  /// What an older state undergoes after the chunk's transitions.
  void end_carry(Matrix& state, const StateShare<Scalar>& share) const {
    mix_.carry(state, share.first);
    clear_negligible(state.data(), state.size());
  }
  /// Moves those levels of `next` that have merged and gone through the chunk to where they are
  /// after it, if the share has that level, and adds the chunk's own leaves. Of `states` it uses
  /// only the count, that before the chunk, and not the levels.
  template <class Before>
  void merge(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& next,
             const StateShare<Scalar>& share, Before&& before_rows) const {
    const LevelMerge merging = merge_of(states);
    if (merging.landed > merging.oldest && share.has(merging.landed)) {
      next.level(merging.landed).swap(next.level(merging.oldest));
    }
    const ConstBlock keys = map_.keys(), values = mix_.ended(rows_.v);
    for_each_new_stretch(states.max_levels(), states.count(), [&](int l, Index begin, Index size) {
      if (!share.has(l)) return;
      if (!merging.has(l)) next.allocate(l);
      const ConstBlock right = values.block(begin, share.first, size, share.size);
      for (Index i = 0; i < shape_.d_k; i += pair_rows) {
        const Index rows = (std::min)(pair_rows, shape_.d_k - i);
        const auto left = keys.block(begin, i, size, rows).transpose();
        const Block to = Block(next.level(l)).middleRows(i, rows);
        before_rows();
        merging.has(l) ? product<Into::add>(left, right, to)
                       : product<Into::replace>(left, right, to);
      }
    });
    next.set_count(count_after(states));
  }

  SequenceShape shape_;
  Chunk<Scalar> chunk_;
  Views rows_{};
  ChunkMap<Scalar> map_;
  ValueMix<Scalar> mix_;
  LevelRuns runs_{};
  Matrix merged_{};
  Matrix weighted_{}, folded_{};  // the scores under their weights, of all queries or of a few
  StateShare<Scalar> all_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_STEP_HPP
