// SPDX-License-Identifier: MIT
// Results of the sequence form in matrices of the caller: the same bits in the same memory, nothing
// where numbers are refused, and never where the tokens are read.

#include <limits>
#include <stdexcept>

#include "catch.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr Index length = 150, d_k = 5, d_v = 3;
constexpr int max_levels = 6;
constexpr std::uint64_t start = 21;
constexpr int weights = 9;  // what 150 tokens from nothing on read, and more than these do
constexpr ChunkwiseOptions options{16};

/// What a caller holds: tokens, the state before them, and a gradient of everything after them.
struct Case {
  explicit Case(const Kind& kind)
      : tokens(random_tokens<double>(random, kind, length, d_k, d_v, weights)),
        state(random_state<double>(random, start, max_levels, d_k, d_v)),
        d_out(random.matrix<double>(length, d_v)),
        d_final(random.matrix<double>(max_levels, d_k * d_v)) {}

  /// Of a pass from the state, which stays as it is.
  [[nodiscard]] SequenceTape<double> tape() const {
    SequenceTape<double> kept;
    LogLinearState<double> after = state;
    chunkwise(tokens.inputs(), after, options, &kept);
    return kept;
  }

  test::Random random{7};
  Tokens<double> tokens;
  LogLinearState<double> state;
  Array<double> d_out, d_final;
};

const Kind some_kind{Decay::key_rows, true, Update::rank_one, 2, 2};

/// Gradients of the inputs' shapes with other numbers.
SequenceGradients<double> other_numbers(SequenceGradients<double> gradients) {
  detail::for_each_array([](const char*, auto& array) { array.setConstant(7); }, gradients);
  gradients.state.setConstant(7);
  return gradients;
}

void check_same(const SequenceGradients<double>& computed,
                const SequenceGradients<double>& expected) {
  detail::for_each_array(
      [&](const char* name, const auto& array, const auto& known) {
        INFO(name);
        CHECK(same_bits(array, known));
      },
      computed, expected);
  CHECK(same_bits(computed.state, expected.state));
}

}  // namespace

TEST_CASE("the caller's matrices take the reads, with the same bits", "[law]") {
  for (const Kind& kind : test::all_kinds()) {
    INFO(name_of(kind));
    const Case given(kind);
    const auto in = given.tokens.inputs();
    LogLinearState<double> state = given.state, expected_state = given.state;
    SequenceTape<double> tape, expected_tape;
    const Array<double> expected = chunkwise(in, expected_state, options, &expected_tape);
    Array<double> out = Array<double>::Constant(length, d_v, 7);
    const double* const memory = out.data();
    chunkwise(in, state, out, options, &tape);
    CHECK(same_bits(out, expected));
    CHECK(out.data() == memory);
    CHECK(state == expected_state);
    CHECK(same_bits(chunkwise_gradient(in, tape, given.d_out).k,
                    chunkwise_gradient(in, expected_tape, given.d_out).k));

    const Array<double> from_nothing = chunkwise(in, options);
    chunkwise(in, out, options);
    CHECK(same_bits(out, from_nothing));
    CHECK(out.data() == memory);

    LogLinearState<double> one(1, d_k, d_v), expected_one = one;  // which has a path of its own
    const Array<double> linear = chunkwise(in, expected_one, options);
    chunkwise(in, one, out, options);
    CHECK(same_bits(out, linear));
    CHECK(out.data() == memory);
    CHECK(one == expected_one);
  }
}

TEST_CASE("the caller's matrices take the gradients, with the same bits", "[law]") {
  for (const Kind& kind : test::all_kinds()) {
    INFO(name_of(kind));
    const Case given(kind);
    const auto in = given.tokens.inputs();
    const SequenceTape<double> tape = given.tape();
    const auto expected = chunkwise_gradient(in, tape, given.d_out, given.d_final);
    SequenceGradients<double> gradients = other_numbers(expected);
    const double *const q = gradients.q.data(), *const of_state = gradients.state.data();
    chunkwise_gradient(in, tape, given.d_out, gradients, given.d_final);
    check_same(gradients, expected);
    CHECK(gradients.q.data() == q);
    CHECK(gradients.state.data() == of_state);

    // Without a state there is no gradient of one, whatever the caller's memory held.
    SequenceTape<double> without_state;
    Array<double> out;
    chunkwise(in, out, options, &without_state);
    chunkwise_gradient(in, without_state, given.d_out, gradients);
    check_same(gradients, chunkwise_gradient(in, without_state, given.d_out));
    CHECK(gradients.state.size() == 0);
  }
}

