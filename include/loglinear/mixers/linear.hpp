// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LINEAR_HPP
#define LOGLINEAR_MIXERS_LINEAR_HPP

// The projections of a mixer, y = x W^T + b with a row a token, and their pullback. Products of any
// size: tiles of the right operand are packed into the nearest caches and multiplied by the kernel
// of the sequence form. Never parallelises; a row's sums do not depend on the rows beside it, but
// a single row is read straight from the weights and may round differently.

#include <algorithm>

#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Coefficient (p, j) at `data + p * row + j * column`.
template <class Scalar>
struct RightOperand {
  const Scalar* data;
  Index row, column;
};

/// c += a b, rows x depth times depth x columns, c row-major. A left operand that is a transpose is
/// packed too, some rows at a time.
template <class Scalar>
void add_large_product(LeftOperand<Scalar> a, Index rows, Index depth, RightOperand<Scalar> b,
                       Index columns, Scalar* c, Index c_stride) {
  constexpr Index most_rows = 96, most_depth = 256, most_columns = 64;
  const bool packs_left = a.column != 1;
  const Index rows_at_once = packs_left ? most_rows : (std::max)(rows, Index{1});
  RowMajorMatrix<Scalar> left(packs_left ? (std::min)(rows, most_rows) : 0,
                              (std::min)(depth, most_depth));
  RowMajorMatrix<Scalar> right((std::min)(depth, most_depth), (std::min)(columns, most_columns));
  for (Index p = 0; p < depth; p += most_depth) {
    const Index height = (std::min)(most_depth, depth - p);
    for (Index i = 0; i < rows; i += rows_at_once) {
      const Index count = (std::min)(rows_at_once, rows - i);
      LeftOperand<Scalar> block{a.data + i * a.row + p * a.column, a.row, a.column};
      if (packs_left) {
        for (Index m = 0; m < height; ++m) {
          for (Index n = 0; n < count; ++n) left(n, m) = block.data[n * a.row + m * a.column];
        }
        block = {left.data(), left.outerStride(), 1};
      }
      for (Index j = 0; j < columns; j += most_columns) {
        const Index width = (std::min)(most_columns, columns - j);
        const Scalar* const from = b.data + p * b.row + j * b.column;
        for (Index m = 0; m < height; ++m) {
          for (Index n = 0; n < width; ++n) right(m, n) = from[m * b.row + n * b.column];
        }
        product_kernel(Into::add, block, count, height, width, right.data(), right.outerStride(),
                       c + i * c_stride + j, c_stride);
      }
    }
  }
}

/// y = x W^T + b; W is outputs x inputs, b has `outputs` rows or is nullptr.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> linear(const RowMajorMatrix<Scalar>& x,
                                            const Matrix<Scalar>& weight,
                                            const Matrix<Scalar>* bias) {
  RowMajorMatrix<Scalar> y(x.rows(), weight.rows());
  if (bias == nullptr) {
    y.setZero();
  } else {
    y.rowwise() = bias->col(0).transpose();
  }
  if (x.rows() == 1) {
    Eigen::Map<Vector<Scalar>>(y.data(), y.cols()).noalias() +=
        weight * Eigen::Map<const Vector<Scalar>>(x.data(), x.cols());
  } else {
    add_large_product(LeftOperand<Scalar>{x.data(), x.outerStride(), 1}, x.rows(), x.cols(),
                      RightOperand<Scalar>{weight.data(), weight.rows(), 1}, weight.rows(),
                      y.data(), y.outerStride());
  }
  return y;
}

/// The pullback of `linear`: d_x += d_y W, d_weight += d_y^T x, d_bias += the sum of d_y's rows.
template <class Scalar>
void linear_pullback(const RowMajorMatrix<Scalar>& x, const Matrix<Scalar>& weight,
                     const RowMajorMatrix<Scalar>& d_y, RowMajorMatrix<Scalar>& d_x,
                     Matrix<Scalar>& d_weight, Matrix<Scalar>* d_bias) {
  add_large_product(LeftOperand<Scalar>{d_y.data(), d_y.outerStride(), 1}, d_y.rows(), d_y.cols(),
                    RightOperand<Scalar>{weight.data(), 1, weight.rows()}, weight.cols(),
                    d_x.data(), d_x.outerStride());
  add_large_product(LeftOperand<Scalar>{x.data(), 1, x.outerStride()}, x.cols(), x.rows(),
                    RightOperand<Scalar>{d_y.data(), d_y.outerStride(), 1}, d_y.cols(),
                    d_weight.data(), d_weight.rows());
  if (d_bias != nullptr) *d_bias += d_y.colwise().sum().transpose();
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_LINEAR_HPP
