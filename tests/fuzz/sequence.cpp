// SPDX-License-Identifier: MIT
// Random sequences, gates, chunk sizes, states and packings. Gradients are compared with central
// differences of the definition along a random direction of each array, which every coefficient has
// a part in.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "catch.hpp"
#include "oracles/differences.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr int settings = 1500, packings = 300;

/// What a gradient may be off by, relative to its length, as in every gradient test.
constexpr double relative_tolerance = 1e-6;

/// A setting, its numbers, and a linear function of the reads and of the state after them.
struct Case {
  Setting setting;
  Index chunk_size;
  Tokens<double> tokens;
  LogLinearState<double> initial;
  Array<double> d_out, d_final;

  /// The terms that the function is the sum of.
  [[nodiscard]] Eigen::VectorXd terms() const {
    const Array<double> out = dense(tokens.inputs(), initial);
    LogLinearState<double> state = initial;
    recurrent(tokens.inputs(), state);
    Eigen::VectorXd all(d_out.size() + d_final.size());
    all << d_out.cwiseProduct(out).reshaped<Eigen::RowMajor>(),
        d_final.reshaped<Eigen::RowMajor>().cwiseProduct(state.flat_state());
    return all;
  }
};

/// Exact zeros and ones, nearly exact forgetting, keys and level weights of 0.
void put_edges(test::Random& random, Tokens<double>& tokens) {
  for (double& beta : tokens.beta.reshaped()) beta = random.below(3) == 0 ? random.below(2) : beta;
  for (Index t = 0; t < tokens.k.rows(); ++t) tokens.k.row(t) *= random.below(6) == 0 ? 0 : 1;
  for (Index t = 0; t < tokens.lambda.rows(); ++t) {
    tokens.lambda.row(t) *= random.below(5) == 0 ? 0 : 1;
  }
  for (Array<double>* gates : {&tokens.g, &tokens.g_value}) {
    for (double& gate : gates->reshaped()) {
      const int which = random.below(10);
      gate = which == 0 ? -40 : which < 3 ? 0 : gate;
    }
  }
}

Case random_case(test::Random& random) {
  static const std::vector<Kind> kinds = test::all_kinds();
  constexpr std::uint64_t starts[] = {0, 0,  1,  2,  3,   6,    7,
                                      8, 15, 31, 64, 100, 1000, (std::uint64_t{1} << 40) - 3};
  constexpr int levels[] = {1, 2, 3, 4, 7, 12, max_level_limit};
  Case c{
      .setting = {.kind =
                      kinds[static_cast<std::size_t>(random.below(static_cast<int>(kinds.size())))],
                  .length = 1 + random.below(random.below(5) == 0 ? 150 : 30),
                  .d_k = 1 + random.below(6),
                  .d_v = 1 + random.below(6),
                  .start = starts[random.below(std::size(starts))],
                  .max_levels = levels[random.below(std::size(levels))]},
      .chunk_size = 1 + random.below(random.below(2) == 0 ? 8 : 100),
      .tokens = {},
      .initial = LogLinearState<double>(1, 1, 1),
      .d_out = {},
      .d_final = {}};
  const auto& [kind, length, d_k, d_v, start, max_levels] = c.setting;
  const int unread = 2 * random.below(3);
  c.tokens =
      test::random_tokens<double>(random, kind, length, d_k, d_v, c.setting.weights() + unread);
  if (random.below(3) == 0) put_edges(random, c.tokens);
  c.initial = test::random_state<double>(random, start, max_levels, d_k, d_v);
  c.d_out = random.matrix<double>(length, d_v);
  c.d_final = random.matrix<double>(max_levels, d_k * d_v);
  return c;
}

/// By a tape, or without.
SequenceGradients<double> gradients_of(const Case& c, bool by_tape) {
  const auto in = c.tokens.inputs();
  if (!by_tape) return chunkwise_gradient(in, c.initial, c.d_out, {c.chunk_size}, c.d_final);
  SequenceTape<double> tape;
  LogLinearState<double> state = c.initial;
  chunkwise(in, state, {c.chunk_size}, &tape);
  return chunkwise_gradient(in, tape, c.d_out, c.d_final);
}

