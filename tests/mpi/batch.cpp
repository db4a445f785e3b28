// SPDX-License-Identifier: MIT
// Batches of heads over many ranks. The schedule `pipelined` gives the bits of one process that
// takes the same stretches one after the other, and those of one pass where they begin with chunks;
// `scan` gives the numbers. Every rank also computes all tokens by itself.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "catch.hpp"
#include "law/batch.hpp"
#include "loglinear/mpi.hpp"
#include "mpi/cuts.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using mpi::Schedule;

constexpr Index batch = 2, tokens = 64, heads = 4, d_k = 5, d_v = 3;

/// Consecutive tokens of every head.
template <class Number>
HeadArray<Number> part_of(const HeadArray<Number>& all, const Stretch& mine) {
  if (all.is_absent()) return all;
  const Index each = all.rows() / tokens;
  return {all.row(0, mine.first * each, 0),
          {all.batch(), mine.count * each, all.heads(), all.columns()},
          all.strides()};
}
template <class Arrays>
Arrays part_of(const Arrays& all, const Stretch& mine) {
  Arrays part;
  detail::for_each_array([&](const char*, const auto& from, auto& to) { to = part_of(from, mine); },
                         all, part);
  return part;
}

/// What is computed of all tokens, each number in a place of its own.
struct Results {
  explicit Results(const BatchInputs<double>& in) : out(batch * tokens * heads * d_v) {
    detail::for_each_array(
        [&](const char*, const HeadArray<const double>& from, std::vector<double>& to) {
          to.resize(static_cast<std::size_t>(from.size()));
        },
        in, numbers);
    detail::for_each_array(
        [&](const char*, const HeadArray<const double>& from, std::vector<double>& of,
            HeadArray<double>& to) {
          to = HeadArray<double>::bthd(of.data(), from.batch(), from.rows(), from.heads(),
                                       from.columns());
        },
        in, numbers, gradients);
  }
  [[nodiscard]] HeadArray<double> reads() {
    return HeadArray<double>::bthd(out.data(), batch, tokens, heads, d_v);
  }

  std::vector<double> out;
  struct {
    std::vector<double> q{}, k{}, v{}, lambda{}, g{}, g_value{}, beta{}, u{}, p{};
  } numbers{};
  BatchGradients<double> gradients{};
  BatchStates<double> states{};
  std::vector<detail::RowMajorMatrix<double>> d_states{};
};

/// The largest difference, relative to the largest number; 0 where all are equal, bits and all.
double difference_of(const HeadArray<double>& a, const HeadArray<double>& b) {
  double largest = 1, difference = 0;
  for (Index n = 0; n < a.batch(); ++n) {
    for (Index t = 0; t < a.rows(); ++t) {
      for (Index h = 0; h < a.heads(); ++h) {
        for (Index d = 0; d < a.columns(); ++d) {
          const double x = a.row(n, t, h)[d], y = b.row(n, t, h)[d];
          largest = std::max(largest, std::abs(y));
          difference = std::max(difference, std::isfinite(x) ? std::abs(x - y) : HUGE_VAL);
        }
      }
    }
  }
  return difference / largest;
}

struct Case {
  Arrays arrays{};
  LaidArrays laid{};
  BatchInputs<double> in{};
  BatchStates<double> initial{};
  std::vector<double> d_out{};
  std::vector<detail::RowMajorMatrix<double>> d_final{};

  [[nodiscard]] HeadArray<const double> d_reads() const {
    return HeadArray<const double>::bthd(d_out.data(), batch, tokens, heads, d_v);
  }
};

Case make_case(test::Random& random, const Recipe& recipe, Layout layout) {
  Case made;
  made.arrays = arrays(random, recipe, batch, tokens);
  made.laid = lay(made.arrays, layout);
  made.in = inputs(made.laid);
  const int levels = recipe.has_levels ? 8 : 1;
  for (Index n = 0; n < batch * heads; ++n) {
    made.initial.emplace_back(levels, d_k, d_v);
    const int older = recipe.has_levels ? 3 + static_cast<int>(n) : 0;  // each stream has its own
    for (int t = 0; t < older; ++t) {
      made.initial.back().push_leaf(random.vector<double>(d_k), random.vector<double>(d_v));
    }
    made.d_final.emplace_back(random.matrix<double>(levels, d_k * d_v));
  }
  for (Index i = 0; i < batch * tokens * heads * d_v; ++i) made.d_out.push_back(random.number());
  return made;
}

/// In one process, stretch by stretch; the states are those after the stretches up to `mine`.
Results in_one_process(const Case& all, const std::vector<Index>& cuts, int mine,
                       Index chunk_size) {
  Results results(all.in);
  const int pieces = static_cast<int>(cuts.size()) - 1;
  BatchStates<double> states = all.initial;
  std::vector<BatchTape<double>> tapes(static_cast<std::size_t>(pieces));
  for (int n = 0; n < pieces; ++n) {
    const Stretch piece = stretch_of(cuts, n);
    chunkwise(part_of(all.in, piece), part_of(results.reads(), piece), states, {chunk_size},
              &tapes[static_cast<std::size_t>(n)]);
    if (n == mine) results.states = states;
  }
  results.d_states = all.d_final;
  for (int n = pieces - 1; n >= 0; --n) {
    const Stretch piece = stretch_of(cuts, n);
    chunkwise_gradient(part_of(all.in, piece), tapes[static_cast<std::size_t>(n)],
                       part_of(all.d_reads(), piece), part_of(results.gradients, piece),
                       &results.d_states);
  }
  return results;
}

