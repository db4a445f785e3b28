// SPDX-License-Identifier: MIT
// Several heads: what fails for one of them changes none.

#include "exceptions/operations.hpp"
#include "exceptions/refusing_allocator.hpp"

namespace exceptions_heads {

namespace {

using namespace loglinear;

const auto check = [](const char* name, const auto& object, auto bytes, auto operation) {
  test::check_without_memory(name, object, bytes, operation);
};

}  // namespace

TEST_CASE("Without memory all heads stay as they were") {
  using Layer = MultiHeadAttention<LogLinearAttention<GatedDeltaNet>>;
  const Layer layer = test::used_layer<Layer>(53);
  const auto bytes = [](const Layer& any) { return test::saved(any); };
  test::for_each_operation<Layer>(
      [&](const char* name, auto operation) { check(name, layer, bytes, operation); });
  test::for_each_operation_around<Layer>(check);
  test::check_not_made("construction", [] { return test::used_layer<Layer>(0); });
}

}  // namespace exceptions_heads
