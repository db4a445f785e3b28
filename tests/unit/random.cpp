// SPDX-License-Identifier: MIT
#include "loglinear/random.hpp"

#include <cmath>
#include <cstdint>

#include "catch.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using loglinear::Xorshift64;

struct FirstDraws {
  std::uint64_t seed;
  std::uint64_t bits[3];
  double uniforms[3];
  double normals[3];
};

// From the definition, in exact integer arithmetic elsewhere. A uniform is exact; a normal goes
// through log, sqrt and cos.
constexpr FirstDraws known[] = {
    {1,
     {0x40822041, 0x100041060c011441, 0x9b1e842f6e862629},
     {5.866995778092132e-11, 0.06250387570981197, 0.6059343925285465},
     {6.341693511153701, 0.966866061308505, 1.1079516872483017}},
    {42,
     {0xa95514aaa, 0xa00aaafdf80202bf, 0x8b13399cd1d1497a},
     {2.4641099161115676e-09, 0.6251627798119515, 0.543262100969348},
     {-4.447571185078731, 0.6084768532212207, -1.4698077595642407}},
    {UINT64_MAX,
     {0x3f801fc0, 0xfffbffe03feefff, 0x70dc404c67d0de0},
     {5.775324662948833e-11, 0.06249618484070718, 0.027553797880035202},
     {6.343939711000402, 0.8971947147863129, -1.7344290253129573}},
};

// log, sqrt, cos and two products, each within a few units of the last place.
const double normal_tolerance = test::rounding<double>(8);

}  // namespace

TEST_CASE("The first draws of a seed are those of the definition") {
  for (const FirstDraws& draws : known) {
    Xorshift64 bits(draws.seed), uniforms(draws.seed), normals(draws.seed);
    for (int i = 0; i < 3; ++i) {
      CAPTURE(draws.seed, i);
      CHECK(bits.next() == draws.bits[i]);
      CHECK(uniforms.uniform() == draws.uniforms[i]);
      CHECK(std::abs(normals.normal() - draws.normals[i]) <=
            normal_tolerance * std::abs(draws.normals[i]));
    }
  }
}

TEST_CASE("A normal never takes the logarithm of a uniform that is 0: it draws again") {
  const std::uint64_t seed = 0x47fa3e937130df7b;  // its first 64 bits are 5, its first uniform 0
  Xorshift64 uniforms(seed), normals(seed);
  CHECK(uniforms.uniform() == 0);
  CHECK(uniforms.uniform() == 2.933497889046066e-10);
  CHECK(uniforms.uniform() == 0.31251937854904543);
  CHECK(std::abs(normals.normal() + 2.5362738938560816) <= 3 * normal_tolerance);
  CHECK(normals.uniform() == uniforms.uniform());  // three uniforms taken, not two
}

TEST_CASE("A million normals have mean 0 and variance 1") {
  constexpr int draws = 1'000'000;
  Xorshift64 random(42);
  double sum = 0, squares = 0;
  for (int i = 0; i < draws; ++i) {
    const double normal = random.normal();
    sum += normal;
    squares += normal * normal;
  }
  constexpr double five_deviations = 5e-3;  // 5 / sqrt(draws)
  CHECK(std::abs(sum / draws) < five_deviations);
  CHECK(std::abs(squares / draws - 1) < five_deviations * std::sqrt(2.0));
}

TEST_CASE("Seed 0 is refused") {
  CHECK(
      test::mentions(test::error_of([] { Xorshift64 random(0); }), {"seed", " 0;", "at least 1"}));
}
