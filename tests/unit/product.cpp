// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/product.hpp"

#include <algorithm>
#include <type_traits>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;
using Wide = test::Matrix<long double>;

template <class Scalar>
RowMajorMatrix<Scalar> random_matrix(test::Random& random, Index rows, Index columns) {
  return random.matrix<Scalar>(rows, columns);
}

template <class Matrix>
Wide wide(const Matrix& m) {
  return m.template cast<long double>();
}

/// Sums of `depth` products below 1 in any order: that many roundings of a number below depth, and
/// one or two more for what is in the result already.
template <class Scalar>
long double tolerance(Index depth) {
  const auto terms = static_cast<long double>(depth + 2);
  return terms * terms * static_cast<long double>(std::numeric_limits<Scalar>::epsilon());
}

Wide expected_of(Into into, const Wide& a, const Wide& b, const Wide& before, const Wide& scale) {
  const Wide ab = a.lazyProduct(b);
  switch (into) {
    case Into::replace:
      return ab;
    case Into::add:
      return before + ab;
    case Into::subtract:
      return before - ab;
    case Into::add_scaled:
      return before + scale.col(0).asDiagonal() * ab;
    case Into::add_to_scaled:
      return scale.col(0).asDiagonal() * before + ab;
  }
  return ab;
}

/// One product into the middle of a larger matrix, of which nothing else may change.
template <Into into, class Scalar, class A, class B>
void check_product(test::Random& random, const A& a, const B& b) {
  const Index rows = a.rows(), columns = b.cols();
  const RowMajorMatrix<Scalar> before = random_matrix<Scalar>(random, rows + 2, columns + 40);
  const test::Vector<Scalar> scale = random.vector<Scalar>(rows);
  RowMajorMatrix<Scalar> large = before;
  product<into>(a, b, large.block(1, 3, rows, columns), is_scaled(into) ? scale.data() : nullptr);
  const Wide expected =
      expected_of(into, wide(a), wide(b), wide(before.block(1, 3, rows, columns)), wide(scale));
  Wide error = wide(large.block(1, 3, rows, columns)) - expected;
  INFO("rows " << rows << ", depth " << a.cols() << ", columns " << columns << ", mode "
               << static_cast<int>(into));
  CHECK((error.size() == 0 || error.cwiseAbs().maxCoeff() <= tolerance<Scalar>(a.cols())));
  large.block(1, 3, rows, columns) = before.block(1, 3, rows, columns);
  CHECK(large == before);
}

template <class Scalar, class A, class B>
void check_modes(test::Random& random, const A& a, const B& b) {
  check_product<Into::replace, Scalar>(random, a, b);
  check_product<Into::add, Scalar>(random, a, b);
  check_product<Into::subtract, Scalar>(random, a, b);
  check_product<Into::add_scaled, Scalar>(random, a, b);
  check_product<Into::add_to_scaled, Scalar>(random, a, b);
}

/// Every way in which operands may lie in memory.
template <class Scalar>
void check_layouts(test::Random& random, Index rows, Index depth, Index columns) {
  const auto a = random_matrix<Scalar>(random, rows, depth);
  const auto b = random_matrix<Scalar>(random, depth, columns);
  check_modes<Scalar>(random, a, b);
  const test::Matrix<Scalar> column_major = a;
  check_modes<Scalar>(random, column_major, b);
  const RowMajorMatrix<Scalar> turned = a.transpose();
  check_modes<Scalar>(random, turned.transpose(), b);
  const auto large_a = random_matrix<Scalar>(random, rows + 5, depth + 7);
  const auto large_b = random_matrix<Scalar>(random, depth + 3, columns + 5);
  check_modes<Scalar>(random, large_a.block(2, 3, rows, depth),
                      large_b.block(1, 2, depth, columns));
  const auto large_turned = random_matrix<Scalar>(random, depth + 5, rows + 7);
  check_modes<Scalar>(random, large_turned.block(2, 3, depth, rows).transpose(),
                      large_b.block(1, 2, depth, columns));
}

}  // namespace

TEMPLATE_TEST_CASE("products of every size up to 40", "", float, double, long double) {
  test::Random random(1);
  for (Index size = 0; size <= 40; ++size) {
    // Each size once in every place, and with random others.
    const auto any = [&] { return Index{random.below(41)}; };
    check_layouts<TestType>(random, size, any(), any());
    check_layouts<TestType>(random, any(), size, any());
    check_layouts<TestType>(random, any(), any(), size);
    check_layouts<TestType>(random, size, size, size);
  }
}

TEMPLATE_TEST_CASE("products of sizes that fill tiles or just miss them", "", float, double) {
  test::Random random(2);
  for (const Index rows : {1, 5, 6, 7, 11, 12, 13, 63}) {
    for (const Index columns : {1, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129}) {
      for (const Index depth : {1, 2, 33}) check_layouts<TestType>(random, rows, depth, columns);
    }
  }
}

TEMPLATE_TEST_CASE("a row of a product does not depend on the rows beside it", "", float, double) {
  test::Random random(3);
  const auto a = random_matrix<TestType>(random, 29, 23);
  const auto b = random_matrix<TestType>(random, 23, 37);
  RowMajorMatrix<TestType> all(29, 37), one(1, 37);
  product<Into::replace>(a, b, all);
  for (Index i = 0; i < a.rows(); ++i) {
    product<Into::replace>(a.middleRows(i, 1), b, one);
    CHECK(test::same_bits(one, all.row(i)));
  }
}

TEMPLATE_TEST_CASE("transposes of every size", "", float, double, long double) {
  test::Random random(4);
  for (Index rows = 0; rows <= 20; ++rows) {
    for (Index columns = 0; columns <= 20; ++columns) {
      INFO(rows << " x " << columns);
      const auto large = random_matrix<TestType>(random, rows + 3, columns + 5);
      const auto from = large.block(1, 2, rows, columns);
      RowMajorMatrix<TestType> to;
      transpose_into(from, to);
      CHECK(to == from.transpose());
      const auto before = random_matrix<TestType>(random, columns + 2, rows + 9);
      RowMajorMatrix<TestType> into = before;
      transpose_into(from, into.block(1, 4, columns, rows));
      CHECK(into.block(1, 4, columns, rows) == from.transpose());
      into.block(1, 4, columns, rows) = before.block(1, 4, columns, rows);
      CHECK(into == before);
    }
  }
}
