// SPDX-License-Identifier: MIT
// Where the sequence form must give what is known otherwise: linear attention when all level
// weights are 1, exact forgetting when a log decay is -infinity, and no NaN from decays near 0.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "oracles/one_state.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr double lowest = -std::numeric_limits<double>::infinity();

/// Calls `check(name, reads, final state)` for each of the forms; the dense one leaves no state.
template <class Scalar, class Check>
void for_each_form(const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& initial,
                   Check check) {
  const Array<Scalar> by_definition = dense(in, initial);
  LogLinearState<Scalar> state = initial;
  const Array<Scalar> by_recurrence = recurrent(in, state);
  check("dense", by_definition, state);
  check("recurrent", by_recurrence, state);
  for (const Index chunk_size : chunk_sizes) {
    state = initial;
    const Array<Scalar> by_chunks = chunkwise(in, state, {chunk_size});
    check("chunkwise " + std::to_string(chunk_size), by_chunks, state);
  }
}

template <class Scalar>
test::Matrix<double> sum_of_levels(const LogLinearState<Scalar>& state) {
  test::Matrix<double> sum = test::Matrix<double>::Zero(state.d_k(), state.d_v());
  for (int l : state.active_levels()) sum += state.level(l).template cast<double>();
  return sum;
}

/// The gates of a sequence whose entries `change(value, t)` replaces.
template <class Scalar, class Change>
void change_gates(Tokens<Scalar>& tokens, Change change) {
  for (auto* gates : {&tokens.g, &tokens.g_value}) {
    for (Index t = 0; t < gates->rows(); ++t) {
      for (Index i = 0; i < gates->cols(); ++i) change((*gates)(t, i), t);
    }
  }
}

}  // namespace

TEST_CASE("with all level weights 1 every form is linear attention", "[law]") {
  std::uint64_t seed = 20;
  for (const Kind& kind : test::all_kinds()) {
    for (const int max_levels : {1, 3, 8}) {
      const Setting setting{
          .kind = kind, .length = 150, .d_k = 5, .d_v = 3, .start = 21, .max_levels = max_levels};
      INFO(setting);
      test::Random random(++seed);
      auto tokens = test::random_tokens<double>(random, kind, 150, 5, 3, setting.weights());
      tokens.lambda.setOnes();
      const auto initial = test::random_state<double>(random, 21, max_levels, 5, 3);
      test::Matrix<double> state = sum_of_levels(initial);
      const Array<double> reads = linear_attention(kind, tokens, state);
      const double tolerance = sequence_rounding<double>(150, 5);
      const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
      for_each_form(tokens.inputs(), initial,
                    [&](const std::string& form, const auto& computed, const auto& final) {
                      INFO(form);
                      CHECK(relative_error(computed, reads, scale) <= tolerance);
                      CHECK(relative_error(sum_of_levels(final), state,
                                           std::max(1.0, detail::max_abs(state))) <= tolerance);
                    });
    }
  }
}

namespace {

/// What stands before the token that forgets may be anything: its numbers are replaced by others
/// and no bit of any later read or of the final state may change.
void check_forgetting(const Kind& kind, std::uint64_t seed) {
  constexpr Index length = 90, forgets = 37, after = length - forgets;
  test::Random random(seed);
  auto tokens = test::random_tokens<double>(random, kind, length, 4, 3, 9);
  change_gates(tokens, [](double& gate, Index t) { gate = t == forgets ? lowest : gate; });
  auto others = tokens;
  const auto fresh = test::random_tokens<double>(random, kind, forgets, 4, 3, 9);
  others.k.topRows(2 * forgets) = fresh.k;
  others.v.topRows(2 * forgets) = fresh.v;
  const auto initial = test::random_state<double>(random, 5, 8, 4, 3);
  std::vector<Array<double>> reads;
  std::vector<LogLinearState<double>> states;
  for_each_form(tokens.inputs(), initial, [&](const auto&, const auto& computed, auto& final) {
    CHECK(computed.allFinite());
    reads.push_back(computed);
    states.push_back(final);
  });
  std::size_t n = 0;
  for_each_form(others.inputs(), initial,
                [&](const std::string& form, const auto& computed, const auto& final) {
                  INFO(name_of(kind) << " " << form);
                  CHECK((computed.bottomRows(after) == reads[n].bottomRows(after)));
                  CHECK((computed.topRows(forgets) != reads[n].topRows(forgets)));
                  CHECK(final == states[n]);
                  ++n;
                });
}

}  // namespace

TEST_CASE("a log decay of -infinity forgets exactly", "[law]") {
  check_forgetting({.decay = test::Decay::scalar, .leaves = 2}, 301);
  check_forgetting({.decay = test::Decay::scalar, .update = test::Update::delta, .leaves = 2}, 302);
}

TEST_CASE("a log decay of -infinity in every row or column forgets exactly", "[law]") {
  using test::Decay, test::Update;
  check_forgetting({.decay = Decay::key_rows, .leaves = 2}, 303);
  check_forgetting({.decay = Decay::key_rows, .update = Update::delta, .leaves = 2}, 304);
  check_forgetting({.decays_values = true, .leaves = 2}, 305);
  check_forgetting({.decays_values = true, .update = Update::delta, .leaves = 2}, 306);
}

