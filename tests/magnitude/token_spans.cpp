// SPDX-License-Identifier: MIT
// No operation of a layer on spans of tokens, or on parts of a stream, meets a denormal number.

#include "magnitude/layers.hpp"

using namespace loglinear;
using namespace loglinear::test;

TEMPLATE_TEST_CASE("No span of tokens and no part of a stream meets a denormal number",
                   "[magnitude]", float, double) {
  for_each_layer<TestType, TestType>([](const auto& layer) {
    DenormalWatch watch;
    test::Random random(4);
    for (const test::Fading& fading : test::fading_streams<TestType>()) {
      const auto x = fading.inputs<TestType>(random, 5);
      spans(watch, layer, x);
      parts(watch, layer, x);
    }
    CHECK(watch.met() == "");
  });
}
