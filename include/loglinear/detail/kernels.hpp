// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_HPP
#define LOGLINEAR_DETAIL_KERNELS_HPP

// The inner loops of a token, on raw row-major memory: on Eigen's packets, so that one text serves
// every instruction set and every scalar (a scalar without packets is its own packet of one). They
// never parallelise, never allocate and add in a fixed order.

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "loglinear/detail/types.hpp"

namespace loglinear::detail {

template <class Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
template <class Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

/// out[j] = sum_i c[i] m[i][j] for N packets of columns, added to out if `Add`: the sums stay in
/// registers while all rows pass by; even and odd rows are summed apart to hide the latency of the
/// additions.
template <int N, bool Add, class Scalar>
void weighted_rows_block(const Scalar* m, Index rows, Index stride, const Scalar* c, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P even[N], odd[N];
  for (int n = 0; n < N; ++n) {
    odd[n] = ei::pset1<P>(Scalar(0));
    even[n] = Add ? ei::ploadu<P>(out + n * width) : odd[n];
  }
  Index i = 0;
  for (; i + 1 < rows; i += 2, m += 2 * stride) {
    const P first = ei::pset1<P>(c[i]), second = ei::pset1<P>(c[i + 1]);
    for (int n = 0; n < N; ++n) {
      even[n] = ei::pmadd(first, ei::ploadu<P>(m + n * width), even[n]);
      odd[n] = ei::pmadd(second, ei::ploadu<P>(m + stride + n * width), odd[n]);
    }
  }
  if (i < rows) {
    const P last = ei::pset1<P>(c[i]);
    for (int n = 0; n < N; ++n) {
      even[n] = ei::pmadd(last, ei::ploadu<P>(m + n * width), even[n]);
    }
  }
  for (int n = 0; n < N; ++n) ei::pstoreu(out + n * width, ei::padd(even[n], odd[n]));
}

/// out[j] = sum_i c[i] m[i][j], j < columns, added to out if `Add`: a row-major matrix from the
/// left, `m^T c`.
template <bool Add = false, class Scalar>
void weighted_rows(const Scalar* m, Index rows, Index columns, Index stride, const Scalar* c,
                   Scalar* out) {
  constexpr Index width = packet_size<Scalar>;
  Index j = 0;
  for (; j + 8 * width <= columns; j += 8 * width) {
    weighted_rows_block<8, Add>(m + j, rows, stride, c, out + j);
  }
  for (; j + 4 * width <= columns; j += 4 * width) {
    weighted_rows_block<4, Add>(m + j, rows, stride, c, out + j);
  }
  for (; j + 2 * width <= columns; j += 2 * width) {
    weighted_rows_block<2, Add>(m + j, rows, stride, c, out + j);
  }
  for (; j + width <= columns; j += width) {
    weighted_rows_block<1, Add>(m + j, rows, stride, c, out + j);
  }
  if (j == columns) return;
  if (!Add) std::fill(out + j, out + columns, Scalar(0));
  for (Index i = 0; i < rows; ++i) {
    for (Index rest = j; rest < columns; ++rest) out[rest] += c[i] * m[i * stride + rest];
  }
}

/// The dot product of two contiguous vectors, as a packet of partial sums and the scalar rest.
template <class Scalar>
struct PartialDot {
  Packet<Scalar> sums;
  Scalar rest;
};
template <class Scalar>
PartialDot<Scalar> partial_dot(const Scalar* a, const Scalar* b, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P even = ei::pset1<P>(Scalar(0)), odd = even;
  Index j = 0;
  for (; j + 2 * width <= size; j += 2 * width) {
    even = ei::pmadd(ei::ploadu<P>(a + j), ei::ploadu<P>(b + j), even);
    odd = ei::pmadd(ei::ploadu<P>(a + j + width), ei::ploadu<P>(b + j + width), odd);
  }
  for (; j + width <= size; j += width) {
    even = ei::pmadd(ei::ploadu<P>(a + j), ei::ploadu<P>(b + j), even);
  }
  Scalar rest(0);
  for (; j < size; ++j) rest += a[j] * b[j];
  return {ei::padd(even, odd), rest};
}

/// out[i] = sum_l weight[l] m_l[i] . d over matrices of one shape, `sum_l weight_l m_l d`: row by
/// row over all matrices, so that packets are summed across only once a row.
template <class Scalar>
void weighted_dots(const Scalar* const* m, const Scalar* weight, int count, Index rows,
                   Index columns, const Scalar* d, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  for (Index i = 0; i < rows; ++i) {
    P sums = ei::pset1<P>(Scalar(0));
    Scalar rest(0);
    for (int l = 0; l < count; ++l) {
      const PartialDot<Scalar> dot = partial_dot(m[l] + i * columns, d, columns);
      sums = ei::pmadd(ei::pset1<P>(weight[l]), dot.sums, sums);
      rest += weight[l] * dot.rest;
    }
    out[i] = ei::predux(sums) + rest;
  }
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

/// to[j] += from[j] and from[j] = 0 for `size` contiguous numbers.
template <class Scalar>
void move_into(Scalar* from, Index size, Scalar* to) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  Index j = 0;
  for (; j + width <= size; j += width) {
    ei::pstoreu(to + j, ei::padd(ei::ploadu<P>(to + j), ei::ploadu<P>(from + j)));
    ei::pstoreu(from + j, ei::pset1<P>(Scalar(0)));
  }
  for (; j < size; ++j) {
    to[j] += from[j];
    from[j] = Scalar(0);
  }
}

/// Magnitudes below this are nothing: the smallest normal number over the rounding error, so that
/// what a state still says when multiplied by ordinary numbers is not denormal. Processors take a
/// hundred times as long over denormal numbers; a state that decays would end in them.
template <class Scalar>
inline constexpr Scalar negligible_magnitude =
    std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon();

/// Clears what has decayed to nothing; other scalars than IEEE ones are left as they are.
template <class Scalar>
void clear_negligible(Scalar* m, Index size) {
  if constexpr (std::numeric_limits<Scalar>::is_iec559) {
    for (Index j = 0; j < size; ++j) {
      m[j] = std::abs(m[j]) < negligible_magnitude<Scalar> ? Scalar(0) : m[j];
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

/// One carry: matrix `landed` of the `landed + 1` contiguous ones at `levels` becomes the sum of
/// the bucket `sum_n key(., n) value_n^T` of `count` leaves, of itself if `keeps`, and of all those
/// below it, which become zero. `value_n` begins at `values + n * columns`. One pass over the
/// memory: a row of the target stays in the nearest cache.
template <class Scalar, class KeyAt>
void carry(Scalar* levels, int landed, bool keeps, Index rows, Index columns, Index count,
           KeyAt key, const Scalar* values) {
  const Index size = rows * columns;
  std::array<Scalar, column_block> keys;
  for (Index i = 0; i < rows; ++i) {
    Scalar* const first = levels + i * columns;
    Scalar* const target = first + landed * size;
    bool adds = keeps;
    for (Index begin = 0; begin < count; begin += column_block) {
      const Index width = std::min<Index>(column_block, count - begin);
      for (Index n = 0; n < width; ++n) keys[static_cast<std::size_t>(n)] = key(i, begin + n);
      const Scalar* const block = values + begin * columns;
      if (width == 1) {
        adds ? scaled_row<true>(keys[0], block, columns, target)
             : scaled_row<false>(keys[0], block, columns, target);
      } else if (adds) {
        weighted_rows<true>(block, width, columns, columns, keys.data(), target);
      } else {
        weighted_rows<false>(block, width, columns, columns, keys.data(), target);
      }
      adds = true;
    }
    for (Scalar* merged = first; merged < target; merged += size) {
      move_into(merged, columns, target);
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_HPP
