// SPDX-License-Identifier: MIT
// Streams without an end: counts far beyond what one can wait for, up to the last one, and what the
// last level does with everything that is older than it can tell apart.

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "rules.hpp"
#include "support.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Eigen::Index;

/// A token at a position and its leaf, one number.
struct Leaf {
  std::uint64_t position;
  double value;
};

/// What each level holds after `count` tokens, from the positions alone.
std::vector<double> levels_of(const std::vector<Leaf>& leaves, std::uint64_t count, int max_levels,
                              LastLevel policy) {
  std::vector<double> levels(static_cast<std::size_t>(max_levels), 0.0);
  const int last = max_levels - 1;
  for (const auto& [position, value] : leaves) {
    const int level = level_of(position, count, ReadOrder::before_push, max_levels);
    double kept = 1;  // bucket after bucket that comes into the last level after the token's own
    if (level == last) {
      const std::uint64_t newer = (count >> last) - (position >> last) - 1;
      kept = policy == LastLevel::fold ? 1
             : policy == LastLevel::halve
                 ? std::ldexp(1, -static_cast<int>(std::min(newer, std::uint64_t{2000})))
                 : (newer == 0 ? 1 : 0);
    }
    levels[static_cast<std::size_t>(level)] += kept * value;
  }
  return levels;
}

template <LastLevel policy>
void check_far_counts() {
  constexpr std::uint64_t billion = std::uint64_t{1} << 33;
  using Layer = LogLinearAttention<KeyOnly<RetNet>, double, UnitWeights, double, policy>;
  for (const int max_levels : {1, 2, 5, 20, 33, 64}) {
    for (const Index d : {1, 4}) {  // without and with leaves that stand apart
      CAPTURE(max_levels, d);
      Layer layer({.d_model = 1, .d_k = d, .d_v = d, .max_levels = max_levels, .bias = false});
      layer.set_weight("w_key", detail::Matrix<double>::Ones(d, 1));
      layer.set_weight("w_value", detail::Matrix<double>::Ones(d, 1));
      LogLinearState<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, policy> plain(
          max_levels, d, d);
      std::vector<Leaf> leaves;
      bool exact = true;
      // A few tokens, then as many of nothing as it takes; in the end the last tokens there are.
      for (const auto& [from, tokens] : {std::pair{std::uint64_t{0}, 9},
                                         {std::uint64_t{40}, 3},
                                         {billion - 5, 20},
                                         {3 * billion + 1, 7},
                                         {UINT64_MAX - 11, 11}}) {
        layer.advance_to(from);
        plain.advance_to(from);
        for (int t = 0; t < tokens; ++t) {
          const double value = static_cast<double>(1 + leaves.size() % 7);
          const Eigen::VectorXd x = Eigen::VectorXd::Constant(1, std::sqrt(value) > 2 ? 2 : 1);
          leaves.push_back({layer.size(), x[0] * x[0]});
          layer.forward(x);
          plain.push_leaf(Eigen::VectorXd::Constant(d, x[0]), Eigen::VectorXd::Constant(d, x[0]));
          const auto expected = levels_of(leaves, layer.size(), max_levels, policy);
          const auto state = layer.log_linear_state();
          exact &= state == plain && plain.size() == layer.size();
          for (int l = 0; l < max_levels; ++l) {
            exact &= (state.level(l).array() == expected[static_cast<std::size_t>(l)]).all();
          }
        }
      }
      CHECK(exact);
      CHECK(layer.size() == UINT64_MAX);
      // Full: reads go on, writes are refused, and nothing changes.
      const auto before = layer.state();
      const Eigen::VectorXd one = Eigen::VectorXd::Ones(1);
      CHECK(test::mentions(test::error_of([&] { layer.forward(one); }), {"size is", "2^64 - 1"}));
      CHECK(layer.query_readonly(one).array().isFinite().all());
      CHECK(layer.state() == before);
      layer.advance_to(UINT64_MAX);
      CHECK(layer.state() == before);
    }
  }
}

template <class Inner, LastLevel policy>
using Overflowing = LogLinearAttention<Inner, double, NormalizedMixture, double, policy>;
constexpr Sizes sizes = {4, 5, 3};

template <LastLevel policy>
void check_reads() {
  for_each_rule([](const auto& inner, const char* name) {
    for (const int max_levels : {1, 2, 3}) {
      INFO(name << " levels " << max_levels);
      auto layer = make_layer<Overflowing<std::decay_t<decltype(inner)>, policy>>(
          {.sizes = sizes, .max_levels = max_levels, .read_order = ReadOrder::after_push}, inner);
      auto standing = layer;
      Normal normal(72);
      double worst = 0;
      for (int t = 0; t < 40; ++t) {
        const auto x = normal.vector<double>(4, 1);
        layer.forward(x);
        standing.restore(layer.snapshot());  // after the push, read as it stands
        standing.query_readonly(x);
        const double size = 1 + layer.state().norm() * 16;
        worst = std::max(worst, test::difference(layer.raw_read(), standing.raw_read()) / size);
      }
      CHECK(worst <= test::rounding<double>(64, 5));
    }
  });
}