Results on_ranks(const Case& all, const Stretch& mine, const mpi::Ranks& ranks,
                 const mpi::Options& options) {
  Results results(all.in);
  results.states = all.initial;  // not looked at, but on the first rank
  mpi::Tape<double> tape;
  mpi::chunkwise(part_of(all.in, mine), part_of(results.reads(), mine), results.states, ranks,
                 options, &tape);
  results.d_states = all.d_final;
  mpi::chunkwise_gradient(part_of(all.in, mine), tape, part_of(all.d_reads(), mine),
                          part_of(results.gradients, mine), ranks, &results.d_states);
  return results;
}

void compare(Results& mine, Results& one, const Stretch& stretch, bool is_first, double tolerance,
             double of_gradients) {
  CHECK(difference_of(part_of(mine.reads(), stretch), part_of(one.reads(), stretch)) <= tolerance);
  detail::for_each_array(
      [&](const char* name, const HeadArray<double>& a, const HeadArray<double>& b) {
        INFO("gradient of " << name);
        CHECK(difference_of(part_of(a, stretch), part_of(b, stretch)) <= of_gradients);
      },
      mine.gradients, one.gradients);
  for (std::size_t n = 0; n < mine.states.size(); ++n) {
    CHECK(mine.states[n].size() == one.states[n].size());
    CHECK(difference(mine.states[n].flat_state(), one.states[n].flat_state()) <=
          tolerance * std::max(1.0, detail::max_abs(one.states[n].flat_state())));
    if (!is_first) continue;
    CHECK(difference(mine.d_states[n], one.d_states[n]) <=
          of_gradients * std::max(1.0, detail::max_abs(one.d_states[n])));
  }
}

}  // namespace

TEST_CASE("a batch over many ranks is the batch in one process", "[mpi]") {
  const mpi::Ranks ranks;
  std::uint64_t seed = 50;
  for (const Recipe& recipe : recipes) {
    for (const Layout layout : {Layout::bthd, Layout::columns_apart}) {
      test::Random random(++seed);
      const Case all = make_case(random, recipe, layout);
      const std::vector<Index> cuts = random_cuts(random, tokens, ranks.count());
      const Stretch mine = stretch_of(cuts, ranks.rank());
      INFO(recipe.name << ", seed " << seed << ", rank " << ranks.rank() << " of "
                       << ranks.count());
      Results pieces = in_one_process(all, cuts, ranks.rank(), 8);
      Results pipelined =
          on_ranks(all, mine, ranks, {.schedule = Schedule::pipelined, .chunk_size = 8});
      compare(pipelined, pieces, mine, ranks.is_first(), 0, 0);  // to the bit
      Results scanned = on_ranks(all, mine, ranks, {.schedule = Schedule::scan, .chunk_size = 8});
      compare(scanned, pieces, mine, ranks.is_first(), 1e-12, 1e-12);
    }
  }
}

TEST_CASE("batches of as many heads in other sequences are refused on all ranks", "[mpi]") {
  const mpi::Ranks ranks;
  for (const int guilty : {0, ranks.count() - 1}) {
    const bool is_guilty = ranks.rank() == guilty;
    const Index B = is_guilty ? 2 : 1, H = is_guilty ? 1 : 2, T = 4, D = 3;
    const std::vector<double> numbers(2 * T * D, 0.1), ones(2 * T * 9, 1);
    std::vector<double> out(2 * T * D, 7);
    using In = HeadArray<const double>;
    const In all = In::bthd(numbers.data(), B, T, H, D);
    const BatchInputs<double> in{
        .q = all, .k = all, .v = all, .lambda = In::bthd(ones.data(), B, T, H, 9)};
    BatchStates<double> states(2, LogLinearState<double>(8, D, D));
    const std::string error = error_of([&] {
      mpi::chunkwise(in, HeadArray<double>::bthd(out.data(), B, T, H, D), states, ranks);
    });
    INFO("rank " << ranks.rank() << " of " << ranks.count() << ": " << error);
    CHECK(error.empty() == (ranks.count() == 1));
    if (ranks.count() == 1) continue;
    CHECK(mentions(error, {"on rank " + std::to_string(guilty == 0 ? 1 : guilty) +
                               ": the number of sequences is ",
                           "as on rank 0"}));
    CHECK(states[0].size() == 0);
    CHECK(out == std::vector<double>(out.size(), 7));
  }
}

TEST_CASE("stretches that begin with chunks change no bit of one pass", "[mpi]") {
  const mpi::Ranks ranks;
  test::Random random(70);
  for (const Recipe& recipe : recipes) {
    INFO(recipe.name);
    Case all = make_case(random, recipe, Layout::bthd);
    for (auto& state : all.initial) state.reset();
    std::vector<Index> cuts;
    for (int n = 0; n <= ranks.count(); ++n) {
      cuts.push_back(n * (tokens / 4) / ranks.count() * 4);
    }
    const Stretch mine = stretch_of(cuts, ranks.rank());
    Results one = in_one_process(all, {0, tokens}, 0, 4);
    Results pipelined =
        on_ranks(all, mine, ranks, {.schedule = Schedule::pipelined, .chunk_size = 4});
    if (!ranks.is_last()) one.states = pipelined.states;  // those of the end are the last rank's
    // Of one level the states on a tape are those of the recurrence, those in between of chunks,
    // and which are which depends on the length.
    compare(pipelined, one, mine, ranks.is_first(), 0, recipe.has_levels ? 0 : 1e-14);
  }
}
