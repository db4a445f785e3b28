// SPDX-License-Identifier: MIT
// No operation of a layer on spans of tokens, or on parts of a stream, meets a denormal number.
// Each kind of transition runs in one of the scalars: what spans are computed by runs in both for
// every kind in sequences.cpp, and single tokens in streams.cpp.

#include "magnitude/layers.hpp"

using namespace loglinear;
using namespace loglinear::test;

TEMPLATE_TEST_CASE("No span of tokens and no part of a stream meets a denormal number",
                   "[magnitude]", float, double) {
  for_each_layer<TestType, TestType>([]<class Layer>(const Layer& layer) {
    if constexpr (has_even_kind<Layer> == std::is_same_v<TestType, double>) {
      DenormalWatch watch;
      test::Random random(4);
      for (const test::Fading& fading : test::fading_streams<TestType>()) {
        const auto x = fading.inputs<TestType>(random, 5);
        spans(watch, layer, x);
        parts(watch, layer, x);
      }
      CHECK(watch.met() == "");
    }
  });
}
