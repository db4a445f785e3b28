// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_ATTENTION_HPP
#define LOGLINEAR_MODE_ATTENTION_HPP

/// \file
/// Attention chosen at run time, as a layer: `make_attention(config)`.
///
/// A source file that calls `make_attention` compiles a layer for each kind of transition, 7 of
/// them, which takes some half a minute; hence this header is not part of loglinear.hpp. The target
/// `loglinear::runtime` has it compiled for float and double: link that. A program without the
/// target calls it in one source file alone.

#include <memory>
#include <type_traits>
#include <variant>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/mode/any_level_weights.hpp"
#include "loglinear/mode/any_rule.hpp"
#include "loglinear/mode/attention_config.hpp"
#include "loglinear/mode/attention_interface.hpp"
#include "loglinear/mode/detail/erased_attention.hpp"

namespace loglinear {

/// The layer of heads that a mode with `Rule` stands for.
template <class Rule, class Scalar>
using RuntimeHeads =
    MultiHeadAttention<LogLinearAttention<RuntimeRule<Rule>, Scalar, AnyLevelWeights>>;

namespace detail {

/// Calls `work(std::type_identity<Heads>{}, rule)` with the type of heads that a mode stands for
/// and its rule, and returns what it returns.
template <class Scalar, class Work>
auto with_layer_type(const AttentionMode& mode, const Work& work) {
  const auto with_rule = [&]<class Rule>(const Rule& rule) {
    return work(std::type_identity<RuntimeHeads<Rule, Scalar>>{}, RuntimeRule<Rule>(rule));
  };
  if (const auto* log_linear = std::get_if<LogLinear>(&mode)) {
    return log_linear->key_only ? visit_key_only(log_linear->inner, with_rule)
                                : visit_rule(log_linear->inner, with_rule);
  }
  return visit_rule(inner_of(mode), with_rule);
}

}  // namespace detail

/// The layer that a config describes, behind the interface `Attention`:
/// `MultiHeadAttention<LinearAttention<Rule, Scalar>>`, or for `LogLinear`
/// `MultiHeadAttention<LogLinearAttention<Rule, Scalar, Weights>>`. States, weights, checkpoints
/// and outputs have the same bits as those of that type with the same options, `bound` among them;
/// its default there is `always`, here `output_bound_of(mode)`. Allocates.
/// \throws std::invalid_argument for a config that is not valid
///
///     auto layer = make_attention<float>({.d_model = 8, .mode = parse_mode("log_linear(gla)")});
///     const Eigen::VectorXf& output = layer->forward(x);
template <class Scalar = double>
[[nodiscard]] std::unique_ptr<Attention<Scalar>> make_attention(const AttentionConfig& config) {
  config.validate();
  const auto* const log_linear = std::get_if<LogLinear>(&config.mode);
  return detail::with_layer_type<Scalar>(
      config.mode,
      [&]<class Heads>(std::type_identity<Heads>,
                       const auto& rule) -> std::unique_ptr<Attention<Scalar>> {
        return std::make_unique<detail::ErasedAttention<typename Heads::Layer>>(
            config, typename Heads::Options{
                        .inner = rule,
                        .d_model = config.d_model,
                        .d_k = config.d_k,
                        .d_v = config.d_v,
                        .n_heads = config.n_heads,
                        .max_levels = log_linear != nullptr ? log_linear->max_levels : 1,
                        .level_weights = log_linear != nullptr ? log_linear->level_weights
                                                               : LevelWeighting(UnitWeights{}),
                        .read_order = config.read_order,
                        .learning_rate = config.learning_rate,
                        .step = config.step,
                        .bias = config.bias,
                        .weight_scale = config.weight_scale,
                        .seed = config.seed,
                        .bound = config.bound.value_or(output_bound_of(config.mode)),
                        .threads = config.threads});
      });
}

/// Calls `work(heads)` with the `MultiHeadAttention` behind the interface, for what that offers and
/// the interface does not, such as whole spans of tokens. `work` is compiled for every type of
/// layer, 7 of them. Throws what `work` throws.
///
///     visit_layer(*attention, [&](auto& heads) { outputs = heads.forward_span(x); });
template <class Scalar, class Work>
void visit_layer(Attention<Scalar>& attention, Work work) {
  detail::with_layer_type<Scalar>(
      attention.config().mode, [&]<class Heads>(std::type_identity<Heads>, const auto&) {
        work(static_cast<detail::ErasedAttention<typename Heads::Layer>&>(attention).layer());
      });
}
/// The same, read-only.
template <class Scalar, class Work>
void visit_layer(const Attention<Scalar>& attention, Work work) {
  detail::with_layer_type<Scalar>(
      attention.config().mode, [&]<class Heads>(std::type_identity<Heads>, const auto&) {
        work(static_cast<const detail::ErasedAttention<typename Heads::Layer>&>(attention).layer());
      });
}

}  // namespace loglinear

/// For the target `loglinear::runtime`: declares `make_attention` for a scalar, or makes it.
#define LOGLINEAR_MAKE_ATTENTION(EXTERN, SCALAR) \
  EXTERN template std::unique_ptr<Attention<SCALAR>> make_attention<SCALAR>(const AttentionConfig&);
#ifdef LOGLINEAR_RUNTIME
LOGLINEAR_DECLARE_FOR(LOGLINEAR_MAKE_ATTENTION, float)
LOGLINEAR_DECLARE_FOR(LOGLINEAR_MAKE_ATTENTION, double)
#endif

#endif  // LOGLINEAR_MODE_ATTENTION_HPP
