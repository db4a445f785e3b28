// SPDX-License-Identifier: MIT
// What a token costs 1, 8 and 32 streams that take turns, as the heads of a layer do. The more
// streams there are, the farther from the processor is the cache that has their levels. In turn
// with it runs a plain read of what the tokens read, the same bytes in the same order: the levels
// and the newest tokens, which stand apart; and another one of the levels alone.
//
// Counters, medians over the rounds, by processor time: ns_per_token, of one stream; spread;
// bytes_read, by a token on average; read_ns, what that takes plainly; vs_read, the step's time
// over it; vs_levels_read, over the plain read of the levels alone; vs_float, where levels are
// narrow: the step's time with float levels over it.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "samples.hpp"
#include "streaming_tokens.hpp"

namespace {

using namespace loglinear;
using bench::Tokens;
using Eigen::Index;

constexpr int max_levels = 20;
constexpr std::uint64_t begin_at = 8192 - 64, window = 128;

/// Streams that have come as far as the window.
template <class Kind, class Stored>
class Streams {
 public:
  using Scalar = typename Kind::Scalar;

  Streams(const Tokens<Kind>& tokens, Index d, Index count)
      : tokens_(tokens),
        one_(after_warm_up(tokens, d)),
        streams_(static_cast<std::size_t>(count), one_),
        memory_(one_.read_shape()),
        read_(d) {}

  /// The next `window` tokens of all streams, from the same moment at every call.
  double ns_per_token() {
    for (State& stream : streams_) stream = one_;
    return bench::processor_nanoseconds([&] {
             const detail::FlushToZero<Scalar> flush;  // as layers do
             for (std::uint64_t t = begin_at; t < begin_at + window; ++t) {
               for (State& stream : streams_) {
                 step(stream, tokens_, t, memory_, read_);
                 benchmark::DoNotOptimize(read_.data());
               }
             }
           }) /
           static_cast<double>(window * streams_.size());
  }
  /// What these tokens read, packet by packet: the levels and, if `whole`, the newest tokens.
  double ns_per_plain_read(bool whole) const {
    return bench::processor_nanoseconds([&] {
             const detail::FlushToZero<float>
                 flush;  // narrow numbers are read as if they were float
             for (std::uint64_t t = begin_at; t < begin_at + window; ++t) {
               for (const State& stream : streams_) {
                 PlainRead read;
                 read_levels(stream, t, read);
                 if (whole) State::Buffer::fields(NewestTokens{read, newest(t)}, stream.buffer());
                 benchmark::DoNotOptimize(read.sum());
               }
             }
           }) /
           static_cast<double>(window * streams_.size());
  }
  /// Bytes that a token of the window reads on average.
  [[nodiscard]] double bytes_read() const {
    double bytes = 0;
    for (std::uint64_t t = begin_at; t < begin_at + window; ++t) {
      bytes += static_cast<double>(level_count(t)) *
                   static_cast<double>(one_.levels().level_size()) * sizeof(Stored) +
               static_cast<double>(newest(t)) * static_cast<double>(one_.key_rows() + one_.d_v()) *
                   sizeof(Scalar);
    }
    return bytes / static_cast<double>(window);
  }

 private:
  using State = detail::StreamState<Kind, Stored>;

  static void step(State& stream, const Tokens<Kind>& tokens, std::uint64_t t,
                   detail::ReadMemory<Kind>& memory, detail::Vector<Scalar>& read) {
    const Token<Kind>& token = tokens.token(t);
    stream.read({token.query.data(), tokens.lambda(t).data(), ReadOrder::before_push}, memory,
                read.data(), token.transition, memory.looked_up);
    stream.write(token, stream.admit(token), memory.looked_up);
  }
  static State after_warm_up(const Tokens<Kind>& tokens, Index d) {
    const detail::FlushToZero<Scalar> flush;
    State state(max_levels, d, d, 1);
    detail::ReadMemory<Kind> memory(state.read_shape());
    detail::Vector<Scalar> read(d);
    for (std::uint64_t t = 0; t < begin_at; ++t) step(state, tokens, t, memory, read);
    return state;
  }
  /// Active levels above the buffer after t tokens.
  [[nodiscard]] int level_count(std::uint64_t t) const {
    const auto buffered = static_cast<std::uint64_t>(one_.capacity());
    return active_level_count(t / buffered * buffered, max_levels);
  }
  /// Tokens that stand apart after t tokens.
  [[nodiscard]] Index newest(std::uint64_t t) const {
    return static_cast<Index>(t % static_cast<std::uint64_t>(one_.capacity()));
  }

