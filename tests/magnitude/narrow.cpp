// SPDX-License-Identifier: MIT
// No operation of a layer or a state with narrow levels meets a denormal number.

#include "magnitude/layers.hpp"

using namespace loglinear;
using namespace loglinear::test;

TEMPLATE_TEST_CASE("No token meets a denormal number, where levels are narrow", "[magnitude]",
                   Eigen::bfloat16, Eigen::half) {
  for_each_layer<float, TestType>([](const auto& layer) {
    DenormalWatch watch;
    test::Random random(5);
    for (const test::Fading& fading : test::fading_streams<float>()) {
      stream(watch, layer, fading.inputs<float>(random, 5));
    }
    CHECK(watch.met() == "");
  });
}
