// SPDX-License-Identifier: MIT
#ifndef RECALL_MODEL_HPP
#define RECALL_MODEL_HPP

#include <torch/nn.h>

#include <cstdint>
#include <memory>
#include <string>

#include "layers.hpp"
#include "mixer.hpp"

namespace recall {

/// `h = x + mixer(rms(x)),  y = h + mlp(rms(h))`.
class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(std::shared_ptr<Mixer> mixer, std::int64_t d_model);
  torch::Tensor forward(const torch::Tensor& x);

 private:
  std::shared_ptr<Mixer> mixer_;
  RmsNorm mixer_norm_, mlp_norm_;
  GatedMlp mlp_;
};
TORCH_MODULE(Block);

/// What a model is made of.
struct ModelShape {
  std::int64_t vocabulary = 128;
  std::int64_t blocks = 2;
  bool tied = false;               ///< the embedding is the head
  double embedding_deviation = 1;  ///< of what the embedding is drawn from
  std::string mixer = "softmax";
  std::string weighting = "one_state";  ///< of the levels; softmax has none
  MixerShape sizes{};
};

/// Embedding, blocks, norm and head.
class ModelImpl : public torch::nn::Module {
 public:
  explicit ModelImpl(const ModelShape& shape);

  /// Logits for the labels at some positions alone.
  /// \param tokens     batch x time
  /// \param positions  indices into the flattened batch x time
  /// \return positions x vocabulary
  torch::Tensor forward(const torch::Tensor& tokens, const torch::Tensor& positions);

  /// All weights' number.
  [[nodiscard]] std::int64_t parameter_count() const;

 private:
  torch::nn::ModuleList blocks_;
  RmsNorm norm_;
  torch::Tensor embedding_, head_;  // vocabulary x d_model each; the same if tied
  double head_scale_ = 1;           // less than 1 if a tied head is large
};
TORCH_MODULE(Model);

}  // namespace recall

#endif  // RECALL_MODEL_HPP
