// SPDX-License-Identifier: MIT
#include "../no_alloc/allocation_counter.hpp"
#include "catch.hpp"
#include "loglinear/mode/attention.hpp"
#include "support.hpp"

using namespace loglinear;

TEST_CASE("A layer chosen at run time allocates nothing after its construction") {
  const AttentionMode modes[] = {RetNet{},
                                 Hawk{},
                                 DeltaProductMode{.n_compositions = 4},
                                 RWKV7{},
                                 LogLinear{.inner = GatedDeltaNet{}},
                                 LogLinear{.inner = GLA{}, .max_levels = 3, .key_only = true}};
  for (const AttentionMode& mode : modes) {
    const auto layer = make_attention<float>({.mode = mode});
    test::Random random(31);
    const auto rows = random.matrix<float>(2, 16);
    const test::Vector<float> x = rows.row(0), y = rows.row(1);
    const int count = test::allocations_in([&] {
      for (int t = 0; t < 20; ++t) {
        layer->forward(x);
        layer->forward(rows.row(0));
        layer->query_readonly(2 * x);
        layer->train_one(x, y);
        layer->train_one(rows.row(0), rows.row(1));
      }
      layer->set_learning_rate(0.1);
      layer->reset();
    });
    CHECK(count == 0);
  }
}
