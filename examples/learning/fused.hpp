// SPDX-License-Identifier: MIT
#ifndef LEARNING_FUSED_HPP
#define LEARNING_FUSED_HPP

// Two operations that LibTorch would make of ten, each over all channels of all tokens: one pass
// forward and one backward instead. On the CPU, float, differentiable once.

#include <torch/types.h>

namespace learning {

/// `x_i / sqrt(mean(x^2) + epsilon) * weight_i` over the last dimension.
/// \param x       any shape, last dimension n
/// \param weight  n
[[nodiscard]] torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight,
                                     double epsilon);

/// `y_t = sum_i weight_i x_{t - taps + 1 + i}`, channel by channel, zeros before the beginning.
/// \param x       batch x time x channels, with contiguous channels
/// \param weight  taps x channels
[[nodiscard]] torch::Tensor causal_convolution(const torch::Tensor& x, const torch::Tensor& weight);

}  // namespace learning

#endif  // LEARNING_FUSED_HPP
