// SPDX-License-Identifier: MIT
// Checks of numbers in memory against loops over single numbers: every length that packets and
// their remainders can have, with something wrong at every place.
#include "loglinear/detail/base/magnitude.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

constexpr Index lengths[] = {0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100};

template <class Scalar>
constexpr Scalar not_finite[] = {std::numeric_limits<Scalar>::infinity(),
                                 -std::numeric_limits<Scalar>::infinity(),
                                 std::numeric_limits<Scalar>::quiet_NaN()};

}  // namespace

TEMPLATE_TEST_CASE("the largest magnitude is that of one number, at any place", "[unit]", float,
                   double, long double) {
  for (const Index size : lengths) {
    Vector<TestType> values(size);
    for (Index i = 0; i < size; ++i) values[i] = TestType(i % 3) - 1;
    CHECK(all_finite(values));
    CHECK(max_abs(values) == (size == 0 ? 0 : 1));
    for (Index i = 0; i < size; ++i) {
      CAPTURE(size, i);
      const TestType before = values[i];
      for (const TestType large : {std::numeric_limits<TestType>::max(), TestType(-7)}) {
        values[i] = large;
        CHECK(all_finite(values));
        CHECK(largest_magnitude(values.data(), size) == std::abs(large));
      }
      for (const TestType bad : not_finite<TestType>) {
        values[i] = bad;
        CHECK_FALSE(all_finite(values));
        CHECK_FALSE(std::isfinite(max_abs(values)));
      }
      values[i] = before;
    }
  }
}

TEMPLATE_TEST_CASE("what lies beside a block is not looked at", "[unit]", float, double) {
  constexpr Index rows = 19, columns = 5;
  const TestType nan = not_finite<TestType>[2];
  Matrix<TestType> all = Matrix<TestType>::Constant(rows + 2, columns + 2, nan);
  auto block = all.block(1, 1, rows, columns);
  block.setConstant(TestType(-2));
  CHECK(all_finite(block));
  CHECK(all_finite(block.transpose()));
  CHECK(max_abs(block) == 2);
  for (Index i = 0; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) {
      CAPTURE(i, j);
      block(i, j) = nan;
      CHECK_FALSE(all_finite(block));
      CHECK_FALSE(std::isfinite(max_abs(block)));
      CHECK_FALSE(std::isfinite(max_abs(block.row(i))));
      CHECK_FALSE(std::isfinite(max_abs(block.cwiseAbs())));
      block(i, j) = TestType(-2);
    }
  }
}

TEMPLATE_TEST_CASE("narrow numbers are finite unless their exponent is all ones, at any place",
                   "[unit]", Eigen::half, Eigen::bfloat16) {
  for (const Index size : lengths) {
    Vector<TestType> values = Vector<TestType>::Constant(size, TestType(-2.f));
    CHECK(all_finite(values));
    CHECK(max_abs(values) == (size == 0 ? 0 : 2));
    for (Index i = 0; i < size; ++i) {
      for (int bits = 0; bits < 0x10000; bits += i % 7 == 0 ? 1 : 61) {
        values[i] = Eigen::numext::bit_cast<TestType>(static_cast<std::uint16_t>(bits));
        const bool finite = std::isfinite(static_cast<float>(values[i]));
        if (are_finite(values.data(), size) != finite) FAIL(size << ' ' << i << ' ' << bits);
      }
      values[i] = TestType(-2.f);
    }
  }
}

TEMPLATE_TEST_CASE("numbers given by a pointer are checked as those of a vector", "[unit]", float,
                   double, long double) {
  for (const Index size : lengths) {
    Vector<TestType> values(size);
    for (Index i = 0; i < size; ++i) values[i] = TestType(i % 5) - 3;
    CHECK(max_abs(values.data(), size) == max_abs(values));
    CHECK_NOTHROW(require_finite("values", values.data(), size));
    for (Index i = 0; i < size; ++i) {
      for (const TestType wrong : not_finite<TestType>) {
        Vector<TestType> bad = values;
        bad[i] = wrong;
        CHECK(std::isnan(max_abs(bad.data(), size)));
        CHECK(test::error_of([&] { require_finite("values", bad.data(), size); }) ==
              test::error_of([&] { require_finite("values", bad); }));
      }
    }
  }
}

TEST_CASE("a message says where the number is that is not finite, in the name or behind it") {
  Vector<double> values = Vector<double>::Zero(9);
  values[7] = values[8] = not_finite<double>[0];
  RowMajorMatrix<double> matrix = RowMajorMatrix<double>::Zero(2, 3);
  matrix(1, 2) = not_finite<double>[1];
  const auto error = [](const char* name, const auto& numbers) {
    return test::error_of([&] { require_finite(name, numbers); });
  };
  const std::string it = "loglinear: ";
  CHECK(error("x", values) == it + "x[7] is inf; it must be finite");
  CHECK(error("projection # of x", values) == it + "projection 7 of x is inf; it must be finite");
  CHECK(error("level weight #", values) == it + "level weight 7 is inf; it must be finite");
  CHECK(error("x", matrix) == it + "x[1, 2] is -inf; it must be finite");
  CHECK(error("coefficient # of the reads", matrix) ==
        it + "coefficient (1, 2) of the reads is -inf; it must be finite");
}
