// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_WEIGHTED_ROWS_HPP
#define LOGLINEAR_DETAIL_KERNELS_WEIGHTED_ROWS_HPP

// m^T c of row-major matrices. This and the other kernels are the inner loops of a token, on raw
// row-major memory: on Eigen's packets, so that one text serves every instruction set and every
// scalar (a scalar without packets is its own packet of one). They never parallelise, never
// allocate and add in a fixed order.
//
// Memory is read in the order in which it lies, a whole row of a block before the next: rows that
// take turns cost hardware prefetchers half their speed.

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/base/unroll.hpp"

namespace loglinear::detail {

/// A matrix to be read as `Sums` weighted sums of its rows, scale sum_i weights[i] rows[i], i <
/// count.
template <class Stored, class Scalar, std::size_t Sums = 1>
struct WeightedRows {
  const Stored* rows;
  Index count;
  std::array<const Scalar*, Sums> weights;
  Scalar scale;
};

/// out = the weighted sums of rows of all terms together, for N packets of columns from `first` on,
/// added to out if `add`. The sums, each in so many `chains`, stay in registers while all rows
/// of all terms pass by.
template <int N, int chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_block(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                         Index stride, const std::array<Scalar*, Sums>& out, bool add) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  P sums[Sums][array_size(chains)][array_size(N)];
  for (std::size_t s = 0; s < Sums; ++s) {
    for (int c = 0; c < chains; ++c) {
      for (int n = 0; n < N; ++n) sums[s][c][n] = ei::pset1<P>(Scalar(0));
    }
    if (add) load_in_order_of<Stored, N, Scalar>(out[s], sums[s][0]);
  }
  const auto add_row = [&](const auto& term, const Stored* row, Index i, int c)
      __attribute__((always_inline)) {
    for (std::size_t s = 0; s < Sums; ++s) {  // loaded for each sum: few registers are left
      const P weight = ei::pmul(ei::pset1<P>(term.scale), ei::pset1<P>(term.weights[s][i]));
      for_each_packet<Scalar, N>(row, [&](std::size_t n, const P& packet) {
        sums[s][c][n] = ei::pmadd(weight, packet, sums[s][c][n]);
      });
    }
  };
  for (int t = 0; t < count; ++t) {
    const WeightedRows<Stored, Scalar, Sums> term = terms[t];
    const Stored* row = term.rows + first;
    Index i = 0;
    for (; i + chains <= term.count; i += chains, row += chains * stride) {
      LOGLINEAR_UNROLL for (int c = 0; c < chains; ++c) add_row(term, row + c * stride, i + c, c);
    }
    for (; chains > 1 && i < term.count; ++i, row += stride) add_row(term, row, i, 0);
  }
  for (std::size_t s = 0; s < Sums; ++s) {
    for (int n = 0; n < N; ++n) {
      for (int c = 1; c < chains; ++c) sums[s][0][n] = ei::padd(sums[s][0][n], sums[s][c][n]);
    }
    store_from_order_of<Stored, N, Scalar>(out[s], sums[s][0]);
  }
}

/// The columns from `first` on, which are fewer than a packet: from a packet that overlaps the one
/// before it, if there is one.
template <int Chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_rest(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                        Index columns, Index stride, const std::array<Scalar*, Sums>& out,
                        bool add) {
  constexpr Index width = packet_size<Scalar>;
  Scalar buffers[Sums][packet_length<Scalar>];
  if (columns >= width) {
    const Index begin = columns - width;
    std::array<Scalar*, Sums> to;
    for (std::size_t s = 0; s < Sums; ++s) {
      to[s] = buffers[s];
      if (add) std::copy_n(out[s] + begin, width, to[s]);
    }
    weighted_rows_block<1, Chains>(terms, count, begin, stride, to, add);
    for (std::size_t s = 0; s < Sums; ++s) {
      std::copy_n(to[s] + (first - begin), columns - first, out[s] + first);
    }
    return;
  }
  for (std::size_t s = 0; s < Sums; ++s) {
    if (!add) std::fill(out[s] + first, out[s] + columns, Scalar(0));
    for (int t = 0; t < count; ++t) {
      const auto& [m, rows, weights, scale] = terms[t];
      for (Index i = 0; i < rows; ++i) {
        const Scalar weight = scale * weights[s][i];
        const Scalar* const rest = wide_rest<Scalar>(m + i * stride, first, columns, buffers[s]);
        for (Index j = first; j < columns; ++j) out[s][j] += weight * rest[j - first];
      }
    }
  }
}

/// In how many chains the sums of a single packet are added up, to hide the latency of the
/// additions. With one chain the rows are added in their order.
template <int Chains, class Scalar>
inline constexpr int chains_of_packet = has_short_packets<Scalar> ? (std::min)(Chains, 4) : Chains;

