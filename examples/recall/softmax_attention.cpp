// SPDX-License-Identifier: MIT
#include <cmath>
#include <limits>

#include "mixer.hpp"

namespace recall {

SoftmaxAttention::SoftmaxAttention(const MixerShape& shape)
    : shape_(shape),
      in_(shape.d_model, 2 * shape.keys() + shape.values()),
      out_(shape.values(), shape.d_model),
      convolution_(2 * shape.keys() + shape.values()) {
  register_module("project_in", in_);
  register_module("project_out", out_);
  register_module("convolution", convolution_);
}

torch::Tensor SoftmaxAttention::forward(const torch::Tensor& x) {
  const std::int64_t batch = x.size(0), length = x.size(1);
  const auto parts =
      convolution_(in_(x)).split({shape_.keys(), shape_.keys(), shape_.values()}, -1);
  const auto by_head = [&](const torch::Tensor& part) {
    return part.view({batch, length, shape_.heads, -1}).transpose(1, 2);
  };
  const torch::Tensor q = by_head(parts[0]) / std::sqrt(static_cast<double>(shape_.d_k));
  const torch::Tensor future =
      torch::full({length, length}, -std::numeric_limits<float>::infinity()).triu(1);
  const torch::Tensor scores = torch::matmul(q, by_head(parts[1]).transpose(2, 3)) + future;
  const torch::Tensor y = torch::matmul(torch::softmax(scores, -1), by_head(parts[2]));
  return out_(y.transpose(1, 2).reshape({batch, length, shape_.values()}));
}

}  // namespace recall
