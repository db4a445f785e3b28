// SPDX-License-Identifier: MIT
#ifndef LEARNING_LEVEL_WEIGHTING_HPP
#define LEARNING_LEVEL_WEIGHTING_HPP

#include <torch/nn.h>

#include <cstdint>
#include <string>

#include "layers.hpp"

namespace learning {

/// How a token x weighs the levels it reads, n weights a head.
///
/// one_state: none, all levels together are one state.
///
/// softplus: `softplus(L . (W x))`, L begins as ones; the paper's (arXiv:2506.04761, section 3.4).
/// Begins near log 2.
///
/// mixture: `softplus(r) / sum of softplus(r)`, r = W x + 1/n; `loglinear::NormalizedMixture`.
/// Begins near 1/n.
///
/// mlp: `softplus(W_2 silu(W_1 x + b_1) + b_2)` with d_model hidden channels (arXiv:2605.06946).
/// Begins near log 2.
///
/// Where they begin they hardly depend on x: W and W_2 are drawn a tenth as large as usual.
class LevelWeightingImpl : public torch::nn::Module {
 public:
  /// \throws std::invalid_argument for a name that is not in the table
  LevelWeightingImpl(const std::string& name, std::int64_t d_model, std::int64_t heads,
                     std::int64_t levels);

  /// Batch x time x d_model to batch x time x heads x levels; undefined for one_state.
  torch::Tensor forward(const torch::Tensor& x);

 private:
  enum class Kind { one_state, softplus, mixture, mlp };
  static Kind kind_of(const std::string& name);

  Kind kind_;
  std::int64_t heads_, levels_;
  Projection hidden_ = nullptr, levels_of_ = nullptr;
  torch::Tensor hidden_bias_, level_bias_, level_scale_;
};
TORCH_MODULE(LevelWeighting);

}  // namespace learning

#endif  // LEARNING_LEVEL_WEIGHTING_HPP
