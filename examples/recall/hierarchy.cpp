// SPDX-License-Identifier: MIT
#include "hierarchy.hpp"

#include <loglinear/torch.hpp>

namespace recall {

at::Tensor read_hierarchy(const loglinear::TensorInputs& inputs) {
  return loglinear::chunkwise(inputs);
}

}  // namespace recall
