// SPDX-License-Identifier: MIT
// What a token costs with every rule, log-linear beside one state, in turn in one process: the
// whole `forward`, float, d_model = d_k = d_v = 64, 32 levels, tokens 31744 to 32767 of a stream:
// 10 active levels on average. All rules forget slowly, so that no level dies out: a state that
// decays to nothing passes through denormal numbers, which cost more.
//
// Times are processor times: a window takes up to 40 ms, in which a busy machine runs others too.
//
// Counters (medians over the rounds): ns_per_token, log-linear; one_state_ns, the same rule in one
// state; ratio, the one over the other; active_levels; spread, half the interquartile range of
// the ratio relative to its median.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "loglinear/loglinear.hpp"
#include "samples.hpp"

namespace {

using namespace loglinear;
using Vector = Eigen::VectorXf;

constexpr Eigen::Index d = 64;
constexpr std::uint64_t window_begin = 31744, window = 1024;
constexpr int max_levels = 32;

/// The stream, always the same.
class Inputs {
 public:
  Inputs() {
    std::srand(1);
    for (int i = 0; i < 61; ++i) inputs_.push_back(Vector::Random(d));
  }
  [[nodiscard]] const Vector& at(std::uint64_t t) const { return inputs_[t % inputs_.size()]; }

 private:
  std::vector<Vector> inputs_;
};

/// Nanoseconds of processor time that `work` takes.
template <class Work>
double processor_nanoseconds(Work work) {
  const std::clock_t begin = std::clock();
  work();
  return static_cast<double>(std::clock() - begin) * (1e9 / CLOCKS_PER_SEC);
}

/// A layer at the beginning of the window.
template <class Layer>
class Stream {
 public:
  Stream(const Inputs& inputs, Layer layer)
      : inputs_(inputs), begin_(std::move(layer)), layer_(begin_) {
    for (std::uint64_t t = 0; t < window_begin; ++t) begin_.forward(inputs_.at(t));
  }

  /// Nanoseconds a token over the window, from the same beginning each time.
  double ns_per_token() {
    layer_ = begin_;
    return processor_nanoseconds([&] {
             for (std::uint64_t t = window_begin; t < window_begin + window; ++t) {
               benchmark::DoNotOptimize(layer_.forward(inputs_.at(t)).data());
             }
           }) /
           static_cast<double>(window);
  }

  [[nodiscard]] Layer& layer() { return layer_; }

 private:
  const Inputs& inputs_;
  Layer begin_, layer_;
};

/// Whether the hierarchy reads what the one state reads, once all levels count the same.
template <class LogLinear, class OneState>
bool is_right(LogLinear& log_linear, OneState& one_state, const Vector& x) {
  log_linear.set_weight("w_lambda", Eigen::MatrixXf::Zero(max_levels, d));
  log_linear.query_readonly(x);
  one_state.query_readonly(x);
  const Vector ours = max_levels * log_linear.raw_read();
  const Vector& expected = one_state.raw_read();
  const float scale = expected.cwiseAbs().maxCoeff();
  // Some thousand roundings of what has accumulated over the stream.
  return scale > 0 && (ours - expected).cwiseAbs().maxCoeff() <=
                          4096 * scale * std::numeric_limits<float>::epsilon();
}

template <class Rule>
void token(benchmark::State& state, const Rule& rule) {
  const Inputs inputs;
  LinearAttention<Rule, float> plain({.inner = rule, .d_model = d, .d_k = d, .d_v = d});
  LogLinearAttention<Rule, float> hierarchy(
      {.inner = rule, .d_model = d, .d_k = d, .d_v = d, .max_levels = max_levels});
  for (const std::string& name : plain.weight_names()) {
    hierarchy.set_weight(name, plain.weight(name));
  }
  Stream one_state(inputs, plain);
  Stream log_linear(inputs, hierarchy);
  double levels = 0;
  for (std::uint64_t n = window_begin; n < window_begin + window; ++n) {
    levels += active_level_count(n, max_levels) / static_cast<double>(window);
  }
  bench::Samples ns, one_state_ns, ratio;
  for (auto _ : state) {
    const double mine = log_linear.ns_per_token(), rival = one_state.ns_per_token();
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    one_state_ns.add(rival);
    ratio.add(mine / rival);
  }
  if (!is_right(log_linear.layer(), one_state.layer(), inputs.at(0))) {
    state.SkipWithError("the read is wrong");
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ratio.spread();
  state.counters["active_levels"] = levels;
  state.counters["one_state_ns"] = one_state_ns.median();
  state.counters["ratio"] = ratio.median();
}

void rounds(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Iterations(31)->Unit(benchmark::kNanosecond);
}

// A gate of sg(9) keeps 0.99988 a token.
BENCHMARK_CAPTURE(token, key_only, KeyOnly<GLA>{})->Apply(rounds);
BENCHMARK_CAPTURE(token, retnet, RetNet{.gamma = 0.9999})->Apply(rounds);
BENCHMARK_CAPTURE(token, hawk, Hawk{.gate_bias = 9})->Apply(rounds);
BENCHMARK_CAPTURE(token, gla, GLA{.gate_bias = 9})->Apply(rounds);
BENCHMARK_CAPTURE(token, gla_vector, GLAVector{.gate_bias = 9})->Apply(rounds);
BENCHMARK_CAPTURE(token, delta_net, DeltaNet{})->Apply(rounds);
BENCHMARK_CAPTURE(token, gated_delta_net, GatedDeltaNet{.beta_scale = 0.5, .gate_bias = 9})
    ->Apply(rounds);
BENCHMARK_CAPTURE(token, rwkv, RWKV{.initial_decay = 0, .gate_bias = 9})->Apply(rounds);
BENCHMARK_CAPTURE(token, mlstm, MLSTM{.gate_bias = 9})->Apply(rounds);
BENCHMARK_CAPTURE(token, delta_product_1, DeltaProduct<1>{.gate_bias = 9, .beta_bias = -1})
    ->Apply(rounds);
BENCHMARK_CAPTURE(token, delta_product_2, DeltaProduct<2>{.gate_bias = 9, .beta_bias = -1})
    ->Apply(rounds);
BENCHMARK_CAPTURE(token, delta_product_3, DeltaProduct<3>{.gate_bias = 9, .beta_bias = -1})
    ->Apply(rounds);
BENCHMARK_CAPTURE(token, delta_product_4, DeltaProduct<4>{.gate_bias = 9, .beta_bias = -1})
    ->Apply(rounds);
BENCHMARK_CAPTURE(token, rwkv7, RWKV7{.gate_bias = 9})->Apply(rounds);
BENCHMARK_CAPTURE(token, rwkv7_decay_first, RWKV7{.decay_first = true, .gate_bias = 9})
    ->Apply(rounds);
BENCHMARK_CAPTURE(token, hgrn2, HGRN2{.lower_bound = 0.9998})->Apply(rounds);
BENCHMARK_CAPTURE(token, mamba2, Mamba2{.initial_dt_bias = -9})->Apply(rounds);

}  // namespace

BENCHMARK_MAIN();
