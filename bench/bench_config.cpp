// SPDX-License-Identifier: MIT
// What choosing the mode at run time costs: the layer of `make_attention` beside the same
// `MultiHeadAttention` called by its type, in turn in one process. One head, float, d_model = d_k =
// d_v = 64, the whole `forward`.
//
// Counters (medians over the rounds): ns_per_token, by the factory; typed_ns, by the type; ratio,
// the one over the other; spread, half the interquartile range of the ratio relative to its median.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "loglinear/mode/attention.hpp"
#include "samples.hpp"

namespace {

using namespace loglinear;
using Vector = Eigen::VectorXf;

constexpr Eigen::Index d = 64;
constexpr std::uint64_t window_begin = 1024, window = 256;

template <class Layer>
double ns_per_token(Layer& layer, const std::vector<Vector>& inputs) {
  return bench::nanoseconds([&] {
           for (std::uint64_t t = 0; t < window; ++t) {
             benchmark::DoNotOptimize(layer.forward(inputs[t % inputs.size()]).data());
           }
         }) /
         static_cast<double>(window);
}

template <class Layer>
void token(benchmark::State& state, const AttentionMode& mode,
           typename MultiHeadAttention<Layer>::Options options) {
  options.d_model = options.d_k = options.d_v = d;
  options.n_heads = 1;
  options.bound = output_bound_of(mode);
  MultiHeadAttention<Layer> typed_begin(options);
  const auto made_begin =
      make_attention<float>({.d_model = d, .n_heads = 1, .d_k = d, .d_v = d, .mode = mode});
  std::srand(1);
  std::vector<Vector> inputs;
  for (int i = 0; i < 61; ++i) inputs.push_back(Vector::Random(d));
  for (std::uint64_t t = 0; t < window_begin; ++t) {
    typed_begin.forward(inputs[t % inputs.size()]);
    made_begin->forward(inputs[t % inputs.size()]);
  }

  bench::Samples ns, typed_ns, ratio;
  bool same = true, typed_first = false;
  for (auto _ : state) {
    // Fresh copies: where memory happens to lie varies from round to round, for both alike.
    const auto typed = std::make_unique<MultiHeadAttention<Layer>>(typed_begin);
    const auto made = made_begin->clone();
    typed_first = !typed_first;
    double mine = 0, rival = 0;
    if (typed_first) rival = ns_per_token(*typed, inputs);
    mine = ns_per_token(*made, inputs);
    if (!typed_first) rival = ns_per_token(*typed, inputs);
    same = same && typed->forward(inputs[0]) == made->forward(inputs[0]) &&
           typed->state() == made->state();
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    typed_ns.add(rival);
    ratio.add(mine / rival);
  }
  if (!same) state.SkipWithError("the outputs differ");
  state.counters["ns_per_token"] = ns.median();
  state.counters["typed_ns"] = typed_ns.median();
  state.counters["ratio"] = ratio.median();
  state.counters["spread"] = ratio.spread();
}

void one_state_gla(benchmark::State& state) {
  const GLA rule{.gate_bias = 9};
  token<LinearAttention<GLA, float>>(state, rule, {.inner = rule});
}
void log_linear_gla(benchmark::State& state) {
  const GLA rule{.gate_bias = 9};
  token<LogLinearAttention<GLA, float>>(state, LogLinear{.inner = rule}, {.inner = rule});
}
void log_linear_gated_delta_net(benchmark::State& state) {
  const GatedDeltaNet rule{.beta_scale = 0.5, .gate_bias = 9};
  token<LogLinearAttention<GatedDeltaNet, float>>(state, LogLinear{.inner = rule}, {.inner = rule});
}
void log_linear_key_only(benchmark::State& state) {
  token<LogLinearAttention<KeyOnly<RetNet>, float>>(
      state, LogLinear{.inner = RetNet{}, .key_only = true}, {});
}

void rounds(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Iterations(bench::rounds(301))->Unit(benchmark::kNanosecond);
}
BENCHMARK(one_state_gla)->Apply(rounds);
BENCHMARK(log_linear_gla)->Apply(rounds);
BENCHMARK(log_linear_gated_delta_net)->Apply(rounds);
BENCHMARK(log_linear_key_only)->Apply(rounds);

}  // namespace

BENCHMARK_MAIN();
