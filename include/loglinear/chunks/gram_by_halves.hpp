// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP
#define LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP

#include "loglinear/chunks/halves.hpp"

namespace loglinear::detail {

/// g(i, j) = x_i^T diag(D(b_j+1..a_i)) y_j with a decay of its own for every key row.
template <class Scalar>
class GramByHalves {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  /// For up to `moments` moments and `rows` rows on either side.
  GramByHalves(Index d_k, Index moments, Index rows)
      : halves_(moments, d_k),
        left_(rows, d_k),
        right_(rows, d_k),
        right_transposed_(d_k, rows),
        d_left_(rows, d_k),
        d_right_(rows, d_k),
        running_(1, d_k),
        sum_(1, d_k),
        notes_(shortest_stretch, d_k) {}

  /// Fills g, `x.rows() x y.rows()`, for moments [0, N) with the decays `decay`, N x d_k.
  template <class Decay, class Left, class Right, class Result>
  void gram(const Decay& decay, const Left& x, Moments a, const Right& y, Moments b, Result& g) {
    g.setZero();
    visit_halves(
        0, decay.rows(),
        [&](Index low, Index high) {
          const RowRange rows = rows_between(a, low, high, x.rows());
          for (Index i = rows.first; i < rows.first + rows.size; ++i) {
            for_each_earlier(decay, a[i], low, y.rows(), b, [&](Index j, Index) {
              g(i, j) = x.row(i).cwiseProduct(running_).dot(y.row(j));
            });
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(a, middle, high, x.rows());
          const RowRange earlier = rows_between(b, low, middle, y.rows());
          meet(decay, low, middle, high, x, a, later, y, b, earlier);
          auto transposed = right_transposed_.leftCols(earlier.size);
          transpose_into(right_.topRows(earlier.size), transposed);
          product<Into::replace>(left_.topRows(later.size), transposed,
                                 g.block(later.first, earlier.first, later.size, earlier.size));
        });
  }

  /// The pullback: adds to `d_x`, `d_y` and the gradient of the log decays.
  template <class Decay, class Left, class Right, class Result, class DLeft, class DRight,
            class DLog>
  void pull_back(const Decay& decay, const Left& x, Moments a, const Right& y, Moments b,
                 const Result& d_g, DLeft& d_x, DRight& d_y, DLog& d_log) {
    visit_halves(
        0, decay.rows(),
        [&](Index low, Index high) {
          const RowRange rows = rows_between(a, low, high, x.rows());
          for (Index i = rows.first; i < rows.first + rows.size; ++i) {
            notes_.setZero();
            for_each_earlier(decay, a[i], low, y.rows(), b, [&](Index j, Index moment) {
              d_x.row(i) += d_g(i, j) * running_.cwiseProduct(y.row(j));
              sum_ = d_g(i, j) * running_.cwiseProduct(x.row(i));
              d_y.row(j) += sum_;
              notes_.row(moment - low) += sum_.cwiseProduct(y.row(j));
            });
            sum_.setZero();
            for (Index moment = low + 1; moment <= a[i]; ++moment) {
              sum_ += notes_.row(moment - 1 - low);
              d_log.row(moment) += sum_;
            }
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(a, middle, high, x.rows());
          const RowRange earlier = rows_between(b, low, middle, y.rows());
          meet(decay, low, middle, high, x, a, later, y, b, earlier);
          const auto d_block = d_g.block(later.first, earlier.first, later.size, earlier.size);
          auto d_left = d_left_.topRows(later.size), d_right = d_right_.topRows(earlier.size);
          product<Into::replace>(d_block, right_.topRows(earlier.size), d_left);
          product<Into::replace>(d_block.transpose(), left_.topRows(later.size), d_right);
          halves_.note_later(
              a, later, middle, high,
              [&](Index i) { return left_.row(i).cwiseProduct(d_left.row(i)); }, sum_, d_log);
          halves_.note_earlier(
              b, earlier, low, middle,
              [&](Index j) { return right_.row(j).cwiseProduct(d_right.row(j)); }, sum_, d_log);
          for (Index i = 0; i < later.size; ++i) {
            const Index row = later.first + i;
            d_x.row(row) += d_left.row(i).cwiseProduct(halves_.later(a[row]));
          }
          for (Index j = 0; j < earlier.size; ++j) {
            const Index row = earlier.first + j;
            d_y.row(row) += d_right.row(j).cwiseProduct(halves_.earlier(b[row]));
          }
        });
  }

 private:
  /// Calls `visit(j, b_j)` for the rows of [low, a], the newest first, with D(b_j+1..a) in
  /// `running_`.
  template <class Decay, class Visit>
  void for_each_earlier(const Decay& decay, Index a, Index low, Index count, Moments b,
                        Visit visit) {
    running_.setOnes();
    for (Index moment = a; moment >= low; --moment) {
      const RowRange rows = rows_between(b, moment, moment + 1, count);
      for (Index j = rows.first; j < rows.first + rows.size; ++j) visit(j, moment);
      running_.array() *= decay.row(moment).array();
    }
  }

  /// The rows of both halves as they are in the middle.
  template <class Decay, class Left, class Right>
  void meet(const Decay& decay, Index low, Index middle, Index high, const Left& x, Moments a,
            RowRange later, const Right& y, Moments b, RowRange earlier) {
    halves_.prepare(decay, low, middle, high);
    for (Index i = 0; i < later.size; ++i) {
      const Index row = later.first + i;
      left_.row(i) = x.row(row).cwiseProduct(halves_.later(a[row]));
    }
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      right_.row(j) = y.row(row).cwiseProduct(halves_.earlier(b[row]));
    }
  }

  HalfDecays<Scalar> halves_;
  Matrix left_, right_, right_transposed_, d_left_, d_right_;
  Eigen::Matrix<Scalar, 1, Eigen::Dynamic> running_, sum_;
  Matrix notes_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP
