// SPDX-License-Identifier: MIT
// No operation of a layer with narrow levels meets a denormal number. Each kind of transition runs
// in one of the narrow scalars: its work on levels runs in both in states.cpp.

#include "magnitude/layers.hpp"

using namespace loglinear;
using namespace loglinear::test;

TEMPLATE_TEST_CASE("No token meets a denormal number, where levels are narrow", "[magnitude]",
                   Eigen::bfloat16, Eigen::half) {
  for_each_layer<float, TestType>([]<class Layer>(const Layer& layer) {
    if constexpr (has_even_kind<Layer> == std::is_same_v<TestType, Eigen::half>) {
      DenormalWatch watch;
      test::Random random(5);
      for (const test::Fading& fading : test::fading_streams<float>()) {
        stream(watch, layer, fading.inputs<float>(random, 5));
      }
      CHECK(watch.met() == "");
    }
  });
}
