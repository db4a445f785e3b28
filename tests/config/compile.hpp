// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_COMPILE_HPP
#define LOGLINEAR_TESTS_COMPILE_HPP

// What factory_double.cpp and factory_float.cpp compile.

#include <stdexcept>

#include "factory.hpp"

namespace loglinear::test {

template <class Layer>
std::unique_ptr<loglinear::Attention<typename Layer::Scalar>> typed_layer(
    const loglinear::AttentionConfig& config, const decltype(Layer::Options::inner)& rule,
    const decltype(Layer::Options::level_weights)& weights, int max_levels) {
  return std::make_unique<loglinear::detail::ErasedAttention<Layer>>(
      config,
      typename loglinear::MultiHeadAttention<Layer>::Options{.inner = rule,
                                                             .d_model = config.d_model,
                                                             .d_k = config.d_k,
                                                             .d_v = config.d_v,
                                                             .n_heads = config.n_heads,
                                                             .max_levels = max_levels,
                                                             .level_weights = weights,
                                                             .read_order = config.read_order,
                                                             .learning_rate = config.learning_rate,
                                                             .seed = config.seed,
                                                             .bound = config.bound.value(),
                                                             .threads = config.threads});
}

template <class Scalar>
std::unique_ptr<loglinear::Attention<Scalar>> typed_attention(
    const loglinear::AttentionConfig& config) {
  using namespace loglinear;
  using Made = std::unique_ptr<Attention<Scalar>>;
  const auto* const log_linear = std::get_if<LogLinear>(&config.mode);
  const auto with_rule = [&]<class Rule>(const Rule& rule) -> Made {
    if constexpr (is_typed<Scalar, Rule>) {
      if (log_linear == nullptr) {
        return typed_layer<LinearAttention<Rule, Scalar>>(config, rule, {}, 1);
      }
      return std::visit(
          [&]<class Weights>(const Weights& weights) -> Made {
            if constexpr (std::is_same_v<Weights, NormalizedMixture> || std::is_same_v<Rule, GLA>) {
              using Layer = LogLinearAttention<Rule, Scalar, Weights>;
              return typed_layer<Layer>(config, rule, weights, log_linear->max_levels);
            }
            throw std::invalid_argument("these level weights go with GLA alone");
          },
          log_linear->level_weights);
    }
    throw std::invalid_argument("no such rule in this scalar");
  };
  return log_linear != nullptr && log_linear->key_only
             ? visit_key_only(log_linear->inner, with_rule)
             : visit_rule(inner_of(config.mode), with_rule);
}

}  // namespace loglinear::test

#define LOGLINEAR_TEST_FACTORY(Scalar)                                                             \
  template std::unique_ptr<loglinear::Attention<Scalar>> loglinear::test::typed_attention<Scalar>( \
      const loglinear::AttentionConfig&)

#endif  // LOGLINEAR_TESTS_COMPILE_HPP
