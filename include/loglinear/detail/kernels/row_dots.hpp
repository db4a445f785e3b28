// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_ROW_DOTS_HPP
#define LOGLINEAR_DETAIL_KERNELS_ROW_DOTS_HPP

// m q of a row-major matrix.

#include <Eigen/Core>
#include <array>
#include <cstddef>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// out[s][j] = rows[j] . vectors[s] for N packets of columns from `first` on, added to out if
/// `add`.
template <int N, class Scalar, std::size_t Vectors>
void row_dots_block(const Scalar* m, Index first, Index rows, Index stride,
                    const std::array<const Scalar*, Vectors>& vectors,
                    const std::array<Scalar*, Vectors>& out, bool add) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P packets[Vectors][array_size(N)];
  for (std::size_t s = 0; s < Vectors; ++s) {
    for (int n = 0; n < N; ++n) packets[s][n] = ei::ploadu<P>(vectors[s] + first + n * width);
  }
  const Scalar* row = m + first;
  for (Index j = 0; j < rows; ++j, row += stride) {
    for (std::size_t s = 0; s < Vectors; ++s) {
      P sum = ei::pmul(ei::ploadu<P>(row), packets[s][0]);
      for (int n = 1; n < N; ++n) {
        sum = ei::pmadd(ei::ploadu<P>(row + n * width), packets[s][n], sum);
      }
      const Scalar dot = ei::predux(sum);
      out[s][j] = add ? out[s][j] + dot : dot;
    }
  }
}

/// All columns from `first` on, N packets at a time as long as there are so many, then fewer.
template <int N, class Scalar, std::size_t Vectors>
void row_dots_from(const Scalar* m, Index first, Index rows, Index columns, Index stride,
                   const std::array<const Scalar*, Vectors>& vectors,
                   const std::array<Scalar*, Vectors>& out, bool add) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width, add = true) {
    row_dots_block<N>(m, first, rows, stride, vectors, out, add);
  }
  if constexpr (N > 1) {
    row_dots_from<next_block<Scalar>(N)>(m, first, rows, columns, stride, vectors, out, add);
  } else {
    for (std::size_t s = 0; s < Vectors; ++s) {
      for (Index j = 0; j < rows && (first < columns || !add); ++j) {
        Scalar dot(0);
        for (Index i = first; i < columns; ++i) dot += m[j * stride + i] * vectors[s][i];
        out[s][j] = add ? out[s][j] + dot : dot;
      }
    }
  }
}

template <class Scalar, std::size_t Vectors>
void row_dots(const Scalar* m, Index rows, Index columns, Index stride,
              const std::array<const Scalar*, Vectors>& vectors,
              const std::array<Scalar*, Vectors>& out) {
  if (rows == 0) return;  // m may be null, to which nothing must be added
  row_dots_from<widest_block<Scalar> / 2>(m, Index{0}, rows, columns, stride, vectors, out, false);
}
/// out[j] = rows[j] . q, `m q` of a row-major matrix.
template <class Scalar>
void row_dots(const Scalar* m, Index rows, Index columns, Index stride, const Scalar* q,
              Scalar* out) {
  row_dots<Scalar, 1>(m, rows, columns, stride, {q}, {out});
}
/// The same with two vectors at once, and the same bits.
template <class Scalar>
void row_dots(const Scalar* m, Index rows, Index columns, Index stride, const Scalar* q,
              const Scalar* p, Scalar* out_q, Scalar* out_p) {
  row_dots<Scalar, 2>(m, rows, columns, stride, {q, p}, {out_q, out_p});
}

}  // namespace loglinear::detail

#define LOGLINEAR_ROW_DOTS_OF(EXTERN, SCALAR, VECTORS)                                           \
  EXTERN template void detail::row_dots(const SCALAR*, Eigen::Index, Eigen::Index, Eigen::Index, \
                                        const std::array<const SCALAR*, VECTORS>&,               \
                                        const std::array<SCALAR*, VECTORS>&);
#define LOGLINEAR_ROW_DOTS(EXTERN, SCALAR) \
  LOGLINEAR_ROW_DOTS_OF(EXTERN, SCALAR, 1) \
  LOGLINEAR_ROW_DOTS_OF(EXTERN, SCALAR, 2)
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_ROW_DOTS)

#endif  // LOGLINEAR_DETAIL_KERNELS_ROW_DOTS_HPP
