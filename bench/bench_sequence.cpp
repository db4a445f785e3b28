// SPDX-License-Identifier: MIT
// What a token costs in the sequence form, chunkwise, float, one head, T tokens, d_k = d_v = d:
// forward, and forward plus gradient. Rivals and yardsticks take turns with it in every round; all
// times are processor time of the one thread.
//
// Counters, medians over the rounds: ns_per_token; spread, half the interquartile range relative to
// the median; gflops_useful, by the operations that any implementation of the scalar gate needs
// (sequence_work.hpp), three times as many with the gradient; fraction_of_fma_peak and
// fraction_of_sgemm, the same over what the core can do (peak.hpp). For the delta rule gflops_delta
// and delta_fraction_of_fma_peak likewise by its own operations.
//
// Forward: vs_softmax, the time of blocked causal softmax attention over ours, up to T = 16384
// (it is quadratic), and softmax_fraction_of_sgemm, how good that rival is: some 0.7 from T = 1024
// on; at T = 64 half of its only block of scores lies above the diagonal. vs_linear, the time of
// linear attention with one state, the same rule in the same chunks, over ours. bytes_beyond_io,
// the most heap in use at any time beyond inputs and result.
// Forward plus gradient, by a tape: gradient_over_forward, its time over that of forward alone.
// Faded: gates that halve, keep e^-5 or now and then nothing, and inputs of 1e-15; vs_slow_decay,
// the time over that of the same tokens of ordinary size under gates that keep nearly all. Against
// recurrent, for every kind of transition: vs_recurrent, the time of the recurrent form over the
// chunkwise one's.
//
// Results are new matrices at every call. The program keeps memory that it has freed, as a caching
// allocator does, and as a caller does who hands in the matrices of the round before. What new
// pages from the system cost is what result_memory measures.

#include <benchmark/benchmark.h>

#include <algorithm>

#include "heap_peak.hpp"
#include "keep_memory.hpp"
#include "loglinear/parallel.hpp"
#include "loglinear/sequence.hpp"
#include "peak.hpp"
#include "samples.hpp"
#include "sequence_checks.hpp"
#include "sequence_data.hpp"
#include "sequence_work.hpp"
#include "softmax_attention.hpp"

namespace {

using namespace bench;
using Matrix = SequenceData<float>::Matrix;

constexpr Index longest_softmax = 16384;

/// Nanoseconds a token of `call`, which processes `length` tokens; some 4096 tokens at least.
template <class Call>
double ns_per_token(Index length, Call call) {
  const Index calls = std::max<Index>(1, 4096 / length);
  return processor_nanoseconds([&] {
           for (Index i = 0; i < calls; ++i) {
             const auto result = call();
             benchmark::DoNotOptimize(&result);
             benchmark::ClobberMemory();
           }
         }) /
         static_cast<double>(calls * length);
}

/// Rates against the core's own, measured right after.
class Rates {
 public:
  void add(double ns) {
    ns_.add(ns);
    per_peak_.add(1 / (ns * fma_peak_gflops()));
    per_sgemm_.add(1 / (ns * sgemm_.gflops()));
  }
  /// \param times  what the operations of a forward pass are multiplied by
  void report(benchmark::State& state, Rule rule, double times) const {
    const Index length = state.range(0), d = state.range(1);
    const double useful = times * useful_work(length, d, d);
    state.counters["ns_per_token"] = ns_.median();
    state.counters["spread"] = ns_.spread();
    state.counters["gflops_useful"] = useful / ns_.median();
    state.counters["fraction_of_fma_peak"] = useful * per_peak_.median();
    state.counters["fraction_of_sgemm"] = useful * per_sgemm_.median();
    if (rule != Rule::gated_delta) return;
    const double delta = times * delta_work(length, d, d);
    state.counters["gflops_delta"] = delta / ns_.median();
    state.counters["delta_fraction_of_fma_peak"] = delta * per_peak_.median();
  }
  /// So many operations a token over Eigen's product.
  [[nodiscard]] double fraction_of_sgemm(double operations) const {
    return operations * per_sgemm_.median();
  }

 private:
  Sgemm sgemm_;
  Samples ns_, per_peak_, per_sgemm_;
};

/// One state instead of a hierarchy: all older tokens at one level, all weights 1.
Matrix linear(const loglinear::SequenceInputs<float>& in) {
  loglinear::LogLinearState<float> state(1, in.d_k(), in.d_v());
  return loglinear::chunkwise(in, state);
}

double bytes_beyond_io(const loglinear::SequenceInputs<float>& in) {
  start_measuring_heap();
  const Matrix out = loglinear::chunkwise(in);
  return stop_measuring_heap() -
         static_cast<double>(sizeof(float)) * static_cast<double>(out.size());
}

void forward(benchmark::State& state, Rule rule) {
  const Index length = state.range(0), d = state.range(1);
  const SequenceData<float> data = random_sequence(rule, length, d);
  SequenceData<float> flat = data;
  flat.lambda.setOnes(length, 2);
  const auto in = data.inputs(), flat_in = flat.inputs();
  if (!are_reads_right(data, loglinear::chunkwise(in), loglinear::max_level_limit) ||
      !are_reads_right(flat, linear(flat_in), 1) || !is_softmax_right(data)) {
    state.SkipWithError("a read is wrong");
    return;
  }
  SoftmaxAttention softmax;
  Rates rates, softmax_rates;
  Samples vs_linear, vs_softmax;
  for (auto _ : state) {
    const double mine = ns_per_token(length, [&] { return loglinear::chunkwise(in); });
    state.SetIterationTime(mine * 1e-9);
    rates.add(mine);
    vs_linear.add(ns_per_token(length, [&] { return linear(flat_in); }) / mine);
    if (length > longest_softmax) continue;
    const double rival = ns_per_token(length, [&] {
      Matrix out;
      softmax(data.q, data.k, data.v, out);
      return out;
    });
    softmax_rates.add(rival);
    vs_softmax.add(rival / mine);
  }
  rates.report(state, rule, 1);
  state.counters["vs_linear"] = vs_linear.median();
  state.counters["bytes_beyond_io"] = bytes_beyond_io(in);
  if (length > longest_softmax) return;
  state.counters["vs_softmax"] = vs_softmax.median();
  // 2 T^2 / 2 (d_k + d_v) operations in all.
  state.counters["softmax_fraction_of_sgemm"] =
      softmax_rates.fraction_of_sgemm(2.0 * static_cast<double>(length * d));
}

void forward_and_gradient(benchmark::State& state, Rule rule) {
  const Index length = state.range(0), d = state.range(1);
  const SequenceData<float> data = random_sequence(rule, length, d);
  const auto in = data.inputs();
  const Matrix d_out = random_sequence(Rule::scalar_gate, length, d).v.rowwise().reverse();
  if (!are_gradients_linear(data, d_out, loglinear::chunkwise_gradient(in, d_out)) ||
      !are_gradients_right(data, d_out)) {
    state.SkipWithError("a gradient is wrong");
    return;
  }
  Rates rates;
  Samples gradient_over_forward;
  for (auto _ : state) {
    const double alone = ns_per_token(length, [&] { return loglinear::chunkwise(in); });
    const double both = ns_per_token(length, [&] {
      loglinear::SequenceTape<float> tape;
      const Matrix out = loglinear::chunkwise(in, {}, &tape);
      benchmark::DoNotOptimize(out.data());
      return loglinear::chunkwise_gradient(in, tape, d_out);
    });
    state.SetIterationTime(both * 1e-9);
    rates.add(both);
    gradient_over_forward.add(both / alone);
  }
  rates.report(state, rule, 3);
  state.counters["gradient_over_forward"] = gradient_over_forward.median();
}

/// Decays and magnitudes that must not make products slower.
void faded(benchmark::State& state, Rule rule) {
  const Index length = state.range(0), d = state.range(1);
  const SequenceData<float> slow = random_sequence(rule, length, d), fast = faded_copy(slow);
  const auto in = fast.inputs(), slow_in = slow.inputs();
  if (!are_reads_right(fast, loglinear::chunkwise(in), loglinear::max_level_limit)) {
    state.SkipWithError("a read is wrong");
    return;
  }
  Samples ns, vs_slow_decay;
  for (auto _ : state) {
    const double mine = ns_per_token(length, [&] { return loglinear::chunkwise(in); });
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    vs_slow_decay.add(mine / ns_per_token(length, [&] { return loglinear::chunkwise(slow_in); }));
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["vs_slow_decay"] = vs_slow_decay.median();
}

/// The chunkwise form beside the recurrent one, for a kind of transition.
void against_recurrent(benchmark::State& state, Rule rule) {
  const Index length = state.range(0), d = state.range(1);
  const SequenceData<float> data = random_sequence(rule, length, d);
  const auto in = data.inputs();
  if (!are_reads_right(data, loglinear::chunkwise(in), loglinear::max_level_limit)) {
    state.SkipWithError("a read is wrong");
    return;
  }
  const int levels = loglinear::levels_needed(static_cast<std::uint64_t>(length));
  Samples ns, vs_recurrent;
  for (auto _ : state) {
    const double mine = ns_per_token(length, [&] { return loglinear::chunkwise(in); });
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    vs_recurrent.add(ns_per_token(length,
                                  [&] {
                                    loglinear::LogLinearState<float> memory(levels, d, d);
                                    return loglinear::recurrent(in, memory);
                                  }) /
                     mine);
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["vs_recurrent"] = vs_recurrent.median();
}

/// More rounds where they are short.
void sizes(benchmark::internal::Benchmark* benchmark, Index from, Index to, int rounds) {
  benchmark->ArgNames({"T", "d"})->UseManualTime()->Iterations(bench::rounds(rounds));
  for (const Index d : {64, 128}) {
    for (Index length = from; length <= to; length *= 4) benchmark->Args({length, d});
  }
}
void short_sizes(benchmark::internal::Benchmark* benchmark) {
  sizes(benchmark, 64, 4096, 21);
}
void long_sizes(benchmark::internal::Benchmark* benchmark) {
  sizes(benchmark, 16384, 65536, 5);
}

void faded_sizes(benchmark::internal::Benchmark* benchmark) {
  sizes(benchmark, 4096, 4096, 21);
}

void kind_sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"T", "d"})->UseManualTime()->Iterations(bench::rounds(7));
  for (const Index d : {16, 64, 128}) {
    for (const Index length : {16, 64, 1024, 4096}) benchmark->Args({length, d});
  }
}

