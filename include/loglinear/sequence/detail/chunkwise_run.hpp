// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_CHUNKWISE_RUN_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_CHUNKWISE_RUN_HPP

// The chunkwise algorithm. Chunks are stretches of 2^c tokens between absolute positions that are
// multiples of 2^c, so that every bucket of 2^c tokens or more is a union of chunks (Guo et al.,
// arXiv:2506.04761, section 3.3 and algorithm 1). A chunk
//
//     reads      out = (scores . level weights) values + sum_l diag(lambda_l) queries S_l
//     advances   S_l <- A S_l for every older level, those that merge are added together, and
//                S_l += keys^T values for the stretch of the chunk that level l now holds
//
// with the matrices of chunk_map.hpp. Backwards, the same two steps in reverse order.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "loglinear/sequence/detail/chunk.hpp"
#include "loglinear/sequence/detail/chunk_map.hpp"
#include "loglinear/sequence/detail/hierarchy.hpp"
#include "loglinear/sequence/detail/level_mask.hpp"
#include "loglinear/sequence/detail/value_mix.hpp"

namespace loglinear::detail {

/// What a forward pass keeps for its gradient: where chunks begin, and the states before one in
/// `interval` of them. The interval is about the number of levels, so that all states together are
/// O(T / C) matrices.
template <class Scalar>
struct ChunkwiseTape {
  int interval = 1;
  std::vector<Index> begins;
  std::vector<Hierarchy<Scalar>> kept;

  void note(Index first, const Hierarchy<Scalar>& states) {
    if (begins.size() % static_cast<std::size_t>(interval) == 0) kept.push_back(states.snapshot());
    begins.push_back(first);
  }
};

template <class Scalar>
class ChunkwiseRun {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  /// \param chunk_size  tokens of a chunk, a power of two
  /// \param weights     columns of the level weights
  ChunkwiseRun(TokenSource<Scalar>& source, Index chunk_size, Index weights)
      : source_(source),
        shape_(source.shape()),
        chunk_size_(chunk_size),
        capacity_(std::min(chunk_size, source.length())),
        weights_(weights),
        chunk_(shape_, capacity_, weights),
        map_(shape_, capacity_),
        mix_(shape_, capacity_) {}

  /// Reads and writes all tokens; `states` holds the older ones and then those as well. With a tape
  /// it keeps what `gradient` needs; without `reads` nothing is read.
  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape = nullptr,
               bool reads = true) {
    if (tape != nullptr) {
      const auto chunks = source_.length() / chunk_size_ + 2;
      tape->interval = 2 + static_cast<int>(std::bit_width(static_cast<std::uint64_t>(chunks)));
      tape->begins.clear();
      tape->kept.clear();
    }
    for (Index first = 0; first < source_.length(); first += chunk_.tokens) {
      if (tape != nullptr) tape->note(first, states);
      prepare(first, states.count(), reads ? Pass::reads : Pass::states);
      if (reads) {
        read(states);
        source_.take_out(first, chunk_);
      }
      advance(states, states);
    }
  }

  /// From the gradient with respect to the reads, which the source gives, and to the final states
  /// to that of everything: `gradient` holds those states' at first, those of the initial ones in
  /// the end. The states between those on the tape are computed again.
  void gradient(const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient) {
    Chunk<Scalar> d_chunk(shape_, capacity_, weights_);
    std::vector<Hierarchy<Scalar>> before;  // each chunk between two that are on the tape
    std::vector<typename ChunkMap<Scalar>::Kept> kept;
    std::size_t end = tape.begins.size();
    for (std::size_t n = tape.kept.size(); n-- > 0;) {
      const std::size_t begin = n * static_cast<std::size_t>(tape.interval);
      if (before.size() < end - begin - 1) before.resize(end - begin - 1, gradient.empty());
      const auto before_chunk = [&](std::size_t i) -> const Hierarchy<Scalar>& {
        return i == begin ? tape.kept[n] : before[i - begin - 1];
      };
      if (kept.size() < before.size()) kept.resize(before.size());
      for (std::size_t i = begin; i + 1 < end; ++i) {
        prepare(tape.begins[i], before_chunk(i).count(), Pass::states);
        advance(before_chunk(i), before[i - begin]);
        map_.swap_kept(kept[i - begin]);
      }
      for (std::size_t i = end; i-- > begin;) {
        const bool is_kept = i + 1 < end;
        if (is_kept) map_.swap_kept(kept[i - begin]);
        prepare(tape.begins[i], before_chunk(i).count(),
                is_kept ? Pass::gradients_after_states : Pass::gradients);
        pull_back(tape.begins[i], before_chunk(i), gradient, d_chunk);
      }
      end = begin;
    }
  }

 private:
  using Pass = typename ChunkMap<Scalar>::Pass;
  using Targets = typename Chunk<Scalar>::Targets;

