// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP
#define LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP

// The diagonal decays within a chunk of N moments: D(b+1..a), the product of the decays of the
// moments after b up to a, is what something written at moment b has gone through at moment a.
// Every product is built from factors, never as a quotient, so that a decay of 0 or 1e-30 is as
// good as any other. Gradients are with respect to the logarithms of the decays and sum up terms
// without cancelling any.

#include <algorithm>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/chunks/gram_by_halves.hpp"
#include "loglinear/chunks/pair_decays.hpp"
#include "loglinear/chunks/pairs.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkDecay {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  /// `decays` as in SequenceShape (0, 1 or d_k), for up to `moments` moments and `rows` rows.
  ChunkDecay(Index d_k, Index decays, Index moments, Index rows)
      : per_row_(decays > 1),
        decays_(decays),
        decay_(decays > 0 ? moments : 0, decays),
        from_start_(moments + 1, decays),
        to_end_(moments, decays),
        between_(has_scalar() ? moments : 0),
        right_transposed_(d_k, rows),
        halves_(d_k, per_row_ ? moments : 1, per_row_ ? rows : 1),
        d_until_(moments + 1, decays),
        d_after_(moments, decays),
        d_log_(decays > 0 ? moments : 0, decays) {}

  /// The decays of the chunk's N moments, rows 0..N-1 x decays; those between pairs only where
  /// `gram` needs them.
  void prepare(const Matrix& decay, Index moments, bool needs_pairs) {
    moments_ = moments;
    if (decays_ == 0) return;
    copy(decay.data(), moments * decays_, decay_.data());
    const Block from_start(from_start_), to_end(to_end_);
    std::fill_n(from_start.row(0), decays_, Scalar(1));
    std::fill_n(to_end.row(moments - 1), decays_, Scalar(1));
    if (has_scalar()) return prepare_scalar(needs_pairs);
    for (Index a = 0; a < moments; ++a) {
      multiply(from_start.row(a), decays().row(a), decays_, from_start.row(a + 1));
    }
    for (Index b = moments - 1; b > 0; --b) {
      multiply(to_end.row(b), decays().row(b), decays_, to_end.row(b - 1));
    }
  }

  /// to_i = D(0..a_i) x_i: rows at moments a, as what stood before the chunk meets them.
  void decay_from_start(const ConstBlock& x, Moments a, const Block& to) const {
    scale_rows(x, from_start_, a, 1, to);
  }
  /// to_j = D(b_j+1..N-1) y_j: rows written at moments b, as they are at the end of the chunk.
  void decay_to_end(const ConstBlock& y, Moments b, const Block& to) const {
    scale_rows(y, to_end_, b, 0, to);
  }
  /// The factor of `decay_from_start` at moment a, where there is one for all rows.
  [[nodiscard]] Scalar factor_from_start(Index a) const {
    return decays_ == 0 ? Scalar(1) : from_start_(a + 1, 0);
  }
  /// Coefficient i of D(0..N-1), the decay of the whole chunk.
  [[nodiscard]] Scalar total(Index i) const {
    return decays_ == 0 ? Scalar(1) : from_start_(moments_, decays_ == 1 ? 0 : i);
  }
  /// to = D(0..N-1) s; in place where `to` is s.
  void decay_state(const Matrix& s, Matrix& to) const {
    if (decays_ == 0) {
      if (&to != &s) to = s;
      return;
    }
    resize(to, s.rows(), s.cols());
    const Index size = decays_ == 1 ? s.size() : s.cols();
    for (Index at = 0; at < s.size(); at += size) {
      scaled_row<false>(total(at / size), s.data() + at, size, to.data() + at);
    }
  }

  /// g(i, j) = x_i^T D(b_j+1..a_i) y_j where b_j <= a_i, else 0. `is_prepared`: the last Gram
  /// matrix was with the same rows y.
  void gram(const ConstBlock& x, Moments a, const ConstBlock& y, Moments b, const Block& g,
            bool is_prepared = false) {
    if (per_row_) return halves_.gram(decays(), x, a, y, b, g);
    if (!is_prepared) prepare_right(y);
    gram_of_seen(x, a, b, g);
    has_scalar() ? between_.decay(g, a, b) : clear_unseen(a, b, g);
  }
  /// \name The same without decays, where there is not one for each row
  /// \{

  /// Call it before `gram_of_seen` with the rows y.
  void prepare_right(const ConstBlock& y) {
    transpose_into(y, Block(right_transposed_).leftCols(y.rows()));
  }
  /// g(i, j) = x_i^T y_j where b_j <= a_i, else anything.
  void gram_of_seen(const ConstBlock& x, Moments a, Moments b, const Block& g) const {
    product_to_pairs<Into::replace>(x, a, ConstBlock(right_transposed_).leftCols(g.cols()), b, g);
  }
  /// D(b+1..a) of every moment b <= a; null where nothing decays.
  [[nodiscard]] const Scalar* until(Index a) const {
    return has_scalar() ? between_.until(a) : nullptr;
  }
  /// \}

  /// The pullback of `gram`: adds to `d_x`, `d_y` and the gradient of the decays; `d_g` is changed.
  /// Unless `is_decayed`, g is what `gram_of_seen` gives, which does not hold for decays of each
  /// row.
  void pull_back_gram(const ConstBlock& x, Moments a, const ConstBlock& y, Moments b,
                      const ConstBlock& g, const Block& d_g, const Block& d_x, const Block& d_y,
                      bool is_decayed = true) {
    if (per_row_) return halves_.pull_back(decays(), x, a, y, b, d_g, d_x, d_y, d_log_);
    if (has_scalar()) {
      between_.pull_back(g, is_decayed, d_g, a, b, d_log_.data());
    } else {
      clear_unseen(a, b, d_g);
    }
    product_of_pairs<Into::add>(d_g, a, b, y, d_x);
    product_of_transposed_pairs<Into::add>(d_g, a, b, x, d_y);
  }

  /// Call it before the pullbacks of one chunk.
  void start_pull_back() {
    Block(d_until_).setZero();
    Block(d_after_).setZero();
    Block(d_log_).setZero();
  }
  /// The pullback of `decay_from_start`: d_x = D d_decayed.
  void pull_back_from_start(const ConstBlock& x, Moments a, const ConstBlock& d_decayed,
                            const Block& d_x) {
    pull_back_rows(x, from_start_, a, 1, d_decayed, d_x, d_until_);
  }
  /// The part of it that one row at moment a contributes to the decays, where there is one for all
  /// rows.
  void note_from_start(Index a, const Scalar& d_log) {
    if (has_scalar()) d_until_(a + 1, 0) += d_log;
  }
  /// The pullback of `decay_to_end`, likewise.
  void pull_back_to_end(const ConstBlock& y, Moments b, const ConstBlock& d_decayed,
                        const Block& d_y) {
    pull_back_rows(y, to_end_, b, 0, d_decayed, d_y, d_after_);
  }
  /// The pullback of `decay_state`, d_s = D d_decayed, given the state before; in place where both
  /// are the same.
  void pull_back_state(const Matrix& s, const Matrix& d_decayed, Matrix& d_s) {
    if (decays_ == 0) return decay_state(d_decayed, d_s);
    resize(d_s, s.rows(), s.cols());
    const Index size = decays_ == 1 ? s.size() : s.cols();
    for (Index i = 0; i * size < s.size(); ++i) {
      const Index at = i * size;
      pull_back_total(i, scale_and_dot<Scalar>(total(i), d_decayed.data() + at, size,
                                               d_s.data() + at, s.data() + at));
    }
  }
  /// Notes a gradient with respect to the logarithm of `total(i)`.
  void pull_back_total(Index i, const Scalar& d_log) {
    if (decays_ > 0) d_until_(moments_, decays_ == 1 ? 0 : i) += d_log;
  }
  /// Adds all that was noted to the gradient with respect to log decays, rows 0..N-1 x decays.
  void finish_pull_back(Matrix& d_log_decay) {
    if (decays_ == 0) return;
    const auto accumulate = [&](Matrix& notes, Index row, Index before, Index moment) {
      for (Index i = 0; i < decays_; ++i) {
        if (before >= 0 && before <= moments_) notes(row, i) += notes(before, i);
        d_log_(moment, i) += notes(row, i);
      }
    };
    for (Index t = moments_ - 1; t >= 0; --t) accumulate(d_until_, t + 1, t + 2, t);
    for (Index t = 1; t < moments_; ++t) accumulate(d_after_, t - 1, t - 2, t);
    add(d_log_decay.data(), d_log_.data(), moments_ * decays_, d_log_decay.data());
  }

 private:
  void prepare_scalar(bool needs_pairs) {
    Scalar from_start(1), to_end(1);
    for (Index a = 0; a < moments_; ++a) {
      from_start_.data()[a + 1] = from_start *= decay_.data()[a];
    }
    for (Index b = moments_ - 1; b > 0; --b) to_end_.data()[b - 1] = to_end *= decay_.data()[b];
    if (needs_pairs) between_.prepare(decay_.data(), moments_);
  }

  [[nodiscard]] bool has_scalar() const { return decays_ == 1; }

  /// The decays of the chunk's moments.
  [[nodiscard]] ConstBlock decays() const { return block_of(decay_).topRows(moments_); }

  /// to_i = factors.row(at_i + shift) x_i; in place where `to` is x.
  void scale_rows(const ConstBlock& x, const Matrix& factors, Moments at, Index shift,
                  const Block& to) const {
    const ConstBlock by(factors);
    for (Index i = 0; i < x.rows(); ++i) {
      if (decays_ == 0) {
        if (to.data() != x.data()) copy(x.row(i), x.cols(), to.row(i));
      } else if (decays_ == 1) {
        scaled_row<false>(*by.row(at[i] + shift), x.row(i), x.cols(), to.row(i));
      } else {
        multiply(x.row(i), by.row(at[i] + shift), x.cols(), to.row(i));
      }
    }
  }

  /// The pullback of `scale_rows` for d_to: writes d_x, and adds the gradient of the logarithm of
  /// each row's factors, for all columns together or each for itself, to the row of notes.
  void pull_back_rows(const ConstBlock& x, const Matrix& factors, Moments at, Index shift,
                      const ConstBlock& d_to, const Block& d_x, const Block& notes) const {
    if (decays_ == 0) return scale_rows(d_to, factors, at, shift, d_x);
    const ConstBlock by(factors);
    for (Index i = 0; i < x.rows(); ++i) {
      const Index row = at[i] + shift;
      if (decays_ == 1) {
        *notes.row(row) += scale_and_dot(*by.row(row), d_to.row(i), x.cols(), d_x.row(i), x.row(i));
      } else {
        multiply(d_to.row(i), by.row(row), x.cols(), d_x.row(i));
        add_product(x.row(i), d_x.row(i), x.cols(), notes.row(row));
      }
    }
  }

  bool per_row_;
  Index decays_, moments_ = 0;
  Matrix decay_;
  Matrix from_start_;           // row a + 1: D(0..a)
  Matrix to_end_;               // row b: D(b+1..N-1)
  PairDecays<Scalar> between_;  // where there is one decay for all rows
  Matrix right_transposed_;
  GramByHalves<Scalar> halves_;
  Matrix d_until_;  // row a + 1: what counts for the moments up to a
  Matrix d_after_;  // row b: what counts for the moments after b
  Matrix d_log_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP
