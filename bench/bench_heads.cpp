// SPDX-License-Identifier: MIT
// Many heads, many cores: two threads against one, in turn, by the clock; results must be the same
// to the bit.
//
// forward, gradient: 8 heads of 2048 tokens, chunkwise of a batch and its gradient. one_sequence:
// one head of 65,536 tokens, whose states go to threads. Counters, medians over the rounds:
// ns_per_token, of a token and head with two threads; vs_one_thread, one thread's time over it;
// by_work, for several heads, what vs_one_thread would be if nothing else ran. For by_work each
// pass goes to the one of two processors that is free first, with the processor time that it took,
// and one thread's processor time is divided by the time until both are done, with the work between
// loops added.
//
// pool: B streams of one head, gated delta rule, stepped together, each with 1365 tokens behind it
// (6 levels). Counters: tokens_per_second with two threads; tokens_per_processor_second with one;
// vs_one_thread; bytes_per_stream.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <ctime>
#include <vector>

#include "keep_memory.hpp"
#include "loglinear/batch.hpp"
#include "loglinear/parallel.hpp"
#include "loglinear/pool.hpp"
#include "samples.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using Numbers = std::vector<float>;

/// Random arrays [B, T, H, ...], of which a rule takes what it needs.
struct Arrays {
  Index batch, tokens, heads, d, levels;
  Numbers q, k, v, lambda, g, beta, out;

  Arrays(Index b, Index t, Index h, Index size, Index level_count)
      : batch(b), tokens(t), heads(h), d(size), levels(level_count) {
    std::srand(1);
    const auto random = [&](Index columns, float scale, float shift) {
      const Eigen::ArrayXf numbers =
          Eigen::ArrayXf::Random(batch * tokens * heads * columns) * scale + shift;
      return Numbers(numbers.begin(), numbers.end());
    };
    q = random(d, 1, 0);
    k = random(d, 1 / std::sqrt(static_cast<float>(d)), 0);
    v = random(d, 1, 0);
    lambda = random(levels, 0.5F, 0.5F);
    g = random(1, 0.01F, -0.01F);
    beta = random(1, 0.5F, 0.5F);
    out = v;
  }
  template <class Number>
  [[nodiscard]] HeadArray<Number> lay(Number* data, Index columns) const {
    return HeadArray<Number>::bthd(data, batch, tokens, heads, columns);
  }
  [[nodiscard]] BatchInputs<float> inputs(bool is_delta) const {
    BatchInputs<float> in{.q = lay(q.data(), d),
                          .k = lay(k.data(), d),
                          .v = lay(v.data(), d),
                          .lambda = lay(lambda.data(), levels),
                          .g = lay(g.data(), 1)};
    if (is_delta) in.beta = lay(beta.data(), 1);
    return in;
  }
  [[nodiscard]] HeadArray<float> reads() { return lay(out.data(), d); }
};

/// Nanoseconds of this thread's processor time so far.
double processor_time() {
  std::timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
}
template <class Work>
double processor_time_of(Work work) {
  const double begin = processor_time();
  work();
  return processor_time() - begin;
}

/// What asking for the time takes: with a few passes in each hundred microseconds that counts.
double time_of_asking() {
  static const double time = [] {
    constexpr int times = 10000;
    const double begin = processor_time();
    for (int i = 0; i < times; ++i) static_cast<void>(processor_time());
    return (processor_time() - begin) / times;
  }();
  return time;
}

/// The time that the passes of `work` would take on two processors, from their processor times.
template <class Work>
double two_processors(Work work) {
  const double asking = time_of_asking();  // of the two times of a pass one falls into it
  double all = 0, longer = 0;
  set_executor([&](Index n, const LoopBody& body) {
    double busy[2] = {0, 0};
    for (Index i = 0; i < n; ++i) {
      const double time = processor_time_of([&] { body(i); }) - asking;
      all += time + 2 * asking;
      busy[busy[1] < busy[0] ? 1 : 0] += time;
    }
    longer += std::max(busy[0], busy[1]);
  });
  const double total = processor_time_of(work);
  set_executor({});
  return total - all + longer;
}

