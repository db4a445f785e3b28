// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_STEP_PULLBACK_HPP
#define LOGLINEAR_CHUNKS_CHUNK_STEP_PULLBACK_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "loglinear/chunks/chunk_map_pullback.hpp"
#include "loglinear/chunks/chunk_step.hpp"
#include "loglinear/chunks/pairs.hpp"
#include "loglinear/detail/kernels/column_products.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// The two halves of a chunk's step backwards, in reverse order.
template <class Scalar>
class ChunkStepPullback {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Targets = typename Chunk<Scalar>::Targets;

  /// \param step  which will have loaded, for gradients, the chunk at hand
  explicit ChunkStepPullback(ChunkStep<Scalar>& step)
      : step_(step), map_(step.map()), shape_(step.shape()) {}

  /// `gradient` holds the gradient of the states after the chunk, and in the end that of `states`,
  /// the ones before it. `targets` says where the gradient of the reads is. The gradient of the
  /// chunk goes to `d_chunk` and `targets`. Calls `foresee(part, parts)` now and then, each part
  /// once.
  template <class Foresee>
  void operator()(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                  const Targets& targets, Chunk<Scalar>& d_chunk, Foresee foresee) {
    const Index tokens = step_.chunk().tokens;
    step_.map().prepare_carry(step_.merge_of(states).states());
    map_.start();
    pull_back_advance(states, gradient, targets, d_chunk);

    const auto& rows = step_.rows();
    resize(d_weighted_, tokens, tokens * shape_.leaves);
    step_.mix().pull_back_mix(step_.weighted_scores(step_.mask(states)), rows.v, targets.out,
                              d_weighted_, targets.v, d_chunk.value_decay);
    pull_back_weighted_scores(step_.mask(states), step_.runs(), shape_.leaves, step_.map().scores(),
                              rows.lambda, d_weighted_, d_chunk.lambda,
                              [&](Index t) { return step_.map().score_factors(t); });
    pull_back_reads(states, gradient, targets.out, targets.q, d_chunk, foresee);
    map_.finish(step_.chunk(), rows, d_weighted_, d_queries_, d_keys_, targets, d_chunk);
  }

 private:
  /// The whole of a matrix of that size.
  [[nodiscard]] static Block sized(Matrix& m, Index rows, Index columns) {
    resize(m, rows, columns);
    return m;
  }

