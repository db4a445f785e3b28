// SPDX-License-Identifier: MIT
#ifndef LEARNING_BATCH_HPP
#define LEARNING_BATCH_HPP

#include <torch/types.h>

#include <cstdint>

#include "task.hpp"

namespace learning {

/// Some instances as tensors; what is asked is gathered.
struct Batch {
  torch::Tensor tokens;     ///< batch x time
  torch::Tensor positions;  ///< of the labels, in the flattened batch x time
  torch::Tensor labels;     ///< at those positions
  torch::Tensor groups;     ///< likewise
};

/// Of the batch that the seed trains on at a step, the sequences [first, first + size).
[[nodiscard]] Batch training_batch(const Task& task, const Setting& setting, std::int64_t size,
                                   std::uint64_t seed, std::int64_t step, std::int64_t first = 0);

/// Test instances [first, first + size), the same for every seed.
[[nodiscard]] Batch test_batch(const Task& task, const Setting& setting, std::int64_t size,
                               std::int64_t first);

}  // namespace learning

#endif  // LEARNING_BATCH_HPP