/// Times `work` on arrays with one thread and with two, and compares what `result` returns after
/// each.
template <class Work, class Result>
void compare(benchmark::State& state, const Arrays& arrays, Work work, Result result) {
  const double tokens = static_cast<double>(arrays.tokens * arrays.heads);
  const bool has_passes = arrays.heads > 1;  // each of which is work by itself
  bench::Samples ns, vs_one, by_work;
  for (auto _ : state) {
    set_thread_count(1);
    double alone = 0;
    const double one = bench::nanoseconds([&] { alone = processor_time_of(work); });
    const Numbers expected = result();
    set_thread_count(2);
    const double two = bench::nanoseconds(work);
    if (result() != expected) state.SkipWithError("threads change the numbers");
    state.SetIterationTime(two * 1e-9);
    ns.add(two / tokens);
    vs_one.add(one / two);
    if (has_passes) by_work.add(alone / two_processors(work));
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["vs_one_thread"] = vs_one.median();
  if (has_passes) state.counters["by_work"] = by_work.median();
}

void forward(benchmark::State& state, bool is_delta) {
  Arrays arrays(1, state.range(0), state.range(1), state.range(2), 18);
  const BatchInputs<float> in = arrays.inputs(is_delta);
  compare(
      state, arrays, [&] { chunkwise(in, arrays.reads()); }, [&] { return arrays.out; });
}

void gradient(benchmark::State& state, bool is_delta) {
  Arrays arrays(1, state.range(0), state.range(1), state.range(2), 18);
  Arrays to = arrays;
  const BatchInputs<float> in = arrays.inputs(is_delta);
  const BatchGradients<float> gradients{.q = to.lay(to.q.data(), to.d),
                                        .k = to.lay(to.k.data(), to.d),
                                        .v = to.lay(to.v.data(), to.d),
                                        .lambda = to.lay(to.lambda.data(), to.levels),
                                        .g = to.lay(to.g.data(), 1)};
  BatchTape<float> tape;
  chunkwise(in, arrays.reads(), {}, &tape);
  compare(
      state, arrays,
      [&] { chunkwise_gradient(in, tape, arrays.lay(arrays.v.data(), arrays.d), gradients); },
      [&] { return to.k; });
}

void pool(benchmark::State& state) {
  const Index streams = state.range(0), d = state.range(1);
  constexpr int levels = 12, steps = 4;
  Arrays arrays(streams, 1, 1, d, levels + 1);
  const BatchInputs<float> in = arrays.inputs(true);
  LogLinearState<float> begun(levels, d, d);
  begun.replace(1365, [&](int) { return Eigen::MatrixXf::Random(d, d); });
  StreamPool<float> all({.heads = 1, .d_k = d, .d_v = d, .max_levels = levels});
  std::vector<Index> numbers;
  for (Index b = 0; b < streams; ++b) numbers.push_back(all.add());
  const auto begin = [&] {
    for (const Index number : numbers) all.restore(number, {begun});
  };
  bench::Samples ns, processor_ns, vs_one;
  const auto work = [&] {
    for (int t = 0; t < steps; ++t) all.step(numbers, in, arrays.reads());
  };
  const auto measure = [&](int threads) {
    begin();
    set_thread_count(threads);
    return bench::nanoseconds(work);
  };
  const double tokens = static_cast<double>(streams * steps);
  for (auto _ : state) {
    begin();
    set_thread_count(1);
    double alone = 0;
    const double one = bench::nanoseconds([&] { alone = processor_time_of(work); });
    const Numbers expected = arrays.out;
    const double two = measure(2);
    if (arrays.out != expected) state.SkipWithError("threads change the numbers");
    state.SetIterationTime(two * 1e-9);
    ns.add(two / tokens);
    processor_ns.add(alone / tokens);
    vs_one.add(one / two);
  }
  state.counters["tokens_per_second"] = 1e9 / ns.median();
  state.counters["tokens_per_processor_second"] = 1e9 / processor_ns.median();
  state.counters["vs_one_thread"] = vs_one.median();
  state.counters["bytes_per_stream"] =
      static_cast<double>(all.byte_count()) / static_cast<double>(streams);
}

void heads(benchmark::internal::Benchmark* run) {
  run->ArgNames({"T", "H", "d"})->Args({2048, 8, 64})->Args({2048, 8, 128});
  run->Iterations(15)->UseManualTime()->Unit(benchmark::kMillisecond);
}
void long_sequence(benchmark::internal::Benchmark* run) {
  run->ArgNames({"T", "H", "d"})->Args({65536, 1, 64})->Args({65536, 1, 128});
  run->Iterations(9)->UseManualTime()->Unit(benchmark::kMillisecond);
}
void pools(benchmark::internal::Benchmark* run) {
  run->ArgNames({"B", "d"});
  for (const Index streams : {1, 4, 16, 64, 256, 1024, 4096}) run->Args({streams, 64});
  run->Iterations(9)->UseManualTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK_CAPTURE(forward, scalar_gate, false)->Apply(heads);
BENCHMARK_CAPTURE(forward, gated_delta, true)->Apply(heads);
BENCHMARK_CAPTURE(gradient, scalar_gate, false)->Apply(heads);
BENCHMARK_CAPTURE(gradient, gated_delta, true)->Apply(heads);
BENCHMARK_CAPTURE(forward, one_sequence_scalar_gate, false)->Apply(long_sequence);
BENCHMARK_CAPTURE(forward, one_sequence_gated_delta, true)->Apply(long_sequence);
BENCHMARK(pool)->Apply(pools);

}  // namespace

int main(int argc, char** argv) {
  bench::keep_memory();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
