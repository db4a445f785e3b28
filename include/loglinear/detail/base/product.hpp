// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_PRODUCT_HPP
#define LOGLINEAR_DETAIL_BASE_PRODUCT_HPP

// Matrix products of the sequence form: operands of some 64 to 128 rows and columns that lie in the
// nearest caches, so nothing is packed. A tile of the result stays in registers while the rows of
// the right operand stream by and coefficients of the left one are broadcast from where they lie,
// which makes a transposed left operand cost the same. On Eigen's packets, so that one text serves
// every instruction set and scalar. Never parallelises, never allocates; a row's sums are formed in
// the same order whatever rows stand beside it.

#include <algorithm>
#include <type_traits>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/resize.hpp"
#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/base/unroll.hpp"

namespace loglinear::detail {

/// How a product meets what is already in its result; `add_scaled` multiplies its rows first,
/// `add_to_scaled` those of the result.
enum class Into { replace, add, subtract, add_scaled, add_to_scaled };

/// Whether that needs factors of the rows.
[[nodiscard]] constexpr bool is_scaled(Into into) {
  return into == Into::add_scaled || into == Into::add_to_scaled;
}

/// The left operand: coefficient (i, p) at `data + i * row + p * column`. `scale` multiplies the
/// rows of the product, or of what it is added to, if `Into` says so.
template <class Scalar>
struct LeftOperand {
  const Scalar* data;
  Index row, column;
  const Scalar* scale = nullptr;
};

/// A tile of `Rows` rows and `Packets` packets of columns: c = c0 +- sum_p a(., p) b(p, .).
template <int Rows, int Packets, class Scalar>
inline void product_tile(Into into, const LeftOperand<Scalar>& a, Index depth, const Scalar* b,
                         Index b_stride, Scalar* c, Index c_stride) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P sums[array_size(Rows)][array_size(Packets)];
  LOGLINEAR_UNROLL for (int i = 0; i < Rows; ++i) {
    LOGLINEAR_UNROLL for (int n = 0; n < Packets; ++n) sums[i][n] = ei::pset1<P>(Scalar(0));
  }
  const Scalar* column = a.data;
  for (Index p = 0; p < depth; ++p, column += a.column, b += b_stride) {
    P right[array_size(Packets)];
    LOGLINEAR_UNROLL for (int n = 0; n < Packets; ++n) right[n] = ei::ploadu<P>(b + n * width);
    LOGLINEAR_UNROLL for (int i = 0; i < Rows; ++i) {
      const P left = ei::pset1<P>(column[i * a.row]);
      LOGLINEAR_UNROLL for (int n = 0; n < Packets; ++n) {
        sums[i][n] = ei::pmadd(left, right[n], sums[i][n]);
      }
    }
  }
  const auto store_rows = [&](auto met) __attribute__((always_inline)) {
    LOGLINEAR_UNROLL for (int i = 0; i < Rows; ++i, c += c_stride) {
      LOGLINEAR_UNROLL for (int n = 0; n < Packets; ++n) {
        ei::pstoreu(c + n * width, met(i, sums[i][n], c + n * width));
      }
    }
  };
  switch (into) {  // once a tile
    case Into::replace:
      return store_rows([](int, const P& sum, const Scalar*) { return sum; });
    case Into::add:
      return store_rows(
          [](int, const P& sum, const Scalar* old) { return ei::padd(ei::ploadu<P>(old), sum); });
    case Into::subtract:
      return store_rows(
          [](int, const P& sum, const Scalar* old) { return ei::psub(ei::ploadu<P>(old), sum); });
    case Into::add_scaled:
      return store_rows([&](int i, const P& sum, const Scalar* old) {
        return ei::pmadd(ei::pset1<P>(a.scale[i]), sum, ei::ploadu<P>(old));
      });
    case Into::add_to_scaled:
      return store_rows([&](int i, const P& sum, const Scalar* old) {
        return ei::pmadd(ei::pset1<P>(a.scale[i]), ei::ploadu<P>(old), sum);
      });
  }
}

/// All rows of one panel of `Packets` packets of columns, `Rows` at a time, then fewer. Each size
/// of tile takes its time to compile, so where packets are short, and for panels of a single
/// packet, which are rare, the rows that are left come one by one.
template <int Rows, int Packets, class Scalar>
void product_panel(Into into, LeftOperand<Scalar> a, Index rows, Index depth, const Scalar* b,
                   Index b_stride, Scalar* c, Index c_stride) {
  Index i = 0;
  for (; i + Rows <= rows; i += Rows) {
    product_tile<Rows, Packets>(into, a, depth, b, b_stride, c, c_stride);
    a.data += Rows * a.row;
    if (is_scaled(into)) a.scale += Rows;
    c += Rows * c_stride;
  }
  if constexpr (Rows > 1) {
    constexpr int fewer = Packets == 1 || has_short_packets<Scalar> ? 1 : Rows > 4 ? 4 : Rows / 2;
    if (i < rows) {
      product_panel<fewer, Packets>(into, a, rows - i, depth, b, b_stride, c, c_stride);
    }
  }
}

