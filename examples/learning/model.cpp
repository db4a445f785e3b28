// SPDX-License-Identifier: MIT
#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace learning {

BlockImpl::BlockImpl(std::shared_ptr<Mixer> mixer, std::int64_t d_model, std::int64_t mlp_width)
    : mixer_(std::move(mixer)), mixer_norm_(d_model), mlp_norm_(d_model), mlp_(d_model, mlp_width) {
  register_module("mixer", mixer_);
  register_module("mixer_norm", mixer_norm_);
  register_module("mlp_norm", mlp_norm_);
  register_module("mlp", mlp_);
}

torch::Tensor BlockImpl::forward(const torch::Tensor& x, std::int64_t count) {
  const torch::Tensor h = x + mixer_->forward(mixer_norm_(x), count);
  return h + mlp_(mlp_norm_(h));
}

ModelImpl::ModelImpl(const ModelShape& shape) : norm_(shape.sizes.d_model) {
  constexpr double head_deviation = 0.02;
  const auto draw = [&] { return torch::randn({shape.vocabulary, shape.sizes.d_model}); };
  embedding_ = register_parameter("embedding", draw() * shape.embedding_deviation);
  if (shape.tied) {
    head_ = embedding_;
    // Logits begin with a deviation of 1 at most.
    const double deviation =
        shape.embedding_deviation * std::sqrt(static_cast<double>(shape.sizes.d_model));
    head_scale_ = 1 / std::max(1.0, deviation);
  } else {
    head_ = register_parameter("head", draw() * head_deviation);
  }
  register_module("blocks", blocks_);
  for (std::int64_t i = 0; i < shape.blocks; ++i) {
    blocks_->push_back(Block(make_mixer(shape.mixer, shape.weighting, shape.sizes),
                             shape.sizes.d_model, mlp_width_of(shape)));
  }
  register_module("norm", norm_);
}

torch::Tensor ModelImpl::forward(const torch::Tensor& tokens, const torch::Tensor& positions,
                                 std::int64_t count) {
  torch::Tensor x = torch::embedding(embedding_, tokens);
  for (const auto& block : *blocks_) x = block->as<Block>()->forward(x, count);
  return torch::linear(norm_(x.flatten(0, 1).index_select(0, positions)) * head_scale_, head_);
}

std::int64_t ModelImpl::parameter_count() const {
  std::int64_t count = 0;
  for (const torch::Tensor& p : parameters()) count += p.numel();
  return count;
}

}  // namespace learning