TEST_CASE("the caller's matrices take any size, and that of no token", "[law]") {
  Case given(some_kind);
  const auto in = given.tokens.inputs();
  Array<double> out;
  SequenceGradients<double> gradients;
  SequenceTape<double> tape;
  for (const Index count : {length, Index{1}, Index{0}, Index{40}}) {
    const auto part = in.slice(0, count);
    LogLinearState<double> state = given.state, expected_state = given.state;
    chunkwise(part, state, out, options, &tape);
    CHECK(same_bits(out, chunkwise(part, expected_state, options)));
    const auto d_part = given.d_out.topRows(count);
    chunkwise_gradient(part, tape, d_part, gradients);
    check_same(gradients, chunkwise_gradient(part, tape, d_part));
  }
}

TEST_CASE("the gradient of the state may be that of the tokens before", "[law]") {
  const Case given(some_kind);
  const auto in = given.tokens.inputs();
  const SequenceTape<double> tape = given.tape();
  const auto expected = chunkwise_gradient(in, tape, given.d_out, given.d_final);
  SequenceGradients<double> gradients = other_numbers(expected);
  gradients.state = given.d_final;
  chunkwise_gradient(in, tape, given.d_out, gradients, gradients.state);
  check_same(gradients, expected);
}

TEST_CASE("refused numbers leave no result, and refused shapes the old one", "[law]") {
  Case given(some_kind);
  const auto in = given.tokens.inputs();
  SequenceTape<double> tape;
  LogLinearState<double> state = given.state;
  Array<double> out = chunkwise(in, state, options, &tape);
  SequenceGradients<double> gradients = chunkwise_gradient(in, tape, given.d_out);
  const Array<double> reads = out, d_q = gradients.q;
  const LogLinearState<double> before = state;

  CHECK_THROWS_AS(chunkwise(in, state, out, {0}), std::invalid_argument);
  CHECK_THROWS_AS(chunkwise_gradient(in, tape, given.d_out.topRows(3).eval(), gradients),
                  std::invalid_argument);
  CHECK(same_bits(out, reads));
  CHECK(same_bits(gradients.q, d_q));

  Tokens<double> broken = given.tokens;
  broken.v(100 * 2, 1) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(chunkwise(broken.inputs(), state, out, options, &tape), std::invalid_argument);
  CHECK(out.size() == 0);
  CHECK(state == before);
  CHECK(tape.start == start);
  out = reads;
  CHECK_THROWS_AS(chunkwise(broken.inputs(), out, options), std::invalid_argument);
  CHECK(out.size() == 0);

  const auto check_empty = [&](const Array<double>& d_reads, const Array<double>& d_last) {
    SequenceGradients<double> old = gradients;
    CHECK_THROWS_AS(chunkwise_gradient(in, tape, d_reads, old, d_last), std::invalid_argument);
    check_same(old, {});
  };
  check_empty(Array<double>::Constant(length, d_v, 1e308), given.d_final);
  const Array<double> broken_final = given.d_final * std::numeric_limits<double>::infinity();
  check_empty(given.d_out, broken_final);
}

TEST_CASE("results may not lie where they are computed from", "[law]") {
  Case given(some_kind);
  const auto in = given.tokens.inputs();
  const SequenceTape<double> tape = given.tape();
  LogLinearState<double> state = given.state;
  const Tokens<double> before = given.tokens;
  const auto refused = [&](const auto& call, const char* result, const char* array) {
    INFO(result << " " << array);
    CHECK(mentions(error_of(call), {"the memory of", result, "shared with", array, "its own"}));
  };
  visit_arrays(given.tokens, before, [&](const char* name, auto& array, const auto& old) {
    if (array.size() == 0) return;
    refused([&] { chunkwise(in, state, array, options); }, "out", name);
    refused([&] { chunkwise(in, array, options); }, "out", name);
    SequenceGradients<double> gradients;
    gradients.u.swap(array);  // the inputs view this memory still
    refused([&] { chunkwise_gradient(in, tape, given.d_out, gradients); }, "the gradient of u",
            name);
    gradients.u.swap(array);
    CHECK(same_bits(array, old));
  });
  SequenceGradients<double> gradients;
  const SequenceArray<double> d_out = given.d_out;
  gradients.v.swap(given.d_out);
  refused([&] { chunkwise_gradient(in, tape, d_out, gradients); }, "the gradient of v", "d_out");
}
