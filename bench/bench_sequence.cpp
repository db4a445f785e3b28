// SPDX-License-Identifier: MIT
// What a token costs in the sequence form, chunkwise, float, one head: forward, and forward plus
// gradient.

#include <benchmark/benchmark.h>

#include <algorithm>

#include "loglinear/sequence.hpp"
#include "peak.hpp"
#include "samples.hpp"
#include "sequence_data.hpp"
#include "sequence_work.hpp"

namespace {

using namespace bench;
using Matrix = SequenceData<float>::Matrix;

/// Nanoseconds a token of `call`, which processes `length` tokens; some 4096 tokens at least.
template <class Call>
double ns_per_token(Index length, Call call) {
  const Index calls = std::max<Index>(1, 4096 / length);
  return nanoseconds([&] {
           for (Index i = 0; i < calls; ++i) {
             auto result = call();
             benchmark::DoNotOptimize(result);
             benchmark::ClobberMemory();
           }
         }) /
         static_cast<double>(calls * length);
}

void forward(benchmark::State& state, Rule rule) {
  const Index length = state.range(0), d = state.range(1);
  const SequenceData<float> data = random_sequence(rule, length, d);
  const auto in = data.inputs();
  Sgemm sgemm;
  const double useful = useful_work(length, d, d), delta = delta_work(length, d, d);
  Samples ns, of_peak, of_sgemm;
  for (auto _ : state) {
    const double mine = ns_per_token(length, [&] { return loglinear::chunkwise(in); });
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    of_peak.add(1 / (mine * fma_peak_gflops()));
    of_sgemm.add(1 / (mine * sgemm.gflops()));
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["gflops_useful"] = useful / ns.median();
  state.counters["fraction_of_fma_peak"] = useful * of_peak.median();
  state.counters["fraction_of_sgemm"] = useful * of_sgemm.median();
  if (rule == Rule::gated_delta) {
    state.counters["gflops_delta"] = delta / ns.median();
    state.counters["delta_fraction_of_fma_peak"] = delta * of_peak.median();
  }
}

void forward_and_gradient(benchmark::State& state, Rule rule) {
  const Index length = state.range(0), d = state.range(1);
  const SequenceData<float> data = random_sequence(rule, length, d);
  const auto in = data.inputs();
  const Matrix d_out = random_sequence(Rule::scalar_gate, length, d).v;
  Samples ns, vs_forward;
  for (auto _ : state) {
    const double alone = ns_per_token(length, [&] { return loglinear::chunkwise(in); });
    const double both = ns_per_token(length, [&] {
      const Matrix out = loglinear::chunkwise(in);
      benchmark::DoNotOptimize(out.data());
      return loglinear::chunkwise_gradient(in, d_out);
    });
    state.SetIterationTime(both * 1e-9);
    ns.add(both);
    vs_forward.add(both / alone);
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["vs_forward"] = vs_forward.median();
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "d"})->UseManualTime()->Unit(benchmark::kNanosecond)->Iterations(11);
  for (const Index d : {64, 128}) {
    for (const Index length : {64, 256, 1024, 4096, 16384, 65536}) benchmark->Args({length, d});
  }
}

BENCHMARK_CAPTURE(forward, scalar_gate, Rule::scalar_gate)->Apply(sizes);
BENCHMARK_CAPTURE(forward, gated_delta, Rule::gated_delta)->Apply(sizes);
BENCHMARK_CAPTURE(forward_and_gradient, scalar_gate, Rule::scalar_gate)->Apply(sizes);
BENCHMARK_CAPTURE(forward_and_gradient, gated_delta, Rule::gated_delta)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
