// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_TRIANGULAR_HPP
#define LOGLINEAR_CHUNKS_TRIANGULAR_HPP

#include "loglinear/detail/base/product.hpp"

namespace loglinear::detail {

/// A view of part of a row-major matrix, of one type whatever it is a part of.
template <class Matrix>
using PartOf = Eigen::Map<Matrix, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class Matrix>
[[nodiscard]] PartOf<Matrix> part(PartOf<Matrix> m, Index row, Index column, Index rows,
                                  Index columns) {
  return {m.data() + row * m.outerStride() + column, rows, columns,
          Eigen::OuterStride<>(m.outerStride())};
}

/// inverse = (I + strictly lower part of `lower`)^-1, by halves:
///
///     [ A 0 ]^-1   [     A^-1        0   ]
///     [ B C ]    = [ -C^-1 B A^-1   C^-1 ]
///
/// `scratch` has the same size as both.
template <class Scalar>
void invert_unit_lower(PartOf<const RowMajorMatrix<Scalar>> lower,
                       PartOf<RowMajorMatrix<Scalar>> inverse,
                       PartOf<RowMajorMatrix<Scalar>> scratch) {
  constexpr Index shortest = 16;
  const Index size = lower.rows();
  if (size <= shortest) {
    for (Index i = 0; i < size; ++i) {
      auto row = inverse.row(i);
      row.setZero();
      for (Index j = 0; j < i; ++j) row.head(j + 1) -= lower(i, j) * inverse.row(j).head(j + 1);
      row[i] = Scalar(1);
    }
    return;
  }
  const Index half = (size / 2 + shortest - 1) / shortest * shortest, rest = size - half;
  const auto first = [&](const auto& m) { return part(m, 0, 0, half, half); };
  const auto below = [&](const auto& m) { return part(m, half, 0, rest, half); };
  const auto second = [&](const auto& m) { return part(m, half, half, rest, rest); };
  invert_unit_lower<Scalar>(first(lower), first(inverse), first(scratch));
  invert_unit_lower<Scalar>(second(lower), second(inverse), second(scratch));
  product<Into::replace>(below(lower), first(inverse), below(scratch));
  inverse.topRightCorner(half, rest).setZero();
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
  const Eigen::OuterStride<> stride(size);
  invert_unit_lower<Scalar>(PartOf<const RowMajorMatrix<Scalar>>(lower.data(), size, size, stride),
                            PartOf<RowMajorMatrix<Scalar>>(inverse.data(), size, size, stride),
                            PartOf<RowMajorMatrix<Scalar>>(scratch.data(), size, size, stride));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_TRIANGULAR_HPP
