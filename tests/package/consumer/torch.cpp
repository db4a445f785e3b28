// SPDX-License-Identifier: MIT
#include <loglinear/torch.hpp>

#include <ATen/Functions.h>

int main() {
  const at::Tensor ones = at::ones({1, 4, 1, 2});
  const at::Tensor out = loglinear::chunkwise({.q = ones, .k = ones, .v = ones});
  return out.select(1, 3).eq(4 * 2).all().item<bool>() ? 0 : 1;  // four keys, q.k = 2 each
}