TEST_CASE("forms agree where log decays are -infinity here and there", "[law]") {
  std::uint64_t seed = 400;
  for (const Kind& kind : test::all_kinds()) {
    INFO(name_of(kind));
    test::Random random(++seed);
    auto tokens = test::random_tokens<double>(random, kind, 140, 4, 3, 9);
    change_gates(tokens, [&](double& g, Index) { g = random.below(10) == 0 ? lowest : g; });
    const auto initial = test::random_state<double>(random, 45, 8, 4, 3);
    const Array<double> reads = dense(tokens.inputs(), initial);
    REQUIRE(reads.allFinite());
    const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
    for_each_form(
        tokens.inputs(), initial, [&](const std::string& form, const auto& computed, const auto&) {
          INFO(form);
          CHECK(relative_error(computed, reads, scale) <= sequence_rounding<double>(140, 4));
        });
  }
}

TEMPLATE_TEST_CASE("decays near 0 lose nothing that is still there", "[law]", float, double) {
  // Cumulative products of these underflow within two tokens, and quotients of them would be 0 / 0;
  // the token's own leaf and the one or two before it are what a read must still see.
  using Scalar = TestType;
  std::uint64_t seed = 500;
  for (const Kind& kind : test::all_kinds()) {
    if (kind.decay == test::Decay::none && !kind.decays_values) continue;
    for (const double log_decay : {-200.0, -80.0, -700.0, -1e5}) {
      INFO(name_of(kind) << " log decay " << log_decay);
      test::Random random(++seed);
      auto tokens = test::random_tokens<Scalar>(random, kind, 100, 4, 3, 9);
      change_gates(tokens, [&](Scalar& gate, Index) {
        gate = random.below(3) == 0 ? gate : static_cast<Scalar>(log_decay);
      });
      const auto initial = test::random_state<Scalar>(random, 45, 8, 4, 3);
      const auto wide = test::cast<double>(tokens);
      const Array<double> reads = dense(wide.inputs(), initial.template cast<double>());
      const double scale = std::max(detail::max_abs(reads), largest_term(tokens, initial));
      for_each_form(
          tokens.inputs(), initial,
          [&](const std::string& form, const auto& computed, const auto& final) {
            INFO(form);
            CHECK(relative_error(computed, reads, scale) <= sequence_rounding<Scalar>(100, 4));
            CHECK(final.flat_state().allFinite());
          });
    }
  }
}

TEST_CASE("only the last leaf is left after a decay to 0 at every token", "[law]") {
  // o_t = lambda_t0 (q_t . k_t) v_t, whatever the rest.
  for (const bool of_values : {false, true}) {
    const Kind kind{of_values ? test::Decay::none : test::Decay::key_rows, of_values};
    test::Random random(7);
    auto tokens = test::random_tokens<double>(random, kind, 77, 5, 4, 8);
    change_gates(tokens, [](double& gate, Index) { gate = lowest; });
    Array<double> own(77, 4);
    for (Index t = 0; t < 77; ++t) {
      own.row(t) = tokens.lambda(t, 0) * tokens.q.row(t).dot(tokens.k.row(t)) * tokens.v.row(t);
    }
    for_each_form(
        tokens.inputs(), LogLinearState<double>(7, 5, 4),
        [&](const std::string& form, const auto& computed, const auto& final) {
          INFO(form);
          CHECK(test::difference(computed, own) <= test::rounding<double>(4, 5));
          const test::Matrix<double> leaf = tokens.k.row(76).transpose() * tokens.v.row(76);
          CHECK(test::difference(sum_of_levels(final), leaf) <= test::rounding<double>(1));
        });
  }
}

TEMPLATE_TEST_CASE("what decays to nothing ends at zero, not in denormal numbers", "[law]", float,
                   double) {
  // A delta rule of strength 1/2 forgets every direction; a chunk takes the oldest level down by
  // some four decades, so that some chunk would leave it denormal.
  const int chunks = std::is_same_v<TestType, float> ? 31 : 250;
  test::Random random(77);
  LogLinearState<TestType> state(16, 4, 3), by_tokens = state;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    auto t = test::random_tokens<TestType>(random, {.update = test::Update::delta}, 64, 4, 3, 16);
    t.k.rowwise().normalize();
    t.beta.setConstant(TestType(0.5));
    const Array<TestType> out = chunkwise(t.inputs(), state);
    for (const TestType x : state.flat_state()) {
      CHECK((x == 0 || std::abs(x) >= std::numeric_limits<TestType>::min()));
    }
    CHECK(test::difference(out, recurrent(t.inputs(), by_tokens)) <=
          test::rounding<TestType>(4, 64 * chunks));
  }
  const int oldest = levels_needed(state.size()) - 1;
  CHECK(state.level(oldest).isZero(0));
  CHECK_FALSE(state.flat_state().isZero(0));
}

TEMPLATE_TEST_CASE("levels whose sum leaves the scalar's range are refused, whatever follows",
                   "[law]", float, double) {
  using Scalar = TestType;
  const Scalar large = std::sqrt(std::numeric_limits<Scalar>::max()) * Scalar(0.75);
  const Index length = 300, d = 4;
  Array<Scalar> q = Array<Scalar>::Constant(length, d, 1 / (large * large)),
                k = Array<Scalar>::Zero(length, d), v = Array<Scalar>::Zero(length, d),
                lambda = Array<Scalar>::Ones(length, 12), g = Array<Scalar>::Zero(length, 1);
  for (const Index t : {Index{3}, Index{130}}) {  // they come to lie in two levels
    k.row(t).setConstant(large);
    v.row(t).setConstant(large);
  }
  g(195, 0) = -100;  // where these are about to merge
  const SequenceInputs<Scalar> in{.q = q, .k = k, .v = v, .lambda = lambda, .g = g};
  const LogLinearState<Scalar> before(12, d, d);
  LogLinearState<Scalar> state = before;
  CHECK_THROWS_AS(recurrent(in, state), std::invalid_argument);
  CHECK(state == before);
  CHECK_THROWS_AS(chunkwise(in, state), std::invalid_argument);
  CHECK(state == before);
}
