// SPDX-License-Identifier: MIT
#ifndef LEARNING_MIXER_HPP
#define LEARNING_MIXER_HPP

// The part of a block in which tokens meet: softmax attention and the paper's two rules. Weights
// have the rows that flash-linear-attention's layers have, those of several projections together.

#include <torch/nn.h>

#include <cstdint>
#include <memory>
#include <string>

#include "layers.hpp"
#include "level_weighting.hpp"

namespace learning {

/// The sizes of a mixer.
struct MixerShape {
  std::int64_t d_model = 64;
  std::int64_t heads = 2;
  std::int64_t d_k = 32;    ///< keys of a head
  std::int64_t d_v = 32;    ///< values of a head
  std::int64_t levels = 8;  ///< level weights of a head; the last is that of all older levels
  double memory = 200;      ///< tokens in which the first head begins to forget all but 1/e

  [[nodiscard]] std::int64_t keys() const { return heads * d_k; }
  [[nodiscard]] std::int64_t values() const { return heads * d_v; }
};

/// Batch x time x d_model to the same shape, causal.
class Mixer : public torch::nn::Module {
 public:
  /// \param count  tokens that came before and left nothing behind: they move the borders of the
  /// levels, and nothing else
  virtual torch::Tensor forward(const torch::Tensor& x, std::int64_t count) = 0;
};

/// The baseline that forgets nothing and keeps everything:
///
///     q, k, v = conv(W x),   out = W_o y,
///     y_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(d_k)) v_s
///
/// There is no encoding of positions besides the short convolution and the causal mask.
class SoftmaxAttention : public Mixer {
 public:
  explicit SoftmaxAttention(const MixerShape& shape);
  torch::Tensor forward(const torch::Tensor& x, std::int64_t count) override;

 private:
  MixerShape shape_;
  Projection in_, out_;
  ShortConvolution convolution_;
};

/// Softmax attention as flash-linear-attention's `Attention` has it, with rotary positions (Su et
/// al., arXiv:2104.09864) of base 10000 and without a convolution:
///
///     q, k, v = W x,   out = W_o y,
///     y_t = sum_{s <= t} softmax_s(R_t q_t . R_s k_s / sqrt(d_k)) v_s
///
/// R_t turns the coefficients i and i + d_k / 2 of a head by the angle t 10000^(-2 i / d_k).
class RotaryAttention : public Mixer {
 public:
  /// \throws std::invalid_argument unless d_k is even
  explicit RotaryAttention(const MixerShape& shape);
  torch::Tensor forward(const torch::Tensor& x, std::int64_t count) override;

 private:
  MixerShape shape_;
  Projection in_, out_;  // in_ holds q, k, v
};

/// Log-linear Mamba-2 as `loglinear::LogLinearMamba2` has it, but for where the decay begins
/// (decay_gate.hpp), without biases, one group; with one state Mamba-2 itself.
class Mamba2 : public Mixer {
 public:
  Mamba2(const MixerShape& shape, const std::string& weighting);
  torch::Tensor forward(const torch::Tensor& x, std::int64_t count) override;

 private:
  MixerShape shape_;
  Projection in_, out_;  // in_ holds z, x, B, C, dt
  ShortConvolution convolution_;
  RmsNorm norm_;
  LevelWeighting weighting_;
  torch::Tensor dt_bias_, a_log_, d_;  // a number a head
};

/// Log-linear Gated DeltaNet as `loglinear::LogLinearGatedDeltaNet` has it, but for where the
/// decay begins; with one state Gated DeltaNet itself.
class GatedDeltaNet : public Mixer {
 public:
  GatedDeltaNet(const MixerShape& shape, const std::string& weighting);
  torch::Tensor forward(const torch::Tensor& x, std::int64_t count) override;

 private:
  MixerShape shape_;
  Projection in_, out_;  // in_ holds q, k, v, the gate, a and b
  ShortConvolution convolution_;
  RmsNorm norm_;
  LevelWeighting weighting_;
  torch::Tensor dt_bias_, a_log_;  // a number a head
};

/// "softmax", "rotary", "mamba2" or "gated_delta_net". \throws std::invalid_argument for another
/// name
[[nodiscard]] std::shared_ptr<Mixer> make_mixer(const std::string& name,
                                                const std::string& weighting,
                                                const MixerShape& shape);

}  // namespace learning

#endif  // LEARNING_MIXER_HPP
