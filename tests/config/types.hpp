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

namespace types {

using namespace loglinear;

constexpr Eigen::Index d_model = 5, d_k = 3, d_v = 4;
constexpr int n_heads = 2;

/// A layer of the factory beside another: `MultiHeadAttention`, or behind the factory's interface.
template <class Scalar, class Direct>
void compare(const AttentionConfig& config, Direct& direct) {
  CAPTURE(to_text(config.mode));
  const auto made = make_attention<Scalar>(config);
  const auto query = [&](const test::Vector<Scalar>& x) -> const test::Vector<Scalar>& {
    if constexpr (std::is_same_v<Direct, Attention<Scalar>>) {
      return direct.query(x);
    } else {
      return direct.query_readonly(x);
    }
  };

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
      same &= test::same_bits(made->query(x), query(x));
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

/// A layer of the factory, and one of its type, constructed by hand.
template <class Layer>
void check(const AttentionConfig& config, typename MultiHeadAttention<Layer>::Options options) {
  using Scalar = typename Layer::Scalar;
  options.d_model = d_model;
  options.d_k = d_k;
  options.d_v = d_v;
  options.n_heads = n_heads;
  options.seed = 7;
  options.learning_rate = 0.01;
  const auto behind = test::by_hand<Layer>(config, options);
  compare<Scalar>(config, *behind);
  // The interface adds nothing; it is the same template for every layer.
  if constexpr (std::is_same_v<Layer, LogLinearAttention<GatedDeltaNet, Scalar>> ||
                std::is_same_v<Layer, LinearAttention<GLA, Scalar>>) {
    MultiHeadAttention<Layer> direct(options);
    compare<Scalar>(config, direct);
  }
}

[[nodiscard]] inline AttentionConfig config_of(const AttentionMode& mode) {
  return {.d_model = d_model,
          .n_heads = n_heads,
          .d_key = d_k,
          .d_value = d_v,
          .mode = mode,
          .seed = 7,
          .learning_rate = 0.01};
}

/// A mode that stands for a rule: in one state, with its bound, and in the hierarchy.
template <class Scalar, class Mode, class Rule>
void check_rule(const Mode& mode, const Rule& rule, OutputBound bound) {
  check<LinearAttention<Rule, Scalar>>(config_of(mode), {.inner = rule, .bound = bound});
  check<LogLinearAttention<Rule, Scalar>>(
      config_of(LogLinear{.inner = mode, .max_levels = 3, .lambda_init = 0.4}),
      {.inner = rule, .max_levels = 3, .level_weights = {.lambda_init = 0.4}});
}
template <class Scalar, class Rule>
void check_rule(const Rule& rule, OutputBound bound) {
  check_rule<Scalar>(rule, rule, bound);
}

template <class Scalar, class Rule, class Mode>
void check_key_only(const Mode& mode) {
  check<LogLinearAttention<KeyOnly<Rule>, Scalar>>(
      config_of(LogLinear{.inner = mode, .key_only = true}), {});
}

template <class Scalar>
void check_all_types() {
  const OutputBound plain = OutputBound::none, bounded = OutputBound::forward;
  check_rule<Scalar>(RetNet{.gamma = 0.9}, plain);
  check_rule<Scalar>(Hawk{.gate_bias = 1, .input_bias = 0.5}, plain);
  check_rule<Scalar>(GLA{.gate_bias = 1}, plain);
  check_rule<Scalar>(GLAVector{.gate_bias = 1}, plain);
  check_rule<Scalar>(RWKV{.initial_decay = 0.1, .gate_bias = 1}, plain);
  check_rule<Scalar>(MLSTM{.gate_bias = 1, .input_bias = 0.5}, plain);
  check_rule<Scalar>(Mamba2{.initial_a_log = -0.5, .initial_dt_bias = -1}, plain);
  check_rule<Scalar>(DeltaNet{}, bounded);
  check_rule<Scalar>(GatedDeltaNet{.beta_scale = 0.8, .gate_bias = 1}, bounded);
  check_rule<Scalar>(GatedDeltaNet{.beta = Beta::per_token, .beta_bias = 0.5}, bounded);
  check_rule<Scalar>(RWKV7{.gate_bias = 1, .iclr_bias = 0.5}, bounded);
  check_rule<Scalar>(RWKV7{.decay_first = true}, bounded);
  check_rule<Scalar>(HGRN2{.lower_bound = 0.8, .gate_bias = 1}, bounded);

  const auto product = [](int n) {
    return DeltaProductMode{
        .n_compositions = n, .reflections = n % 2 == 0, .gate_bias = 1, .beta_bias = 0.5};
  };
  check_rule<Scalar>(product(1), DeltaProduct<1>{false, 1, 0.5}, bounded);
  check_rule<Scalar>(product(2), DeltaProduct<2>{true, 1, 0.5}, bounded);
  check_rule<Scalar>(product(3), DeltaProduct<3>{false, 1, 0.5}, bounded);
  check_rule<Scalar>(product(4), DeltaProduct<4>{true, 1, 0.5}, bounded);

  check_key_only<Scalar, Hawk>(Hawk{});
  check_key_only<Scalar, RWKV>(RWKV{});
  check_key_only<Scalar, DeltaNet>(DeltaNet{});
  check_key_only<Scalar, DeltaProduct<3>>(product(3));
  check_key_only<Scalar, RWKV7>(RWKV7{});
}

}  // namespace types

using types::check_all_types;

#endif  // LOGLINEAR_TESTS_TYPES_HPP