/// What a mixture of means reads is the mixture of what each level reads over its tokens.
void check_means(ReadOrder order) {
  using Layer = LogLinearAttention<KeyOnly<DeltaNet>, double, MeanMixture>;
  auto layer = make_layer<Layer>({.sizes = sizes, .max_levels = 6, .read_order = order});
  Normal normal(74);
  for (std::uint64_t t = 0; t < 60; ++t) {
    const auto x = normal.vector<double>(4, 1);
    const auto before = layer.log_linear_state();
    const detail::Vector<double> q = layer.weight("w_query") * x;
    layer.forward(x);
    const detail::Vector<double> mixed = layer.lambda();
    detail::Vector<double> expected = detail::Vector<double>::Zero(3);
    const auto after = layer.log_linear_state();
    const auto& state = order == ReadOrder::after_push ? after : before;
    const int shift = order == ReadOrder::current_apart ? 1 : 0;
    double sum = 0;  // of the mixture itself
    for (int i = 0; i < mixed.size(); ++i) sum += std::ldexp(mixed[i], std::max(i - shift, 0));
    CHECK(std::abs(sum - 1) <= test::rounding<double>(8, 6));
    for (int l = 0; l < 6; ++l) expected += mixed[l + shift] * (state.level(l).transpose() * q);
    if (shift == 1) {
      const detail::Vector<double> k = (layer.weight("w_key") * x).normalized();
      const detail::Vector<double> v = layer.weight("w_value") * x;
      expected += mixed[0] * k.dot(q) * v;
    }
    CHECK(test::difference(layer.raw_read(), expected) <=
          test::rounding<double>(64, 5) * (1 + expected.norm()));
  }
}

template <LastLevel policy>
void check_gradient() {
  const auto check = [](const auto& inner, int max_levels) {
    using Inner = std::decay_t<decltype(inner)>;
    const auto layer = make_layer<Overflowing<Inner, policy>>(
        {.sizes = sizes, .max_levels = max_levels, .tokens = 7}, inner);  // 8: overflow
    Normal normal(73);
    const auto x = normal.vector<double>(4, 0.7), y = normal.vector<double>(3, 0.5);
    auto stepped = layer;
    stepped.set_learning_rate(1);
    stepped.train_one(x, y);
    for (const std::string& weight_name : layer.weight_names()) {
      INFO(weight_name);
      const detail::Matrix<double> weight = layer.weight(weight_name);
      const detail::Matrix<double> gradient = weight - stepped.weight(weight_name);
      detail::Matrix<double> difference = gradient;
      const double step = 1e-5;
      for (Index i = 0; i < weight.size(); ++i) {
        const auto loss = [&](double by) {
          auto moved = layer;
          moved.set_learning_rate(0);
          detail::Matrix<double> w = weight;
          w(i) += by;
          moved.set_weight(weight_name, w);
          return 0.5 * (moved.train_one(x, y) - y).squaredNorm();
        };
        difference(i) = (loss(step) - loss(-step)) / (2 * step);
      }
      // 1e-10: rounding of the loss over the step
      CHECK(detail::max_abs(gradient - difference) <= 1e-6 * detail::max_abs(difference) + 1e-10);
    }
  };
  for (const int max_levels : {1, 2, 4}) {
    CAPTURE(max_levels);
    check(GLA{.gate_bias = 1}, max_levels);
    check(GLAVector{.gate_bias = 1}, max_levels);
    check(Hawk{.gate_bias = 1, .input_bias = 0.5}, max_levels);
    check(GatedDeltaNet{.beta = Beta::per_token, .gate_bias = 1}, max_levels);
  }
}

}  // namespace

TEST_CASE("2^33 tokens and the last of 2^64 - 1", "[law]") {
  check_far_counts<LastLevel::fold>();
  check_far_counts<LastLevel::forget>();
  check_far_counts<LastLevel::halve>();
}

TEST_CASE("what is read after a push is what stands then, whatever the last level does", "[law]") {
  check_reads<LastLevel::fold>();
  check_reads<LastLevel::forget>();
  check_reads<LastLevel::halve>();
}

TEST_CASE("a mixture of means reads means, in every order", "[law]") {
  for (const ReadOrder order : read_orders) check_means(order);
}

TEST_CASE("gradients where the last level gives way", "[grad]") {
  check_gradient<LastLevel::forget>();
  check_gradient<LastLevel::halve>();
}

TEST_CASE("kept fractions", "[law]") {
  static_assert(kept_fraction(LastLevel::fold, UINT64_MAX) == 1);
  static_assert(kept_fraction(LastLevel::forget, 0) == 1);
  static_assert(kept_fraction(LastLevel::forget, 1) == 0);
  static_assert(kept_fraction(LastLevel::halve, 3) == 0.125);
  CHECK(kept_fraction(LastLevel::halve, 1074) == 0x1p-1074);
  CHECK(kept_fraction(LastLevel::halve, UINT64_MAX) == 0);
}
