// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_TYPES_HPP
#define LOGLINEAR_TESTS_TYPES_HPP

// The factory's layers beside the types that they stand for, bit for bit.

#include <string>
#include <type_traits>

#include "catch.hpp"
#include "factory.hpp"
#include "loglinear/mode/mode_text.hpp"
#include "support.hpp"
#include "variants.hpp"

namespace loglinear::test {

constexpr Eigen::Index d_model = 5, d_k = 3, d_v = 4;
constexpr int n_heads = 2;

/// A layer of the factory beside another: `MultiHeadAttention`, or behind the factory's interface.
template <class Scalar, class Direct>
void compare(const AttentionConfig& config, Direct& direct) {
  CAPTURE(to_text(config.mode));
  const auto made = make_attention<Scalar>(config);
  REQUIRE(made->weight_names() == direct.weight_names());
  test::Random random(13);
  for (const std::string& name : direct.weight_names()) {
    CAPTURE(name);
    const auto drawn = direct.weight(name);
    CHECK(test::same_bits(made->weight(name), drawn));
    const test::Matrix<Scalar> weights =
        Scalar(0.5) * random.matrix<Scalar>(drawn.rows(), drawn.cols());
    direct.set_weight(name, weights);
    made->set_weight(name, weights);
  }
  bool same = true;
  for (int t = 0; t < 60; ++t) {
    const auto x = random.vector<Scalar>(d_model);
    const auto y = random.vector<Scalar>(d_model);
    const int call = t % 5;
    if (call == 1) {
      same &= test::same_bits(made->query_readonly(x), direct.query_readonly(x));
    } else if (call == 3) {
      same &= test::same_bits(made->train_one(x, y), direct.train_one(x, y));
    } else {
      same &= test::same_bits(made->forward(x), direct.forward(x));
    }
    if (t == 49) {
      made->reset();
      direct.reset();
    }
  }
  CHECK(same);
  CHECK(test::same_bits(made->state(), direct.state()));
  for (const std::string& name : direct.weight_names()) {
    CHECK(test::same_bits(made->weight(name), direct.weight(name)));
  }
}

[[nodiscard]] inline AttentionConfig config_of(const AttentionMode& mode, OutputBound bound) {
  return {.d_model = d_model,
          .n_heads = n_heads,
          .d_k = d_k,
          .d_v = d_v,
          .mode = mode,
          .seed = 7,
          .learning_rate = 0.01,
          .bound = bound};
}

/// A layer of the factory, which chooses the bound itself, and one of its own type.
template <class Scalar>
void check(const AttentionMode& mode, OutputBound bound) {
  AttentionConfig config = config_of(mode, bound);
  const auto typed = test::typed_attention<Scalar>(config);
  config.bound.reset();
  compare<Scalar>(config, *typed);
}

/// Every rule: in one state, with its bound, and in the hierarchy.
template <class Scalar>
void check_all_rules() {
  Rules::for_each([]<class Mode>(std::type_identity<Mode>) {
    constexpr bool bounded = detail::normalizes_key<Mode>() || std::is_same_v<Mode, HGRN2>;
    for (Mode mode : test::examples_of<Mode>()) {
      for (int n = 1; n <= 4; ++n) {
        if constexpr (requires { mode.n_compositions; }) mode.n_compositions = n;
        visit_rule(mode, [&]<class Rule>(const Rule&) {
          if constexpr (test::is_typed<Scalar, Rule>) {
            check<Scalar>(mode, bounded ? OutputBound::forward : OutputBound::none);
            check<Scalar>(LogLinear{.inner = mode,
                                    .max_levels = 3,
                                    .level_weights = NormalizedMixture{.lambda_init = 0.4}},
                          OutputBound::always);
          }
        });
        if constexpr (!requires { mode.n_compositions; }) break;
      }
    }
    if (std::is_same_v<Scalar, double> || detail::normalizes_key<Mode>()) {
      check<Scalar>(LogLinear{.inner = Mode{}, .key_only = true}, OutputBound::always);
    }
  });
}

/// Every weighting of the levels.
template <class Scalar>
void check_all_level_weights() {
  LevelWeightings::for_each([]<class Weights>(std::type_identity<Weights>) {
    for (const Weights& weights : test::examples_of<Weights>()) {
      check<Scalar>(
          LogLinear{.inner = GLA{.gate_bias = 1}, .max_levels = 4, .level_weights = weights},
          OutputBound::always);
    }
    check<Scalar>(LogLinear{.inner = GLA{}, .level_weights = Weights{}}, OutputBound::always);
  });
}

/// The interface adds nothing; it is the same template for every layer.
template <class Scalar>
void check_without_interface() {
  const auto check = [](auto direct, const AttentionMode& mode) {
    compare<Scalar>(config_of(mode, direct.bound()), direct);
  };
  const GLA gla{.gate_bias = 1};
  check(MultiHeadAttention<LinearAttention<GLA, Scalar>>({.inner = gla,
                                                          .d_model = d_model,
                                                          .d_k = d_k,
                                                          .d_v = d_v,
                                                          .n_heads = n_heads,
                                                          .learning_rate = 0.01,
                                                          .seed = 7,
                                                          .bound = OutputBound::none}),
        gla);
  const GatedDeltaNet delta{.beta_scale = 0.8, .gate_bias = 1};
  check(
      MultiHeadAttention<LogLinearAttention<GatedDeltaNet, Scalar>>(
          {.inner = delta,
           .d_model = d_model,
           .d_k = d_k,
           .d_v = d_v,
           .n_heads = n_heads,
           .max_levels = 3,
           .level_weights = {.lambda_init = 0.4},
           .learning_rate = 0.01,
           .seed = 7}),
      LogLinear{
          .inner = delta, .max_levels = 3, .level_weights = NormalizedMixture{.lambda_init = 0.4}});
}

template <class Scalar>
void check_all_types() {
  check_all_rules<Scalar>();
  check_all_level_weights<Scalar>();
  check_without_interface<Scalar>();
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_TYPES_HPP
