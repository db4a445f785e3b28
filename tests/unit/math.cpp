// SPDX-License-Identifier: MIT
#include "loglinear/detail/kernels/math.hpp"

#include <cmath>
#include <cstdint>
#include <limits>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

template <class Scalar>
test::Vector<Scalar> unit(const test::Vector<Scalar>& raw) {
  test::Vector<Scalar> out(raw.size());
  unit_vector(raw.data(), raw.size(), out.data());
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("The sigmoid is 1/2 at 0, antisymmetric around it, and never NaN", "", float,
                   double, long double) {
  using Scalar = TestType;
  CHECK(sigmoid(Scalar(0)) == Scalar(1) / 2);
  CHECK(sigmoid(Scalar(1000)) == 1);
  CHECK(sigmoid(Scalar(-1000)) >= 0);
  CHECK(sigmoid(Scalar(-1000)) <= std::numeric_limits<Scalar>::epsilon());
  CHECK(sigmoid(std::numeric_limits<Scalar>::max()) == 1);
  CHECK(sigmoid(std::numeric_limits<Scalar>::lowest()) == 0);
  // As far out as the scalar has numbers, where 1 / (1 + exp(-z)) would be 1 / infinity.
  CHECK(sigmoid(std::log(std::numeric_limits<Scalar>::denorm_min()) + 1) > 0);
  const Scalar tolerance = test::rounding<Scalar>(8);
  CHECK(std::abs(sigmoid(std::log(Scalar(3))) - Scalar(3) / 4) <= tolerance);
  for (double z = -40; z <= 40; z += 0.37) {
    const Scalar above = sigmoid(Scalar(z)), below = sigmoid(Scalar(-z));
    CHECK(std::abs(above + below - 1) <= tolerance);
    // Relative accuracy in both tails: exp multiplies the rounding of z by |z|.
    const auto exact = 1 / (1 + std::exp(-static_cast<long double>(Scalar(z))));
    CHECK(std::abs(above - exact) <= (1 + std::abs(Scalar(z))) * tolerance * exact);
  }
}

TEST_CASE("unit_vector normalises vectors whose squares overflow or underflow") {
  const double tolerance = test::rounding<double>(4, 2);
  const test::Vector<double> expected = Eigen::Vector2d(0.6, -0.8);
  for (const double scale : {1.0, 1e-11, 1e200, 1e-10, 3e307}) {
    const auto result = unit<double>(scale * expected);
    CHECK(test::difference(result, expected) <= tolerance);
  }
  const test::Vector<float> expected_float = Eigen::Vector2f(0.6f, -0.8f);
  for (const float scale : {1.0f, 1e-11f, 1e30f, 1e38f}) {
    CHECK(test::difference(unit<float>(scale * expected_float), expected_float) <=
          test::rounding<float>(4, 2));
  }
}

TEST_CASE("unit_vector normalises vectors whose norm is out of range") {
  const test::Vector<double> raw = test::Vector<double>::Constant(4, 1.7e308);
  CHECK(test::difference(unit<double>(raw), test::Vector<double>::Constant(4, 0.5)) <=
        test::rounding<double>(4, 2));
  const test::Vector<float> raw_float = test::Vector<float>::Constant(4, 3.3e38f);
  CHECK(test::difference(unit<float>(raw_float), test::Vector<float>::Constant(4, 0.5f)) <=
        test::rounding<float>(4, 2));
}

TEST_CASE("unit_vector takes vectors shorter than 1e-12 for zero") {
  for (const double length : {0.0, 1e-200, 1e-300, 0.99e-12}) {
    const test::Vector<double> raw = Eigen::Vector3d(0, length, 0);
    CHECK(unit(raw) == Eigen::Vector3d::Zero());
  }
  CHECK(unit<double>(Eigen::Vector3d(0, 1.01e-12, 0)) == Eigen::Vector3d(0, 1, 0));
}

TEST_CASE("unit_vector_pullback is the derivative of unit_vector") {
  test::Random random(7);
  constexpr double step = 1e-5;
  // Truncation: third derivatives of x/|x| are below 30/|x|^3, step^2 / 6 times that; rounding:
  // eps / step.
  for (const double length : {1.0, 30.0}) {
    test::Vector<double> raw = random.vector<double>(5).normalized() * length;
    const auto cotangent = random.vector<double>(5);
    const double relative_step = step * length;
    const double tolerance = 1 / length * (30 * step * step + test::rounding<double>(10) / step);
    test::Vector<double> pulled(5);
    const test::Vector<double> key = unit(raw);
    unit_vector_pullback(raw.data(), key.data(), cotangent.data(), raw.size(), pulled.data());
    for (Eigen::Index i = 0; i < raw.size(); ++i) {
      const double held = raw[i];
      raw[i] = held + relative_step;
      const double above = unit(raw).dot(cotangent);
      raw[i] = held - relative_step;
      const double below = unit(raw).dot(cotangent);
      raw[i] = held;
      CHECK(std::abs(pulled[i] - (above - below) / (2 * relative_step)) <= tolerance);
    }
  }
}

TEST_CASE("unit_vector_pullback passes the gradient of a key taken for zero unchanged") {
  const Eigen::Vector2d raw(1e-13, 0), zero = Eigen::Vector2d::Zero(), cotangent(3, -4);
  Eigen::Vector2d pulled = zero;
  unit_vector_pullback(raw.data(), zero.data(), cotangent.data(), raw.size(), pulled.data());
  CHECK(pulled == cotangent);
}

TEMPLATE_TEST_CASE("Functions of many numbers are those of one, in place and at any length", "",
                   float, double, long double) {
  using Scalar = TestType;
  using Vector = test::Vector<Scalar>;
  const Scalar tolerance = test::rounding<Scalar>(20);
  for (Eigen::Index size = 1; size < 20; ++size) {
    const Vector z = test::Random(static_cast<std::uint64_t>(size + 1)).vector<Scalar>(size) * 3;
    const auto check = [&](auto many, auto one) {
      Vector out(size), in_place = z;
      many(z.data(), size, out.data());
      many(in_place.data(), size, in_place.data());
      CHECK(out == in_place);
      for (Eigen::Index i = 0; i < size; ++i) {
        const Scalar expected = one(z[i]);
        CHECK(std::abs(out[i] - expected) <= tolerance * (1 + std::abs(expected)));
      }
    };
    check([](auto... a) { exp_of(a...); }, [](Scalar x) { return std::exp(x); });
    check([](auto... a) { exp_of_negative(a...); }, [](Scalar x) { return std::exp(-x); });
    check([](auto... a) { sigmoids(a...); }, [](Scalar x) { return 1 / (1 + std::exp(-x)); });
    check([](auto... a) { tanh_of(a...); }, [](Scalar x) { return std::tanh(x); });
    check([](const Scalar* x, Eigen::Index n, Scalar* y) { sigmoid(x, 0.5, n, y); },
          [](Scalar x) { return 1 / (1 + std::exp(-x - Scalar(0.5))); });
    Vector d = Vector::Ones(size);
    tanh_pullback(z.data(), size, d.data());
    CHECK(test::difference(d, Vector(1 - z.array().square())) <= 10 * tolerance);
  }
}

TEMPLATE_TEST_CASE("exp(-z) where it would overflow is large and finite, and NaN stays NaN", "",
                   float, double) {
  using Scalar = TestType;
  const Scalar infinity = std::numeric_limits<Scalar>::infinity(),
               nan = std::numeric_limits<Scalar>::quiet_NaN();
  for (const Eigen::Index size : {1, 9}) {
    test::Vector<Scalar> z = test::Vector<Scalar>::Constant(size, -infinity);
    test::Vector<Scalar> out(size);
    exp_of_negative(z.data(), size, out.data());
    CHECK(is_finite(out[size - 1]));
    CHECK(out[0] > std::sqrt(std::numeric_limits<Scalar>::max()));
    z.setConstant(nan);
    sigmoids(z.data(), size, out.data());
    CHECK(std::isnan(out[0]));
    CHECK(std::isnan(out[size - 1]));
  }
}
