// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_HPP
#define LOGLINEAR_DETAIL_KERNELS_HPP

// The inner loops of a token, on raw row-major memory: on Eigen's packets, so that one text serves
// every instruction set and every scalar (a scalar without packets is its own packet of one). They
// never parallelise, never allocate and add in a fixed order.
//
// Memory is read in the order in which it lies, a whole row of a block before the next: rows that
// take turns cost hardware prefetchers half their speed.

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>
#include <utility>

#include "loglinear/detail/narrow.hpp"
#include "loglinear/detail/types.hpp"

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

/// Packets of columns that fit in half of the registers, or a quarter where they are widened.
template <class Scalar>
inline constexpr int widest_block =
    Eigen::internal::gebp_traits<Scalar, Scalar>::NumberOfRegisters >= 32 ? 16 : 8;

/// out[j] = the weighted sums of rows of all terms together, for N packets of columns from `first`
/// on, added to out if `Add`. The sums stay in registers while all rows of all terms pass by; fewer
/// packets than `Chains` are summed in several chains, to hide the latency of the additions.
template <int N, bool Add, int Chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_block(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                         Index stride, const std::array<Scalar*, Sums>& out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  [[maybe_unused]] constexpr Index width = packet_size<Scalar>;
  constexpr int chains = N >= Chains ? 1 : Chains / N;
  P sums[Sums][chains][N];
  for (std::size_t s = 0; s < Sums; ++s) {
    for (int c = 0; c < chains; ++c) {
      for (int n = 0; n < N; ++n) sums[s][c][n] = ei::pset1<P>(Scalar(0));
    }
    if (Add) load_in_order_of<Stored, N, Scalar>(out[s] + first, sums[s][0]);
  }
  const auto add_row = [&](const auto& term, const Stored* row, Index i, auto c) {
    [[maybe_unused]] P packets[N];
    if constexpr (is_narrow<Stored>) load_packets<Scalar, N>(row, packets);
    for (std::size_t s = 0; s < Sums; ++s) {
      const P weight = ei::pmul(ei::pset1<P>(term.scale), ei::pset1<P>(term.weights[s][i]));
      for (int n = 0; n < N; ++n) {
        if constexpr (is_narrow<Stored>) {
          sums[s][c][n] = ei::pmadd(weight, packets[n], sums[s][c][n]);
        } else {  // loaded for each sum: few registers are left
          sums[s][c][n] = ei::pmadd(weight, ei::ploadu<P>(row + n * width), sums[s][c][n]);
        }
      }
    }
  };
  for (int t = 0; t < count; ++t) {
    const WeightedRows<Stored, Scalar, Sums> term = terms[t];
    const Stored* row = term.rows + first;
    Index i = 0;
    for (; i + chains <= term.count; i += chains, row += chains * stride) {
      // Unrolled, or else the sums would not stay in registers.
      [&]<int... C>(std::integer_sequence<int, C...>) {
        (add_row(term, row + C * stride, i + C, std::integral_constant<int, C>{}), ...);
      }
      (std::make_integer_sequence<int, chains>{});
    }
    for (; i < term.count; ++i, row += stride)
      add_row(term, row, i, std::integral_constant<int, 0>{});
  }
  for (std::size_t s = 0; s < Sums; ++s) {
    for (int n = 0; n < N; ++n) {
      for (int c = 1; c < chains; ++c) sums[s][0][n] = ei::padd(sums[s][0][n], sums[s][c][n]);
    }
    store_from_order_of<Stored, N, Scalar>(out[s] + first, sums[s][0]);
  }
}

/// All columns from `first` on, N packets at a time as long as there are so many, then fewer.
template <int N, bool Add, int Chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_from(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                        Index columns, Index stride, const std::array<Scalar*, Sums>& out) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    weighted_rows_block<N, Add, Chains>(terms, count, first, stride, out);
  }
  // One pass rather than several over long rows: half a row after the other is no order of memory.
  if constexpr (N == 16 && Chains == 1) {
    const Index packets = (columns - first) / width;
    if (packets >= 10) {
      if (packets >= 14) {
        weighted_rows_block<14, Add, Chains>(terms, count, first, stride, out);
      } else if (packets >= 12) {
        weighted_rows_block<12, Add, Chains>(terms, count, first, stride, out);
      } else {
        weighted_rows_block<10, Add, Chains>(terms, count, first, stride, out);
      }
      first += packets / 2 * 2 * width;
    }
  }
  if constexpr (N > 1) {
    weighted_rows_from<N / 2, Add, Chains>(terms, count, first, columns, stride, out);
  } else if (first < columns) {
    for (std::size_t s = 0; s < Sums; ++s) {
      if (!Add) std::fill(out[s] + first, out[s] + columns, Scalar(0));
      for (int t = 0; t < count; ++t) {
        const auto& [m, rows, weights, scale] = terms[t];
        for (Index i = 0; i < rows; ++i) {
          const Scalar weight = scale * weights[s][i];
          for (Index j = first; j < columns; ++j) {
            out[s][j] += weight * static_cast<Scalar>(m[i * stride + j]);
          }
        }
      }
    }
  }
}

/// out[j] = sum over the terms of scale sum_i weights[i] rows[i][j], j < columns, added to out if
/// `Add`: `sum_l lambda_l m_l^T c_l` over matrices of one width, in one pass over each. With one
/// chain the rounding of a column depends on nothing but whether it lies in a whole packet.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows(const WeightedRows<Stored, Scalar>* terms, int count, Index columns,
                   Index stride, Scalar* out) {
  constexpr int widest = is_narrow<Stored> ? widest_block<Scalar> / 2 : widest_block<Scalar>;
  weighted_rows_from<widest, Add, Chains, Stored, Scalar, 1>(terms, count, 0, columns, stride,
                                                             {out});
}

