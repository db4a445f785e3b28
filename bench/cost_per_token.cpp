// SPDX-License-Identifier: MIT
// What a token costs as a stream grows: log-linear attention, linear attention with one state, and
// softmax attention over a key-value cache, one head, float, keys, values and gates given. A line
// for each octave of the stream, averaged over its tokens (for the cache: over 32 of them):
//
//     tokens, log-linear ns, linear ns, cache ns
//
// Usage: cost_per_token [d = 64]. `bench/picture` draws it.

#include <Eigen/Core>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "streaming_tokens.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using Kind = ScalarDecay<float>;
using Clock = std::chrono::steady_clock;

volatile float sink;

double nanoseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

class Stream {
 public:
  Stream(const bench::Tokens<Kind>& tokens, Index d, int levels)
      : tokens_(tokens), state_(levels, d, d, 1), memory_(state_.read_shape()), read_(d) {}

  /// Nanoseconds a token from the present one to `end`.
  double run_to(std::uint64_t end) {
    const std::uint64_t begin = state_.size();
    const auto start = Clock::now();
    for (std::uint64_t t = begin; t < end; ++t) {
      const detail::FlushToZero<float> flush;  // as layers do
      const Token<Kind>& token = tokens_.token(t);
      state_.read({token.query.data(), tokens_.lambda(t).data(), ReadOrder::before_push}, memory_,
                  read_.data(), token.transition, memory_.looked_up);
      state_.write(token, state_.admit(token), memory_.looked_up);
      sink = read_[0];
    }
    return nanoseconds_since(start) / static_cast<double>(end - begin);
  }

 private:
  const bench::Tokens<Kind>& tokens_;
  detail::StreamState<Kind> state_;
  detail::ReadMemory<Kind> memory_;
  detail::Vector<float> read_;
};

/// Decoding with a cache: one query over all keys and values so far.
class Cache {
 public:
  Cache(Index d, Index longest)
      : keys_(longest, d), values_(longest, d), scores_(longest), out_(d) {
    keys_.setRandom();
    values_.setRandom();
  }
  double at(Index length, const Eigen::VectorXf& query) {
    const auto start = Clock::now();
    auto scores = scores_.head(length);
    scores.noalias() = keys_.topRows(length) * query;
    scores = (scores.array() - scores.maxCoeff()).exp();
    out_.noalias() = values_.topRows(length).transpose() * scores;
    out_ /= scores.sum();
    sink = out_[0];
    return nanoseconds_since(start);
  }

 private:
  Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> keys_, values_;
  Eigen::VectorXf scores_, out_;
};

}  // namespace

int main(int argc, char** argv) {
  const Index d = argc > 1 ? std::atoi(argv[1]) : 64;
  constexpr int octaves = 21, cached_octaves = 17;
  const bench::Tokens<Kind> tokens(d, octaves + 1);
  Stream log_linear(tokens, d, octaves + 1), linear(tokens, d, 1);
  Cache cache(d, Index{1} << cached_octaves);
  // Caches, clock and branch predictors are warm before anything counts.
  Stream(tokens, d, octaves + 1).run_to(1 << 14);
  Stream(tokens, d, 1).run_to(1 << 14);
  for (int i = 0; i < 100; ++i) cache.at(64, tokens.token(0).query);
  for (int octave = 6; octave <= octaves; ++octave) {
    const std::uint64_t length = std::uint64_t{1} << octave;
    const double many = log_linear.run_to(length), one = linear.run_to(length);
    std::printf("%llu, %.0f, %.0f, ", static_cast<unsigned long long>(length), many, one);
    if (octave > cached_octaves) {
      std::puts("nan");
      continue;
    }
    double sum = 0;
    for (Index i = 0; i < 32; ++i) {
      const auto at = static_cast<Index>(length / 2) + (i + 1) * static_cast<Index>(length / 64);
      sum += cache.at(at, tokens.token(static_cast<std::uint64_t>(i)).query);
    }
    std::printf("%.0f\n", sum / 32);
  }
}
