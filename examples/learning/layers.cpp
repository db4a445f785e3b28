// SPDX-License-Identifier: MIT
#include "layers.hpp"

#include <cmath>

#include "fused.hpp"

namespace learning {

ProjectionImpl::ProjectionImpl(std::int64_t in, std::int64_t out) {
  weight =
      register_parameter("weight", torch::randn({out, in}) / std::sqrt(static_cast<double>(in)));
}
torch::Tensor ProjectionImpl::forward(const torch::Tensor& x) {
  return torch::linear(x, weight);
}

RmsNormImpl::RmsNormImpl(std::int64_t channels) {
  weight = register_parameter("weight", torch::ones({channels}));
}
torch::Tensor RmsNormImpl::forward(const torch::Tensor& x) {
  constexpr double epsilon = 1e-5;
  return rms_norm(x, weight, epsilon);
}

ShortConvolutionImpl::ShortConvolutionImpl(std::int64_t channels) {
  const double limit = 1 / std::sqrt(static_cast<double>(taps));
  weight = register_parameter("weight", torch::empty({taps, channels}).uniform_(-limit, limit));
}
torch::Tensor ShortConvolutionImpl::forward(const torch::Tensor& x) {
  return causal_convolution(x, weight);
}

GatedMlpImpl::GatedMlpImpl(std::int64_t channels, std::int64_t hidden)
    : hidden_(hidden), up_(channels, 2 * hidden), down_(hidden, channels) {
  register_module("up", up_);
  register_module("down", down_);
}
torch::Tensor GatedMlpImpl::forward(const torch::Tensor& x) {
  const auto parts = up_(x).split(hidden_, -1);
  return down_(torch::silu(parts[0]) * parts[1]);
}

}  // namespace learning