  [[nodiscard]] Index next_size(Index first, std::uint64_t position) const {
    const auto into = static_cast<Index>(position % static_cast<std::uint64_t>(chunk_size_));
    return std::min(chunk_size_ - into, source_.length() - first);
  }

  void prepare(Index first, std::uint64_t position, Pass pass) {
    chunk_.tokens = next_size(first, position);
    rows_.emplace(source_.load(first, chunk_));
    map_.forward(chunk_, *rows_, pass);
    mix_.prepare(chunk_, rows_->v);
  }

  [[nodiscard]] LevelMask mask(const Hierarchy<Scalar>& states) const {
    return {shape_.order, states.max_levels(), states.count()};
  }
  /// The stretches of the chunk that each level holds after it.
  template <class Visit>
  void for_each_new_stretch(int max_levels, std::uint64_t before, Visit visit) const {
    const LevelMask after{ReadOrder::before_push, max_levels, before};
    after.for_each_stretch(chunk_.tokens, [&](int level, Index begin, Index size) {
      visit(level, begin * shape_.leaves, size * shape_.leaves);
    });
  }
  [[nodiscard]] std::uint64_t count_after(const Hierarchy<Scalar>& states) const {
    return states.count() + static_cast<std::uint64_t>(chunk_.tokens);
  }

  void read(const Hierarchy<Scalar>& states) {
    const Index tokens = chunk_.tokens;
    auto out = chunk_.out.topRows(tokens);
    out.setZero();
    for (int l : states.active()) {
      gather_lambda(states, l);
      product<Into::add_scaled>(map_.queries(), states.level(l), out, lambda_.data());
    }
    mix_.decay_from_start(out);
    weigh(states);
    mix_.add_mix(weighted_, rows_->v, out);
  }

  void weigh(const Hierarchy<Scalar>& states) {
    weighted_.resize(chunk_.tokens, chunk_.tokens * shape_.leaves);
    weight_scores(mask(states), shape_.leaves, map_.scores(), rows_->lambda, weighted_);
  }