/// All columns from `first` on, N packets at a time as long as there are so many, then fewer. Fewer
/// packets than `Chains` are summed in several chains.
template <int N, int Chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_from(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                        Index columns, Index stride, const std::array<Scalar*, Sums>& out,
                        bool add) {
  constexpr int chains = N >= Chains ? 1 : Chains / N;
  constexpr Index width = packet_size<Scalar>;
  const auto at = [&](Index column) {
    std::array<Scalar*, Sums> to = out;
    for (Scalar*& sums : to) sums += column;
    return to;
  };
  for (; first + N * width <= columns; first += N * width) {
    weighted_rows_block<N, chains>(terms, count, first, stride, at(first), add);
  }
  // One pass over long rows rather than several, which would not read memory in its order.
  if constexpr (N == 16 && Chains == 1) {
    const Index packets = (columns - first) / width;
    if (packets >= 10) {
      if (packets >= 14) {
        weighted_rows_block<14, 1>(terms, count, first, stride, at(first), add);
      } else if (packets >= 12) {
        weighted_rows_block<12, 1>(terms, count, first, stride, at(first), add);
      } else {
        weighted_rows_block<10, 1>(terms, count, first, stride, at(first), add);
      }
      first += packets / 2 * 2 * width;
    }
  }
  if constexpr (N > 1) {
    weighted_rows_from<next_block<Scalar>(N), Chains>(terms, count, first, columns, stride, out,
                                                      add);
  } else if (first < columns) {
    weighted_rows_rest<Chains>(terms, count, first, columns, stride, out, add);
  }
}

/// out[j] = sum over the terms of scale sum_i weights[i] rows[i][j], j < columns, added to out if
/// `Add`: `sum_l lambda_l m_l^T c_l` over matrices of one width, in one pass over each. With one
/// chain the rounding of a column depends on nothing but whether it lies in a whole packet.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows(const WeightedRows<Stored, Scalar>* terms, int count, Index columns,
                   Index stride, Scalar* out) {
  constexpr int chains = chains_of_packet<Chains, Scalar>;
  weighted_rows_from<widest_block<Scalar>, chains, Stored, Scalar, 1>(terms, count, 0, columns,
                                                                      stride, {out}, Add);
}

/// The same of one matrix, `m^T c`.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows(const Stored* m, Index rows, Index columns, Index stride, const Scalar* c,
                   Scalar* out) {
  const WeightedRows<Stored, Scalar> term{m, rows, {c}, Scalar(1)};
  weighted_rows<Add, Chains>(&term, 1, columns, stride, out);
}

/// The same with two vectors at once, `m^T c` and `m^T d`.
template <bool Add = false, class Stored, class Scalar>
void weighted_rows_pair(const Stored* m, Index rows, Index columns, Index stride, const Scalar* c,
                        const Scalar* d, Scalar* out_c, Scalar* out_d) {
  const WeightedRows<Stored, Scalar, 2> term{m, rows, {c, d}, Scalar(1)};
  weighted_rows_from<widest_block<Scalar> / 2, 4, Stored, Scalar, 2>(&term, 1, 0, columns, stride,
                                                                     {out_c, out_d}, Add);
}

}  // namespace loglinear::detail

#define LOGLINEAR_WEIGHTED_ROWS_OF(EXTERN, SCALAR, ADD, CHAINS) \
  EXTERN template void detail::weighted_rows<ADD, CHAINS>(      \
      const detail::WeightedRows<SCALAR, SCALAR>*, int, Eigen::Index, Eigen::Index, SCALAR*);
#define LOGLINEAR_WEIGHTED_ROWS_PAIR(EXTERN, SCALAR, ADD)                                          \
  EXTERN template void detail::weighted_rows_pair<ADD>(const SCALAR*, Eigen::Index, Eigen::Index,  \
                                                       Eigen::Index, const SCALAR*, const SCALAR*, \
                                                       SCALAR*, SCALAR*);
#define LOGLINEAR_WEIGHTED_ROWS(EXTERN, SCALAR)        \
  LOGLINEAR_WEIGHTED_ROWS_OF(EXTERN, SCALAR, false, 1) \
  LOGLINEAR_WEIGHTED_ROWS_OF(EXTERN, SCALAR, false, 4) \
  LOGLINEAR_WEIGHTED_ROWS_OF(EXTERN, SCALAR, true, 4)  \
  LOGLINEAR_WEIGHTED_ROWS_OF(EXTERN, SCALAR, false, 8) \
  LOGLINEAR_WEIGHTED_ROWS_OF(EXTERN, SCALAR, true, 8)  \
  LOGLINEAR_WEIGHTED_ROWS_PAIR(EXTERN, SCALAR, false)  \
  LOGLINEAR_WEIGHTED_ROWS_PAIR(EXTERN, SCALAR, true)
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_WEIGHTED_ROWS)

#endif  // LOGLINEAR_DETAIL_KERNELS_WEIGHTED_ROWS_HPP
