// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_DOTTED_ROWS_HPP
#define LOGLINEAR_DETAIL_KERNELS_DOTTED_ROWS_HPP

// m d of several row-major matrices m, summed under weights, and q^T m d of each: the pullback of a
// read.

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// A matrix to be multiplied by a vector: row i counts weights[i] times in the sum over all terms,
/// and duals[i] times in what is found of this term.
template <class Stored, class Scalar>
struct DottedRows {
  const Stored* rows;
  const Scalar* vector;
  const Scalar* weights;
  const Scalar* duals;
  Scalar found;
};

/// The part of N packets of columns, from `first` on.
template <int N, class Stored, class Scalar>
void dotted_rows_block(DottedRows<Stored, Scalar>* terms, int count, Index first, Index rows,
                       Index stride, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index band = 8;  // rows of all terms before their sums are added up across
  const P zero = ei::pset1<P>(Scalar(0));
  // With a constant height the loops unroll, and sums and `along` stay in registers; the latter in
  // two chains.
  const auto add_band = [&](Index top, auto height) {
    P sums[band];
    std::fill(sums, sums + band, zero);
    for (int term = 0; term < count; ++term) {
      auto& [m, vector, weights, duals, found] = terms[term];
      P d[array_size(N)], along[2] = {zero, zero};
      load_in_order_of<Stored, N, Scalar>(vector + first, d);
      const Stored* row = m + top * stride + first;
      for (Index i = 0; i < height; ++i, row += stride) {
        P dot = zero;
        for_each_packet<Scalar, N>(row, [&](std::size_t n, const P& packet) {
          dot = n == 0 ? ei::pmul(packet, d[0]) : ei::pmadd(packet, d[n], dot);
        });
        sums[i] = ei::pmadd(ei::pset1<P>(weights[top + i]), dot, sums[i]);
        along[i % 2] = ei::pmadd(ei::pset1<P>(duals[top + i]), dot, along[i % 2]);
      }
      found += ei::predux(ei::padd(along[0], along[1]));
    }
    for (Index i = 0; i < height; ++i) out[top + i] += ei::predux(sums[i]);
  };
  Index top = 0;
  for (; top + band <= rows; top += band) add_band(top, std::integral_constant<Index, band>{});
  if (top < rows) add_band(top, rows - top);
}

template <int N, class Stored, class Scalar>
void dotted_rows_from(DottedRows<Stored, Scalar>* terms, int count, Index first, Index rows,
                      Index columns, Index stride, Scalar* out) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    dotted_rows_block<N>(terms, count, first, rows, stride, out);
  }
  if constexpr (N > 1) {
    dotted_rows_from<next_block<Scalar>(N)>(terms, count, first, rows, columns, stride, out);
  } else {
    Scalar buffer[packet_length<Scalar>];
    for (int term = 0; term < count && first < columns; ++term) {
      auto& [m, vector, weights, duals, found] = terms[term];
      for (Index i = 0; i < rows; ++i) {
        Scalar dot(0);
        const Scalar* const rest = wide_rest<Scalar>(m + i * stride, first, columns, buffer);
        for (Index j = first; j < columns; ++j) dot += rest[j - first] * vector[j];
        out[i] += weights[i] * dot;
        found += duals[i] * dot;
      }
    }
  }
}

/// out[i] += sum over the terms of weights[i] (rows[i] . vector), and for each term found += sum_i
/// duals[i] (rows[i] . vector): `sum_l diag(w_l) m_l d_l` and `q_l^T m_l d_l` in one pass.
template <class Stored, class Scalar>
void dotted_rows(DottedRows<Stored, Scalar>* terms, int count, Index rows, Index columns,
                 Index stride, Scalar* out) {
  dotted_rows_from<8>(terms, count, Index{0}, rows, columns, stride, out);
}

}  // namespace loglinear::detail

#define LOGLINEAR_DOTTED_ROWS(EXTERN, SCALAR)                                                      \
  EXTERN template void detail::dotted_rows(detail::DottedRows<SCALAR, SCALAR>*, int, Eigen::Index, \
                                           Eigen::Index, Eigen::Index, SCALAR*);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_DOTTED_ROWS)

#endif  // LOGLINEAR_DETAIL_KERNELS_DOTTED_ROWS_HPP