/// `move_by(step)` moves an array of the case that far along `direction`.
template <class MoveBy>
void check_direction(const Case& c, const Array<double>& gradient, const Array<double>& direction,
                     MoveBy move_by) {
  constexpr double step = 1e-3;  // truncation step^4, rounding epsilon / step
  const double magnitude = c.terms().cwiseAbs().sum();
  const auto terms_at = [&](double by) {
    move_by(by);
    return c.terms();
  };
  const Eigen::VectorXd difference = derivative(step, terms_at);
  move_by(0);
  const double rounding = 8 * std::numeric_limits<double>::epsilon() * magnitude / step;
  CHECK(std::abs(difference.sum() - gradient.cwiseProduct(direction).sum()) <=
        relative_tolerance * gradient.norm() + rounding);
}

/// A direction along which no coefficient moves by more than 1.
Array<double> random_direction(test::Random& random, const Array<double>& array) {
  return random.matrix<double>(array.rows(), array.cols());
}

}  // namespace

TEST_CASE("gradients of random sequences along random directions", "[fuzz]") {
  for (std::uint64_t seed = 1; seed <= settings; ++seed) {
    test::Random random(seed);
    Case c = random_case(random);
    INFO(c.setting << ", chunk size " << c.chunk_size << ", seed " << seed);
    const SequenceGradients<double> gradients = gradients_of(c, random.below(2) == 0);
    test::visit_arrays(
        c.tokens, gradients, [&](const char* name, Array<double>& array, const auto& gradient) {
          INFO(name);
          REQUIRE(gradient.rows() == array.rows());
          REQUIRE(gradient.cols() == array.cols());
          if (array.size() == 0) return;
          const Array<double> at = array, direction = random_direction(random, array);
          check_direction(c, gradient, direction, [&](double by) { array = at + by * direction; });
        });
    INFO("initial state");
    const Index size = c.setting.d_k * c.setting.d_v;
    const LogLinearState<double> at = c.initial;
    const Array<double> levels =
        Eigen::Map<const Array<double>>(at.flat_state().data(), c.setting.max_levels, size);
    const Array<double> direction = random_direction(random, levels);
    check_direction(c, gradients.state, direction, [&](double by) {
      const Array<double> moved = levels + by * direction;
      c.initial.replace(at.size(), [&](int l) {
        return Eigen::Map<const Array<double>>(moved.row(l).data(), c.setting.d_k, c.setting.d_v);
      });
    });
  }
}

TEST_CASE("random packings, empty sequences among them, are the sequences alone", "[fuzz]") {
  int empty = 0;
  for (std::uint64_t seed = 1; seed <= packings; ++seed) {
    test::Random random(10000 + seed);
    const Case c = random_case(random);
    const Index length = c.setting.length, max_levels = c.setting.max_levels;
    INFO(c.setting << ", chunk size " << c.chunk_size << ", seed " << seed);
    std::vector<Index> cuts{0, length};
    for (int n = random.below(6); n > 0; --n) {
      cuts.push_back(random.below(static_cast<int>(length) + 1));
      if (random.below(2) == 0) cuts.push_back(cuts.back());
    }
    std::sort(cuts.begin(), cuts.end());
    const std::size_t count = cuts.size() - 1;
    std::vector<LogLinearState<double>> states(count, c.initial);
    const auto in = c.tokens.inputs();
    const ChunkwiseOptions options{c.chunk_size};
    const auto gradients = chunkwise_gradient(in, cuts, states, c.d_out, options);
    const Array<double> out = chunkwise(in, cuts, states, options);
    for (std::size_t n = 0; n < count; ++n) {
      const Index first = cuts[n], tokens = cuts[n + 1] - first;
      empty += tokens == 0 ? 1 : 0;
      INFO("tokens " << first << " to " << first + tokens);
      LogLinearState<double> state = c.initial;
      CHECK(test::same_bits(out.middleRows(first, tokens).eval(),
                            chunkwise(in.slice(first, tokens), state, options)));
      CHECK(states[n] == state);
      const auto alone = chunkwise_gradient(in.slice(first, tokens), c.initial,
                                            c.d_out.middleRows(first, tokens), options);
      test::visit_arrays(gradients, alone, [&](const char* name, const auto& all, const auto& one) {
        INFO(name);
        const Index each = all.rows() / length;
        CHECK((all.middleRows(first * each, tokens * each) == one));
      });
      CHECK((gradients.state.middleRows(static_cast<Index>(n) * max_levels, max_levels) ==
             alone.state));
    }
  }
  CHECK(empty > packings / 2);
}
