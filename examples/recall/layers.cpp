// SPDX-License-Identifier: MIT
#include "layers.hpp"

#include <cmath>

namespace recall {

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
  return x * torch::rsqrt(x.square().mean(-1, true) + epsilon) * weight;
}

ShortConvolutionImpl::ShortConvolutionImpl(std::int64_t channels) {
  const double limit = 1 / std::sqrt(static_cast<double>(taps));
  weight = register_parameter("weight", torch::empty({taps, channels}).uniform_(-limit, limit));
}
torch::Tensor ShortConvolutionImpl::forward(const torch::Tensor& x) {
  const std::int64_t length = x.size(1);
  const torch::Tensor padded = torch::constant_pad_nd(x, {0, 0, taps - 1, 0});
  torch::Tensor y = padded.narrow(1, 0, length) * weight[0];
  for (std::int64_t i = 1; i < taps; ++i) y = y + padded.narrow(1, i, length) * weight[i];
  return y;
}

GatedMlpImpl::GatedMlpImpl(std::int64_t channels)
    : hidden_(2 * channels), up_(channels, 2 * hidden_), down_(hidden_, channels) {
  register_module("up", up_);
  register_module("down", down_);
}
torch::Tensor GatedMlpImpl::forward(const torch::Tensor& x) {
  const auto parts = up_(x).split(hidden_, -1);
  return down_(torch::silu(parts[0]) * parts[1]);
}

}  // namespace recall
