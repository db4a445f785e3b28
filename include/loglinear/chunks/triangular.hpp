// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_TRIANGULAR_HPP
#define LOGLINEAR_CHUNKS_TRIANGULAR_HPP

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// inverse = (I + strictly lower part of `lower`)^-1, by halves:
///
///     [ A 0 ]^-1   [     A^-1        0   ]
///     [ B C ]    = [ -C^-1 B A^-1   C^-1 ]
///
/// `scratch` has the same size as both.
template <class Scalar>
void invert_unit_lower(ConstRowBlock<Scalar> lower, RowBlock<Scalar> inverse,
                       RowBlock<Scalar> scratch) {
  constexpr Index shortest = 16;
  const Index size = lower.rows();
  if (size <= shortest) {
    namespace ei = Eigen::internal;
    using P = Packet<Scalar>;
    constexpr Index width = packet_size<Scalar>;
    // Row i of the inverse is that of I minus lower(i, j) times each row j before it.
    for (Index i = 0; i < size; ++i) {
      Scalar* const row = inverse.row(i);
      Index c = 0;
      for (; c + width <= size; c += width) {
        P sum = ei::pset1<P>(Scalar(0));
        for (Index j = 0; j < i; ++j) {
          sum = ei::pmadd(ei::pset1<P>(-lower(i, j)), ei::ploadu<P>(inverse.row(j) + c), sum);
        }
        ei::pstoreu(row + c, sum);
      }
      for (; c < size; ++c) {
        Scalar sum(0);
        for (Index j = 0; j < i; ++j) sum -= lower(i, j) * inverse(j, c);
        row[c] = sum;
      }
      row[i] = Scalar(1);
    }
    return;
  }
  const Index half = (size / 2 + shortest - 1) / shortest * shortest, rest = size - half;
  const auto first = [&](const auto& m) { return m.block(0, 0, half, half); };
  const auto below = [&](const auto& m) { return m.block(half, 0, rest, half); };
  const auto second = [&](const auto& m) { return m.block(half, half, rest, rest); };
  invert_unit_lower<Scalar>(first(lower), first(inverse), first(scratch));
  invert_unit_lower<Scalar>(second(lower), second(inverse), second(scratch));
  product<Into::replace>(below(lower), first(inverse), below(scratch));
  inverse.block(0, half, half, rest).setZero();
  below(inverse).setZero();
  product<Into::subtract>(second(inverse), below(scratch), below(inverse));
}

/// The same for whole matrices; sizes `inverse` and `scratch`.
template <class Scalar>
void invert_unit_lower(const RowMajorMatrix<Scalar>& lower, RowMajorMatrix<Scalar>& inverse,
                       RowMajorMatrix<Scalar>& scratch) {
  const Index size = lower.rows();
  resize(inverse, size, size);
  resize(scratch, size, size);
  invert_unit_lower<Scalar>(ConstRowBlock<Scalar>(lower), RowBlock<Scalar>(inverse),
                            RowBlock<Scalar>(scratch));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_TRIANGULAR_HPP
