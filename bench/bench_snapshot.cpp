// SPDX-License-Identifier: MIT
// What a snapshot costs beside a token of the same layer and beside copying as many bytes: taken
// into one that exists, restored, and used to take tokens back. One head, float, d_model = d_k =
// d_v = d, 32 levels, at every token from 3584 to 3839 in turn (on average 3 + 4 active levels, the
// four lowest of which are kept as leaves).
//
// Counters (medians over the rounds): token_ns, one `forward`; take_ns, `snapshot(into)`;
// restore_ns, `restore`; copy_ns, copying as many bytes; KiB, their mean number; layer_KiB, the
// state of all levels; rewindable_ns, `forward` of Rewindable with depth 64 and a snapshot every 16
// tokens; rewind_ns, taking 8 tokens back with it.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <vector>

#include "loglinear/loglinear.hpp"
#include "samples.hpp"

namespace {

using namespace loglinear;
using Vector = Eigen::VectorXf;

constexpr std::uint64_t first = 3584, window = 256;

template <class Inner>
void snapshot(benchmark::State& state, const Inner& inner) {
  using Layer = LogLinearAttention<Inner, float>;
  const Eigen::Index d = state.range(0);
  Layer layer({.inner = inner, .d_model = d, .d_k = d, .d_v = d});
  std::srand(1);
  std::vector<Vector> inputs;
  for (int i = 0; i < 61; ++i) inputs.push_back(Vector::Random(d));
  const auto input = [&](std::uint64_t t) -> const Vector& { return inputs[t % inputs.size()]; };
  for (std::uint64_t t = 0; t < first; ++t) layer.forward(input(t));
  const auto begin = layer.snapshot();
  Rewindable<Layer> stream(layer, {.depth = 64, .snapshot_every = 16});

  // What it costs: everything below is timed at every token of the window.
  auto moment = begin;
  std::vector<std::byte> from, to;
  bench::Samples token_ns, take_ns, restore_ns, copy_ns, rewindable_ns, rewind_ns;
  double bytes = 0;
  bool same = true;
  for (auto _ : state) {
    layer.restore(begin);
    bytes = 0;
    double token = 0, take = 0, restored = 0, copied = 0, rewindable = 0, rewound = 0;
    for (std::uint64_t t = first; t < first + window; ++t) {
      token += bench::nanoseconds([&] { layer.forward(input(t)); });
      take += bench::nanoseconds([&] { layer.snapshot(moment); });
      restored += bench::nanoseconds([&] { layer.restore(moment); });
      bytes += static_cast<double>(moment.byte_count());
      from.resize(std::max(from.size(), moment.byte_count()));
      to.resize(from.size());
      copied += bench::nanoseconds([&] {
        std::memcpy(to.data(), from.data(), moment.byte_count());
        benchmark::DoNotOptimize(to.data());
      });
      rewindable += bench::nanoseconds([&] { stream.forward(input(t)); });
      if (t % 32 == 31) {
        const detail::Vector<float> right = stream.layer().state();
        rewound += bench::nanoseconds([&] { stream.rewind(8); });
        for (std::uint64_t s = t - 7; s <= t; ++s) stream.forward(input(s));
        same = same && stream.layer().state() == right;
      }
    }
    same = same && layer.size() == first + window;
    for (const auto& [samples, sum, count] : {std::tuple{&token_ns, token, window},
                                              {&take_ns, take, window},
                                              {&restore_ns, restored, window},
                                              {&copy_ns, copied, window},
                                              {&rewindable_ns, rewindable, window},
                                              {&rewind_ns, rewound, window / 32}}) {
      samples->add(sum / static_cast<double>(count));
    }
    state.SetIterationTime(take * 1e-9 / static_cast<double>(window));
    layer.restore(begin);
    stream = Rewindable<Layer>(layer, {.depth = 64, .snapshot_every = 16});
  }
  // From a moment on, the same outputs.
  layer.snapshot(moment);
  std::vector<Vector> outputs;
  for (std::uint64_t t = 0; t < 40; ++t) outputs.push_back(layer.forward(input(t)));
  layer.restore(moment);
  for (std::uint64_t t = 0; t < 40; ++t) same = same && layer.forward(input(t)) == outputs[t];
  if (!same) state.SkipWithError("a restored stream went on differently");
  state.counters["token_ns"] = token_ns.median();
  state.counters["take_ns"] = take_ns.median();
  state.counters["restore_ns"] = restore_ns.median();
  state.counters["copy_ns"] = copy_ns.median();
  state.counters["rewindable_ns"] = rewindable_ns.median();
  state.counters["rewind_ns"] = rewind_ns.median();
  state.counters["KiB"] = bytes / static_cast<double>(window) / 1024;
  state.counters["layer_KiB"] = static_cast<double>(layer.state().size()) * sizeof(float) / 1024;
}

void settings(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("d")->Arg(16)->Arg(64)->Arg(128)->UseManualTime()->Iterations(21);
}

}  // namespace

BENCHMARK_CAPTURE(snapshot, one_decay, GLA{.gate_bias = 8})->Apply(settings);
BENCHMARK_CAPTURE(snapshot, decay_per_key_row, GLAVector{.gate_bias = 8})->Apply(settings);
BENCHMARK_CAPTURE(snapshot, gated_delta, GatedDeltaNet{.gate_bias = 8})->Apply(settings);

BENCHMARK_MAIN();
