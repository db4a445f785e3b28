// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LINEAR_HPP
#define LOGLINEAR_MIXERS_LINEAR_HPP

// The projections of a mixer, y = x W^T + b with a row a token, and their pullback. Products of any
// size: tiles of the right operand are packed into the nearest caches, widened where they are kept
// in bfloat16, and multiplied by the kernel of the sequence form. A large product is shared out to
// threads by blocks of rows and outputs. A row's sums depend neither on threads nor on the rows
// beside it, but a single row is read straight from the weights and may round differently.

#include <Eigen/Core>
#include <algorithm>
#include <type_traits>

#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"

namespace loglinear::detail {

/// Coefficient (p, j) at `data + p * row + j * column`.
template <class Element>
struct RightOperand {
  const Element* data;
  Index row, column;
};

/// c += a b, rows x depth times depth x columns, c row-major. A left operand that is a transpose is
/// packed too, some rows at a time.
template <class Scalar, class Element>
void add_large_product(LeftOperand<Scalar> a, Index rows, Index depth, RightOperand<Element> b,
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
        const Element* const from = b.data + p * b.row + j * b.column;
        for (Index m = 0; m < height; ++m) {
          for (Index n = 0; n < width; ++n) {
            right(m, n) = static_cast<Scalar>(from[m * b.row + n * b.column]);
          }
        }
        product_kernel(Into::add, block, count, height, width, right.data(), right.outerStride(),
                       c + i * c_stride + j, c_stride);
      }
    }
  }
}

/// The type in which weights can be kept to save memory. It is the same for every scalar; the
/// template only spares programs without such weights from compiling matrices of it.
template <class Scalar>
struct NarrowWeight {
  using Type = Eigen::bfloat16;
};

/// A projection's matrix, outputs x inputs, as it is kept: in the scalar or in bfloat16.
template <class Scalar>
struct Projection {
  const Matrix<Scalar>* wide;
  const Matrix<typename NarrowWeight<Scalar>::Type>* narrow;
};

/// y[i] += (W x)_i of one row x, for the outputs i in [first, first + count).
template <class Scalar>
void add_one_row(const Matrix<Scalar>& weight, Index first, Index count,
                 const RowMajorMatrix<Scalar>& x, Scalar* y) {
  Eigen::Map<Vector<Scalar>>(y + first, count).noalias() +=
      weight.middleRows(first, count) * Eigen::Map<const Vector<Scalar>>(x.data(), x.cols());
}
template <class Scalar>
void add_one_row(const Matrix<typename NarrowWeight<Scalar>::Type>& weight, Index first,
                 Index count, const RowMajorMatrix<Scalar>& x, Scalar* y) {
  if constexpr (std::is_same_v<Scalar, float>) {
    weighted_rows<true>(weight.data() + first, weight.cols(), count, weight.rows(), x.data(),
                        y + first);
  } else {
    for (Index j = 0; j < weight.cols(); ++j) {
      for (Index i = first; i < first + count; ++i) {
        y[i] += static_cast<Scalar>(weight(i, j)) * x(0, j);
      }
    }
  }
}

/// y += x W^T, on several threads if the product is large enough.
template <class Scalar, class Element>
void add_projected(const RowMajorMatrix<Scalar>& x, const Matrix<Element>& weight,
                   RowMajorMatrix<Scalar>& y) {
  constexpr Index most_rows = 128, most_outputs = 256, worth_while = Index{1} << 18;
  const Index rows = x.rows(), outputs = weight.rows();
  if (rows == 0 || outputs == 0) return;
  const bool is_shared = rows * weight.size() >= worth_while;
  const Index tall = is_shared ? most_rows : rows, wide = is_shared ? most_outputs : outputs;
  const Index across = (outputs + wide - 1) / wide, down = (rows + tall - 1) / tall;
  parallel_for<Scalar>(across * down, thread_count(), [&](Index block) {
    const Index i = block / across * tall, j = block % across * wide;
    const Index height = (std::min)(tall, rows - i), width = (std::min)(wide, outputs - j);
    if (rows == 1) return add_one_row(weight, j, width, x, y.data());
    add_large_product(LeftOperand<Scalar>{x.data() + i * x.outerStride(), x.outerStride(), 1},
                      height, x.cols(), RightOperand<Element>{weight.data() + j, weight.rows(), 1},
                      width, y.data() + i * y.outerStride() + j, y.outerStride());
  });
}

/// y = x W^T + b; W is outputs x inputs, b has `outputs` rows or is nullptr.
template <class Scalar, class Element>
[[nodiscard]] RowMajorMatrix<Scalar> linear(const RowMajorMatrix<Scalar>& x,
                                            const Matrix<Element>& weight,
                                            const Matrix<Scalar>* bias) {
  RowMajorMatrix<Scalar> y(x.rows(), weight.rows());
  if (bias == nullptr) {
    y.setZero();
  } else {
    y.rowwise() = bias->col(0).transpose();
  }
  add_projected(x, weight, y);
  return y;
}
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> linear(const RowMajorMatrix<Scalar>& x,
                                            const Projection<Scalar>& projection,
                                            const Matrix<Scalar>* bias) {
  return projection.wide != nullptr ? linear<Scalar, Scalar>(x, *projection.wide, bias)
                                    : linear<Scalar, Eigen::bfloat16>(x, *projection.narrow, bias);
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
