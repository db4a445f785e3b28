// SPDX-License-Identifier: MIT
// What a token costs a language model in processor time on one thread, as CSV: in a prompt, and in
// decoding one stream and many, with weights in float and in bfloat16. The least of some rounds.
//
//   model_speed [rounds]

#include <sys/resource.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <loglinear/model.hpp>
#include <loglinear/parallel.hpp>
#include <span>
#include <vector>

namespace {

using Model = loglinear::LanguageModel<float>;
using Tokens = std::span<const std::int32_t>;

double processor_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// The least processor time of `rounds` calls, in microseconds a token.
template <class Work>
double microseconds(int rounds, std::size_t tokens, Work work) {
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < rounds; ++i) {
    const double begin = processor_seconds();
    work();
    least = std::min(least, processor_seconds() - begin);
  }
  return least * 1e6 / static_cast<double>(tokens);
}

void measure(const Model& model, const char* weights, int rounds) {
  std::vector<std::int32_t> prompt(512);
  for (std::size_t t = 0; t < prompt.size(); ++t) {
    prompt[t] = static_cast<std::int32_t>(t * 37 % 256);
  }
  const double megabytes = static_cast<double>(model.weight_bytes()) / 1e6;
  const auto print = [&](const char* what, std::size_t streams, double cost) {
    std::printf("%s,%.1f,%s,%zu,%.0f\n", weights, megabytes, what, streams, cost);
  };
  auto cache = model.make_cache();
  print("prompt", 1, microseconds(rounds, prompt.size(), [&] {
          cache.reset();
          model.prefill(prompt, cache);
        }));
  for (const std::size_t streams : {1u, 4u, 16u, 64u}) {
    std::vector<Model::Cache> caches(streams, cache);
    std::vector<Model::Cache*> all;
    for (auto& one : caches) all.push_back(&one);
    const std::size_t steps = 64 / streams;
    print("decoding", streams, microseconds(rounds, steps * streams, [&] {
            for (std::size_t t = 0; t < steps; ++t) model.step(Tokens(prompt).first(streams), all);
          }));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 5;
  loglinear::set_thread_count(1);
  const loglinear::LogLinearMamba2Options mixer{
      .hidden_size = 512, .num_heads = 16, .head_dim = 64, .state_size = 64, .num_levels = 12};
  std::printf("weights,MB,what,streams,microseconds a token\n");
  for (const bool keep_narrow : {false, true}) {
    const Model model({.vocab_size = 256, .num_hidden_layers = 4, .mixer = mixer}, keep_narrow);
    measure(model, keep_narrow ? "bfloat16" : "float", rounds);
  }
}
