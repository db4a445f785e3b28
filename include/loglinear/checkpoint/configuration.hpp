// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_CONFIGURATION_HPP
#define LOGLINEAR_CHECKPOINT_CONFIGURATION_HPP

/// \file
/// What an object was built with, as names and text: a checkpoint records it in the file's
/// `__metadata__`, and an object built otherwise refuses to load it.
///
/// Objects of your own may have one too: write `configuration_of(const Mine&)` in their namespace.
/// A rule or level weighting of your own is recorded by name and hyperparameters if its namespace
/// has `std::string to_text(const MyRule&)`; otherwise it is not compared.

#include <concepts>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/checkpoint/dtype.hpp"
#include "loglinear/checkpoint/mixer_configuration.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/mixers/mixer_cache.hpp"
#include "loglinear/mode/any_level_weights.hpp"
#include "loglinear/mode/any_rule.hpp"
#include "loglinear/mode/mode_text.hpp"
#include "loglinear/readout/cascade.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

/// Names of options and their values as text, in the order in which a file is compared with them:
/// sizes come before what depends on them. An option without text is not recorded, and a file that
/// has it is refused.
using Configuration = std::vector<std::pair<std::string, std::string>>;

namespace detail {

/// What it means for an option of a layer not to be recorded; empty where it has no default.
[[nodiscard]] inline std::string_view default_of(std::string_view option) {
  return option == "step"         ? "sgd"
         : option == "bias"       ? "false"
         : option == "last_level" ? "fold"
                                  : "";
}

template <class Value>
concept HasText = requires(const Value& value) {
  { to_text(value) } -> std::convertible_to<std::string>;
};

/// A rule or a policy with all hyperparameters, or `"own"`.
template <class Value>
[[nodiscard]] std::string text_of(const Value& value) {
  if constexpr (Listed<Value>) {
    return mode_to_text(value, true);
  } else if constexpr (requires { Value::Mode::of(value); }) {
    return mode_to_text(Value::Mode::of(value), true);
  } else if constexpr (HasText<Value>) {
    return to_text(value);
  } else {
    return "own";
  }
}
template <class Rule>
[[nodiscard]] std::string text_of(const KeyOnly<Rule>&) {
  return "key_only(normalizes_key=" + value_to_text(KeyOnly<Rule>::normalizes_key) + ")";
}
template <class... Rules>
[[nodiscard]] std::string text_of(const AnyRule<Rules...>& any) {
  return std::visit([](const auto& rule) { return text_of(rule); }, any.rule());
}
[[nodiscard]] inline std::string text_of(const AnyLevelWeights& any) {
  return std::visit([](const auto& weights) { return text_of(weights); }, any.weighting());
}
[[nodiscard]] inline std::string text_of(const OneLevel&) {
  return "unit_weights";
}
[[nodiscard]] inline std::string text_of(ReadOrder order) {
  return std::string(name_of(order));
}

/// A step rule with its numbers; empty for plain gradient descent without clipping.
[[nodiscard]] inline std::string text_of(const Step& step) {
  if (step == Step{.rule = StepRule::sgd}) return "";
  std::string text(name_of(step.rule));
  text += "(beta1=" + value_to_text(step.beta1) + ", beta2=" + value_to_text(step.beta2);
  text += ", epsilon=" + value_to_text(step.epsilon) + ", clip=" + value_to_text(step.clip) + ")";
  return text;
}

/// What the last level does; empty for `fold`, the default.
[[nodiscard]] inline std::string text_of(LastLevel overflow) {
  return overflow == LastLevel::fold ? "" : overflow == LastLevel::forget ? "forget" : "halve";
}

}  // namespace detail

/// The options of a layer on which its weights and its stream depend; learning rate and seed are
/// not among them. Allocates, as do those below.
template <class Inner, class Scalar, class Weights, class Stored, LastLevel Overflow>
[[nodiscard]] Configuration configuration_of(
    const LogLinearAttention<Inner, Scalar, Weights, Stored, Overflow>& layer) {
  return {{"type", "LogLinearAttention"},
          {"scalar", std::string(name_of(dtype_of<Scalar>()))},
          {"levels", std::string(name_of(dtype_of<Stored>()))},
          {"d_model", std::to_string(layer.d_model())},
          {"d_k", std::to_string(layer.d_k())},
          {"d_v", std::to_string(layer.output_dim())},
          {"max_levels", std::to_string(layer.max_levels())},
          {"inner", detail::text_of(layer.inner())},
          {"level_weights", detail::text_of(layer.level_weights())},
          {"read_order", detail::text_of(layer.read_order())},
          {"last_level", detail::text_of(Overflow)},
          {"step", detail::text_of(layer.step())},
          {"bias", layer.has_bias() ? "true" : ""}};
}

/// The options of a multi-head layer that its heads do not have; `threads` is not recorded.
template <class Layer>
[[nodiscard]] Configuration configuration_of(const MultiHeadAttention<Layer>& layer) {
  return {{"type", "MultiHeadAttention"},
          {"n_heads", std::to_string(layer.n_heads())},
          {"bound", std::string(name_of(layer.bound()))}};
}

/// The options of a readout.
template <class Scalar>
[[nodiscard]] Configuration configuration_of(const RecursiveLeastSquares<Scalar>& readout) {
  const auto& options = readout.options();
  return {{"type", "RecursiveLeastSquares"},
          {"scalar", std::string(name_of(dtype_of<Scalar>()))},
          {"features", std::to_string(options.features)},
          {"outputs", std::to_string(options.outputs)},
          {"forgetting", detail::value_to_text(options.forgetting)},
          {"initial_covariance", detail::value_to_text(options.initial_covariance)},
          {"max_covariance", detail::value_to_text(options.max_covariance)}};
}

/// The options of a cascade; kappa and the prior are among its tensors.
template <class Scalar>
[[nodiscard]] Configuration configuration_of(const Cascade<Scalar>& cascade) {
  return {{"type", "Cascade"}, {"outputs", std::to_string(cascade.outputs())}};
}

/// The shape of a hierarchy, fixed at compile time or not.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
[[nodiscard]] Configuration configuration_of(
    const LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>& state) {
  return {{"type", "LogLinearState"},
          {"scalar", std::string(name_of(dtype_of<Scalar>()))},
          {"max_levels", std::to_string(state.max_levels())},
          {"d_k", std::to_string(state.d_k())},
          {"d_v", std::to_string(state.d_v())},
          {"last_level", detail::text_of(Overflow)}};
}

/// The shape of a mixer's cache.
template <class Scalar>
[[nodiscard]] Configuration configuration_of(const MixerCache<Scalar>& cache) {
  return {{"type", "MixerCache"},
          {"num_heads", std::to_string(cache.num_heads())},
          {"convolutions", std::to_string(cache.convolution_inputs().size())}};
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_CONFIGURATION_HPP
