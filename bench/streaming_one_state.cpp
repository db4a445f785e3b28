// SPDX-License-Identifier: MIT
// What a token costs one state, `max_levels` 1: read, admit and write, with given keys and gates.
// In turn with it, in one process, runs the bare step of the recurrence: decay, write and read of a
// d x d matrix in plain loops, without any check. The results must be the same to rounding. Gates
// decay by 1 - 2^-20 a token.
//
// Counters (medians over the rounds): ns_per_token; spread, half its interquartile range over it;
// bare_ns; vs_fused_step, the step's time over that of the bare one.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "samples.hpp"
#include "streaming_tokens.hpp"

namespace {

using namespace loglinear;
using bench::Tokens;
using Eigen::Index;

constexpr std::uint64_t window = 1024;

/// One state, as layers use it.
template <class Kind>
class OneLevelStream {
 public:
  using Scalar = typename Kind::Scalar;

  explicit OneLevelStream(Index d) : state_(1, d, d, 1), memory_(state_.read_shape()), read_(d) {}

  const detail::Vector<Scalar>& step(const Token<Kind>& token) {
    const detail::FlushToZero<Scalar> flush;  // as layers do
    state_.read({token.query.data(), &one_, ReadOrder::before_push}, memory_, read_.data(),
                token.transition, memory_.looked_up);
    state_.write(token, state_.admit(token), memory_.looked_up);
    return read_;
  }

 private:
  detail::StreamState<Kind> state_;
  detail::ReadMemory<Kind> memory_;
  detail::Vector<Scalar> read_;
  Scalar one_{1};
};

/// The recurrence and nothing else: every number of the state is read and written once a token, but
/// for a delta rule, which looks up before it writes.
template <class Kind>
class Bare {
 public:
  using Scalar = typename Kind::Scalar;

  explicit Bare(Index d)
      : s_(detail::zeros<detail::RowMajorMatrix<Scalar>>(d, d)),
        out_(detail::zeros<Scalar>(d)),
        found_(detail::zeros<Scalar>(d)) {}

  const detail::Vector<Scalar>& step(const Token<Kind>& token) {
    const Index d = out_.size();
    const Scalar* __restrict const k = token.keys.data();
    const Scalar* __restrict const v = token.values.data();
    const Scalar* __restrict const q = token.query.data();
    Scalar* __restrict const s = s_.data();
    Scalar* __restrict const out = out_.data();
    std::fill_n(out, d, Scalar(0));
    if constexpr (detail::is_rank_one_update<Kind>) {
      const Scalar* __restrict const p = token.transition.p.data();
      const Scalar* __restrict const u = token.transition.u.data();
      Scalar* __restrict const found = found_.data();
      const Scalar a = token.transition.diagonal.factor();
      std::fill_n(found, d, Scalar(0));
      for (Index i = 0; i < d; ++i) {
        for (Index j = 0; j < d; ++j) {
          found[j] += p[i] * s[i * d + j];
          out[j] += q[i] * s[i * d + j];
        }
      }
      for (Index i = 0; i < d; ++i) {
        for (Index j = 0; j < d; ++j) {
          s[i * d + j] = a * s[i * d + j] - u[i] * found[j] + k[i] * v[j];
        }
      }
    } else {
      const Scalar* __restrict const columns = token.transition.column_factors();
      for (Index i = 0; i < d; ++i) {
        const Scalar a = token.transition.row_factor(i);
        for (Index j = 0; j < d; ++j) {
          const Scalar old = s[i * d + j];
          out[j] += q[i] * old;
          s[i * d + j] = (columns == nullptr ? a : a * columns[j]) * old + k[i] * v[j];
        }
      }
    }
    return out_;
  }

 private:
  detail::RowMajorMatrix<Scalar> s_;
  detail::Vector<Scalar> out_, found_;
};

/// Whether both forms read the same after some hundred tokens, to rounding.
template <class Kind>
bool is_right(const Tokens<Kind>& tokens, Index d) {
  using Scalar = typename Kind::Scalar;
  OneLevelStream<Kind> ours(d);
  Bare<Kind> bare(d);
  constexpr std::uint64_t count = 300;
  for (std::uint64_t t = 0; t < count; ++t) {
    ours.step(tokens.token(t));
    bare.step(tokens.token(t));
  }
  const auto &read = ours.step(tokens.token(count)), &expected = bare.step(tokens.token(count));
  const double size = static_cast<double>(expected.norm());
  return size > 0 && static_cast<double>((read - expected).norm()) <=
                         count * size * static_cast<double>(std::numeric_limits<Scalar>::epsilon());
}

template <class Kind>
void one_state(benchmark::State& state) {
  const Index d = state.range(0);
  const Tokens<Kind> tokens(d, 1);
  OneLevelStream<Kind> ours(d);
  Bare<Kind> bare(d);
  std::uint64_t count = 0;
  const auto ns_per_token = [&](auto& form) {
    return bench::processor_nanoseconds([&] {
             for (std::uint64_t t = count; t < count + window; ++t) {
               benchmark::DoNotOptimize(form.step(tokens.token(t)).data());
             }
           }) /
           static_cast<double>(window);
  };
  bench::Samples ns, bare_ns, vs_bare;
  for (auto _ : state) {
    const double mine = ns_per_token(ours), rival = ns_per_token(bare);
    count += window;
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    bare_ns.add(rival);
    vs_bare.add(mine / rival);
  }
  if (!is_right(tokens, d)) state.SkipWithError("the read is wrong");
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["bare_ns"] = bare_ns.median();
  state.counters["vs_fused_step"] = vs_bare.median();
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("d")->Arg(16)->Arg(64)->Arg(128)->UseManualTime()->Iterations(61)->Unit(
      benchmark::kNanosecond);
}

BENCHMARK(one_state<Identity<float>>)->Name("one_state/none")->Apply(sizes);
BENCHMARK(one_state<ScalarDecay<float>>)->Name("one_state/scalar")->Apply(sizes);
BENCHMARK(one_state<KeyDecay<float>>)->Name("one_state/key")->Apply(sizes);
BENCHMARK(one_state<ValueDecay<float>>)->Name("one_state/value")->Apply(sizes);
BENCHMARK(one_state<RankOneUpdate<ScalarDecay<float>>>)->Name("one_state/delta")->Apply(sizes);
BENCHMARK(one_state<ScalarDecay<double>>)->Name("one_state/scalar_double")->Apply(sizes);

}  // namespace
