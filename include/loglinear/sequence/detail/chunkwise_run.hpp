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
      prepare(first, states.count(), reads);
      if (reads) {
        read(states);
        source_.take_out(first, chunk_);
      }
      advance(states);
    }
  }

  /// From the gradient with respect to the reads, which the source gives, and to the final states
  /// to that of everything: `gradient` holds those states' at first, those of the initial ones in
  /// the end. The states between those on the tape are computed again.
  void gradient(const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient) {
    Chunk<Scalar> d_chunk(shape_, capacity_, weights_);
    std::vector<Hierarchy<Scalar>> before;  // each chunk between two that are on the tape
    std::size_t end = tape.begins.size();
    for (std::size_t n = tape.kept.size(); n-- > 0;) {
      const std::size_t begin = n * static_cast<std::size_t>(tape.interval);
      before.resize(std::max(before.size(), end - begin), gradient);
      before[0].become(tape.kept[n]);
      for (std::size_t i = 1; i < end - begin; ++i) {
        before[i].become(before[i - 1]);
        prepare(tape.begins[begin + i - 1], before[i].count(), false);
        advance(before[i]);
      }
      for (; end > begin; --end) {
        pull_back(tape.begins[end - 1], before[end - 1 - begin], gradient, d_chunk);
      }
    }
  }

 private:
  [[nodiscard]] Index next_size(Index first, std::uint64_t position) const {
    const auto into = static_cast<Index>(position % static_cast<std::uint64_t>(chunk_size_));
    return std::min(chunk_size_ - into, source_.length() - first);
  }

  void prepare(Index first, std::uint64_t position, bool reads) {
    chunk_.tokens = next_size(first, position);
    rows_.emplace(source_.load(first, chunk_));
    map_.forward(chunk_, *rows_, reads);
    mix_.prepare(chunk_, rows_->v);
  }

  [[nodiscard]] LevelMask mask(const Hierarchy<Scalar>& states) const {
    return {shape_.order, states.max_levels(), states.count()};
  }
  /// The stretches of the chunk that each level holds after it.
  template <class Visit>
  void for_each_new_stretch(const Hierarchy<Scalar>& states, Visit visit) const {
    const LevelMask after{ReadOrder::before_push, states.max_levels(), states.count()};
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
    weight_scores(mask(states), shape_.leaves, map_.scores(), chunk_.lambda, weighted_);
  }

  void advance(Hierarchy<Scalar>& states) {
    const std::uint64_t after = count_after(states);
    map_.prepare_carry(active_level_count(states.count(), states.max_levels()));
    std::uint64_t filled = 0;
    const auto take = [&](int l) {
      const bool has = (filled >> l) & 1u;
      filled |= std::uint64_t{1} << l;
      return has;
    };
    for (int l : states.active()) {
      map_.carry(states.level(l));
      mix_.carry(states.level(l));
      if (states.holder(after, states.bucket(l).first) == l) take(l);
    }
    for (int l : states.active()) {
      const int holder = states.holder(after, states.bucket(l).first);
      if (holder == l) continue;
      if (take(holder)) {
        states.level(holder) += states.level(l);
      } else {
        states.level(holder).swap(states.level(l));
      }
    }
    for_each_new_stretch(states, [&](int l, Index begin, Index size) {
      if (!take(l)) states.set_zero(l);
      product<Into::add>(map_.keys().middleRows(begin, size).transpose(),
                         mix_.ended(rows_->v).middleRows(begin, size), states.level(l));
    });
    states.set_count(after);
  }

  /// One chunk backwards: `gradient` goes from the states after it to those before it, `states`.
  void pull_back(Index first, const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                 Chunk<Scalar>& d_chunk) {
    prepare(first, states.count(), true);
    const Index tokens = chunk_.tokens, leaves = tokens * shape_.leaves;
    d_chunk.set_zero();
    d_chunk.tokens = tokens;
    source_.load_gradient(first, chunk_, d_chunk);
    map_.start_pull_back();
    pull_back_advance(states, gradient, d_chunk);

    auto d_out = d_chunk.out.topRows(tokens);
    auto d_v = d_chunk.v.topRows(leaves);
    weigh(states);
    d_weighted_.resize(tokens, leaves);
    mix_.pull_back_mix(weighted_, rows_->v, d_out, d_weighted_, d_v, d_chunk.value_decay);
    pull_back_weighted_scores(mask(states), shape_.leaves, map_.scores(), chunk_.lambda,
                              d_weighted_, d_chunk.lambda);
    pull_back_reads(states, gradient, d_chunk);
    map_.pull_back(chunk_, *rows_, d_weighted_, d_queries_, d_keys_, d_chunk);
    source_.take_gradient(first, chunk_, d_chunk);
  }

  void pull_back_advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                         Chunk<Scalar>& d_chunk) {
    const Index leaves = chunk_.tokens * shape_.leaves;
    const std::uint64_t after = count_after(states);
    d_keys_.setZero(leaves, shape_.d_k);
    ended_gradient_.setZero(leaves, shape_.d_v);
    for_each_new_stretch(states, [&](int l, Index begin, Index size) {
      transpose_into(gradient.level(l), transposed_);
      product<Into::add>(mix_.ended(rows_->v).middleRows(begin, size), transposed_,
                         d_keys_.middleRows(begin, size));
      product<Into::add>(map_.keys().middleRows(begin, size), gradient.level(l),
                         ended_gradient_.middleRows(begin, size));
    });
    mix_.pull_back_to_end(ended_gradient_, d_chunk.value_decay);
    d_chunk.v.topRows(leaves) += ended_gradient_;

    for (int l : states.active()) {
      const int holder = states.holder(after, states.bucket(l).first);
      if (holder != l) gradient.level(l) = gradient.level(holder);
    }
    gradient.set_count(states.count());
    map_.prepare_carry(active_level_count(states.count(), states.max_levels()));
    for (int l : states.active()) {
      if (shape_.decays_values) {
        carried_ = states.level(l);
        map_.carry(carried_);
        mix_.carry(carried_);
        mix_.pull_back_carry(carried_, gradient.level(l), d_chunk.value_decay);
      }
      map_.pull_back_carry(states.level(l), gradient.level(l));
    }
  }

  /// Backwards through out = sum_l diag(lambda_l) queries S_l, transposed, so that no state has to
  /// be: z = S_l d_out^T, d_queries^T += z diag(lambda_l), d_lambda_l = rows of queries . z.
  void pull_back_reads(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                       Chunk<Scalar>& d_chunk) {
    const Index tokens = chunk_.tokens;
    auto d_out = d_chunk.out.topRows(tokens);
    if (shape_.decays_values) {
      decayed_reads_.setZero(tokens, shape_.d_v);
      for (int l : states.active()) {
        gather_lambda(states, l);
        product<Into::add_scaled>(map_.queries(), states.level(l), decayed_reads_, lambda_.data());
      }
      mix_.decay_from_start(decayed_reads_);
      mix_.pull_back_from_start(decayed_reads_, d_out, d_chunk.value_decay);
    }
    d_queries_transposed_.setZero(shape_.d_k, tokens);
    transpose_into(d_out, d_out_transposed_);
    transpose_into(map_.queries(), queries_transposed_);
    products_.resize(shape_.d_k, tokens);
    lambda_out_.resize(tokens, shape_.d_v);
    for (int l : states.active()) {
      gather_lambda(states, l);
      for (Index t = 0; t < tokens; ++t) lambda_out_.row(t) = lambda_[t] * d_out.row(t);
      product<Into::add>(map_.queries().transpose(), lambda_out_, gradient.level(l));
      product<Into::replace>(states.level(l), d_out_transposed_, products_);
      d_lambda_.setZero(tokens);
      for (Index i = 0; i < shape_.d_k; ++i) {
        d_lambda_ += products_.row(i).cwiseProduct(queries_transposed_.row(i));
        d_queries_transposed_.row(i) += products_.row(i).cwiseProduct(lambda_);
      }
      const std::uint64_t bucket = states.bucket(l).first;
      for (Index t = 0; t < tokens; ++t) {
        d_chunk.lambda(t, mask(states).level(bucket, t)) += d_lambda_[t];
      }
    }
    transpose_into(d_queries_transposed_, d_queries_);
  }

  /// lambda_ = the weight under which each token of the chunk reads level l.
  void gather_lambda(const Hierarchy<Scalar>& states, int l) {
    const std::uint64_t bucket = states.bucket(l).first;
    lambda_.resize(chunk_.tokens);
    for (Index t = 0; t < chunk_.tokens; ++t) {
      lambda_[t] = chunk_.lambda(t, mask(states).level(bucket, t));
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
  Matrix d_weighted_, d_queries_, d_keys_, ended_gradient_, carried_, transposed_, decayed_reads_;
  Matrix d_queries_transposed_, d_out_transposed_, queries_transposed_, products_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_CHUNKWISE_RUN_HPP
