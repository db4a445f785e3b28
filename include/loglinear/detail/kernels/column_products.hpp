// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_COLUMN_PRODUCTS_HPP
#define LOGLINEAR_DETAIL_KERNELS_COLUMN_PRODUCTS_HPP

// Products of the columns of one matrix with those of another, and its columns added to a third
// under weights: the pullback of reads of many queries, one a column.

#include <Eigen/Core>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// The part of N packets of columns; the sums of columns stay in registers.
template <int N, class Scalar>
void column_products_block(const Scalar* z, Index rows, Index stride, const Scalar* x,
                           const Scalar* weights, Scalar* sums, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P sum[array_size(N)], weight[array_size(N)];
  for (int n = 0; n < N; ++n) {
    sum[n] = ei::ploadu<P>(sums + n * width);
    weight[n] = ei::ploadu<P>(weights + n * width);
  }
  for (Index i = 0; i < rows; ++i, z += stride, x += stride, out += stride) {
    for (int n = 0; n < N; ++n) {
      const P packet = ei::ploadu<P>(z + n * width);
      sum[n] = ei::pmadd(packet, ei::ploadu<P>(x + n * width), sum[n]);
      ei::pstoreu(out + n * width, ei::pmadd(packet, weight[n], ei::ploadu<P>(out + n * width)));
    }
  }
  for (int n = 0; n < N; ++n) ei::pstoreu(sums + n * width, sum[n]);
}

/// sums[j] += sum_i z(i, j) x(i, j) and out(i, j) += z(i, j) weights[j], for row-major matrices
/// without gaps, in one pass over z.
template <class Scalar>
void add_column_products(const Scalar* z, Index rows, Index columns, const Scalar* x,
                         const Scalar* weights, Scalar* sums, Scalar* out) {
  constexpr Index width = packet_size<Scalar>;
  Index j = 0;
  for (; j + 4 * width <= columns; j += 4 * width) {
    column_products_block<4>(z + j, rows, columns, x + j, weights + j, sums + j, out + j);
  }
  for (; j + width <= columns; j += width) {
    column_products_block<1>(z + j, rows, columns, x + j, weights + j, sums + j, out + j);
  }
  for (; j < columns; ++j) {
    for (Index i = 0; i < rows; ++i) {
      const Index at = i * columns + j;
      sums[j] += z[at] * x[at];
      out[at] += z[at] * weights[j];
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_COLUMN_PRODUCTS_HPP