/// The same of one matrix, `m^T c`.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows(const Stored* m, Index rows, Index columns, Index stride, const Scalar* c,
                   Scalar* out) {
  const WeightedRows<Stored, Scalar> term{m, rows, {c}, Scalar(1)};
  weighted_rows<Add, Chains>(&term, 1, columns, stride, out);
}

/// The same with two vectors at once, `m^T c` and `m^T d`.
template <bool Add = false, int Chains = 4, class Scalar>
void weighted_rows_pair(const Scalar* m, Index rows, Index columns, Index stride, const Scalar* c,
                        const Scalar* d, Scalar* out_c, Scalar* out_d) {
  const WeightedRows<Scalar, Scalar, 2> term{m, rows, {c, d}, Scalar(1)};
  weighted_rows_from<widest_block<Scalar> / 2, Add, Chains, Scalar, Scalar, 2>(
      &term, 1, 0, columns, stride, {out_c, out_d});
}

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
      P d[N], packets[N], along[2] = {zero, zero};
      load_in_order_of<Stored, N, Scalar>(vector + first, d);
      const Stored* row = m + top * stride + first;
      for (Index i = 0; i < height; ++i, row += stride) {
        load_packets<Scalar, N>(row, packets);
        P dot = ei::pmul(packets[0], d[0]);
        for (int n = 1; n < N; ++n) dot = ei::pmadd(packets[n], d[n], dot);
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
    dotted_rows_from<N / 2>(terms, count, first, rows, columns, stride, out);
  } else {
    for (int term = 0; term < count && first < columns; ++term) {
      auto& [m, vector, weights, duals, found] = terms[term];
      for (Index i = 0; i < rows; ++i) {
        Scalar dot(0);
        for (Index j = first; j < columns; ++j) {
          dot += static_cast<Scalar>(m[i * stride + j]) * vector[j];
        }
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

/// out[s][j] = rows[j] . vectors[s] for N packets of columns from `first` on, added to out if
/// `Add`.
template <int N, bool Add, class Scalar, std::size_t Vectors>
void row_dots_block(const Scalar* m, Index first, Index rows, Index stride,
                    const std::array<const Scalar*, Vectors>& vectors,
                    const std::array<Scalar*, Vectors>& out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P packets[Vectors][N];
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
      out[s][j] = Add ? out[s][j] + dot : dot;
    }
  }
}
template <int N, bool Add, class Scalar, std::size_t Vectors>
void row_dots_from(const Scalar* m, Index first, Index rows, Index columns, Index stride,
                   const std::array<const Scalar*, Vectors>& vectors,
                   const std::array<Scalar*, Vectors>& out) {
  constexpr Index width = packet_size<Scalar>;
  if (first + N * width <= columns) {
    row_dots_block<N, Add>(m, first, rows, stride, vectors, out);
    return row_dots_from<N, true>(m, first + N * width, rows, columns, stride, vectors, out);
  }
  if constexpr (N > 1) {
    row_dots_from<N / 2, Add>(m, first, rows, columns, stride, vectors, out);
  } else {
    for (std::size_t s = 0; s < Vectors; ++s) {
      for (Index j = 0; j < rows && (first < columns || !Add); ++j) {
        Scalar dot(0);
        for (Index i = first; i < columns; ++i) dot += m[j * stride + i] * vectors[s][i];
        out[s][j] = Add ? out[s][j] + dot : dot;
      }
    }
  }
}

/// out[j] = rows[j] . q, `m q` of a row-major matrix.
template <class Scalar>
void row_dots(const Scalar* m, Index rows, Index columns, const Scalar* q, Scalar* out) {
  if (rows == 0) return;  // m may be null, to which nothing must be added
  row_dots_from<widest_block<Scalar> / 2, false, Scalar, 1>(m, 0, rows, columns, columns, {q},
                                                            {out});
}
/// The same with two vectors at once, and the same bits.
template <class Scalar>
void row_dots(const Scalar* m, Index rows, Index columns, const Scalar* q, const Scalar* p,
              Scalar* out_q, Scalar* out_p) {
  if (rows == 0) return;
  row_dots_from<widest_block<Scalar> / 2, false, Scalar, 2>(m, 0, rows, columns, columns, {q, p},
                                                            {out_q, out_p});
}

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
    P along[N];
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
  constexpr Index width = packet_size<Scalar>;
  for (Index i = 0; i < rows; ++i, m += stride) {
    const Scalar scale_of_row = scale_of(i);
    const Packet<Scalar> factor = ei::pset1<Packet<Scalar>>(scale_of_row);
    Index j = 0;
    for (; j + width <= columns; j += width) {
      Packet<Scalar> scaled = ei::pmul(factor, load<Scalar>(m + j));
      if (of_column != nullptr) scaled = ei::pmul(scaled, load<Scalar>(of_column + j));
      store<Scalar>(m + j, scaled);
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

/// Magnitudes below this are nothing: the smallest normal number over the rounding error, so that
/// what a state still says when multiplied by ordinary numbers is not denormal. Processors take a
/// hundred times as long over denormal numbers; a state that decays would end in them.
template <class Scalar>
inline constexpr Scalar negligible_magnitude =
    std::numeric_limits<Scalar>::min() / std::numeric_limits<Scalar>::epsilon();

/// Clears what has decayed to nothing; dual numbers and narrow ones are left as they are.
template <class Scalar>
void clear_negligible(Scalar* m, Index size) {
  if constexpr (std::is_floating_point_v<Scalar>) {
    for (Index j = 0; j < size; ++j) {
      m[j] = std::abs(m[j]) < negligible_magnitude<Scalar> ? Scalar(0) : m[j];
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_HPP
