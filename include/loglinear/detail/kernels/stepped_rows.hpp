// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_STEPPED_ROWS_HPP
#define LOGLINEAR_DETAIL_KERNELS_STEPPED_ROWS_HPP

// m <- scaling m + a few outer products, and m^T c of what m is then, in one pass: a recurrence
// that writes one token and reads for the next.

#include <Eigen/Core>
#include <algorithm>
#include <array>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"

namespace loglinear::detail {

/// A weighted sum of the rows of a matrix, out = sum_i weights[i] row_i.
template <class Scalar>
struct RowSum {
  const Scalar* weights;
  Scalar* out;
};

/// The part of N packets of columns, from `first` on. What the outer products have along the rows,
/// and the sums, stay in registers.
template <int N, int Terms, int Sums, class Scalar>
void stepped_rows_block(Scalar* m, Index first, Index rows, Index stride,
                        const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms,
                        const RowSum<Scalar>* sums) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P along[array_size(Terms)][array_size(N)], found[array_size(Sums)][array_size(N)];
  for (int n = 0; n < N; ++n) {
    for (int t = 0; t < Terms; ++t) along[t][n] = ei::ploadu<P>(terms[t].along + first + n * width);
    for (int s = 0; s < Sums; ++s) found[s][n] = ei::pset1<P>(Scalar(0));
  }
  Scalar* row = m + first;
  for (Index i = 0; i < rows; ++i, row += stride) {
    P coefficients[array_size(Terms)], weights[array_size(Sums)];
    const P scale = ei::pset1<P>(scaling.row(i));
    for (int t = 0; t < Terms; ++t) {
      coefficients[t] = ei::pset1<P>(Scalar(terms[t].factor * terms[t].of_row[i]));
    }
    for (int s = 0; s < Sums; ++s) weights[s] = ei::pset1<P>(sums[s].weights[i]);
    for (int n = 0; n < N; ++n) {
      P x = ei::pmul(scale, ei::ploadu<P>(row + n * width));
      for (int t = 0; t < Terms; ++t) x = ei::pmadd(coefficients[t], along[t][n], x);
      ei::pstoreu(row + n * width, x);
      for (int s = 0; s < Sums; ++s) found[s][n] = ei::pmadd(weights[s], x, found[s][n]);
    }
  }
  for (int s = 0; s < Sums; ++s) {
    for (int n = 0; n < N; ++n) ei::pstoreu(sums[s].out + first + n * width, found[s][n]);
  }
}

template <int N, int Terms, int Sums, class Scalar>
void stepped_rows_from(Scalar* m, Index first, Index rows, Index columns,
                       const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms,
                       const RowSum<Scalar>* sums) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    stepped_rows_block<N, Terms, Sums>(m, first, rows, columns, scaling, terms, sums);
  }
  if constexpr (N > 1) {
    stepped_rows_from<next_block<Scalar>(N), Terms, Sums>(m, first, rows, columns, scaling, terms,
                                                          sums);
  } else {
    for (int s = 0; s < Sums; ++s) std::fill(sums[s].out + first, sums[s].out + columns, Scalar(0));
    for (Index i = 0; i < rows && first < columns; ++i) {
      for (Index j = first; j < columns; ++j) {
        Scalar x = scaling.row(i) * m[i * columns + j];
        for (int t = 0; t < Terms; ++t) {
          x += terms[t].factor * terms[t].of_row[i] * terms[t].along[j];
        }
        m[i * columns + j] = x;
        for (int s = 0; s < Sums; ++s) sums[s].out[j] += sums[s].weights[i] * x;
      }
    }
  }
}

/// m <- scaling m + the outer products, then the sums of its rows; columns are not scaled. No sum
/// may lie where something along the rows does.
template <int Terms, int Sums, class Scalar>
void stepped_rows(Scalar* m, Index rows, Index columns, const Scaling<Scalar>& scaling,
                  const OuterProduct<Scalar>* terms, const RowSum<Scalar>* sums) {
  constexpr int packets = widest_block<Scalar> / (2 * (std::max)(Terms, Sums));
  stepped_rows_from<packets, Terms, Sums>(m, Index{0}, rows, columns, scaling, terms, sums);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_STEPPED_ROWS_HPP
