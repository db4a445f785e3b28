// SPDX-License-Identifier: MIT
#include "hierarchy.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <loglinear/torch.hpp>

namespace learning {

namespace {

/// Zeros for `count` tokens in front. Such a token writes nothing and decays nothing.
at::Tensor after_nothing(const at::Tensor& x, std::int64_t count) {
  if (!x.defined()) return x;
  auto shape = x.sizes().vec();
  shape[1] = count;
  return at::cat({at::zeros(shape, x.options()), x}, 1);
}

/// The last level's weight once more for each level that is missing.
at::Tensor for_all_levels(const at::Tensor& lambda, std::int64_t tokens) {
  const std::int64_t missing = levels_of(tokens) - lambda.size(3);
  if (missing <= 0) return lambda;
  auto shape = lambda.sizes().vec();
  shape[3] = missing;
  return at::cat({lambda, lambda.narrow(3, lambda.size(3) - 1, 1).expand(shape)}, 3);
}

}  // namespace

at::Tensor read_hierarchy(const loglinear::TensorInputs& inputs, std::int64_t count) {
  const bool has_levels = inputs.lambda.defined();
  if (!has_levels) count = 0;  // one state has no borders
  loglinear::TensorInputs in = inputs;
  if (count > 0) {
    for (at::Tensor* const tensor : {&in.q, &in.k, &in.v, &in.lambda, &in.g, &in.beta}) {
      *tensor = after_nothing(*tensor, count);
    }
  }
  if (has_levels) in.lambda = for_all_levels(in.lambda, in.q.size(1));
  const at::Tensor reads = loglinear::chunkwise(in);
  return count > 0 ? reads.narrow(1, count, inputs.q.size(1)).contiguous() : reads;
}

}  // namespace learning
