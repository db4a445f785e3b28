// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_INPUT_SOURCE_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_INPUT_SOURCE_HPP

#include <atomic>
#include <cmath>
#include <optional>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/sequence/detail/finite_tokens.hpp"
#include "loglinear/sequence/detail/results.hpp"
#include "loglinear/sequence/inputs.hpp"

namespace loglinear::detail {

/// Chunks of `SequenceInputs`, their reads, and their gradients. An update with strength b removes
/// the key b k, which is also the leaf's: u = b k. The first of a token finds the decayed state,
/// p = e^g k, the others p = k.
template <class Scalar>
class InputSource final : public TokenSource<Scalar> {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  /// `in` must outlive it.
  InputSource(const SequenceInputs<Scalar>& in, Index weights)
      : in_(in), weights_(weights), leaves_(in.leaves()), updates_(in.updates()) {}
  InputSource(const SequenceInputs<Scalar>&&, Index) = delete;
  InputSource(const InputSource&) = delete;
  InputSource& operator=(const InputSource&) = delete;

  /// Where reads go; nowhere before it is called.
  void read_into(const RowBlock<Scalar>& out) { out_ = out; }
  /// Where gradients come from and go.
  void differentiate(const RowsView<Scalar>& d_out, SequenceGradients<Scalar>& gradients) {
    d_out_.emplace(d_out);
    gradients_ = &gradients;
  }

  [[nodiscard]] SequenceShape shape() const override {
    return {in_.d_k(),
            in_.d_v(),
            leaves_,
            updates_,
            in_.g.size() > 0 ? in_.g.cols() : Index{0},
            in_.g_value.size() > 0,
            is_delta(),
            ReadOrder::current_apart};
  }
  [[nodiscard]] Index length() const override { return in_.length(); }
  [[nodiscard]] bool is_concurrent() const override { return true; }

  /// Checks all numbers now, so that `load` need not.
  void require_numbers() {
    in_.require_numbers(static_cast<int>(weights_));
    is_checked_ = true;
  }

  /// Checks the chunk's numbers while they are in the cache. If one is not finite, it checks all
  /// arrays, since a log decay may be -infinity.
  typename Chunk<Scalar>::Views load(Index first, Chunk<Scalar>& chunk) override {
    const Index tokens = chunk.tokens;
    if (!is_checked_ && !is_known(first, tokens) && !are_finite(in_, weights_, first, tokens)) {
      require_numbers();
    }
    const Index rows = tokens * leaves_;
    const ConstRowBlock<Scalar> q = block_of(in_.q).middleRows(first, tokens),
                                k = block_of(in_.k).middleRows(first * leaves_, rows),
                                v = block_of(in_.v).middleRows(first * leaves_, rows),
                                lambda = block_of(in_.lambda).block(first, 0, tokens, weights_);
    const Index moments = (std::max)(updates_, Index{1});
    if (in_.g.size() > 0) {
      if (moments == 1) {
        decays_of(in_.g.middleRows(first, tokens), chunk.decay.topRows(tokens));
      } else {
        chunk.decay.topRows(tokens * moments).setOnes();
        for (Index t = 0; t < tokens; ++t) {
          decays_of(in_.g.row(first + t), chunk.decay.row(t * moments));
        }
      }
    }
    if (in_.g_value.size() > 0) {
      decays_of(in_.g_value.middleRows(first, tokens), chunk.value_decay.topRows(tokens));
    }
    if (is_delta()) {
      const Index d_k = k.cols();
      const RowBlock<Scalar> to_p(chunk.p), to_k(chunk.k);
      for (Index t = 0, row = 0; t < tokens; ++t) {
        for (Index j = 0; j < leaves_; ++j, ++row) {
          copy(k.row(row), d_k, to_p.row(row));
          scale_to(in_.beta(first + t, j), k.row(row), d_k, to_k.row(row));
        }
        decay_row(chunk, t * moments, to_p);
      }
    } else if (updates_ > 0) {
      copy_rows(block_of(in_.u).middleRows(first * updates_, tokens * updates_), chunk.u);
      copy_rows(block_of(in_.p).middleRows(first * updates_, tokens * updates_), chunk.p);
    }
    return {q, is_delta() ? block_of(chunk.k).topRows(rows) : k, v, lambda,
            out_.data() == nullptr ? writable_block_of(chunk.out).topRows(tokens)
                                   : out_.middleRows(first, tokens)};
  }

  void foresee(Index first, Index tokens, Index part, Index parts) const override {
    const Index begin = first + tokens * part / parts, end = first + tokens * (part + 1) / parts;
    touch(block_of(in_.q), begin, end);
    touch(block_of(in_.k), begin * leaves_, end * leaves_);
    touch(block_of(in_.v), begin * leaves_, end * leaves_);
    if (out_.data() != nullptr) touch(out_, begin, end);
  }
  void foresee_gradient(Index first, Index tokens, Index part, Index parts) const override {
    const Index begin = first + tokens * part / parts, end = first + tokens * (part + 1) / parts;
    touch(block_of(*d_out_), begin, end);
    touch(block_of(gradients_->q), begin, end);
    touch(block_of(gradients_->k), begin * leaves_, end * leaves_);
    touch(block_of(gradients_->v), begin * leaves_, end * leaves_);
  }

  void take_out(Index first, const Chunk<Scalar>& chunk) override {
    if (out_.data() == nullptr) return;
    const RowBlock<Scalar> reads = out_.middleRows(first, chunk.tokens);
    if (all_finite(reads)) return;
    const Matrix refused = view_of(reads);
    reads.setZero();  // so that the caller sees no number that is not finite
    require_finite_reads(refused, first);
  }

