// SPDX-License-Identifier: MIT
// The three forms agree: the recurrent and the chunkwise one, in float and double, with the dense
// one in double, which knows no hierarchy and no chunks.

#include "sequence.hpp"

#include <vector>

#include "catch.hpp"

using namespace laws;

namespace {

/// The chunkwise form by the products of chunks, which it does without where one small state is
/// all.
template <class Scalar>
Array<Scalar> by_products(const Tokens<Scalar>& tokens, LogLinearState<Scalar>& state,
                          Index chunk_size) {
  const SequenceInputs<Scalar> in = tokens.inputs();
  Array<Scalar> out(in.length(), in.d_v());
  const Index weights = in.levels_read(state.size(), in.length(), state.max_levels());
  detail::Hierarchy<Scalar> states = detail::hierarchy_of(state);
  detail::InputSource<Scalar> source(in, weights);
  source.read_into(out);
  detail::ChunkwiseRun<Scalar>(source, chunk_size, weights).forward(states, nullptr, true);
  detail::levels_of(state).replace(
      states.count(), [&](int l) -> const auto& { return states.level(l); });
  return out;
}

/// Recurrent and chunkwise reads and final states of one scalar against those expected.
template <class Scalar>
void check_forms(const Setting& setting, const Tokens<Scalar>& tokens,
                 const LogLinearState<Scalar>& initial, const Array<double>& reads,
                 const LogLinearState<double>& final, double read_scale) {
  INFO((sizeof(Scalar) == 4 ? "float" : "double"));
  const double tolerance = rounding<Scalar>(setting.length, std::max(setting.d_k, setting.d_v));
  const double state_scale = std::max(detail::max_abs(final.flat_state()), 1.0);
  const auto check = [&](const Array<Scalar>& computed, const LogLinearState<Scalar>& state) {
    CHECK(relative_error(computed, reads, read_scale) <= tolerance);
    CHECK(state.size() == final.size());
    CHECK(relative_error(state.flat_state(), final.flat_state(), state_scale) <= tolerance);
  };
  LogLinearState<Scalar> state = initial;
  const Array<Scalar> by_recurrence = recurrent(tokens.inputs(), state);
  check(by_recurrence, state);
  for (const Index chunk_size : chunk_sizes) {
    INFO("chunk size " << chunk_size);
    state = initial;
    const Array<Scalar> by_chunks = chunkwise(tokens.inputs(), state, {chunk_size});
    check(by_chunks, state);
  }
  if (setting.max_levels > 1) return;
  for (const Index chunk_size : {1, 16, 64}) {
    INFO("by products, chunk size " << chunk_size);
    state = initial;
    const Array<Scalar> reads_by_products = by_products(tokens, state, chunk_size);
    check(reads_by_products, state);
  }
}

void check_setting(const Setting& setting, std::uint64_t seed) {
  INFO(setting << ", seed " << seed);
  test::Random random(seed);
  // Numbers that are the same in float and double.
  const auto narrow = test::random_tokens<float>(random, setting.kind, setting.length, setting.d_k,
                                                 setting.d_v, setting.weights());
  const auto narrow_initial = test::random_state<float>(random, setting.start, setting.max_levels,
                                                        setting.d_k, setting.d_v);
  const auto tokens = test::cast<double>(narrow);
  const LogLinearState<double> initial = narrow_initial.cast<double>();

  const Array<double> reads = dense(tokens.inputs(), initial);
  LogLinearState<double> final = initial;
  recurrent(tokens.inputs(), final);
  const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
  check_forms(setting, tokens, initial, reads, final, scale);
  check_forms(setting, narrow, narrow_initial, reads, final, scale);
}

/// A random setting of a given length: as many levels as the tokens need, or so few that they
/// overflow, at the beginning of a stream or late in it.
Setting random_setting(test::Random& random, const Kind& kind, Index length, int most_columns) {
  constexpr std::uint64_t starts[] = {0, 0, 1, 5, 37, 64, 1000, (std::uint64_t{1} << 40) - 3};
  constexpr int levels[] = {1, 2, 3, 7, max_level_limit, max_level_limit};
  return {kind,
          length,
          1 + random.below(most_columns),
          1 + random.below(most_columns),
          starts[random.below(std::size(starts))],
          levels[random.below(std::size(levels))]};
}

}  // namespace

TEST_CASE("the forms agree for every length up to 300", "[law]") {
  const std::vector<Kind> kinds = test::all_kinds();
  test::Random random(101);
  std::size_t kind = 0;
  for (Index length = 1; length <= 300; ++length) {
    // Two kinds at a time go 12 times through all of them; short sequences are cheap.
    for (int i = 0; i < (length <= 40 ? 8 : 2); ++i, ++kind) {
      const Setting setting = random_setting(random, kinds[kind % kinds.size()], length, 9);
      check_setting(setting, 1000 + kind);
    }
  }
}

TEST_CASE("the forms agree for every kind of input at 70 and 200 tokens", "[law]") {
  test::Random random(103);
  std::uint64_t seed = 5000;
  for (const Kind& kind : test::all_kinds()) {
    for (const Index length : {70, 200}) {
      check_setting(random_setting(random, kind, length, 20), ++seed);
    }
  }
}

TEST_CASE("the forms agree around powers of two up to 4097", "[law]") {
  const std::vector<Kind> kinds = test::all_kinds();
  test::Random random(107);
  std::size_t kind = 0;
  for (Index power = 512; power <= 4096; power *= 2) {
    for (const Index length : {power - 1, power, power + 1}) {
      // The dense form takes time in T^2: many kinds where that is short.
      const Index count = std::max(Index{1}, 4 * 512 * 512 / (power * power));
      for (Index i = 0; i < count; ++i, kind += 7) {
        const Setting setting = random_setting(random, kinds[kind % kinds.size()], length, 3);
        check_setting(setting, 9000 + kind);
      }
    }
  }
}

TEST_CASE("the recurrent and the chunkwise form agree for every kind at 4097 tokens", "[law]") {
  test::Random random(109);
  std::uint64_t seed = 12000;
  for (const Kind& kind : test::all_kinds()) {
    const Setting setting = random_setting(random, kind, 4097, 6);
    INFO(setting << ", seed " << ++seed);
    test::Random numbers(seed);
    const auto tokens = test::random_tokens<double>(numbers, kind, setting.length, setting.d_k,
                                                    setting.d_v, setting.weights());
    const auto initial = test::random_state<double>(numbers, setting.start, setting.max_levels,
                                                    setting.d_k, setting.d_v);
    LogLinearState<double> final = initial;
    const Array<double> reads = recurrent(tokens.inputs(), final);
    const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
    check_forms(setting, tokens, initial, reads, final, scale);
  }
}
