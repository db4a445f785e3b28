// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP
#define LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP

#include "loglinear/chunks/halves.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// g(i, j) = x_i^T diag(D(b_j+1..a_i)) y_j with a decay of its own for every key row.
template <class Scalar>
class GramByHalves {
 public:
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  /// For up to `moments` moments and `rows` rows on either side.
  GramByHalves(Index d_k, Index moments, Index rows)
      : d_k_(d_k),
        halves_(moments, d_k),
        left_(rows, d_k),
        right_(rows, d_k),
        right_transposed_(d_k, rows),
        d_left_(rows, d_k),
        d_right_(rows, d_k),
        running_(d_k),
        sum_(d_k),
        notes_(shortest_stretch, d_k) {}

  /// Fills g, `x.rows() x y.rows()`, for moments [0, N) with the decays `decay`, N x d_k.
  void gram(const ConstBlock& decay, const ConstBlock& x, Moments a, const ConstBlock& y, Moments b,
            const Block& g) {
    g.setZero();
    visit_halves(
        0, decay.rows(),
        [&](Index low, Index high) {
          const RowRange rows = rows_between(a, low, high, x.rows());
          for (Index i = rows.first; i < rows.first + rows.size; ++i) {
            for_each_earlier(decay, a[i], low, y.rows(), b, [&](Index j, Index) {
              g(i, j) = dot(x.row(i), running_.data(), y.row(j), d_k_);
            });
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(a, middle, high, x.rows());
          const RowRange earlier = rows_between(b, low, middle, y.rows());
          meet(decay, low, middle, high, x, a, later, y, b, earlier);
          const Block transposed = Block(right_transposed_).leftCols(earlier.size);
          transpose_into(Block(right_).topRows(earlier.size), transposed);
          product<Into::replace>(ConstBlock(left_).topRows(later.size), ConstBlock(transposed),
                                 g.block(later.first, earlier.first, later.size, earlier.size));
        });
  }

  /// The pullback: adds to `d_x`, `d_y` and the gradient of the log decays.
  void pull_back(const ConstBlock& decay, const ConstBlock& x, Moments a, const ConstBlock& y,
                 Moments b, const ConstBlock& d_g, const Block& d_x, const Block& d_y,
                 const Block& d_log) {
    visit_halves(
        0, decay.rows(),
        [&](Index low, Index high) {
          const RowRange rows = rows_between(a, low, high, x.rows());
          for (Index i = rows.first; i < rows.first + rows.size; ++i) {
            pull_back_row(decay, x.row(i), a[i], low, y, b, d_g.row(i), d_x.row(i), d_y, d_log);
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(a, middle, high, x.rows());
          const RowRange earlier = rows_between(b, low, middle, y.rows());
          meet(decay, low, middle, high, x, a, later, y, b, earlier);
          const ConstBlock d_block =
              d_g.block(later.first, earlier.first, later.size, earlier.size);
          const ConstBlock left = ConstBlock(left_).topRows(later.size);
          const ConstBlock right = ConstBlock(right_).topRows(earlier.size);
          const Block d_left = Block(d_left_).topRows(later.size);
          const Block d_right = Block(d_right_).topRows(earlier.size);
          product<Into::replace>(d_block, right, d_left);
          product<Into::replace>(d_block.transpose(), left, d_right);
          halves_.note_later(a, later, middle, high, left, d_left, sum_, d_log);
          halves_.note_earlier(b, earlier, low, middle, right, d_right, sum_, d_log);
          for (Index i = 0; i < later.size; ++i) {
            const Index row = later.first + i;
            add_product(d_left.row(i), halves_.later(a[row]), d_k_, d_x.row(row));
          }
          for (Index j = 0; j < earlier.size; ++j) {
            const Index row = earlier.first + j;
            add_product(d_right.row(j), halves_.earlier(b[row]), d_k_, d_y.row(row));
          }
        });
  }

 private:
  /// The pullback of one row of g within a stretch that is summed directly.
  void pull_back_row(const ConstBlock& decay, const Scalar* x, Index a, Index low,
                     const ConstBlock& y, Moments b, const Scalar* d_g, Scalar* d_x,
                     const Block& d_y, const Block& d_log) {
    const Block notes(notes_);
    notes.setZero();
    for_each_earlier(decay, a, low, y.rows(), b, [&](Index j, Index moment) {
      add_scaled_product(d_g[j], running_.data(), y.row(j), d_k_, d_x);
      scaled_product(d_g[j], running_.data(), x, d_k_, sum_.data());
      add(d_y.row(j), sum_.data(), d_k_, d_y.row(j));
      add_product(sum_.data(), y.row(j), d_k_, notes.row(moment - low));
    });
    std::fill_n(sum_.data(), d_k_, Scalar(0));
    for (Index moment = low + 1; moment <= a; ++moment) {
      add(sum_.data(), notes.row(moment - 1 - low), d_k_, sum_.data());
      add(d_log.row(moment), sum_.data(), d_k_, d_log.row(moment));
    }
  }

  /// Calls `visit(j, b_j)` for the rows of [low, a], the newest first, with D(b_j+1..a) in
  /// `running_`.
  template <class Visit>
  void for_each_earlier(const ConstBlock& decay, Index a, Index low, Index count, Moments b,
                        Visit visit) {
    std::fill_n(running_.data(), d_k_, Scalar(1));
    for (Index moment = a; moment >= low; --moment) {
      const RowRange rows = rows_between(b, moment, moment + 1, count);
      for (Index j = rows.first; j < rows.first + rows.size; ++j) visit(j, moment);
      multiply(running_.data(), decay.row(moment), d_k_, running_.data());
    }
  }

  /// The rows of both halves as they are in the middle.
  void meet(const ConstBlock& decay, Index low, Index middle, Index high, const ConstBlock& x,
            Moments a, RowRange later, const ConstBlock& y, Moments b, RowRange earlier) {
    halves_.prepare(decay, low, middle, high);
    for (Index i = 0; i < later.size; ++i) {
      const Index row = later.first + i;
      multiply(x.row(row), halves_.later(a[row]), d_k_, left_.data() + i * d_k_);
    }
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      multiply(y.row(row), halves_.earlier(b[row]), d_k_, right_.data() + j * d_k_);
    }
  }

  Index d_k_;
  HalfDecays<Scalar> halves_;
  RowMajorMatrix<Scalar> left_, right_, right_transposed_, d_left_, d_right_;
  Vector<Scalar> running_, sum_;
  RowMajorMatrix<Scalar> notes_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP
