// SPDX-License-Identifier: MIT
// What a token costs the state alone: read, then write, with given keys and gates. In turn with it,
// in one process, run the plain read of all active levels, the straightforward form on Eigen, and
// one-state linear attention of the same rule. Everything is also compared with a gate that is one
// number. Gates decay by 1 - 2^-20 a token.
//
// Windows: the first 1,024 tokens of a stream; tokens 31,744 to 32,767, with exactly 10 active
// levels on average; 1,024 tokens from 360,448 on. Counters (medians over the rounds):
//   ns_per_token, spread    the step, and half its interquartile range over it
//   active_levels           on average over the window
//   vs_plain_read           time to read active_levels d_k d_v numbers, plainly, over the step's
//   vs_eager                time of the straightforward form over the step's
//   vs_linear               the step's time over that of one state
//   vs_scalar               the step's time over that of the scalar gate in float
//   vs_float                where levels are bfloat16 or half: the step's time with float levels
//                           over it
//   vs_slow_decay           where gates decay by 0.7, to nothing: the time over that of slow decay
//   p50, p99, worst         nanoseconds of single steps over 2^20 tokens, by the clock on the wall
//   p99_over_p50            of these; all other times are processor time

#include <benchmark/benchmark.h>

#include <chrono>
#include <memory>
#include <type_traits>

#include "../tests/oracles/eager_state.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "samples.hpp"
#include "streaming_tokens.hpp"

namespace {

using namespace loglinear;
using bench::Tokens;
using Eigen::Index;

constexpr int max_levels = 24;
constexpr std::uint64_t window = 1024;

/// The optimised form, as layers use it.
template <class Kind, class Stored>
class Optimised {
 public:
  using Scalar = typename Kind::Scalar;
  using State = detail::StreamState<Kind, Stored>;

  Optimised(Index d, int levels)
      : state_(levels, d, d, 1), memory_(state_.read_shape()), read_(d) {}

  const detail::Vector<Scalar>& step(const Token<Kind>& token,
                                     const detail::Vector<Scalar>& lambda) {
    const detail::FlushToZero<Scalar> flush;  // as layers do
    state_.read({token.query.data(), lambda.data(), ReadOrder::before_push}, memory_, read_.data(),
                token.transition, memory_.looked_up);
    state_.write(token, state_.admit(token), memory_.looked_up);
    return read_;
  }

 private:
  State state_;
  detail::ReadMemory<Kind> memory_;
  detail::Vector<Scalar> read_;
};

template <class Kind>
class Eager {
 public:
  using Scalar = typename Kind::Scalar;
  Eager(Index d, int levels) : state_(levels, d, d), out_(d) {}

  const detail::Vector<Scalar>& step(const Token<Kind>& token,
                                     const detail::Vector<Scalar>& lambda) {
    state_.read(token.query, lambda, out_);
    state_.write(token.transition, token.keys, token.values);
    return out_;
  }

 private:
  test::EagerState<Scalar> state_;
  detail::Vector<Scalar> out_;
};

/// Reads all active levels, as the straightforward form has to.
template <class Scalar>
class PlainRead {
 public:
  explicit PlainRead(Index d)
      : size_(d * d), levels_(detail::Vector<Scalar>::Random(max_levels * size_)) {}

  Scalar step(std::uint64_t count) const {
    using P = detail::Packet<Scalar>;
    constexpr Index width = detail::packet_size<Scalar>;
    P sums[8];
    for (P& sum : sums) sum = Eigen::internal::pset1<P>(Scalar(0));
    for (int l : ActiveLevels(count, max_levels)) {
      const Scalar* const m = levels_.data() + l * size_;
      for (Index i = 0; i + 8 * width <= size_; i += 8 * width) {
        for (int n = 0; n < 8; ++n) {
          sums[n] = Eigen::internal::padd(sums[n], Eigen::internal::ploadu<P>(m + i + n * width));
        }
      }
    }
    for (int n = 1; n < 8; ++n) sums[0] = Eigen::internal::padd(sums[0], sums[n]);
    return Eigen::internal::predux(sums[0]);
  }

