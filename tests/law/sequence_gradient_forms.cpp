// SPDX-License-Identifier: MIT
// One gradient, computed in several ways: with any chunk size, in pieces, in float; and with log
// decays of -infinity, where differences have nothing to say.

#include <limits>

#include "catch.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

/// A gradient is the pullback of a read, sums of as many terms; a few times its rounding.
template <class Scalar>
double gradient_rounding(Index length, Index d) {
  return 4 * sequence_rounding<Scalar>(length, d);
}

/// Every array of `a` is that of `b`, relative to the largest coefficient of b's, or to `least`
/// where all of them are smaller than that.
template <class A>
void check_close(const SequenceGradients<A>& a, const SequenceGradients<double>& b,
                 double tolerance, double least = 0) {
  const auto check = [&](const char* name, const auto& of_a, const auto& of_b) {
    INFO(name);
    REQUIRE(of_a.size() == of_b.size());
    CHECK(relative_error(of_a, of_b, std::max(least, detail::max_abs(of_b))) <= tolerance);
  };
  test::visit_arrays(a, b, check);
  check("state", a.state, b.state);
}

Array<double> below(const Array<double>& first, const Array<double>& second) {
  Array<double> both(first.rows() + second.rows(), second.cols());
  both << first, second;
  return both;
}

}  // namespace

TEST_CASE("gradients do not depend on the chunk size", "[grad]") {
  std::uint64_t seed = 1800;
  for (const Kind& kind : test::all_kinds()) {
    const Setting setting{.kind = kind, .length = 170, .start = 21, .max_levels = 8};
    INFO(setting);
    test::Random random(++seed);
    const auto tokens = test::random_tokens<double>(random, kind, 170, 4, 3, setting.weights());
    const auto initial = test::random_state<double>(random, 21, 8, 4, 3);
    const Array<double> d_out = random.matrix<double>(170, 3),
                        d_final = random.matrix<double>(8, 12);
    const auto token_by_token = chunkwise_gradient(tokens.inputs(), initial, d_out, {1}, d_final);
    for (const Index chunk_size : {2, 8, 16, 64, 128, 256}) {
      INFO("chunk size " << chunk_size);
      check_close(chunkwise_gradient(tokens.inputs(), initial, d_out, {chunk_size}, d_final),
                  token_by_token, gradient_rounding<double>(170, 4));
    }
  }
}

TEST_CASE("the gradient from a tape is the gradient without one", "[grad]") {
  std::uint64_t seed = 1850;
  for (const Kind& kind : test::all_kinds()) {
    for (const Index chunk_size : {1, 16, 64}) {
      const Setting setting{.kind = kind, .length = 130, .start = 21, .max_levels = 8};
      INFO(setting << ", chunk size " << chunk_size);
      test::Random random(++seed);
      const auto tokens = test::random_tokens<double>(random, kind, 130, 4, 3, setting.weights());
      const auto initial = test::random_state<double>(random, 21, 8, 4, 3);
      const Array<double> d_out = random.matrix<double>(130, 3),
                          d_final = random.matrix<double>(8, 12);
      SequenceTape<double> tape;
      LogLinearState<double> with_tape = initial, without = initial;
      CHECK(test::same_bits(chunkwise(tokens.inputs(), with_tape, {chunk_size}, &tape),
                            chunkwise(tokens.inputs(), without, {chunk_size})));
      CHECK(with_tape == without);
      // Twice: a tape is not used up.
      for (int use = 0; use < 2; ++use) {
        check_close(chunkwise_gradient(tokens.inputs(), tape, d_out, d_final),
                    chunkwise_gradient(tokens.inputs(), initial, d_out, {chunk_size}, d_final), 0);
      }
    }
  }
}

TEST_CASE("the gradient from a tape without a state is that from an empty state", "[grad]") {
  std::uint64_t seed = 1880;
  for (const Kind& kind : test::all_kinds()) {
    INFO(name_of(kind));
    test::Random random(++seed);
    const auto tokens = test::random_tokens<double>(random, kind, 100, 4, 3, 8);
    const Array<double> d_out = random.matrix<double>(100, 3);
    const LogLinearState<double> empty(7, 4, 3);
    LogLinearState<double> state = empty;
    SequenceTape<double> tape;
    CHECK(test::same_bits(chunkwise(tokens.inputs(), {16}, &tape),
                          chunkwise(tokens.inputs(), state, {16})));
    auto expected = chunkwise_gradient(tokens.inputs(), empty, d_out, {16});
    CHECK(expected.state.isZero(0));
    expected.state.resize(0, 0);
    check_close(chunkwise_gradient(tokens.inputs(), tape, d_out), expected, 0);
    CHECK_THROWS_AS(chunkwise_gradient(tokens.inputs(), tape, d_out,
                                       Array<double>::Ones(tape.max_levels, 12).eval()),
                    std::invalid_argument);
  }
}