  /// Sums of contiguous floats, so that all of them must be read.
  class PlainRead {
   public:
    PlainRead() {
      for (Packet& sum : sums_) sum = Eigen::internal::pset1<Packet>(0.0F);
    }
    void add(const float* numbers, Index size) {
      constexpr Index width = detail::packet_size<float>;
      for (Index i = 0; i + 8 * width <= size; i += 8 * width) {
        for (int n = 0; n < 8; ++n) {
          sums_[n] = Eigen::internal::padd(
              sums_[n], Eigen::internal::ploadu<Packet>(numbers + i + n * width));
        }
      }
    }
    [[nodiscard]] float sum() {
      for (int n = 1; n < 8; ++n) sums_[0] = Eigen::internal::padd(sums_[0], sums_[n]);
      return Eigen::internal::predux(sums_[0]);
    }

   private:
    using Packet = detail::Packet<float>;
    Packet sums_[8];
  };
  void read_levels(const State& stream, std::uint64_t t, PlainRead& read) const {
    const auto buffered = static_cast<std::uint64_t>(one_.capacity());
    for (int l : ActiveLevels(t / buffered * buffered, max_levels)) {
      const auto* const numbers = reinterpret_cast<const float*>(stream.levels().data(l));
      read.add(numbers,
               stream.levels().level_size() * Index{sizeof(Stored)} / Index{sizeof(float)});
    }
  }
  /// Reads the keys and values of the first `rows` buffered tokens.
  struct NewestTokens {
    PlainRead& read;
    Index rows;

    template <class Matrix>
    void operator()(const char*, detail::RowsField<Matrix> field) const {
      if (field.numbers.cols() > 1) read.add(field.numbers.data(), rows * field.numbers.cols());
    }
    template <class Count>
    void operator()(const char*, detail::CountField<Count>) const {}
  };

  const Tokens<Kind>& tokens_;
  State one_;
  std::vector<State> streams_;
  detail::ReadMemory<Kind> memory_;
  detail::Vector<Scalar> read_;
};

template <class Kind, class Stored = typename Kind::Scalar>
void heads(benchmark::State& state) {
  const Index d = state.range(0), count = state.range(1);
  const Tokens<Kind> tokens(d, max_levels);
  Streams<Kind, Stored> ours(tokens, d, count);
  constexpr bool is_narrow = detail::is_narrow<Stored>;
  Streams<Kind, float> wide(tokens, d, is_narrow ? count : 1);
  bench::Samples ns, read_ns, vs_read, vs_levels_read, vs_float;
  for (auto _ : state) {
    const double mine = ours.ns_per_token(), read = ours.ns_per_plain_read(true),
                 levels_read = ours.ns_per_plain_read(false);
    state.SetIterationTime(mine * 1e-9);
    ns.add(mine);
    read_ns.add(read);
    vs_read.add(mine / read);
    vs_levels_read.add(mine / levels_read);
    if (is_narrow) vs_float.add(wide.ns_per_token() / mine);
  }
  state.counters["ns_per_token"] = ns.median();
  state.counters["spread"] = ns.spread();
  state.counters["bytes_read"] = ours.bytes_read();
  state.counters["read_ns"] = read_ns.median();
  state.counters["vs_read"] = vs_read.median();
  state.counters["vs_levels_read"] = vs_levels_read.median();
  if (is_narrow) state.counters["vs_float"] = vs_float.median();
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"d", "heads"})
      ->UseManualTime()
      ->Iterations(15)
      ->Unit(benchmark::kNanosecond);
  for (const Index d : {64, 128}) {
    for (const Index count : {1, 8, 32}) benchmark->Args({d, count});
  }
}

BENCHMARK(heads<ScalarDecay<float>>)->Name("states/scalar")->Apply(sizes);
BENCHMARK(heads<RankOneUpdate<ScalarDecay<float>>>)->Name("states/delta")->Apply(sizes);
BENCHMARK(heads<ScalarDecay<float>, Eigen::bfloat16>)->Name("states_bfloat16/scalar")->Apply(sizes);

}  // namespace
