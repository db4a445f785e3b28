// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP
#define LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP

// Rows scaled, and updates of low rank.

#include <Eigen/Core>
#include <cstddef>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// A matrix of rank one: coefficient (i, j) is factor of_row[i] along[j].
template <class Scalar>
struct OuterProduct {
  const Scalar* of_row = nullptr;
  const Scalar* along = nullptr;
  Scalar factor{1};
};

/// What a matrix is multiplied by: row i by factor of_row[i], where null stands for ones, and
/// column j by of_column[j], in `step_rows` only with `ScalesColumns`.
template <class Scalar>
struct Scaling {
  Scalar factor{1};
  const Scalar* of_row = nullptr;
  const Scalar* of_column = nullptr;

  [[nodiscard]] Scalar row(Index i) const {
    return of_row == nullptr ? factor : Scalar(factor * of_row[i]);
  }
};

/// rows[j] = scaling rows[j] - found[j] u
template <class Scalar>
void update_rows(Scalar* m, Index rows, Index columns, Index stride, const Scaling<Scalar>& scaling,
                 const Scalar* u, const Scalar* found) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const Scalar* const factors = scaling.of_column;
  for (Index j = 0; j < rows; ++j, m += stride) {
    const Scalar factor = scaling.row(j);
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

/// Bytes of a matrix that stays in the nearest cache between two passes over it.
inline constexpr Index nearest_cache = 32768;

/// `step_rows` for N packets of columns from `first` on. What `Terms` outer products have along the
/// rows stays in registers; with `Terms` 0 there are `count` of them, in memory.
template <int N, int Terms, bool ScalesColumns, class Stored, class Scalar>
void step_rows_block(Stored* m, Index first, Index rows, Index stride,
                     const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms, int count) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  constexpr std::size_t held = Terms == 0 ? 1 : Terms;
  P along[held][array_size(N)], coefficients[held], sums[array_size(N)];
  for (int t = 0; t < Terms; ++t) {
    for (int n = 0; n < N; ++n) along[t][n] = ei::ploadu<P>(terms[t].along + first + n * width);
  }
  const bool is_far = rows * stride * Index{sizeof(Stored)} > nearest_cache;
  const Index step = is_far ? -1 : 1, end = is_far ? -1 : rows;
  Index i = is_far ? rows - 1 : 0;
  for (Stored* row = m + i * stride + first; i != end; i += step, row += step * stride) {
    const P scale = ei::pset1<P>(scaling.row(i));
    const auto coefficient = [&](int t) {
      return ei::pset1<P>(Scalar(terms[t].factor * terms[t].of_row[i]));
    };
    for (int t = 0; t < Terms; ++t) coefficients[t] = coefficient(t);
    for (int n = 0; n < N; ++n) {
      P sum = ei::pmul(scale, load<Scalar>(row + n * width));
      if constexpr (ScalesColumns) {
        sum = ei::pmul(sum, ei::ploadu<P>(scaling.of_column + first + n * width));
      }
      for (int t = 0; t < Terms; ++t) sum = ei::pmadd(coefficients[t], along[t][n], sum);
      if constexpr (Terms > 0) store<Scalar>(row + n * width, sum);
      if constexpr (Terms == 0) sums[n] = sum;
    }
    if constexpr (Terms > 0) continue;
    for (int t = 0; t < count; ++t) {
      const P factor = coefficient(t);
      const Scalar* const from = terms[t].along + first;
      for (int n = 0; n < N; ++n) {
        sums[n] = ei::pmadd(factor, ei::ploadu<P>(from + n * width), sums[n]);
      }
    }
    for (int n = 0; n < N; ++n) store<Scalar>(row + n * width, sums[n]);
  }
}

template <int N, int Terms, bool ScalesColumns, class Stored, class Scalar>
void step_rows_from(Stored* m, Index first, Index rows, Index columns, Index stride,
                    const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms, int count) {
  constexpr Index wide = N * packet_size<Scalar>;
  const Index blocks = (columns - first) / wide, rest = first + blocks * wide;
  if constexpr (N > 1) {  // each size of block takes its time to compile
    constexpr int fewer = N > 4 ? N / 4 : 1;
    step_rows_from<fewer, Terms, ScalesColumns>(m, rest, rows, columns, stride, scaling, terms,
                                                count);
  } else {
    Stored* row = m;
    for (Index i = 0; i < rows && rest < columns; ++i, row += stride) {
      for (Index j = rest; j < columns; ++j) {
        Scalar sum = scaling.row(i) * static_cast<Scalar>(row[j]);
        if constexpr (ScalesColumns) sum *= scaling.of_column[j];
        for (int t = 0; t < count; ++t) {
          sum += terms[t].factor * terms[t].of_row[i] * terms[t].along[j];
        }
        row[j] = static_cast<Stored>(sum);
      }
    }
  }
  for (Index block = blocks; block-- > 0;) {
    step_rows_block<N, Terms, ScalesColumns>(m, first + block * wide, rows, stride, scaling, terms,
                                             count);
  }
}

/// m <- scaling m + sum of the outer products, j < columns: each number is read, rounded and
/// written once. Where the matrix is larger than the nearest cache, the last row comes first: a
/// read before it went from the first row to the last, and each of the two finds in the cache what
/// the other has touched last. Is fastest with `Usual` outer products, 1 or 2. `ScalesColumns`:
/// whether `of_column` is used, which must not be null then.
template <int Usual, bool ScalesColumns, class Stored, class Scalar>
void step_rows(Stored* m, Index rows, Index columns, Index stride, const Scaling<Scalar>& scaling,
               const OuterProduct<Scalar>* terms, int count) {
  if constexpr (Usual > 0) {
    if (count == Usual) {
      return step_rows_from<8 / Usual, Usual, ScalesColumns>(m, Index{0}, rows, columns, stride,
                                                             scaling, terms, count);
    }
  }
  step_rows_from<4, 0, ScalesColumns>(m, Index{0}, rows, columns, stride, scaling, terms, count);
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

#define LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, N, TERMS, SCALES_COLUMNS) \
  EXTERN template void detail::step_rows_from<N, TERMS, SCALES_COLUMNS>(   \
      SCALAR*, Eigen::Index, Eigen::Index, Eigen::Index, Eigen::Index,     \
      const detail::Scaling<SCALAR>&, const detail::OuterProduct<SCALAR>*, int);
#define LOGLINEAR_STEP_ROWS(EXTERN, SCALAR)             \
  LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, 8, 1, false) \
  LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, 8, 1, true)  \
  LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, 4, 2, false) \
  LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, 4, 2, true)  \
  LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, 4, 0, false) \
  LOGLINEAR_STEP_ROWS_FROM(EXTERN, SCALAR, 4, 0, true)
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_STEP_ROWS)

#endif  // LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP
