// SPDX-License-Identifier: MIT
#include "loglinear/chunks/hierarchy.hpp"

#include <utility>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

}  // namespace

TEMPLATE_TEST_CASE("a level is borrowed with a factor until it is written to", "", float, double) {
  using Scalar = TestType;
  using Levels = Hierarchy<Scalar>;
  test::Random random(3);
  Levels first(4, 3, 2, 5);
  for (const int l : {0, 2}) first.level(l) = random.matrix<Scalar>(3, 2);
  CHECK(first.factor(2) == 1);

  Levels second = first.empty(), third = first.empty();
  second.level(2) = random.matrix<Scalar>(3, 2);  // of an earlier use
  second.borrow(2, first, Scalar(0.5));
  third.borrow(2, second, Scalar(0.25));  // what is borrowed can be lent
  const Levels &two = second, &three = third;
  CHECK(&two.level(2) == &std::as_const(first).level(2));
  CHECK(&three.level(2) == &std::as_const(first).level(2));
  CHECK(two.factor(2) == Scalar(0.5));
  CHECK(three.factor(2) == Scalar(0.125));
  CHECK(three.factor(0) == 1);  // each level for itself

  const RowMajorMatrix<Scalar> before = first.level(2);
  third.set_zero(2);
  CHECK(three.factor(2) == 1);
  CHECK(three.level(2).isZero(0));
  CHECK(&two.level(2) == &std::as_const(first).level(2));
  CHECK(two.level(2) == before);
}
