// SPDX-License-Identifier: MIT
// A stream in pieces is the stream in one pass: prompts of any sizes by any form, then token by
// token, reads and states.

#include <limits>

#include "catch.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

struct Pass {
  Array<double> reads;
  LogLinearState<double> state;
};

/// Random pieces of the first `prompt` tokens by either form, then one token at a time.
Pass in_pieces(test::Random& random, const SequenceInputs<double>& in, Index prompt,
               const LogLinearState<double>& initial) {
  Pass pass{Array<double>(in.length(), in.d_v()), initial};
  Index first = 0;
  const auto take = [&](Index count, const Array<double>& reads) {
    pass.reads.middleRows(first, count) = reads;
    first += count;
  };
  while (first < prompt) {
    const Index count = std::min<Index>(random.below(50), prompt - first);  // 0 among them
    const Index chunk_size = chunk_sizes[static_cast<std::size_t>(random.below(4))];
    const auto piece = in.slice(first, count);
    take(count, random.below(4) == 0 ? recurrent(piece, pass.state)
                                     : chunkwise(piece, pass.state, {chunk_size}));
  }
  while (first < in.length()) {
    const auto token = in.slice(first, 1);
    take(1, random.below(2) == 0 ? recurrent(token, pass.state) : chunkwise(token, pass.state));
  }
  return pass;
}

}  // namespace

TEST_CASE("prompts in pieces, then token by token, are one pass", "[law]") {
  std::uint64_t seed = 700;
  for (const Kind& kind : test::all_kinds()) {
    for (const int max_levels : {1, 2, 3, 9}) {
      for (const std::uint64_t start : {0u, 13u}) {
        const Setting setting{
            .kind = kind, .length = 170, .start = start, .max_levels = max_levels};
        test::Random random(++seed);
        INFO(setting << ", seed " << seed);
        const auto tokens = test::random_tokens<double>(random, kind, 170, 4, 3, setting.weights());
        const auto initial = test::random_state<double>(random, start, max_levels, 4, 3);
        const Array<double> reads = dense(tokens.inputs(), initial);
        LogLinearState<double> final = initial;
        recurrent(tokens.inputs(), final);
        const Pass pass = in_pieces(random, tokens.inputs(), 150, initial);
        const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
        CHECK(relative_error(pass.reads, reads, scale) <= sequence_rounding<double>(170, 4));
        CHECK(pass.state.size() == start + 170);
        CHECK(relative_error(pass.state.flat_state(), final.flat_state(),
                             std::max(1.0, detail::max_abs(final.flat_state()))) <=
              sequence_rounding<double>(170, 4));
        // Where no bucket is, nothing is left.
        for (int l = 0; l < max_levels; ++l) {
          if (!pass.state.is_active(l)) CHECK(pass.state.level(l).isZero(0));
        }
      }
    }
  }
}

TEST_CASE("two halves at every place are one pass", "[law]") {
  const Kind kind{.decay = test::Decay::scalar, .update = test::Update::delta};
  test::Random random(41);
  const auto tokens = test::random_tokens<double>(random, kind, 140, 4, 3, 9);
  const auto in = tokens.inputs();
  for (const int max_levels : {2, 8}) {
    const LogLinearState<double> empty(max_levels, 4, 3);
    const Array<double> reads = dense(in, empty);
    LogLinearState<double> final = empty;
    recurrent(in, final);
    for (Index place = 0; place <= 140; ++place) {
      INFO("max_levels " << max_levels << ", cut before token " << place);
      LogLinearState<double> state = empty;
      Array<double> both(140, 3);
      both << chunkwise(in.slice(0, place), state), chunkwise(in.slice(place, 140 - place), state);
      const double scale = std::max(detail::max_abs(reads), largest_term(tokens, empty));
      CHECK(relative_error(both, reads, scale) <= sequence_rounding<double>(140, 4));
      CHECK(relative_error(state.flat_state(), final.flat_state(),
                           std::max(1.0, detail::max_abs(final.flat_state()))) <=
            sequence_rounding<double>(140, 4));
    }
  }
}

TEST_CASE("chunks lie between multiples of their size, so that a cut there changes no bit",
          "[law]") {
  std::uint64_t seed = 900;
  for (const Kind& kind : test::all_kinds()) {
    test::Random random(++seed);
    const auto tokens = test::random_tokens<double>(random, kind, 100, 4, 3, 8);
    const auto initial = test::random_state<double>(random, 5, 7, 4, 3);
    for (const Index cut : {11, 43, 75}) {  // before tokens 16, 48 and 80 of the stream
      INFO(name_of(kind) << ", cut before token " << cut);
      LogLinearState<double> one_pass = initial, pieces = initial;
      const Array<double> reads = chunkwise(tokens.inputs(), one_pass, {16});
      Array<double> both(100, 3);
      both << chunkwise(tokens.inputs().slice(0, cut), pieces, {16}),
          chunkwise(tokens.inputs().slice(cut, 100 - cut), pieces, {16});
      CHECK(test::same_bits(both, reads));
      CHECK(pieces == one_pass);
    }
  }
}

TEST_CASE("positions up to the last that a stream can have", "[law]") {
  // Chunks and levels lie by the absolute position, far above what 32 or 63 bits hold.
  const Kind kind{.decay = test::Decay::key_rows, .update = test::Update::delta};
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t start :
       {(std::uint64_t{1} << 32) - 30, (std::uint64_t{1} << 63) - 30, most - 70}) {
    for (const int max_levels : {3, 40, 64}) {
      const Setting setting{.kind = kind, .length = 70, .start = start, .max_levels = max_levels};
      INFO(setting);
      test::Random random(43);
      const auto tokens = test::random_tokens<double>(random, kind, 70, 4, 3, setting.weights());
      const auto initial = test::random_state<double>(random, start, max_levels, 4, 3);
      const Array<double> reads = dense(tokens.inputs(), initial);
      LogLinearState<double> by_recurrence = initial, by_chunks = initial;
      const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
      CHECK(relative_error(recurrent(tokens.inputs(), by_recurrence), reads, scale) <=
            sequence_rounding<double>(70, 4));
      CHECK(relative_error(chunkwise(tokens.inputs(), by_chunks, {16}), reads, scale) <=
            sequence_rounding<double>(70, 4));
      CHECK(by_chunks.size() == start + 70);
      CHECK(relative_error(by_chunks.flat_state(), by_recurrence.flat_state(), 1) <=
            sequence_rounding<double>(70, 4));
    }
  }
}
