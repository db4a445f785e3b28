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
#include "loglinear/chunks/pairs.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkDecay {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  /// `decays` as in SequenceShape (0, 1 or d_k), for up to `moments` moments and `rows` rows.
  ChunkDecay(Index d_k, Index decays, Index moments, Index rows)
      : per_row_(decays > 1),
        decays_(decays),
        decay_(decays > 0 ? moments : 0, decays),
        from_start_(moments + 1, decays),
        to_end_(moments, decays),
        between_(has_scalar() ? moments + 1 : 0, moments),
        right_transposed_(d_k, rows),
        halves_(d_k, per_row_ ? moments : 1, per_row_ ? rows : 1),
        d_until_(moments + 1, decays),
        d_after_(moments, decays),
        d_log_(decays > 0 ? moments : 0, decays),
        sums_(moments) {}

  /// The decays of the chunk's N moments, N x decays; those between pairs only where `gram` needs
  /// them.
  template <class Decays>
  void prepare(const Decays& decay, Index moments, bool needs_pairs) {
    moments_ = moments;
    if (decays_ == 0) return;
    decay_.topRows(moments) = decay;
    from_start_.row(0).setOnes();
    to_end_.row(moments - 1).setOnes();
    if (has_scalar()) return prepare_scalar(needs_pairs);
    for (Index a = 0; a < moments; ++a) {
      from_start_.row(a + 1) = from_start_.row(a).cwiseProduct(decay.row(a));
    }
    for (Index b = moments - 1; b > 0; --b) {
      to_end_.row(b - 1) = to_end_.row(b).cwiseProduct(decay.row(b));
    }
  }

  /// to_i = D(0..a_i) x_i: rows at moments a, as what stood before the chunk meets them.
  template <class Rows, class To>
  void decay_from_start(const Rows& x, Moments a, To&& to) const {
    scale_rows(
        x, from_start_, [&](Index i) { return a[i] + 1; }, to);
  }
  /// to_j = D(b_j+1..N-1) y_j: rows written at moments b, as they are at the end of the chunk.
  template <class Rows, class To>
  void decay_to_end(const Rows& y, Moments b, To&& to) const {
    scale_rows(
        y, to_end_, [&](Index j) { return b[j]; }, to);
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
    for (Index i = 0; i < s.rows(); ++i) {
      scaled_row<false>(total(i), s.data() + i * s.cols(), s.cols(), to.data() + i * s.cols());
    }
  }

  /// g(i, j) = x_i^T D(b_j+1..a_i) y_j where b_j <= a_i, else 0.
  template <class Left, class Right, class Result>
  void gram(const Left& x, Moments a, const Right& y, Moments b, Result&& g) {
    if (per_row_) return halves_.gram(decay_.topRows(moments_), x, a, y, b, g);
    transpose_into(y, right_transposed_.leftCols(y.rows()));
    product_to_pairs<Into::replace>(x, a, right_transposed_.leftCols(y.rows()), b, g);
    decay_pairs(g, a, b);
  }

  /// The pullback of `gram`: adds to `d_x`, `d_y` and the gradient of the decays; `d_g` is changed.
  template <class Left, class Right, class Result, class DResult, class DLeft, class DRight>
  void pull_back_gram(const Left& x, Moments a, const Right& y, Moments b, const Result& g,
                      DResult&& d_g, DLeft&& d_x, DRight&& d_y) {
    if (per_row_) {
      auto d_log = d_log_.topRows(moments_);
      return halves_.pull_back(decay_.topRows(moments_), x, a, y, b, d_g, d_x, d_y, d_log);
    }
    if (has_scalar()) note_pairs(g, d_g, a, b);
    decay_pairs(d_g, a, b);
    product_of_pairs<Into::add>(d_g, a, b, y, d_x);
    product_of_transposed_pairs<Into::add>(d_g, a, b, x, d_y);
  }

  /// Before the pullbacks of one chunk.
  void start_pull_back() {
    d_until_.setZero();
    d_after_.setZero();
    d_log_.setZero();
  }
  /// The pullback of `decay_from_start`, d_x = D d_decayed, given the decayed rows.
  template <class Rows, class DRows, class To>
  void pull_back_from_start(const Rows& decayed, Moments a, const DRows& d_decayed, To&& d_x) {
    note_rows(decayed, d_decayed, [&](Index i) { return d_until_.row(a[i] + 1); });
    decay_from_start(d_decayed, a, d_x);
  }
  /// The pullback of `decay_to_end`, likewise.
  template <class Rows, class DRows, class To>
  void pull_back_to_end(const Rows& decayed, Moments b, const DRows& d_decayed, To&& d_y) {
    note_rows(decayed, d_decayed, [&](Index j) { return d_after_.row(b[j]); });
    decay_to_end(d_decayed, b, d_y);
  }
  /// Notes a gradient with respect to the logarithm of `total(i)`.
  void pull_back_total(Index i, const Scalar& d_log) {
    if (decays_ > 0) d_until_(moments_, decays_ == 1 ? 0 : i) += d_log;
  }
  /// Adds all that was noted to the gradient with respect to log decays, N x decays.
  template <class DDecays>
  void finish_pull_back(DDecays&& d_log_decay) {
    if (decays_ == 0) return;
    const auto accumulate = [&](Matrix& notes, Index row, Index before, Index moment) {
      for (Index i = 0; i < decays_; ++i) {
        if (before >= 0 && before <= moments_) notes(row, i) += notes(before, i);
        d_log_(moment, i) += notes(row, i);
      }
    };
    for (Index t = moments_ - 1; t >= 0; --t) accumulate(d_until_, t + 1, t + 2, t);
    for (Index t = 1; t < moments_; ++t) accumulate(d_after_, t - 1, t - 2, t);
    d_log_decay += d_log_.topRows(moments_);
  }

 private:
  void prepare_scalar(bool needs_pairs) {
    for (Index a = 0; a < moments_; ++a) {
      const Scalar decay = decay_.data()[a];
      from_start_.data()[a + 1] = from_start_.data()[a] * decay;
      if (!needs_pairs) continue;
      const Scalar* const before = between_.data() + a * between_.cols();
      Scalar* const now = between_.data() + (a + 1) * between_.cols();
      for (Index b = 0; b < a; ++b) now[b] = decay * before[b];
      now[a] = Scalar(1);
    }
    for (Index b = moments_ - 1; b > 0; --b) {
      to_end_.data()[b - 1] = to_end_.data()[b] * decay_.data()[b];
    }
  }

  [[nodiscard]] bool has_scalar() const { return decays_ == 1; }

  /// to_i = factors.row(row_of(i)) x_i; in place where `to` is x.
  template <class Rows, class RowOf, class To>
  void scale_rows(const Rows& x, const Matrix& factors, RowOf row_of, To& to) const {
    if (decays_ == 0) {
      if (to.data() != x.data()) to = x;
      return;
    }
    for (Index i = 0; i < x.rows(); ++i) {
      if (decays_ == 1) {
        scaled_row<false>(factors(row_of(i), 0), x.data() + i * x.outerStride(), x.cols(),
                          to.data() + i * to.outerStride());
      } else {
        to.row(i) = x.row(i).cwiseProduct(factors.row(row_of(i)));
      }
    }
  }

  template <class Rows, class DRows, class NoteOf>
  void note_rows(const Rows& x, const DRows& d_x, NoteOf note_of) {
    for (Index i = 0; decays_ > 0 && i < x.rows(); ++i) {
      auto into = note_of(i);
      if (decays_ == 1) {
        into[0] += x.row(i).dot(d_x.row(i));
      } else {
        into += x.row(i).cwiseProduct(d_x.row(i));
      }
    }
  }

  /// Multiplies each pair by its decay, and clears it where the right row is not seen.
  template <class Pairs>
  void decay_pairs(Pairs& g, Moments a, Moments b) const {
    if (!has_scalar()) return clear_unseen(a, b, g);
    for (Index i = 0; i < g.rows(); ++i) {
      const Index seen = b.count_until(a[i], g.cols());
      Scalar* const row = g.data() + i * g.outerStride();
      const Scalar* const decay = &between_(a[i] + 1, 0);
      if (b.is_dense()) {
        // All columns, so that the loop has no rest: what is not seen may be anything.
        for (Index j = 0; j < g.cols(); ++j) {
          const Scalar decayed = row[j] * decay[j];
          row[j] = j < seen ? decayed : Scalar(0);
        }
      } else {
        for (Index j = 0; j < seen; ++j) row[j] *= decay[b[j]];
        std::fill(row + seen, row + g.cols(), Scalar(0));
      }
    }
  }

  /// A pair counts for all moments after b_j up to a_i. From the last moment down, `sums_` holds at
  /// each moment what the rows at or after this one have from what was written then.
  template <class Pairs, class DPairs>
  void note_pairs(const Pairs& g, const DPairs& d_g, Moments a, Moments b) {
    sums_.setZero();
    for (Index moment = moments_ - 1, i = g.rows(); moment > 0; --moment) {
      for (; i > 0 && a[i - 1] >= moment; --i) {
        const Index seen = b.count_until(a[i - 1], g.cols());
        if (b.is_dense()) {
          sums_.segment(b.first, seen) +=
              g.row(i - 1).head(seen).cwiseProduct(d_g.row(i - 1).head(seen)).transpose();
        } else {
          for (Index j = 0; j < seen; ++j) sums_[b[j]] += g(i - 1, j) * d_g(i - 1, j);
        }
      }
      d_log_(moment, 0) += sums_.head(moment).sum();
    }
  }

  bool per_row_;
  Index decays_, moments_ = 0;
  Matrix decay_;
  Matrix from_start_;  // row a + 1: D(0..a)
  Matrix to_end_;      // row b: D(b+1..N-1)
  Matrix between_;     // one decay for all rows: D(b+1..a) at row a + 1, column b <= a
  Matrix right_transposed_;
  GramByHalves<Scalar> halves_;
  Matrix d_until_;  // row a + 1: what counts for the moments up to a
  Matrix d_after_;  // row b: what counts for the moments after b
  Matrix d_log_;
  Vector<Scalar> sums_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP
