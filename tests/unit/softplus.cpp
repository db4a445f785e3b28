// SPDX-License-Identifier: MIT
#include "loglinear/detail/kernels/softplus.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

template <class Scalar>
using Array = Eigen::Array<Scalar, Eigen::Dynamic, 1>;

template <class Scalar>
Scalar softplus_of(Scalar z) {
  Array<Scalar> values(1);
  values[0] = z;
  softplus(values.data(), values.size(), values.data());
  return values[0];
}

/// The definition of the golden data, in long double.
long double exact_softplus(long double z) {
  return z > 20 ? z : z < -20 ? std::exp(z) : std::log1p(std::exp(z));
}

}  // namespace

TEMPLATE_TEST_CASE("softplus is log(1 + exp(z)) with its asymptotes beyond 20", "[unit]", float,
                   double) {
  using Scalar = TestType;
  // Whole packets and what remains, and one by one where the last is far out. The rounding of z in
  // exp counts |z| times.
  const Scalar tolerance = test::rounding<Scalar>(8);
  for (const Scalar last : {Scalar(20), Scalar(60)}) {
    const Array<Scalar> z = Array<Scalar>::LinSpaced(997, -last, last);
    Array<Scalar> out(z.size());
    softplus(z.data(), z.size(), out.data());
    for (Eigen::Index i = 0; i < z.size(); ++i) {
      CAPTURE(z[i]);
      const long double exact = exact_softplus(z[i]);
      CHECK(std::abs(out[i] - exact) <= (1 + std::abs(z[i])) * tolerance * exact);
    }
  }
  CHECK(softplus_of(Scalar(21)) == 21);
  CHECK(softplus_of(Scalar(1e30)) == Scalar(1e30));
  CHECK(softplus_of(Scalar(-21)) == std::exp(Scalar(-21)));
  CHECK(softplus_of(Scalar(-1e30)) == 0);
  CHECK(std::isnan(softplus_of(std::numeric_limits<Scalar>::quiet_NaN())));
  Array<Scalar> nothing(0);
  softplus(nothing.data(), nothing.size(), nothing.data());
  CHECK(nothing.size() == 0);
}

TEST_CASE("softplus gives each coefficient the same value whether another is far out or not") {
  for (const Eigen::Index size : {3, 8, 33}) {
    Array<double> near = Array<double>::LinSpaced(size, -19, 19), far(size + 1);
    far << near, 800;
    softplus(near.data(), near.size(), near.data());
    softplus(far.data(), far.size(), far.data());
    CHECK(test::difference(near.matrix(), far.head(size).matrix()) <=
          test::rounding<double>(4) * 20);
    CHECK(far[size] == 800);
  }
}

TEMPLATE_TEST_CASE("the logarithm between 1 and 2 is exact to rounding", "[unit]", float, double) {
  constexpr Eigen::Index width = packet_size<TestType>;
  Array<TestType> e(width), logarithm(width);
  const auto check = [&](TestType value) {
    e.setConstant(value);
    Eigen::internal::pstoreu(
        logarithm.data(),
        log1p_up_to_1<TestType>(Eigen::internal::ploadu<Packet<TestType>>(e.data())));
    CAPTURE(value);
    const long double exact = std::log1p(static_cast<long double>(value));
    CHECK(std::abs(logarithm[0] - exact) <= 4 * std::numeric_limits<TestType>::epsilon() * exact);
  };
  for (int i = 0; i <= 1000; ++i) check(static_cast<TestType>(i) / 1000);
  for (TestType tiny = 1; tiny > std::numeric_limits<TestType>::min(); tiny /= 3) check(tiny);
}
