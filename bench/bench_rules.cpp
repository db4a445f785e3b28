// SPDX-License-Identifier: MIT
// What a token costs with every rule, log-linear beside one state, in turn in one process: the
// whole `forward`, float, d_model = d_k = d_v = 64, 32 levels, tokens 31744 to 32767 of a stream:
// 10 active levels on average. All rules forget slowly (`slow<Rule>()`), so that no level dies out:
// a state that decays to nothing passes through denormal numbers, which cost more.
//
// Times are processor times: a window takes up to 40 ms, in which a busy machine runs others too.
//
// Counters (medians over the rounds): ns_per_token, log-linear; one_state_ns, the same rule in one
// state; ratio, the one over the other; span_ns, log-linear, the window as one span (chunkwise);
// vs_span, token by token over that; active_levels; spread, half the interquartile range of the
// ratio relative to its median.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <type_traits>
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
    return bench::processor_nanoseconds([&] {
             for (std::uint64_t t = window_begin; t < window_begin + window; ++t) {
               benchmark::DoNotOptimize(layer_.forward(inputs_.at(t)).data());
             }
           }) /
           static_cast<double>(window);
  }

  /// The same for the window as one span.
  double span_ns_per_token() {
    layer_ = begin_;
    return bench::processor_nanoseconds([&] {
             out_ = layer_.forward_span(rows_);
             benchmark::DoNotOptimize(out_.data());
           }) /
           static_cast<double>(window);
  }

  /// Whether the span gives what its tokens give, some thousand roundings apart.
  [[nodiscard]] bool span_is_right() {
    layer_ = begin_;
    float worst = 0;
    for (std::uint64_t t = 0; t < window; ++t) {
      const Vector& o = layer_.forward(inputs_.at(window_begin + t));
      worst = std::max(
          worst, (out_.row(static_cast<Eigen::Index>(t)).transpose() - o).cwiseAbs().maxCoeff());
    }
    return worst <= 4096 * std::numeric_limits<float>::epsilon();
  }

  [[nodiscard]] Layer& layer() { return layer_; }

 private:
  using Array = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  const Inputs& inputs_;
  Layer begin_, layer_;
  Array rows_ = Array::NullaryExpr(
      static_cast<Eigen::Index>(window), d, [this](Eigen::Index t, Eigen::Index i) {
        return inputs_.at(window_begin + static_cast<std::uint64_t>(t))[i];
      });
  Array out_;
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
  bench::Samples ns, one_state_ns, ratio, span_ns, vs_span;
  for (auto _ : state) {
    const double mine = log_linear.ns_per_token(), rival = one_state.ns_per_token();
    const double span = log_linear.span_ns_per_token();
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    one_state_ns.add(rival);
    ratio.add(mine / rival);
    span_ns.add(span);
    vs_span.add(mine / span);
  }
  if (!log_linear.span_is_right()) state.SkipWithError("the span is wrong");
  if (!is_right(log_linear.layer(), one_state.layer(), inputs.at(0))) {
    state.SkipWithError("the read is wrong");
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ratio.spread();
  state.counters["active_levels"] = levels;
  state.counters["one_state_ns"] = one_state_ns.median();
  state.counters["ratio"] = ratio.median();
  state.counters["span_ns"] = span_ns.median();
  state.counters["vs_span"] = vs_span.median();
}

void rounds(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Iterations(bench::rounds(31))->Unit(benchmark::kNanosecond);
}

/// Registers a rule.
template <class Rule>
void add(const std::string& name, const Rule& rule) {
  rounds(benchmark::RegisterBenchmark(("token/" + name).c_str(),
                                      [rule](benchmark::State& state) { token(state, rule); }));
}

/// Every rule of the library's list, and what else takes a path of its own.
void add_all() {
  add("key_only", KeyOnly<GLA>{});
  RuleTypes::for_each([]<class Rule>(std::type_identity<Rule>) {
    std::string name(Rule::info.text);
    if (detail::leaves_of<Rule>() > 1 || Rule::info.name == "DeltaProduct") {
      name += '_' + std::to_string(detail::leaves_of<Rule>());
    }
    add(name, slow<Rule>());
  });
  auto decay_first = slow<RWKV7>();
  decay_first.decay_first = true;
  add("rwkv7_decay_first", decay_first);
}

}  // namespace

int main(int argc, char** argv) {
  add_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
