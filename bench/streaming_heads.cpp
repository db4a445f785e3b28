// SPDX-License-Identifier: MIT
// Eight heads on one and on two threads, from the same beginning, in turn; tokens 31,744 to 32,255.
// Counters: us_per_token with two threads, and vs_one_thread, one thread's time over it. Outputs
// must be the same to the bit.

#include <benchmark/benchmark.h>

#include <vector>

#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/rules/gla.hpp"
#include "samples.hpp"

namespace {

using namespace loglinear;
using Layer = MultiHeadAttention<LogLinearAttention<GLA, float>>;

constexpr int begin_at = 31744, window = 512;

void heads(benchmark::State& state) {
  const Eigen::Index d = state.range(0);
  std::srand(1);
  std::vector<Eigen::VectorXf> inputs;
  for (int i = 0; i < 64; ++i) inputs.push_back(Eigen::VectorXf::Random(d));
  const auto after_warm_up = [&](int threads) {
    Layer layer({.inner = {.gate_bias = 14},
                 .d_model = d,
                 .d_k = d,
                 .d_v = d,
                 .n_heads = 8,
                 .max_levels = 20,
                 .threads = threads});
    for (int t = 0; t < begin_at; ++t) layer.forward(inputs[static_cast<std::size_t>(t % 64)]);
    return layer;
  };
  set_thread_count(2);
  const Layer one_before = after_warm_up(1), two_before = after_warm_up(2);
  Layer one = one_before, two = two_before;
  const auto us_per_token = [&](Layer& layer, const Layer& before) {
    layer = before;
    return bench::nanoseconds([&] {
             for (int t = 0; t < window; ++t) {
               const auto& x = inputs[static_cast<std::size_t>(t % 64)];
               benchmark::DoNotOptimize(layer.forward(x).data());
             }
           }) /
           (1e3 * window);
  };
  bench::Samples us, vs_one;
  for (auto _ : state) {
    const double mine = us_per_token(two, two_before), rival = us_per_token(one, one_before);
    state.SetIterationTime(mine * 1e-6);
    us.add(mine);
    vs_one.add(rival / mine);
  }
  if (one.query_readonly(inputs[0]) != two.query_readonly(inputs[0])) {
    state.SkipWithError("threads change the numbers");
  }
  state.counters["us_per_token"] = us.median();
  state.counters["vs_one_thread"] = vs_one.median();
}

BENCHMARK(heads)->ArgName("d")->Arg(64)->Arg(128)->UseManualTime()->Iterations(15);

}  // namespace
