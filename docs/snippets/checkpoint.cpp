// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/checkpoint.hpp>
#include <loglinear/rules.hpp>

using Layer = loglinear::LogLinearAttention<loglinear::GatedDeltaNet, float>;

int main() {
  const Layer::Options options{
      .inner = {.gate_bias = 6}, .d_model = 4, .d_k = 8, .d_v = 4, .max_levels = 20};
  Layer layer(options), resumed(options);
  const auto token = [](float t) -> Eigen::Vector4f {
    return (Eigen::Array4f::LinSpaced(0, 3) + 0.1f * t).sin().matrix();
  };
  for (float t = 0; t < 1000; ++t) layer.train_one(token(t), token(t + 1));
  save("stream.safetensors", layer);

  load("stream.safetensors", resumed);  // in another process, say
  bool same = true;
  for (float t = 1000; t < 2000; ++t) {
    same = same && layer.forward(token(t)) == resumed.forward(token(t));
  }
  std::printf("%s\n", same ? "the same bits" : "other numbers");

  // A file with anything wrong is refused before the object changes.
  try {
    Layer other({.inner = {.gate_bias = 5}, .d_model = 4, .d_k = 8, .d_v = 4, .max_levels = 20});
    load("stream.safetensors", other);
  } catch (const loglinear::CheckpointError& error) {
    std::printf("%s\n", error.what());
  }

  // Weights alone, under the names that a PyTorch module has for them, in half the space.
  const loglinear::WeightNames names{{"w_key", "attention.k_proj.weight"}};
  save_weights("weights.safetensors", layer, names, loglinear::DType::bf16);
  load_weights("weights.safetensors", resumed, names);
  std::remove("stream.safetensors");
  std::remove("weights.safetensors");
}
