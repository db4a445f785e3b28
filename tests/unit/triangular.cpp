// SPDX-License-Identifier: MIT
#include "loglinear/chunks/triangular.hpp"

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

/// (I + L) inverse - I, over eps and the magnitudes |I + L| |inverse| that are summed; and whether
/// what lies above the diagonal is exactly that of the identity.
template <class Scalar>
void check_inverse(const RowMajorMatrix<Scalar>& lower) {
  const Index size = lower.rows();
  RowMajorMatrix<Scalar> inverse, scratch;
  invert_unit_lower(lower, inverse, scratch);
  REQUIRE(inverse.rows() == size);
  REQUIRE(inverse.cols() == size);
  using Wide = test::Matrix<long double>;
  Wide unit = Wide::Identity(size, size);
  for (Index i = 0; i < size; ++i) {
    for (Index j = 0; j < i; ++j) unit(i, j) = static_cast<long double>(lower(i, j));
  }
  const Wide computed = inverse.template cast<long double>();
  const Wide residual = unit.lazyProduct(computed) - Wide::Identity(size, size);
  const Wide magnitude = unit.cwiseAbs().lazyProduct(computed.cwiseAbs());
  const auto epsilon = static_cast<long double>(std::numeric_limits<Scalar>::epsilon());
  for (Index i = 0; i < size; ++i) {
    CHECK(inverse(i, i) == Scalar(1));
    CHECK(inverse.row(i).tail(size - i - 1).isZero(0));
    // Substitution of `size` rows is backward stable: size eps of the magnitudes; the blocks are
    // multiplied by computed inverses, whose condition small strengths keep near 1.
    for (Index j = 0; j < i; ++j) {
      CHECK(std::abs(residual(i, j)) <=
            4 * static_cast<long double>(size) * epsilon * magnitude(i, j));
    }
  }
}

}  // namespace

TEMPLATE_TEST_CASE("inverses of unit lower triangular matrices of every size", "", float, double) {
  test::Random random(6);
  for (Index size = 0; size <= 70; ++size) {
    INFO("size " << size);
    RowMajorMatrix<TestType> lower = random.matrix<TestType>(size, size);
    check_inverse<TestType>(lower * TestType(0.2));
  }
  for (const Index size : {96, 127, 128, 129, 192}) {
    INFO("size " << size);
    RowMajorMatrix<TestType> lower = random.matrix<TestType>(size, size);
    check_inverse<TestType>(lower * TestType(0.1));
  }
}

TEST_CASE("the inverse of a unit lower triangular matrix reads nothing on or above the diagonal") {
  test::Random random(7);
  for (const Index size : {1, 5, 16, 17, 40, 100}) {
    RowMajorMatrix<double> lower = random.matrix<double>(size, size) * 0.1;
    RowMajorMatrix<double> expected, inverse, scratch;
    invert_unit_lower(lower, expected, scratch);
    for (Index i = 0; i < size; ++i) {
      lower.row(i).tail(size - i).setConstant(std::numeric_limits<double>::quiet_NaN());
    }
    invert_unit_lower(lower, inverse, scratch);
    CHECK(test::same_bits(inverse, expected));
  }
}

TEST_CASE("an inverse known in closed form") {
  // Ones everywhere below the diagonal sum up; the inverse takes differences of neighbours.
  RowMajorMatrix<double> inverse, scratch;
  invert_unit_lower(RowMajorMatrix<double>(RowMajorMatrix<double>::Ones(50, 50)), inverse, scratch);
  for (Index i = 0; i < 50; ++i) {
    for (Index j = 0; j < 50; ++j) CHECK(inverse(i, j) == (i == j ? 1 : i == j + 1 ? -1 : 0));
  }
}
