// SPDX-License-Identifier: MIT
// A tensor without numbers is absent, as an array of size 0 is: the same reads, the same gradients.

#include "tensors.hpp"

#include <vector>

#include "catch.hpp"

using namespace loglinear;
using namespace loglinear::test;

TEST_CASE("a tensor without numbers is absent", "[torch]") {
  const Shape shape{.batches = 2, .tokens = 9, .heads = 2, .d_k = 3, .d_v = 2};
  const TensorInputs plain = random_tensors(91, {}, shape);
  const at::Tensor expected = chunkwise(plain);
  const std::vector<std::vector<std::int64_t>> shapes = {{0},          {0, 0},       {2, 0, 2},
                                                         {2, 9, 2, 0}, {2, 0, 2, 3}, {0, 9, 2, 3}};
  for (std::size_t i = 4; i < loglinear::detail::array_count; ++i) {
    for (const auto& sizes : shapes) {
      TensorInputs in = with_gradients(plain);
      const Named absent = named_tensors(in)[i];
      *absent.tensor = at::empty(sizes, at::kDouble).requires_grad_(true);
      const at::Tensor out = chunkwise(in);
      INFO(absent.name);
      CHECK(at::equal(out, expected));
      out.sum().backward();
      CHECK(in.q.grad().defined());
    }
  }
  // Without level weights there is one state.
  TensorInputs one_state = plain, empty = plain;
  one_state.lambda = at::Tensor();
  empty.lambda = plain.lambda.narrow(3, 0, 0);
  CHECK(at::equal(chunkwise(empty), chunkwise(one_state)));
}
