// SPDX-License-Identifier: MIT
// Identities that hold to the bit, whatever the rule, read order, scalar, size and number of
// levels.

#include <array>
#include <thread>
#include <vector>

#include "catch.hpp"
#include "rules.hpp"

namespace law_layer {

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr Sizes sizes[] = {{5, 4, 3}, {4, 1, 2}, {3, 9, 66}};

/// Calls `check(layer, normal, size)` with a layer for every combination.
template <class Scalar, class Check>
void for_each_layer(Check check) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    for (const Sizes& size : sizes) {
      for (const ReadOrder order : read_orders) {
        for (const int levels : level_counts) {
          INFO(name << " " << name_of(order) << " levels " << levels << " d_k " << size.d_k);
          Normal normal(7);
          auto layer = make_layer<LogLinearAttention<Inner, Scalar>>(
              {.sizes = size, .max_levels = levels, .read_order = order}, inner);
          check(layer, normal, size);
        }
      }
    }
  });
}

}  // namespace

TEMPLATE_TEST_CASE("a stream of forwards and training steps obeys the laws", "[law]", float,
                   double) {
  for_each_layer<TestType>([](auto& layer, Normal& normal, const Sizes& size) {
    auto pristine = layer;
    const int levels = layer.log_linear_state().max_levels();
    const auto shape = layer.state().size();
    bool bounded = true, constant = true, mixes = true, bits = true, readonly = true, reads = true;
    for (std::uint64_t n = 0; n < 20; ++n) {
      const auto x = normal.vector<TestType>(size.d_model, 1);
      const auto y = normal.vector<TestType>(size.d_v, 0.3);
      const auto before = layer;
      const detail::Vector<TestType> answer = layer.query_readonly(x);
      readonly &= same_layer(before, layer);
      const detail::Vector<TestType> o = n % 3 == 2 ? layer.train_one(x, y) : layer.forward(x);
      if (n % 3 != 2 && layer.read_order() == ReadOrder::before_push) reads &= same_bits(o, answer);
      bounded &= o.cwiseAbs().maxCoeff() <= 1 && answer.cwiseAbs().maxCoeff() <= 1;
      constant &= layer.state().size() == shape;
      mixes &= std::abs(static_cast<double>(layer.lambda().sum()) - 1) <=
                   4 * static_cast<double>(layer.lambda().size()) *
                       static_cast<double>(std::numeric_limits<TestType>::epsilon()) &&
               layer.lambda().minCoeff() >= 0;
      const auto& state = layer.log_linear_state();
      bits &= state.size() == n + 1;
      for (int l = 0; l < levels; ++l) {
        const bool expected = l == levels - 1 ? (n + 1) >> l != 0 : ((n + 1) >> l & 1) != 0;
        bits &= state.is_active(l) == expected;
        if (!expected) bits &= state.level(l).isZero(0);
      }
    }
    CHECK(bounded);
    CHECK(constant);
    CHECK(mixes);
    CHECK(bits);
    CHECK(readonly);
    CHECK(reads);

    // Reset equals new, weights apart, which training has moved and reset keeps.
    auto trained = layer;
    layer.reset();
    CHECK(layer.state().isZero(0));
    CHECK(layer.log_linear_state().size() == 0);
    CHECK(layer.train_step_count() == trained.train_step_count());
    copy_weights(layer, pristine);
    const auto x = normal.vector<TestType>(size.d_model, 1);
    CHECK(same_bits(layer.forward(x), pristine.forward(x)));
    CHECK(same_bits(layer.state(), pristine.state()));
  });
}

TEMPLATE_TEST_CASE("the same seed gives the same bits", "[law]", float, double) {
  for_each_layer<TestType>([](auto& layer, Normal& normal, const Sizes& size) {
    using Layer = std::decay_t<decltype(layer)>;
    const auto options = [&](std::uint64_t seed) {
      return typename Layer::Options{.inner = layer.inner(),
                                     .d_model = size.d_model,
                                     .d_k = size.d_k,
                                     .d_v = size.d_v,
                                     .max_levels = layer.log_linear_state().max_levels(),
                                     .read_order = layer.read_order(),
                                     .learning_rate = 0.05,
                                     .seed = seed};
    };
    Layer drawn(options(42)), twin(options(42)), other(options(43));
    CHECK(same_layer(drawn, twin));
    CHECK_FALSE(same_bits(drawn.weight("w_key"), other.weight("w_key")));
    for (int n = 0; n < 5; ++n) {
      const auto x = normal.vector<TestType>(size.d_model, 1);
      const auto y = normal.vector<TestType>(size.d_v, 1);
      CHECK(same_bits(drawn.train_one(x, y), twin.train_one(x, y)));
      CHECK(same_bits(drawn.forward(x), twin.forward(x)));
    }
    CHECK(same_layer(drawn, twin));
  });
}

TEST_CASE("a layer converted to another scalar goes on where it was", "[law]") {
  for_each_layer<double>([](auto& layer, Normal& normal, const Sizes& size) {
    for (int n = 0; n < 7; ++n) {
      layer.train_one(normal.vector<double>(size.d_model, 1), normal.vector<double>(size.d_v, 1));
    }
    auto narrow = layer.template cast<float>();
    auto wide = layer.template cast<long double>();
    CHECK(narrow.log_linear_state().size() == 7);
    CHECK(narrow.train_step_count() == 7);
    // What the layer keeps apart is rounded before it is written out: a few roundings a token.
    const double eps = static_cast<double>(std::numeric_limits<float>::epsilon());
    const detail::Vector<double> exact = layer.state();
    CHECK(detail::max_abs(narrow.state().template cast<double>() - exact) <=
          4 * 7 * eps * detail::max_abs(exact));
    CHECK(same_layer(wide.template cast<double>(), layer));
    const auto x = normal.vector<double>(size.d_model, 1);
    const detail::Vector<double> expected = layer.forward(x);
    const double worst = detail::max_abs(layer.raw_read());
    CHECK(detail::max_abs(narrow.forward(x.template cast<float>()).template cast<double>() -
                          expected) <= 64 * eps * (1 + worst) * static_cast<double>(size.d_k));
  });
}

TEST_CASE("several threads query a const layer, each with its own workspace", "[law]") {
  Normal normal(47);
  const auto layer =
      make_layer<LogLinearAttention<GatedDeltaNet>>({.sizes = {6, 5, 4}, .tokens = 100});
  const auto& shared = layer;
  std::vector<detail::Vector<double>> inputs, expected;
  auto workspace = shared.make_workspace();
  for (int n = 0; n < 200; ++n) {
    inputs.push_back(normal.vector<double>(6, 1));
    expected.push_back(shared.query_readonly(inputs.back(), workspace));
  }
  std::array<int, 4> wrong{};
  std::vector<std::thread> threads;
  for (int& count : wrong) {
    threads.emplace_back([&] {
      auto own = shared.make_workspace();
      for (int round = 0; round < 20; ++round) {
        for (std::size_t n = 0; n < inputs.size(); ++n) {
          count += !same_bits(shared.query_readonly(inputs[n], own), expected[n]);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::array<int, 4>{});
}

}  // namespace law_layer
