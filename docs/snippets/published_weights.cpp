// SPDX-License-Identifier: MIT
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <loglinear/checkpoint.hpp>
#include <loglinear/mixers.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

using Mixer = loglinear::LogLinearMamba2<float>;

/// One layer of a model in shards: reads the files in which its weights lie, and no other.
void load_layer(const std::filesystem::path& folder, const std::string& prefix, Mixer& mixer) {
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  std::ifstream file(index);
  const auto shard_of = nlohmann::json::parse(file).at("weight_map");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of.items()) {
    if (tensor.starts_with(prefix)) shards.insert(shard.get<std::string>());
  }
  loglinear::Tensors tensors;
  tensors.source = index.string();
  for (const std::string& shard : shards) {
    tensors.add(loglinear::read_safetensors(folder / shard));
  }
  set_weights(mixer, tensors, {}, {.prefix = prefix});
}

int main() {
  // What a small model in two shards would look like.
  const std::filesystem::path folder = "published_model";
  std::filesystem::create_directory(folder);
  const Mixer published({.hidden_size = 8, .num_heads = 4, .head_dim = 4, .state_size = 8});
  const loglinear::Tensors layer =
      weights_of(published, {}, loglinear::DType::bf16, "backbone.layers.1.mixer.");
  loglinear::Tensors first, second;
  nlohmann::json shard_of;
  for (const std::string& name : layer.names()) {
    const bool is_late = name.ends_with("proj.weight");
    (is_late ? second : first).add(name, layer[name]);
    shard_of[name] = is_late ? "model-2-of-2.safetensors" : "model-1-of-2.safetensors";
  }
  write_safetensors(folder / "model-1-of-2.safetensors", first);
  write_safetensors(folder / "model-2-of-2.safetensors", second);
  std::ofstream(folder / "model.safetensors.index.json")
      << nlohmann::json{{"weight_map", shard_of}};

  Mixer mixer({.hidden_size = 8, .num_heads = 4, .head_dim = 4, .state_size = 8, .seed = 7});
  load_layer(folder, "backbone.layers.1.mixer.", mixer);
  const Mixer::Matrix x = Mixer::Matrix::Ones(5, 8);
  const float error = (mixer.forward(x) - published.forward(x)).cwiseAbs().maxCoeff();
  std::printf("%s\n", error < 1e-2f ? "the published numbers, but for bfloat16" : "others");

  try {
    Mixer other(
        {.hidden_size = 8, .num_heads = 4, .head_dim = 4, .state_size = 8, .use_conv_bias = false});
    load_layer(folder, "backbone.layers.1.mixer.", other);
  } catch (const loglinear::CheckpointError& refusal) {
    std::printf("%s\n", refusal.what());
  }
  std::filesystem::remove_all(folder);
}
