// SPDX-License-Identifier: MIT
// What the next token costs one layer of a language model, far into a stream, and what the layer
// keeps until then: log-linear Mamba-2, its twin with one state, and softmax attention with its
// growing cache of keys and values. As CSV; medians of processor time of one thread.
//
//   mixer_decode
//
// A layer has hidden_size 256 and four heads of 64 values; Mamba-2's states are 64 x 64. Streams
// are drawn: Mamba-2 reads all of them, and the cache of attention takes drawn keys and values, as
// attending to a million tokens from each of them would take hours. Every layer then goes on by 64
// tokens one at a time, and the outputs are compared with those of the 64 tokens at once.

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <loglinear/mixers.hpp>
#include <loglinear/model.hpp>
#include <loglinear/parallel.hpp>
#include <loglinear/random.hpp>

#include "samples.hpp"

namespace {

using Eigen::Index;
using Matrix = loglinear::LogLinearMamba2<float>::Matrix;

constexpr Index hidden_size = 256, heads = 4, head_dim = 64;
constexpr Index steps = 64, piece = 4096;
constexpr int rounds = 5;

Matrix drawn(Index tokens, loglinear::Xorshift64& random) {
  return Matrix::NullaryExpr(tokens, hidden_size,
                             [&] { return static_cast<float>(random.normal()); });
}

/// Times the next tokens of a stream and compares them with the form that takes them at once.
template <class Mixer>
void report(const char* name, Index tokens, const Mixer& mixer,
            const typename Mixer::Cache& stream) {
  loglinear::Xorshift64 random(11);
  const Matrix x = drawn(steps, random);
  auto at_once = stream;
  const Matrix wanted = mixer.forward(x, at_once);
  bench::Samples samples;
  for (int round = 0; round < rounds; ++round) {
    auto cache = stream;
    if constexpr (requires { cache.reserve(steps); }) cache.reserve(steps);
    const std::array<typename Mixer::Cache*, 1> caches{&cache};
    Matrix out(steps, hidden_size);
    for (Index t = 0; t < steps; ++t) {
      samples.add(bench::processor_nanoseconds([&] {
        auto [next, staged] = mixer.stage(Matrix(x.row(t)), {caches});
        staged.commit();
        out.row(t) = next;
      }));
    }
    if (!((out - wanted).norm() <= 1e-4F * wanted.norm())) {
      std::fprintf(stderr, "%s after %td tokens: other numbers one by one\n", name, tokens);
      std::exit(1);
    }
  }
  std::printf("%s,%td,%.1f,%.0f\n", name, tokens, samples.median() / 1000,
              static_cast<double>(stream.memory_bytes()) / 1000);
  std::fflush(stdout);
}

void measure(const char* name, const loglinear::LogLinearMamba2<float>& mixer) {
  loglinear::Xorshift64 random(7);
  auto cache = mixer.make_cache();
  for (const Index tokens : {1'000, 10'000, 100'000, 1'000'000}) {
    while (static_cast<Index>(cache.size()) < tokens) {
      const Index left = tokens - static_cast<Index>(cache.size());
      (void)mixer.forward(drawn(std::min(left, piece), random), cache);
    }
    report(name, tokens, mixer, cache);
  }
}

void measure_attention() {
  loglinear::Xorshift64 random(7);
  const loglinear::SlidingWindowAttention<float> attention({.layers = {0}, .num_heads = heads},
                                                           hidden_size, 0.06, random);
  for (const Index tokens : {1'000, 10'000, 100'000, 1'000'000}) {
    auto cache = attention.make_cache();
    cache.reserve(tokens + steps);
    const Matrix keys = drawn(1000, random), values = drawn(1000, random);
    for (Index t = 0; t < tokens; t += keys.rows()) cache.append(keys, values);
    report("softmax attention", tokens, attention, cache);
  }
}

}  // namespace

int main() {
  loglinear::set_thread_count(1);
  const auto mamba2 = [](loglinear::MixerLevelWeights weighting) {
    return loglinear::LogLinearMamba2<float>({.hidden_size = hidden_size,
                                              .expand = 1,
                                              .num_heads = heads,
                                              .head_dim = head_dim,
                                              .state_size = 64,
                                              .num_levels = 21,
                                              .level_weights = weighting});
  };
  std::printf("layer,tokens so far,microseconds a token,KB\n");
  measure("log-linear Mamba-2", mamba2(loglinear::MixerLevelWeights::softplus));
  measure("Mamba-2 with one state", mamba2(loglinear::MixerLevelWeights::one_state));
  measure_attention();
}