  /// Writes what the states after the chunk contribute to the gradients of keys and values.
  void pull_back_advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                         const Targets& targets, Chunk<Scalar>& d_chunk) {
    const std::uint64_t before = states.count();
    const ConstBlock keys = step_.map().keys(), values = step_.mix().ended(step_.rows().v);
    const Block d_v = targets.v,
                d_keys = sized(d_keys_, step_.chunk().tokens * shape_.leaves, shape_.d_k);
    step_.for_each_new_stretch(states.max_levels(), before, [&](int l, Index begin, Index size) {
      transpose_into(gradient.level(l), transposed_);
      product<Into::replace>(values.middleRows(begin, size), transposed_,
                             d_keys.middleRows(begin, size));
      product<Into::replace>(keys.middleRows(begin, size), gradient.level(l),
                             d_v.middleRows(begin, size));
    });
    step_.mix().pull_back_to_end(d_v, d_chunk.value_decay);

    // The levels that have merged come first, while the gradient of where they are now is there.
    const LevelMerge merging = step_.merge_of(states);
    std::size_t n = 0;
    for (int l : states.active()) {
      if (l < merging.oldest) continue;
      const bool has_merged = l == merging.oldest;
      pull_back_carry(n++, has_merged ? step_.merged(states, merging) : states.level(l),
                      gradient.level(has_merged ? merging.landed : l), gradient.level(l), d_chunk);
    }
    for (int l : states.active()) {
      if (l < merging.oldest) assign(gradient.level(l), gradient.level(merging.oldest));
    }
    gradient.set_count(before);
  }
  /// The gradient of older state n from that of what it has become.
  void pull_back_carry(std::size_t n, const Matrix& state, const Matrix& d_next, Matrix& d_state,
                       Chunk<Scalar>& d_chunk) {
    if (shape_.decays_values) {
      step_.map().carry(n, state, carried_);
      step_.mix().carry(carried_);
      if (&d_state != &d_next) d_state = d_next;
      step_.mix().pull_back_carry(carried_, d_state, d_chunk.value_decay);
      map_.carry(n, state, d_state, d_state);
    } else {
      map_.carry(n, state, d_next, d_state);
    }
    clear_negligible(d_state.data(), d_state.size());
  }

  /// Backwards through out = sum_l diag(lambda_l) queries S_l, transposed, so that no state has to
  /// be: z = S_l d_out^T, d_queries^T += z diag(lambda_l), d_lambda_l = rows of queries . z.
  template <class Foresee>
  void pull_back_reads(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                       ConstBlock d_out, const Block& d_q, Chunk<Scalar>& d_chunk,
                       Foresee foresee) {
    const Index tokens = step_.chunk().tokens;
    const ConstBlock queries = step_.map().queries();
    if (shape_.decays_values) {
      const Block d_decayed = writable_block_of(d_chunk.out).topRows(tokens);
      for (Index t = 0; t < tokens; ++t) copy(d_out.row(t), shape_.d_v, d_decayed.row(t));
      set_zero(decayed_reads_, tokens, shape_.d_v);
      for (int l : states.active()) {
        step_.gather_lambda(states, l, lambda_);
        product<Into::add_scaled>(queries, states.level(l), decayed_reads_, lambda_.data());
      }
      step_.mix().decay_from_start(decayed_reads_);
      step_.mix().pull_back_from_start(decayed_reads_, d_decayed, d_chunk.value_decay);
      d_out = d_decayed;
    }
    set_zero(d_queries_transposed_, shape_.d_k, tokens);
    transpose_into(d_out, d_out_transposed_);
    transpose_into(queries, queries_transposed_);
    resize(products_, shape_.d_k, tokens);
    resize(lambda_out_, tokens, shape_.d_v);
    const Index parts =
        pair_blocks(shape_.d_k) * active_level_count(states.count(), states.max_levels());
    Index part = 0;
    for (int l : states.active()) {
      step_.gather_lambda(states, l, lambda_);
      for (Index t = 0; t < tokens; ++t) {
        scaled_row<false>(lambda_[t], d_out.row(t), shape_.d_v,
                          lambda_out_.data() + t * shape_.d_v);
      }
      const ConstBlock state(states.level(l));
      const Block d_state(gradient.level(l)), products(products_);
      for (Index i = 0; i < shape_.d_k; i += pair_rows, ++part) {
        const Index rows = (std::min)(pair_rows, shape_.d_k - i);
        foresee(part, parts);
        const auto left = queries.block(0, i, tokens, rows).transpose();
        product<Into::add>(left, ConstBlock(lambda_out_), d_state.middleRows(i, rows));
        product<Into::replace>(state.middleRows(i, rows), ConstBlock(d_out_transposed_),
                               products.middleRows(i, rows));
      }
      set_zero(d_lambda_, tokens);
      add_column_products(products_.data(), shape_.d_k, tokens, queries_transposed_.data(),
                          lambda_.data(), d_lambda_.data(), d_queries_transposed_.data());
      step_.for_each_weight_of(states, l, [&](Index t, int level) {
        d_chunk.lambda(t, level) += step_.map().query_factor(t) * d_lambda_[t];
      });
      if (step_.map().has_plain_scores()) note_reads();
    }
    const bool is_plain = step_.map().has_plain_scores();
    is_plain ? transpose_into(d_queries_transposed_, d_q)
             : transpose_into(d_queries_transposed_, d_queries_);
  }
  /// What the reads of the last level say of the decays.
  void note_reads() {
    for (Index t = 0; t < d_lambda_.size(); ++t) {
      step_.map().decay().note_from_start(shape_.queries_at()[t], lambda_[t] * d_lambda_[t]);
    }
  }

  ChunkStep<Scalar>& step_;
  ChunkMapPullback<Scalar> map_;
  SequenceShape shape_;
  Matrix lambda_out_{};
  Vector<Scalar> lambda_{}, d_lambda_{};
  Matrix d_weighted_{}, d_queries_{}, d_keys_{}, carried_{}, transposed_{}, decayed_reads_{};
  Matrix d_queries_transposed_{}, d_out_transposed_{}, queries_transposed_{}, products_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_STEP_PULLBACK_HPP
