// SPDX-License-Identifier: MIT
// No operation of a layer meets a denormal number, token by token.

#include "magnitude/layers.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

template <class Scalar, class Stored = Scalar>
void check_streams() {
  for_each_layer<Scalar, Stored>([](const auto& layer) {
    DenormalWatch watch;
    test::Random random(3);
    for (const test::Fading& fading : test::fading_streams<Scalar>()) {
      stream(watch, layer, fading.inputs<Scalar>(random, 5));
    }
    CHECK(watch.met() == "");
  });
}

}  // namespace

TEST_CASE("No token meets a denormal number, in float", "[magnitude]") {
  check_streams<float>();
}
TEST_CASE("No token meets a denormal number, in double", "[magnitude]") {
  check_streams<double>();
}
