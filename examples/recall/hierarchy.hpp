// SPDX-License-Identifier: MIT
#ifndef RECALL_HIERARCHY_HPP
#define RECALL_HIERARCHY_HPP

#include <loglinear/torch/tensor_inputs.hpp>

namespace recall {

/// `loglinear::chunkwise`, compiled in one file for all mixers.
[[nodiscard]] at::Tensor read_hierarchy(const loglinear::TensorInputs& inputs);

}  // namespace recall

#endif  // RECALL_HIERARCHY_HPP
