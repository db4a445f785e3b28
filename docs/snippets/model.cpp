#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <loglinear/checkpoint/language_model.hpp>
#include <loglinear/model.hpp>
#include <string_view>
#include <vector>

using Model = loglinear::LanguageModel<float>;

std::vector<std::int32_t> bytes_of(std::string_view text) {
  std::vector<std::int32_t> tokens;
  for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));  // 0 ... 255
  return tokens;
}

int main() {
  // A folder as training writes it; here the weights are drawn, in bfloat16.
  const loglinear::LogLinearMamba2Options mixer{
      .hidden_size = 64, .num_heads = 4, .head_dim = 32, .state_size = 16, .num_levels = 10};
  const Model drawn({.vocab_size = 256, .num_hidden_layers = 2, .mixer = mixer});
  save_language_model("model_folder", drawn, loglinear::DType::bf16);

  const auto model = loglinear::load_language_model<float>("model_folder");
  auto cache = model.make_cache();
  std::printf("weights %zu KB, in float %zu KB; a stream %zu KB\n", model.weight_bytes() / 1000,
              drawn.weight_bytes() / 1000, cache.memory_bytes() / 1000);

  // A prompt at once, then token by token.
  auto logits = model.prefill(bytes_of("In the beginning "), cache);
  loglinear::Sampler sample({.temperature = 0.8, .top_k = 40, .seed = 7});
  for (int i = 0; i < 1000; ++i) logits = model.step(sample(logits), cache);
  std::printf("%d tokens, a stream still %zu KB\n", static_cast<int>(cache.size()),
              cache.memory_bytes() / 1000);

  // A copy is a snapshot: a draft is taken back to the bit.
  const auto snapshot = cache;
  const Model::Vector draft = model.prefill(bytes_of("a draft"), cache);
  cache = snapshot;
  const bool same = model.prefill(bytes_of("a draft"), cache) == draft;
  std::printf("%s\n", same ? "the same bits after taking it back" : "others");

  // Many streams at once, which need not stand at the same place.
  auto other = model.make_cache();
  const std::vector<Model::Cache*> streams{&cache, &other};
  const Model::Matrix next = model.step(bytes_of("ab"), streams);
  std::printf("%d x %d logits\n", static_cast<int>(next.rows()), static_cast<int>(next.cols()));
  std::filesystem::remove_all("model_folder");
}
