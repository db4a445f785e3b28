// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP
#define LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP

// Rows scaled, and updates of rank one.

#include <Eigen/Core>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// rows[j] = factor factors rows[j] - found[j] u, where factors is 1 for all if it is null.
template <class Scalar>
void update_rows(Scalar* m, Index rows, Index columns, Index stride, const Scalar& factor,
                 const Scalar* factors, const Scalar* u, const Scalar* found) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (Index j = 0; j < rows; ++j, m += stride) {
    const P minus = ei::pset1<P>(-found[j]), common = ei::pset1<P>(factor);
    Index i = 0;
    for (; i + width <= columns; i += width) {
      P old = ei::pmul(common, ei::ploadu<P>(m + i));
      if (factors != nullptr) old = ei::pmul(old, ei::ploadu<P>(factors + i));
      ei::pstoreu(m + i, ei::pmadd(minus, ei::ploadu<P>(u + i), old));
    }
    for (; i < columns; ++i) {
      m[i] *= factor;
      if (factors != nullptr) m[i] *= factors[i];
      m[i] -= found[j] * u[i];
    }
  }
}

/// m[i][j] = scale(i) m[i][j] + c[i] v[j] for N packets of columns at a time, v in registers.
template <int N, class Scalar, class ScaleOfRow>
void scale_and_add_outer_from(Scalar* m, Index first, Index rows, Index columns, Index stride,
                              const ScaleOfRow& scale, const Scalar* c, const Scalar* v) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    P along[array_size(N)];
    for (int n = 0; n < N; ++n) along[n] = ei::ploadu<P>(v + first + n * width);
    Scalar* row = m + first;
    for (Index i = 0; i < rows; ++i, row += stride) {
      const P old = ei::pset1<P>(scale(i)), factor = ei::pset1<P>(c[i]);
      for (int n = 0; n < N; ++n) {
        Scalar* const at = row + n * width;
        ei::pstoreu(at, ei::pmadd(factor, along[n], ei::pmul(old, ei::ploadu<P>(at))));
      }
    }
  }
  if constexpr (N > 1) {
    scale_and_add_outer_from<N / 2>(m, first, rows, columns, stride, scale, c, v);
  } else {
    for (Index i = 0; i < rows && first < columns; ++i) {
      const Scalar scale_of_row = scale(i);
      for (Index j = first; j < columns; ++j) {
        m[i * stride + j] = c[i] * v[j] + scale_of_row * m[i * stride + j];
      }
    }
  }
}

/// m[i][j] = scale(i) m[i][j] + c[i] v[j], j < columns: rows scaled, then a rank-one update.
template <class Scalar, class ScaleOfRow>
void scale_and_add_outer(Scalar* m, Index rows, Index columns, Index stride,
                         const ScaleOfRow& scale, const Scalar* c, const Scalar* v) {
  scale_and_add_outer_from<8>(m, Index{0}, rows, columns, stride, scale, c, v);
}

/// m[i][j] += c[i] v[j], j < columns: a rank-one update of a row-major matrix.
template <class Scalar>
void add_outer(Scalar* m, Index rows, Index columns, Index stride, const Scalar* c,
               const Scalar* v) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (Index i = 0; i < rows; ++i, m += stride) {
    const P factor = ei::pset1<P>(c[i]);
    Index j = 0;
    for (; j + width <= columns; j += width) {
      ei::pstoreu(m + j, ei::pmadd(factor, ei::ploadu<P>(v + j), ei::ploadu<P>(m + j)));
    }
    for (; j < columns; ++j) m[j] += c[i] * v[j];
  }
}

/// m[i][j] *= scale_of(i) of_column[j], the latter 1 for all where it is null.
template <class Stored, class Scalar, class ScaleOfRow>
void scale(Stored* m, Index rows, Index columns, Index stride, ScaleOfRow scale_of,
           const Scalar* of_column) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (Index i = 0; i < rows; ++i, m += stride) {
    const Scalar scale_of_row = scale_of(i);
    const P factor = ei::pset1<P>(scale_of_row);
    const auto scaled_at = [&](Index j) {
      const P scaled = ei::pmul(factor, load<Scalar>(m + j));
      return of_column == nullptr ? scaled : ei::pmul(scaled, load<Scalar>(of_column + j));
    };
    Index j = 0;
    if (columns >= width) {  // the last packet, which may overlap the one before it
      const P last = scaled_at(columns - width);
      for (; j + width < columns; j += width) store<Scalar>(m + j, scaled_at(j));
      store<Scalar>(m + columns - width, last);
      continue;
    }
    for (; j < columns; ++j) {
      Scalar scaled = scale_of_row * static_cast<Scalar>(m[j]);
      if (of_column != nullptr) scaled *= of_column[j];
      m[j] = static_cast<Stored>(scaled);
    }
  }
}

/// to[j] = c from[j], added to to[j] if `Add`: a bucket of one leaf, row by row.
template <bool Add, class Scalar>
void scaled_row(const Scalar& c, const Scalar* from, Index size, Scalar* to) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const P factor = ei::pset1<P>(c), zero = ei::pset1<P>(Scalar(0));
  Index j = 0;
  for (; j + width <= size; j += width) {
    const P old = Add ? ei::ploadu<P>(to + j) : zero;
    ei::pstoreu(to + j, ei::pmadd(factor, ei::ploadu<P>(from + j), old));
  }
  for (; j < size; ++j) to[j] = c * from[j] + (Add ? to[j] : Scalar(0));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP
