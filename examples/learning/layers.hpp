// SPDX-License-Identifier: MIT
#ifndef LEARNING_LAYERS_HPP
#define LEARNING_LAYERS_HPP

// What the residual blocks are made of, besides their mixer. Tensors are batch x time x channels.

#include <torch/nn.h>

#include <cstdint>

namespace learning {

/// A matrix without bias, drawn as normal with variance 1 / in.
class ProjectionImpl : public torch::nn::Module {
 public:
  ProjectionImpl(std::int64_t in, std::int64_t out);
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight;  ///< out x in
};
TORCH_MODULE(Projection);

/// `x / sqrt(mean(x^2) + 1e-5) * weight`, over the last dimension.
class RmsNormImpl : public torch::nn::Module {
 public:
  explicit RmsNormImpl(std::int64_t channels);
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight;  ///< begins as ones
};
TORCH_MODULE(RmsNorm);

/// Each channel with its own causal filter of four taps, `y_t = sum_i weight_i x_{t-3+i}`, zeros
/// before the beginning.
class ShortConvolutionImpl : public torch::nn::Module {
 public:
  static constexpr std::int64_t taps = 4;

  explicit ShortConvolutionImpl(std::int64_t channels);
  torch::Tensor forward(const torch::Tensor& x);

  torch::Tensor weight;  ///< taps x channels, uniform within 1 / sqrt(taps)
};
TORCH_MODULE(ShortConvolution);

/// `W_down (silu(W_gate x) . W_up x)`.
class GatedMlpImpl : public torch::nn::Module {
 public:
  GatedMlpImpl(std::int64_t channels, std::int64_t hidden);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  std::int64_t hidden_;
  Projection up_, down_;  // up_ holds W_gate and W_up
};
TORCH_MODULE(GatedMlp);

}  // namespace learning

#endif  // LEARNING_LAYERS_HPP