TEST_CASE("the gradient in pieces is the gradient of one pass", "[grad]") {
  std::uint64_t seed = 1900;
  for (const Kind& kind : test::all_kinds()) {
    for (const int max_levels : {2, 8}) {
      const Setting setting{.kind = kind, .length = 120, .start = 21, .max_levels = max_levels};
      test::Random random(++seed);
      const Index cut = random.below(121);
      INFO(setting << ", cut before token " << cut);
      const auto tokens = test::random_tokens<double>(random, kind, 120, 4, 3, setting.weights());
      const auto initial = test::random_state<double>(random, 21, max_levels, 4, 3);
      const Array<double> d_out = random.matrix<double>(120, 3),
                          d_final = random.matrix<double>(max_levels, 12);
      const auto in = tokens.inputs();
      const auto whole = chunkwise_gradient(in, initial, d_out, {16}, d_final);

      const auto first = in.slice(0, cut), second = in.slice(cut, 120 - cut);
      LogLinearState<double> middle = initial;
      chunkwise(first, middle, {16});
      const auto later =
          chunkwise_gradient(second, middle, d_out.bottomRows(120 - cut), {16}, d_final);
      auto pieces = chunkwise_gradient(first, initial, d_out.topRows(cut), {16}, later.state);
      test::visit_arrays(pieces, later, [](const char*, auto& into, const auto& after) {
        into = into.size() == 0 ? after : after.size() == 0 ? into : below(into, after);
      });
      check_close(pieces, whole, gradient_rounding<double>(120, 4));
    }
  }
}

TEST_CASE("gradients in float are those in double", "[grad]") {
  // flash-linear-attention allows 0.007 and more, relative to the root mean square.
  std::uint64_t seed = 2000;
  for (const Kind& kind : test::all_kinds()) {
    for (const Index chunk_size : chunk_sizes) {
      const Setting setting{
          .kind = kind, .length = 200, .d_k = 8, .d_v = 8, .start = 21, .max_levels = 9};
      INFO(setting << ", chunk size " << chunk_size);
      test::Random random(++seed);
      const auto tokens = test::random_tokens<float>(random, kind, 200, 8, 8, setting.weights());
      const auto initial = test::random_state<float>(random, 21, 9, 8, 8);
      const Array<float> d_out = random.matrix<float>(200, 8),
                         d_final = random.matrix<float>(9, 64);
      const auto wide = test::cast<double>(tokens);
      const double tolerance = gradient_rounding<float>(200, 8);
      REQUIRE(tolerance < 0.001);
      check_close(
          chunkwise_gradient(tokens.inputs(), initial, d_out, {chunk_size}, d_final),
          chunkwise_gradient(wide.inputs(), initial.cast<double>(), d_out.cast<double>().eval(),
                             {chunk_size}, d_final.cast<double>().eval()),
          tolerance);
    }
  }
}

TEST_CASE("the gradient of a log decay of -infinity is 0 and nothing is NaN", "[grad]") {
  // The decay is e^g, so is its derivative: both are 0 there, and all other gradients are the
  // limits of those at ever lower decays.
  constexpr double lowest = -std::numeric_limits<double>::infinity();
  std::uint64_t seed = 2300;
  for (const Kind& kind : test::all_kinds()) {
    if (kind.decay == test::Decay::none && !kind.decays_values) continue;
    INFO(name_of(kind));
    test::Random random(++seed);
    auto tokens = test::random_tokens<double>(random, kind, 100, 4, 3, 8);
    const auto initial = test::random_state<double>(random, 21, 7, 4, 3);
    const Array<double> d_out = random.matrix<double>(100, 3),
                        d_final = random.matrix<double>(7, 12);
    for (auto* gates : {&tokens.g, &tokens.g_value}) {
      for (double& gate : gates->reshaped()) gate = random.below(6) == 0 ? lowest : gate;
    }
    auto finite = tokens;
    for (auto* gates : {&finite.g, &finite.g_value}) {
      for (double& gate : gates->reshaped()) gate = std::max(gate, -300.0);
    }
    const auto gradients = chunkwise_gradient(tokens.inputs(), initial, d_out, {64}, d_final);
    check_close(gradients, chunkwise_gradient(finite.inputs(), initial, d_out, {64}, d_final),
                gradient_rounding<double>(100, 4), 1e-100);  // far above exp(-300)
    const auto check = [&](const Array<double>& gates, const Array<double>& gradient) {
      for (Index i = 0; i < gates.size(); ++i) {
        if (gates.data()[i] == lowest) CHECK(gradient.data()[i] == 0);
      }
    };
    check(tokens.g, gradients.g);
    check(tokens.g_value, gradients.g_value);
  }
}