  /// The states after the chunk from those before it; in place where they are the same.
  void advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& next) {
    const std::uint64_t before = states.count(), after = count_after(states);
    const ActiveLevels active = states.active();
    map_.prepare_carry(active_level_count(before, states.max_levels()));
    std::uint64_t filled = 0;
    const auto take = [&](int l) {
      const bool has = (filled >> l) & 1u;
      filled |= std::uint64_t{1} << l;
      return has;
    };
    std::size_t n = 0;
    for (int l : active) {
      map_.carry(n++, states.level(l), next.level(l));
      mix_.carry(next.level(l));
      clear_negligible(next.level(l).data(), next.level(l).size());
      if (states.holder(after, states.bucket(l).first) == l) take(l);
    }
    for (int l : active) {
      const int holder = states.holder(after, states.bucket(l).first);
      if (holder == l) continue;
      if (take(holder)) {
        next.level(holder) += next.level(l);
      } else {
        next.level(holder).swap(next.level(l));
      }
    }
    const RowsView<Scalar> keys = map_.keys(), values = mix_.ended(rows_->v);
    for_each_new_stretch(states.max_levels(), before, [&](int l, Index begin, Index size) {
      const auto left = keys.middleRows(begin, size).transpose();
      const auto right = values.middleRows(begin, size);
      if (take(l)) {
        product<Into::add>(left, right, next.level(l));
      } else {
        next.allocate(l);
        product<Into::replace>(left, right, next.level(l));
      }
    });
    next.set_count(after);
  }

  /// One chunk, prepared, backwards: `gradient` goes from the states after it to those before it,
  /// `states`.
  void pull_back(Index first, const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                 Chunk<Scalar>& d_chunk) {
    const Index tokens = chunk_.tokens, leaves = tokens * shape_.leaves;
    d_chunk.tokens = tokens;
    d_chunk.lambda.setZero();
    d_chunk.decay.setZero();
    d_chunk.value_decay.setZero();
    const Targets targets = source_.open_gradient(first, chunk_, d_chunk);
    map_.prepare_carry(active_level_count(states.count(), states.max_levels()));
    map_.start_pull_back();
    pull_back_advance(states, gradient, targets, d_chunk);

    weigh(states);
    d_weighted_.resize(tokens, leaves);
    mix_.pull_back_mix(weighted_, rows_->v, targets.out, d_weighted_, RowsTarget<Scalar>(targets.v),
                       d_chunk.value_decay);
    pull_back_weighted_scores(mask(states), shape_.leaves, map_.scores(), rows_->lambda,
                              d_weighted_, d_chunk.lambda);
    pull_back_reads(states, gradient, targets.out, d_chunk);
    map_.pull_back(chunk_, *rows_, d_weighted_, d_queries_, d_keys_, targets, d_chunk);
    source_.take_gradient(first, chunk_, d_chunk);
  }

  /// Writes the gradients of the keys and values as far as they are of the states after the chunk.
  void pull_back_advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                         const Targets& targets, Chunk<Scalar>& d_chunk) {
    const std::uint64_t before = states.count(), after = count_after(states);
    const RowsView<Scalar> keys = map_.keys(), values = mix_.ended(rows_->v);
    RowsTarget<Scalar> d_v = targets.v;
    d_keys_.resize(chunk_.tokens * shape_.leaves, shape_.d_k);
    for_each_new_stretch(states.max_levels(), before, [&](int l, Index begin, Index size) {
      transpose_into(gradient.level(l), transposed_);
      product<Into::replace>(values.middleRows(begin, size), transposed_,
                             d_keys_.middleRows(begin, size));
      product<Into::replace>(keys.middleRows(begin, size), gradient.level(l),
                             d_v.middleRows(begin, size));
    });
    mix_.pull_back_to_end(d_v, d_chunk.value_decay);

    for (int l : states.active()) {
      const int holder = states.holder(after, states.bucket(l).first);
      if (holder != l) gradient.level(l) = gradient.level(holder);
    }
    gradient.set_count(before);
    std::size_t n = 0;
    for (int l : states.active()) {
      if (shape_.decays_values) {
        map_.carry(n, states.level(l), carried_);
        mix_.carry(carried_);
        mix_.pull_back_carry(carried_, gradient.level(l), d_chunk.value_decay);
      }
      map_.pull_back_carry(n++, states.level(l), gradient.level(l));
      clear_negligible(gradient.level(l).data(), gradient.level(l).size());
    }
  }

  /// Backwards through out = sum_l diag(lambda_l) queries S_l, transposed, so that no state has to
  /// be: z = S_l d_out^T, d_queries^T += z diag(lambda_l), d_lambda_l = rows of queries . z.
  void pull_back_reads(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                       RowsView<Scalar> d_out, Chunk<Scalar>& d_chunk) {
    const Index tokens = chunk_.tokens;
    const RowsView<Scalar> queries = map_.queries();
    if (shape_.decays_values) {
      auto d_decayed = d_chunk.out.topRows(tokens);
      d_decayed = d_out;
      decayed_reads_.setZero(tokens, shape_.d_v);
      for (int l : states.active()) {
        gather_lambda(states, l);
        product<Into::add_scaled>(queries, states.level(l), decayed_reads_, lambda_.data());
      }
      mix_.decay_from_start(decayed_reads_);
      mix_.pull_back_from_start(decayed_reads_, d_decayed, d_chunk.value_decay);
      new (&d_out) RowsView<Scalar>(view_of(d_decayed));  // how Eigen points a map elsewhere
    }
    d_queries_transposed_.setZero(shape_.d_k, tokens);
    transpose_into(d_out, d_out_transposed_);
    transpose_into(queries, queries_transposed_);
    products_.resize(shape_.d_k, tokens);
    lambda_out_.resize(tokens, shape_.d_v);
    for (int l : states.active()) {
      gather_lambda(states, l);
      for (Index t = 0; t < tokens; ++t) {
        scaled_row<false>(lambda_[t], d_out.data() + t * d_out.outerStride(), shape_.d_v,
                          lambda_out_.data() + t * shape_.d_v);
      }
      product<Into::add>(queries.transpose(), lambda_out_, gradient.level(l));
      product<Into::replace>(states.level(l), d_out_transposed_, products_);
      d_lambda_.setZero(tokens);
      for (Index i = 0; i < shape_.d_k; ++i) {
        d_lambda_ += products_.row(i).cwiseProduct(queries_transposed_.row(i));
        d_queries_transposed_.row(i) += products_.row(i).cwiseProduct(lambda_);
      }
      for_each_weight_of(states, l,
                         [&](Index t, int level) { d_chunk.lambda(t, level) += d_lambda_[t]; });
    }
    transpose_into(d_queries_transposed_, d_queries_);
  }

  /// lambda_ = what multiplies each query of the chunk where it reads level l.
  void gather_lambda(const Hierarchy<Scalar>& states, int l) {
    lambda_.resize(chunk_.tokens);
    for_each_weight_of(states, l, [&](Index t, int level) {
      lambda_[t] = rows_->lambda(t, level) * map_.query_factor(t);
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

  TokenSource<Scalar>& source_;
  SequenceShape shape_;
  Index chunk_size_, capacity_, weights_;
  Chunk<Scalar> chunk_;
  std::optional<typename Chunk<Scalar>::Views> rows_{};
  ChunkMap<Scalar> map_;
  ValueMix<Scalar> mix_;
  Matrix weighted_, lambda_out_;
  Eigen::Matrix<Scalar, 1, Eigen::Dynamic> lambda_, d_lambda_;
  Matrix d_weighted_, d_queries_, d_keys_, carried_, transposed_, decayed_reads_;
  Matrix d_queries_transposed_, d_out_transposed_, queries_transposed_, products_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_CHUNKWISE_RUN_HPP
