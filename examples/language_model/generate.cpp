// SPDX-License-Identifier: MIT
// Continues a text byte by byte with a model from a folder. The text goes to standard output as it
// is made; speed and memory go to standard error.

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>

#include "byte_model.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

void write_byte(std::int32_t token) {
  std::putchar(token);
  language_model::require_written();
}

struct Options {
  std::string folder{}, prompt = "\n";
  std::int64_t tokens = 400;
  loglinear::SamplingOptions sampling = {.temperature = 0.8, .top_k = 0, .seed = 42};
};

void generate(const Options& options) {
  const auto model = language_model::load_byte_model(options.folder);
  loglinear::Sampler sample(options.sampling);
  auto cache = model.make_cache();
  const auto prompt = language_model::bytes_of(options.prompt);

  const Clock::time_point begin = Clock::now();
  auto logits = model.prefill(prompt, cache);
  const double prefill_seconds = seconds_since(begin);
  std::fwrite(options.prompt.data(), 1, options.prompt.size(), stdout);

  const Clock::time_point decoding = Clock::now();
  for (std::int64_t i = 0; i < options.tokens; ++i) {
    const std::int32_t token = sample(logits);
    write_byte(token);
    logits = model.step(token, cache);
  }
  const double seconds = seconds_since(decoding);
  std::fputc('\n', stdout);
  language_model::require_written();
  std::fprintf(stderr, "prompt: %zu tokens in %.3f s\n", prompt.size(), prefill_seconds);
  std::fprintf(stderr, "generated: %lld tokens in %.3f s, %.0f tokens/s\n",
               static_cast<long long>(options.tokens), seconds,
               static_cast<double>(options.tokens) / seconds);
  std::fprintf(stderr, "memory: %s\n", language_model::memory_text(model, cache).c_str());
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("Continues a text byte by byte with a language model from a folder.");
  app.add_option("model", options.folder, "folder with config.json and model.safetensors")
      ->required();
  app.add_option("--prompt", options.prompt, "the text to continue")->capture_default_str();
  app.add_option("--tokens", options.tokens, "bytes to generate")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  app.add_option("--temperature", options.sampling.temperature,
                 "logits are divided by it; 0 takes the most likely byte")
      ->capture_default_str();
  app.add_option("--top-k", options.sampling.top_k, "draw from so many most likely bytes; 0: all")
      ->capture_default_str();
  app.add_option("--seed", options.sampling.seed, "of the draws, at least 1")
      ->check(CLI::Range(std::int64_t{1}, std::numeric_limits<std::int64_t>::max()))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    generate(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "generate: %s\n", error.what());
    return 1;
  }
}
