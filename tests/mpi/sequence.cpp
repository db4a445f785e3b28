// SPDX-License-Identifier: MIT
// One sequence over many ranks is the sequence in one process: reads, states and gradients, by
// either schedule, for every kind of transition, wherever it is cut. Every rank makes all tokens,
// and computes by itself what it compares with. More than three ranks, which wait for two
// processors, take some of the kinds each.

#include <algorithm>
#include <vector>

#include "catch.hpp"
#include "loglinear/mpi.hpp"
#include "mpi/cuts.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using mpi::Schedule;

/// The tokens of a setting, the state before them, and what one process makes of them.
struct Whole {
  Whole(const Setting& s, std::uint64_t seed) : setting(s), random(seed) {
    tokens = random_tokens<double>(random, s.kind, s.length, s.d_k, s.d_v, s.weights());
    initial = random_state<double>(random, s.start, s.max_levels, s.d_k, s.d_v);
    d_out = random.matrix<double>(s.length, s.d_v);
    d_final = random.matrix<double>(s.max_levels, s.d_k * s.d_v);
  }
  [[nodiscard]] double scale(const Array<double>& reads) const {
    return std::max(detail::max_abs(reads), largest_term(tokens, initial));
  }

  Setting setting;
  test::Random random;
  Tokens<double> tokens{};
  LogLinearState<double> initial{1, 1, 1};
  Array<double> d_out{}, d_final{};
};

/// The rows of this rank of what one process has computed.
template <class Rows>
Array<double> part_of(const Rows& all, Index length, const Stretch& mine) {
  if (all.rows() == 0) return all;
  const Index each = all.rows() / length;
  return all.middleRows(mine.first * each, mine.count * each);
}

void check_gradients(const SequenceGradients<double>& mine, const SequenceGradients<double>& all,
                     const Whole& whole, const Stretch& stretch, double tolerance) {
  visit_arrays(mine, all, [&](const char* name, const auto& part, const auto& one) {
    INFO("gradient of " << name);
    const double scale = std::max(1.0, detail::max_abs(one));
    CHECK(relative_error(part, part_of(one, whole.setting.length, stretch), scale) <= tolerance);
  });
}

void check(const Setting& setting, const mpi::Options& options, const mpi::Ranks& ranks,
           std::uint64_t seed) {
  Whole whole(setting, seed);
  const std::vector<Index> cuts = random_cuts(whole.random, setting.length, ranks.count());
  const Stretch mine = stretch_of(cuts, ranks.rank());
  INFO(setting << ", seed " << seed << ", rank " << ranks.rank() << " of " << ranks.count()
               << " with " << mine.count << " tokens from " << mine.first << " on");
  const Index length = setting.length;
  const double tolerance = sequence_rounding<double>(length, setting.d_k);

  const Array<double> reads = dense(whole.tokens.inputs(), whole.initial);
  LogLinearState<double> until = whole.initial;  // after this rank's tokens
  recurrent(whole.tokens.inputs().slice(0, mine.first + mine.count), until);

  LogLinearState<double> state =
      ranks.is_first() ? whole.initial : LogLinearState<double>(setting.max_levels, 4, 3);
  const SequenceInputs<double> in = whole.tokens.inputs().slice(mine.first, mine.count);
  mpi::Tape<double> tape;
  const Array<double> out = mpi::chunkwise(in, state, ranks, options, &tape);
  CHECK(relative_error(out, part_of(reads, length, mine), whole.scale(reads)) <= tolerance);
  CHECK(state.size() == until.size());
  CHECK(relative_error(state.flat_state(), until.flat_state(),
                       std::max(1.0, detail::max_abs(until.flat_state()))) <= tolerance);

  const auto all = chunkwise_gradient(whole.tokens.inputs(), whole.initial, whole.d_out,
                                      {options.chunk_size}, whole.d_final);
  const Array<double> d_out = part_of(whole.d_out, length, mine);
  const auto gradients = mpi::chunkwise_gradient(in, tape, d_out, ranks, whole.d_final);
  check_gradients(gradients, all, whole, mine, 10 * tolerance);
  if (ranks.is_first()) {
    CHECK(relative_error(gradients.state, all.state, std::max(1.0, detail::max_abs(all.state))) <=
          10 * tolerance);
  }
}

}  // namespace

TEST_CASE("a sequence over many ranks is the sequence in one process", "[mpi]") {
  const mpi::Ranks ranks;
  const auto step = static_cast<std::uint64_t>(ranks.count() <= 3   ? 1
                                               : ranks.count() <= 8 ? 7
                                                                    : 19);
  std::uint64_t seed = 0;
  for (const Kind& kind : all_kinds()) {
    for (const Schedule schedule : {Schedule::scan, Schedule::pipelined}) {
      if ((++seed + static_cast<std::uint64_t>(ranks.count())) % step != 0) continue;
      const int max_levels = std::vector<int>{1, 2, 9, 4}[seed % 4];
      const std::uint64_t start = seed % 3 == 0 ? 0 : 13;
      check({.kind = kind, .length = 90, .start = start, .max_levels = max_levels},
            {.schedule = schedule, .chunk_size = seed % 5 == 0 ? 1 : 8}, ranks, seed);
    }
  }
}

TEST_CASE("a rank without tokens gets reads without rows, of as many columns as others", "[mpi]") {
  const mpi::Ranks ranks;
  for (const Schedule schedule : {Schedule::scan, Schedule::pipelined}) {
    for (int with_tokens = -1; with_tokens < ranks.count(); ++with_tokens) {  // -1 is none
      INFO("rank " << ranks.rank() << " of " << ranks.count() << ", tokens on " << with_tokens);
      const Index length = ranks.rank() == with_tokens ? 5 : 0;
      const Array<double> q = Array<double>::Ones(length, 4), v = Array<double>::Ones(length, 3),
                          lambda = Array<double>::Ones(length, 9);
      SequenceInputs<double> in{};
      if (length > 0) in = {.q = q, .k = q, .v = v, .lambda = lambda};
      LogLinearState<double> state(8, 4, 3);
      mpi::Tape<double> tape;
      const Array<double> out = mpi::chunkwise(in, state, ranks, {.schedule = schedule}, &tape);
      CHECK(out.rows() == length);
      CHECK(out.cols() == 3);
      const bool comes_after = with_tokens >= 0 && ranks.rank() >= with_tokens;
      CHECK(state.size() == (comes_after ? 5u : 0u));
      const Array<double> d_out = Array<double>::Ones(length, 3);
      CHECK(mpi::chunkwise_gradient(in, tape, d_out, ranks).q.rows() == length);
    }
  }
}
