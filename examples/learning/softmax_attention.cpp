// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cmath>
#include <limits>
#include <loglinear/detail/base/checks.hpp>
#include <vector>

#include "mixer.hpp"

namespace learning {

namespace {

/// `softmax(q k^T / sqrt(d_k)) v`, causal; batch x heads x time x channels in, batch x time x
/// (heads channels) out. Some queries at a time, so that long sequences fit into memory.
torch::Tensor attend(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v) {
  constexpr std::int64_t at_once = 1024;
  const std::int64_t length = q.size(2);
  std::vector<torch::Tensor> parts;
  for (std::int64_t first = 0; first < length; first += at_once) {
    const std::int64_t size = std::min(at_once, length - first), seen = first + size;
    const torch::Tensor scaled =
        q.narrow(2, first, size) / std::sqrt(static_cast<double>(q.size(3)));
    const torch::Tensor future =
        torch::full({size, seen}, -std::numeric_limits<float>::infinity()).triu(first + 1);
    const torch::Tensor scores =
        torch::matmul(scaled, k.narrow(2, 0, seen).transpose(2, 3)) + future;
    parts.push_back(torch::matmul(torch::softmax(scores, -1), v.narrow(2, 0, seen)));
  }
  const torch::Tensor y = parts.size() == 1 ? parts[0] : torch::cat(parts, 2);
  return y.transpose(1, 2).flatten(2);
}

/// Rotary positions; batch x heads x time x d_k.
torch::Tensor turned(const torch::Tensor& x) {
  constexpr double base = 10000;
  const std::int64_t half = x.size(3) / 2;
  const torch::Tensor rates = torch::exp(torch::arange(half, torch::kDouble) *
                                         (-std::log(base) / static_cast<double>(half)));
  const torch::Tensor angles = torch::outer(torch::arange(x.size(2), torch::kDouble), rates);
  const torch::Tensor cos = angles.cos().to(x.dtype()), sin = angles.sin().to(x.dtype());
  const torch::Tensor a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
  return torch::cat({a * cos - b * sin, b * cos + a * sin}, 3);
}

}  // namespace

SoftmaxAttention::SoftmaxAttention(const MixerShape& shape)
    : shape_(shape),
      in_(shape.d_model, 2 * shape.keys() + shape.values()),
      out_(shape.values(), shape.d_model),
      convolution_(2 * shape.keys() + shape.values()) {
  register_module("project_in", in_);
  register_module("project_out", out_);
  register_module("convolution", convolution_);
}

torch::Tensor SoftmaxAttention::forward(const torch::Tensor& x, std::int64_t) {
  const auto parts =
      convolution_(in_(x)).split({shape_.keys(), shape_.keys(), shape_.values()}, -1);
  const auto by_head = [&](const torch::Tensor& part) {
    return part.view({x.size(0), x.size(1), shape_.heads, -1}).transpose(1, 2);
  };
  return out_(attend(by_head(parts[0]), by_head(parts[1]), by_head(parts[2])));
}

RotaryAttention::RotaryAttention(const MixerShape& shape)
    : shape_(shape),
      in_(shape.d_model, 2 * shape.keys() + shape.values()),
      out_(shape.values(), shape.d_model) {
  if (shape.d_k % 2 != 0)
    loglinear::detail::fail("d_k", shape.d_k, "even, as positions turn pairs");
  register_module("project_in", in_);
  register_module("project_out", out_);
}

torch::Tensor RotaryAttention::forward(const torch::Tensor& x, std::int64_t) {
  const auto parts = in_(x).split({shape_.keys(), shape_.keys(), shape_.values()}, -1);
  const auto by_head = [&](const torch::Tensor& part) {
    return part.view({x.size(0), x.size(1), shape_.heads, -1}).transpose(1, 2);
  };
  return out_(attend(turned(by_head(parts[0])), turned(by_head(parts[1])), by_head(parts[2])));
}

}  // namespace learning