BENCHMARK_CAPTURE(forward, scalar_gate, Rule::scalar_gate)->Apply(short_sizes);
BENCHMARK_CAPTURE(forward, scalar_gate, Rule::scalar_gate)->Apply(long_sizes);
BENCHMARK_CAPTURE(forward, gated_delta, Rule::gated_delta)->Apply(short_sizes);
BENCHMARK_CAPTURE(forward, gated_delta, Rule::gated_delta)->Apply(long_sizes);
BENCHMARK_CAPTURE(forward_and_gradient, scalar_gate, Rule::scalar_gate)->Apply(short_sizes);
BENCHMARK_CAPTURE(forward_and_gradient, scalar_gate, Rule::scalar_gate)->Apply(long_sizes);
BENCHMARK_CAPTURE(forward_and_gradient, gated_delta, Rule::gated_delta)->Apply(short_sizes);
BENCHMARK_CAPTURE(forward_and_gradient, gated_delta, Rule::gated_delta)->Apply(long_sizes);
BENCHMARK_CAPTURE(faded, scalar_gate, Rule::scalar_gate)->Apply(faded_sizes);
BENCHMARK_CAPTURE(faded, key_gate, Rule::key_gate)->Apply(faded_sizes);
BENCHMARK_CAPTURE(faded, gated_delta, Rule::gated_delta)->Apply(faded_sizes);
BENCHMARK_CAPTURE(against_recurrent, none, Rule::none)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, scalar_gate, Rule::scalar_gate)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, key_gate, Rule::key_gate)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, value_gate, Rule::value_gate)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, delta, Rule::delta)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, gated_delta, Rule::gated_delta)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, delta_product, Rule::delta_product)->Apply(kind_sizes);
BENCHMARK_CAPTURE(against_recurrent, rwkv7, Rule::rwkv7)->Apply(kind_sizes);

}  // namespace

int main(int argc, char** argv) {
  keep_memory();
  loglinear::set_thread_count(1);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