 private:
  Index size_;
  detail::Vector<Scalar> levels_;
};

/// A form at the beginning of the window, from which every round starts.
template <class Form, class Kind>
class Stream {
 public:
  Stream(const Tokens<Kind>& tokens, Index d, int levels, std::uint64_t begin)
      : tokens_(tokens), first_(begin), begin_(d, levels), form_(begin_) {
    for (std::uint64_t t = 0; t < begin; ++t) begin_.step(tokens_.token(t), tokens_.lambda(t));
  }

  double ns_per_token() {
    form_ = begin_;
    return bench::processor_nanoseconds([&] {
             for (std::uint64_t t = first_; t < first_ + window; ++t) {
               benchmark::DoNotOptimize(form_.step(tokens_.token(t), tokens_.lambda(t)).data());
             }
           }) /
           static_cast<double>(window);
  }
  /// What the token after the window reads.
  auto next() {
    const std::uint64_t t = first_ + window;
    return form_.step(tokens_.token(t), tokens_.lambda(t));
  }

 private:
  const Tokens<Kind>& tokens_;
  std::uint64_t first_;
  Form begin_, form_;
};

/// Whether a form reads what the straightforward one does at the end of the window.
template <class Form, class Kind>
bool agree(const Tokens<Kind>& tokens, Index d, std::uint64_t begin, double tolerance) {
  Stream<Form, Kind> ours(tokens, d, max_levels, begin);
  Stream<Eager<Kind>, Kind> eager(tokens, d, max_levels, begin);
  static_cast<void>(ours.ns_per_token());
  static_cast<void>(eager.ns_per_token());
  const auto got = ours.next(), expected = eager.next();
  const double scale = expected.cwiseAbs().maxCoeff();
  return scale > 0 && (got - expected).cwiseAbs().maxCoeff() <= tolerance * scale;
}

double mean_active_levels(std::uint64_t begin) {
  double levels = 0;
  for (std::uint64_t n = begin; n < begin + window; ++n) {
    levels += active_level_count(n, max_levels);
  }
  return levels / static_cast<double>(window);
}

/// What values are multiplied by. The tokens of these streams repeat, so their sums grow as their
/// count does, and those of full-size values pass the range of half levels.
template <class Stored>
inline constexpr double value_size = std::is_same_v<Stored, Eigen::half> ? 1.0 / 256 : 1;

template <class Kind, class Stored = typename Kind::Scalar>
void step(benchmark::State& state) {
  using Scalar = typename Kind::Scalar;
  using ScalarGate = ScalarDecay<float>;
  const Index d = state.range(0);
  const auto begin = static_cast<std::uint64_t>(state.range(1));
  const Tokens<Kind> tokens(d, max_levels, bench::slow_decay, value_size<Stored>);
  const Tokens<ScalarGate> scalar_tokens(d, max_levels);
  Stream<Optimised<Kind, Stored>, Kind> ours(tokens, d, max_levels, begin);
  Stream<Optimised<Kind, Stored>, Kind> linear(tokens, d, 1, begin);
  Stream<Eager<Kind>, Kind> eager(tokens, d, max_levels, begin);
  Stream<Optimised<ScalarGate, float>, ScalarGate> scalar(scalar_tokens, d, max_levels, begin);
  Stream<Optimised<Kind, Scalar>, Kind> wide(tokens, d, max_levels, begin);
  const PlainRead<Scalar> plain(d);
  bench::Samples ns, vs_plain, vs_eager, vs_linear, vs_scalar, vs_float;
  for (auto _ : state) {
    const double mine = ours.ns_per_token();
    const double read = bench::processor_nanoseconds([&] {
                          for (std::uint64_t n = begin; n < begin + window; ++n) {
                            benchmark::DoNotOptimize(plain.step(n));
                          }
                        }) /
                        static_cast<double>(window);
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    vs_plain.add(read / mine);
    vs_eager.add(eager.ns_per_token() / mine);
    vs_linear.add(mine / linear.ns_per_token());
    vs_scalar.add(mine / scalar.ns_per_token());
    if (detail::is_narrow<Stored>) vs_float.add(wide.ns_per_token() / mine);
  }
  const bool is_right = detail::is_narrow<Stored>
                            ? agree<Optimised<Kind, Stored>, Kind>(tokens, d, 0, 0.02)
                            : agree<Optimised<Kind, Stored>, Kind>(tokens, d, begin, 1e-3);
  if (!is_right) state.SkipWithError("the read is wrong");
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["active_levels"] = mean_active_levels(begin);
  state.counters["vs_plain_read"] = vs_plain.median();
  state.counters["vs_eager"] = vs_eager.median();
  state.counters["vs_linear"] = vs_linear.median();
  state.counters["vs_scalar"] = vs_scalar.median();
  if (detail::is_narrow<Stored>) state.counters["vs_float"] = vs_float.median();
}

/// Levels that decay to nothing beside levels that do not.
template <class Kind>
void fading(benchmark::State& state) {
  const Index d = state.range(0);
  const auto begin = static_cast<std::uint64_t>(state.range(1));
  const Tokens<Kind> slow_tokens(d, max_levels), tokens(d, max_levels, 0.7);
  using Form = Optimised<Kind, typename Kind::Scalar>;
  Stream<Form, Kind> slow(slow_tokens, d, max_levels, begin), fast(tokens, d, max_levels, begin);
  bench::Samples ns, vs_slow;
  for (auto _ : state) {
    const double mine = fast.ns_per_token();
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    vs_slow.add(mine / slow.ns_per_token());
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["vs_slow_decay"] = vs_slow.median();
}

/// Single steps over 2^20 tokens, the time of reading the clock included.
template <class Kind>
void latency(benchmark::State& state) {
  const Index d = state.range(0);
  const Tokens<Kind> tokens(d, max_levels);
  bench::Samples ns;
  for (auto _ : state) {
    Optimised<Kind, typename Kind::Scalar> form(d, max_levels);
    auto last = std::chrono::steady_clock::now();
    for (std::uint64_t t = 0; t < (std::uint64_t{1} << 20); ++t) {
      benchmark::DoNotOptimize(form.step(tokens.token(t), tokens.lambda(t)).data());
      const auto now = std::chrono::steady_clock::now();
      ns.add(std::chrono::duration<double, std::nano>(now - last).count());
      last = now;
    }
  }
  state.counters["p50"] = ns.median();
  state.counters["p99"] = ns.quantile(0.99);
  state.counters["p99_over_p50"] = ns.quantile(0.99) / ns.median();
  state.counters["worst"] = ns.quantile(1);
}

benchmark::internal::Benchmark* timed(benchmark::internal::Benchmark* benchmark) {
  return benchmark->ArgNames({"d", "from"})->UseManualTime()->Iterations(bench::rounds(31));
}
void windows(benchmark::internal::Benchmark* benchmark) {
  for (const Index d : {64, 128}) {
    for (const std::int64_t from : {0, 31744, 360448}) timed(benchmark)->Args({d, from});
  }
}
void one_window(benchmark::internal::Benchmark* benchmark) {
  for (const Index d : {16, 64, 128}) timed(benchmark)->Args({d, 31744});
}
void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("d")->Arg(64)->Arg(128)->Iterations(1)->Unit(benchmark::kMillisecond);
}

using Delta = RankOneUpdate<ScalarDecay<float>>;
BENCHMARK(step<Identity<float>>)->Name("step/none")->Apply(windows);
BENCHMARK(step<ScalarDecay<float>>)->Name("step/scalar")->Apply(windows);
BENCHMARK(step<KeyDecay<float>>)->Name("step/key")->Apply(windows);
BENCHMARK(step<ValueDecay<float>>)->Name("step/value")->Apply(windows);
BENCHMARK(step<Delta>)->Name("step/delta")->Apply(windows);
BENCHMARK(step<ScalarDecay<float>, Eigen::bfloat16>)->Name("bfloat16/scalar")->Apply(one_window);
BENCHMARK(step<Delta, Eigen::bfloat16>)->Name("bfloat16/delta")->Apply(one_window);
BENCHMARK(step<ScalarDecay<float>, Eigen::half>)->Name("half/scalar")->Apply(one_window);
BENCHMARK(step<Delta, Eigen::half>)->Name("half/delta")->Apply(one_window);
BENCHMARK(fading<ScalarDecay<float>>)->Name("fading/scalar")->Apply(one_window);
BENCHMARK(fading<KeyDecay<float>>)->Name("fading/key")->Apply(one_window);
BENCHMARK(fading<Delta>)->Name("fading/delta")->Apply(one_window);
BENCHMARK(latency<ScalarDecay<float>>)->Name("latency/scalar")->Apply(sizes);
BENCHMARK(latency<Delta>)->Name("latency/delta")->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