template <class Scalar>
void product_kernel(Into into, const LeftOperand<Scalar>& a, Index rows, Index depth, Index columns,
                    const Scalar* b, Index b_stride, Scalar* c, Index c_stride) {
  constexpr Index width = packet_size<Scalar>;
  // 24 sums, 4 packets of the right operand and a coefficient fill 32 registers; 12 + 2 + 1, 16.
  // Plain x86-64 multiplies and adds one packet a cycle: fewer sums hide the latency there.
  constexpr int wide =
      Eigen::internal::gebp_traits<Scalar, Scalar>::NumberOfRegisters >= 32 ? 4 : 2;
  constexpr int tall = has_short_packets<Scalar> ? 4 : 6;
  Index j = 0;
  for (; j + wide * width <= columns; j += wide * width) {
    product_panel<tall, wide>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
  }
  if constexpr (wide > 2) {
    if (j + 3 * width <= columns) {
      product_panel<tall, 3>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
      j += 3 * width;
    }
    if (j + 2 * width <= columns) {
      product_panel<tall, 2>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
      j += 2 * width;
    }
  }
  for (; j + width <= columns; j += width) {
    product_panel<8, 1>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
  }
  for (; j < columns; ++j) {
    for (Index i = 0; i < rows; ++i) {
      Scalar sum(0);
      for (Index p = 0; p < depth; ++p) {
        sum += a.data[i * a.row + p * a.column] * b[p * b_stride + j];
      }
      Scalar& to = c[i * c_stride + j];
      if (into == Into::replace) to = sum;
      if (into == Into::add) to += sum;
      if (into == Into::subtract) to -= sum;
      if (into == Into::add_scaled) to += a.scale[i] * sum;
      if (into == Into::add_to_scaled) to = a.scale[i] * to + sum;
    }
  }
}

/// `columns` rounded up to whole packets as far as there are any: a result may be computed wider
/// than it is needed, but never in single columns where packets fit.
template <class Scalar>
[[nodiscard]] constexpr Index whole_packets(Index columns, Index available) {
  constexpr Index width = packet_size<Scalar>;
  return (std::min)(available, (columns + width - 1) / width * width);
}

// A packet of Eigen's carries an alignment that GCC drops, and says so, where it is a template
// argument.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"

/// target = source^T, both row-major: in square blocks that are transposed in registers.
template <class Scalar>
void transpose_rows(const Scalar* source, Index rows, Index columns, Index source_stride,
                    Scalar* target, Index target_stride) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  Index i = 0;
  if constexpr (width > 1) {
    for (; i + width <= rows; i += width) {
      Index j = 0;
      for (; j + width <= columns; j += width) {
        ei::PacketBlock<P, static_cast<int>(width)> block;
        for (Index n = 0; n < width; ++n) {
          block.packet[n] = ei::ploadu<P>(source + (i + n) * source_stride + j);
        }
        ei::ptranspose(block);
        for (Index n = 0; n < width; ++n) {
          ei::pstoreu(target + (j + n) * target_stride + i, block.packet[n]);
        }
      }
      for (; j < columns; ++j) {
        for (Index n = i; n < i + width; ++n) {
          target[j * target_stride + n] = source[n * source_stride + j];
        }
      }
    }
  }
  for (; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) {
      target[j * target_stride + i] = source[i * source_stride + j];
    }
  }
}
#pragma GCC diagnostic pop

/// to = from^T, both row-major.
template <class From, class To>
void transpose_into(const From& from, To&& to) {
  static_assert(From::IsRowMajor && std::remove_cvref_t<To>::IsRowMajor);
  transpose_rows(from.data(), from.rows(), from.cols(), from.outerStride(), to.data(),
                 to.outerStride());
}
/// The same into a matrix that takes its size.
template <class From, class Scalar>
void transpose_into(const From& from, RowMajorMatrix<Scalar>& to) {
  resize(to, from.cols(), from.rows());
  transpose_rows(from.data(), from.rows(), from.cols(), from.outerStride(), to.data(),
                 to.outerStride());
}

/// c = a b, c += a b, c -= a b, c += diag(scale) a b or c = diag(scale) c + a b. All three lie in
/// memory; b and c are row-major with contiguous rows, a may be a block, a transpose or
/// column-major. c overlaps neither a nor b.
template <Into into, class A, class B, class C>
void product(const A& a, const B& b, C&& c, const typename A::Scalar* scale = nullptr) {
  using Scalar = typename A::Scalar;
  static_assert(B::IsRowMajor && std::remove_cvref_t<C>::IsRowMajor, "b and c must be row-major");
  if (a.rows() == 0) return;
  if (a.cols() == 0) {  // b.data() may be null, to which nothing must be added
    for (Index i = 0; i < c.rows(); ++i) {
      Scalar* const row = c.data() + i * c.outerStride();
      if (into == Into::replace) std::fill_n(row, c.cols(), Scalar(0));
      if (into == Into::add_to_scaled) {
        for (Index j = 0; j < c.cols(); ++j) row[j] *= scale[i];
      }
    }
    return;
  }
  const LeftOperand<Scalar> operand{a.data(), A::IsRowMajor ? a.outerStride() : Index{1},
                                    A::IsRowMajor ? Index{1} : a.outerStride(), scale};
  product_kernel(into, operand, a.rows(), a.cols(), b.cols(), b.data(), b.outerStride(), c.data(),
                 c.outerStride());
}

}  // namespace loglinear::detail

#define LOGLINEAR_PRODUCT(EXTERN, SCALAR)                                                       \
  EXTERN template void detail::product_kernel(detail::Into, const detail::LeftOperand<SCALAR>&, \
                                              Eigen::Index, Eigen::Index, Eigen::Index,         \
                                              const SCALAR*, Eigen::Index, SCALAR*, Eigen::Index);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_PRODUCT)

#endif  // LOGLINEAR_DETAIL_BASE_PRODUCT_HPP