  typename Chunk<Scalar>::Targets open_gradient(Index first, const Chunk<Scalar>& chunk,
                                                Chunk<Scalar>& gradient) override {
    const Index tokens = chunk.tokens, rows = tokens * leaves_;
    const ConstRowBlock<Scalar> d_out = block_of(*d_out_).middleRows(first, tokens);
    if (!all_finite(d_out)) require_finite("d_out", *d_out_);
    const RowBlock<Scalar> q(gradients_->q), k(gradients_->k), v(gradients_->v);
    return {q.middleRows(first, tokens),
            is_delta() ? writable_block_of(gradient.k).topRows(rows)
                       : k.middleRows(first * leaves_, rows),
            v.middleRows(first * leaves_, rows), d_out};
  }

  void take_gradient(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) override {
    const Index tokens = chunk.tokens, moments = (std::max)(updates_, Index{1});
    if (is_delta()) pull_back_strengths(first, chunk, gradient);
    const auto put = [&](const Matrix& from, Matrix& to, Index each) {
      copy_rows(block_of(from).topRows(tokens * each),
                writable_block_of(to).middleRows(first * each, tokens * each));
    };
    auto& to = *gradients_;
    put(gradient.lambda, to.lambda, 1);
    if (in_.g.size() > 0 && moments == 1) put(gradient.decay, to.g, 1);
    for (Index t = 0; in_.g.size() > 0 && moments > 1 && t < tokens; ++t) {
      copy_rows(block_of(gradient.decay).middleRows(t * moments, 1),
                writable_block_of(to.g).middleRows(first + t, 1));
    }
    if (in_.g_value.size() > 0) put(gradient.value_decay, to.g_value, 1);
    if (!is_delta() && updates_ > 0) {
      put(gradient.u, to.u, updates_);
      put(gradient.p, to.p, updates_);
    }
    require_finite_gradients(first, tokens);
  }

 private:
  /// Whether these tokens were loaded before for gradients, which come one after the other: once
  /// for the states of some chunks, and again from the last of those to the first.
  [[nodiscard]] bool is_known(Index first, Index tokens) {
    if (gradients_ == nullptr) return false;
    if (known_first_ <= first && first + tokens <= known_end_) return true;
    if (first != known_end_) known_first_ = first;
    known_end_ = first + tokens;
    return false;
  }
  /// Prefetches the rows from `begin` to `end`.
  static void touch(const ConstRowBlock<Scalar>& rows, Index begin, Index end) {
    constexpr Index line = (std::max)(Index{64} / Index{sizeof(Scalar)}, Index{1});
    for (Index i = begin; i < end; ++i) {
      for (Index j = 0; j < rows.cols(); j += line) Eigen::internal::prefetch(rows.row(i) + j);
    }
  }
  void require_finite_gradients(Index first, Index tokens) const {
    for_each_array(
        [&](const char* name, const Matrix& all) {
          const Index each = all.rows() / in_.length();
          require_finite_gradient(name, block_of(all).middleRows(first * each, tokens * each),
                                  first * each);
        },
        *gradients_);
  }

  [[nodiscard]] bool is_delta() const { return in_.beta.size() > 0; }

  /// Row `moment` of `rows` through its own decay.
  void decay_row(const Chunk<Scalar>& chunk, Index moment, const RowBlock<Scalar>& rows) const {
    if (in_.g.size() == 0) return;
    Scalar* const row = rows.row(moment);
    const Scalar* const decay = block_of(chunk.decay).row(moment);
    if (in_.g.cols() == 1) {
      scale_by(*decay, row, rows.cols());
    } else {
      multiply(row, decay, rows.cols(), row);
    }
  }

  /// The gradients of k, b and g, from those of b k and p = e^g k.
  void pull_back_strengths(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) {
    const Index d_k = in_.d_k();
    const ConstRowBlock<Scalar> k = block_of(in_.k), p = block_of(chunk.p), d_keys(gradient.k);
    const RowBlock<Scalar> d_p(gradient.p), d_decay(gradient.decay), d_k_rows(gradients_->k);
    for (Index t = 0; t < chunk.tokens; ++t) {
      const Index moment = t * leaves_;
      if (in_.g.cols() == 1 && in_.g.size() > 0) {
        *d_decay.row(moment) += dot(d_p.row(moment), p.row(moment), d_k);
      } else if (in_.g.size() > 0) {
        add_product(d_p.row(moment), p.row(moment), d_k, d_decay.row(moment));
      }
      decay_row(chunk, moment, d_p);
      for (Index j = 0; j < leaves_; ++j) {
        const Scalar* const d_key = d_keys.row(moment + j);
        const Index row = first * leaves_ + moment + j;
        gradients_->beta(first + t, j) = dot(d_key, k.row(row), d_k);
        copy(d_p.row(moment + j), d_k, d_k_rows.row(row));
        axpy(in_.beta(first + t, j), d_key, d_k, d_k_rows.row(row));
      }
    }
  }

  const SequenceInputs<Scalar>& in_;
  Index weights_, leaves_, updates_;
  std::atomic<bool> is_checked_ = false;
  Index known_first_ = 0, known_end_ = 0;
  RowBlock<Scalar> out_{};
  std::optional<RowsView<Scalar>> d_out_{};
  SequenceGradients<Scalar>* gradients_ = nullptr;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_INPUT_SOURCE_HPP
