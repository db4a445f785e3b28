// SPDX-License-Identifier: MIT
// Arithmetic on vectors against loops over single numbers, for every remainder of a packet.
#include "loglinear/detail/kernels/vectors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

template <class Scalar>
std::vector<Scalar> numbers(std::size_t size, std::uint64_t seed) {
  test::Random random{seed};
  std::vector<Scalar> numbers(size);
  for (Scalar& number : numbers) number = static_cast<Scalar>(random.number());
  return numbers;
}

}  // namespace

TEMPLATE_TEST_CASE("vectors: each function does what its equation says", "", float, double,
                   long double) {
  using Scalar = TestType;
  using Exact = long double;
  const Exact tolerance = 20 * static_cast<Exact>(Eigen::NumTraits<Scalar>::epsilon());
  for (std::size_t size = 0; size <= 70; ++size) {
    CAPTURE(size);
    const auto n = static_cast<Index>(size);
    const std::vector<Scalar> x = numbers<Scalar>(size, 3), y = numbers<Scalar>(size, 4);
    const Scalar a = Scalar(1.25);
    const std::vector<Scalar> z = numbers<Scalar>(size, 5);
    Exact dotted = 0, of_three = 0, summed = 0, absolute = 0;
    for (std::size_t i = 0; i < size; ++i) {
      dotted += Exact{x[i]} * Exact{y[i]};
      of_three += Exact{x[i]} * Exact{y[i]} * Exact{z[i]};
      summed += Exact{x[i]};
      absolute += std::abs(Exact{x[i]}) * (1 + std::abs(Exact{y[i]}));
    }
    CHECK(std::abs(Exact{dot(x.data(), y.data(), n)} - dotted) <= tolerance * absolute);
    CHECK(std::abs(Exact{dot(x.data(), y.data(), z.data(), n)} - of_three) <= tolerance * absolute);
    CHECK(std::abs(Exact{sum(x.data(), n)} - summed) <= tolerance * absolute);

    std::vector<Scalar> scaled(size), in_place = x, updated = y, sums(size), differences(size),
                                      products(size), copied(size), thrice(size), added = z,
                                      added_thrice = z;
    scale_to(a, x.data(), n, scaled.data());
    std::vector<Scalar> scaled_too(size), overwritten = x;
    for (std::vector<Scalar>* to : {&scaled_too, &overwritten}) {
      const Scalar* const from = to == &overwritten ? overwritten.data() : x.data();
      const Exact found{scale_and_dot(a, from, n, to->data(), y.data())};
      CHECK(std::abs(found - Exact{a} * dotted) <= tolerance * absolute);
      CHECK(*to == scaled);
    }
    scale_by(a, in_place.data(), n);
    axpy(a, x.data(), n, updated.data());
    add(x.data(), y.data(), n, sums.data());
    subtract(x.data(), y.data(), n, differences.data());
    multiply(x.data(), y.data(), n, products.data());
    add_product(x.data(), y.data(), n, added.data());
    scaled_product(a, x.data(), y.data(), n, thrice.data());
    add_scaled_product(a, x.data(), y.data(), n, added_thrice.data());
    copy(x.data(), n, copied.data());
    for (std::size_t i = 0; i < size; ++i) {
      CHECK(is_exactly(scaled[i], a * x[i]));
      CHECK(is_exactly(in_place[i], a * x[i]));
      const Exact exact = Exact{y[i]} + Exact{a} * Exact{x[i]};  // fused or not
      CHECK(std::abs(Exact{updated[i]} - exact) <= tolerance * (1 + std::abs(exact)));
      CHECK(is_exactly(sums[i], x[i] + y[i]));
      CHECK(is_exactly(differences[i], x[i] - y[i]));
      CHECK(is_exactly(products[i], x[i] * y[i]));
      CHECK(is_exactly(thrice[i], a * (x[i] * y[i])));
      const Exact both = Exact{x[i]} * Exact{y[i]};
      CHECK(std::abs(Exact{added[i]} - (Exact{z[i]} + both)) <= tolerance);
      CHECK(std::abs(Exact{added_thrice[i]} - (Exact{z[i]} + Exact{a} * both)) <= tolerance);
      CHECK(is_exactly(copied[i], x[i]));
    }
  }
}

TEST_CASE("vectors: nothing beyond the length is read or written") {
  std::vector<float> x(40, 1.0f), y(40, 7.0f);
  for (Index size = 0; size < 32; ++size) {
    std::fill(y.begin(), y.end(), 7.0f);
    scale_to(2.0f, x.data(), size, y.data());
    for (std::size_t i = 0; i < y.size(); ++i) {
      CHECK(is_exactly(y[i], static_cast<Index>(i) < size ? 2.0f : 7.0f));
    }
  }
}
