// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_PAIRS_HPP
#define LOGLINEAR_CHUNKS_PAIRS_HPP

// Products with a matrix of pairs: one row for each of what happens at moments a, a column for each
// of what happens at moments b, and only pairs with b_j <= a_i count. That is about half of them; a
// block of rows at a time, the other half is left out. Coefficients that do not count may be
// written; where they are read, they must be zero.

#include <algorithm>
#include <type_traits>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/base/product.hpp"

namespace loglinear::detail {

inline constexpr Index pair_rows = 12;

/// How many blocks of `pair_rows` rows there are.
[[nodiscard]] inline Index pair_blocks(Index rows) {
  return (rows + pair_rows - 1) / pair_rows;
}

/// An operand of a product, whatever can be seen as a block; the result says the scalar.
template <class Scalar>
using Operand = std::type_identity_t<ConstRowBlock<Scalar>>;

/// Calls `visit(first row, rows, columns that the last of them sees)`.
template <class Visit>
void for_each_pair_block(Moments a, Index rows, Moments b, Index columns, Visit visit) {
  for (Index i = 0; i < rows; i += pair_rows) {
    const Index size = (std::min)(pair_rows, rows - i);
    visit(i, size, b.count_until(a[i + size - 1], columns));
  }
}

/// pairs (+-)= x y^T where they count.
template <Into into, class Scalar>
void product_to_pairs(const Operand<Scalar>& x, Moments a, const Operand<Scalar>& y_transposed,
                      Moments b, const RowBlock<Scalar>& pairs) {
  const Index columns = y_transposed.cols();
  for_each_pair_block(a, x.rows(), b, columns, [&](Index i, Index rows, Index seen) {
    const Index wide = whole_packets<Scalar>(seen, columns);
    product<into>(x.middleRows(i, rows), y_transposed.leftCols(wide),
                  pairs.block(i, 0, rows, wide));
  });
}

/// c (+-)= pairs right.
template <Into into, class Scalar>
void product_of_pairs(const Operand<Scalar>& pairs, Moments a, Moments b,
                      const Operand<Scalar>& right, const RowBlock<Scalar>& c) {
  for_each_pair_block(a, pairs.rows(), b, pairs.cols(), [&](Index i, Index rows, Index seen) {
    product<into>(pairs.block(i, 0, rows, seen), right.topRows(seen), c.middleRows(i, rows));
  });
}

/// c (+-)= pairs^T left.
template <Into into, class Scalar>
void product_of_transposed_pairs(const Operand<Scalar>& pairs, Moments a, Moments b,
                                 const Operand<Scalar>& left, const RowBlock<Scalar>& c) {
  for (Index j = 0; j < pairs.cols(); j += pair_rows) {
    const Index columns = (std::min)(pair_rows, pairs.cols() - j);
    const Index unseen = a.count_before(b[j], pairs.rows()), rows = pairs.rows() - unseen;
    product<into>(pairs.block(unseen, j, rows, columns).transpose(), left.middleRows(unseen, rows),
                  c.middleRows(j, columns));
  }
}

/// result (+-)= pairs triangle where the result counts, for a lower or an upper triangular matrix.
/// Only pairs that count are used: others do not enter there with an upper triangle, and are taken
/// for zero with a lower one.
template <Into into, class Scalar>
void product_within_pairs(const Operand<Scalar>& pairs, Moments a, Moments b,
                          const Operand<Scalar>& triangle, const RowBlock<Scalar>& result) {
  for_each_pair_block(a, pairs.rows(), b, pairs.cols(), [&](Index i, Index rows, Index seen) {
    const Index wide = whole_packets<Scalar>(seen, pairs.cols());
    product<into>(pairs.block(i, 0, rows, seen), triangle.block(0, 0, seen, wide),
                  result.block(i, 0, rows, wide));
  });
}

/// Clears the pairs that do not count.
template <class Scalar>
void clear_unseen(Moments a, Moments b, const RowBlock<Scalar>& pairs) {
  for (Index i = 0; i < pairs.rows(); ++i) {
    Scalar* const row = pairs.row(i);
    std::fill(row + b.count_until(a[i], pairs.cols()), row + pairs.cols(), Scalar(0));
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_PAIRS_HPP
