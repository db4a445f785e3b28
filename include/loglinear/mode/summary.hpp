// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_SUMMARY_HPP
#define LOGLINEAR_MODE_SUMMARY_HPP

/// \file
/// A layer in a few lines of text, for a log or a debugger: `summary(layer)`, or `out << layer` for
/// any stream that takes a std::string. This header includes no stream itself.

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/mode/attention_interface.hpp"
#include "loglinear/mode/detail/writer.hpp"

namespace loglinear {

namespace detail {

/// A rule or level weighting as in the text of a mode, whether or not modes know it.
template <class Described>
[[nodiscard]] std::string described(const Described& one) {
  if constexpr (Listed<Described>) {
    return mode_to_text(one, false);
  } else if constexpr (requires { one.weighting(); }) {  // AnyLevelWeights
    return value_to_text(one.weighting());
  } else if constexpr (requires { one.rule(); }) {  // AnyRule
    return std::visit([](const auto& rule) { return described(rule); }, one.rule());
  } else if constexpr (requires { one.info.text; }) {
    std::string arguments;
    Described::hyperparameters(one, [&](const Hyperparameter& parameter, const auto& value) {
      arguments += (arguments.empty() ? "" : ", ") + std::string(parameter.name) + '=';
      arguments += value_to_text(value);
    });
    std::string text(one.info.text);
    if constexpr (
        requires { Described::leaves; } || requires { one.leaves(); }) {
      text += '<' + std::to_string(leaves_of(one)) + '>';
    }
    return arguments.empty() ? text : text + '(' + arguments + ')';
  } else {
    return "a type without a name";
  }
}

/// One line: a word, and what is to be said of it from column 16 on.
[[nodiscard]] inline std::string summary_line(std::string_view word, const std::string& text) {
  std::string line(word);
  line.resize(16, ' ');
  return line + text + '\n';
}

/// How many numbers all weight arrays of a layer have.
template <class Layer>
[[nodiscard]] std::size_t parameter_count(const Layer& layer) {
  std::size_t count = 0;
  for (const std::string& name : layer.weight_names()) {
    count += static_cast<std::size_t>(layer.weight(name).size());
  }
  return count;
}

/// How a layer learns: step rule, learning rate, biases.
[[nodiscard]] inline std::string summary_of_learning(const Step& step, double rate, bool bias) {
  return summary_line("learning", std::string(name_of(step.rule)) + ", rate " +
                                      value_to_text(rate) + (bias ? ", with" : ", without") +
                                      " biases");
}

/// What one head is: rule, level weights, sizes, levels and learning.
template <class Inner, class Scalar, class Weights, class Stored, LastLevel Overflow>
[[nodiscard]] std::string summary_of_head(
    const LogLinearAttention<Inner, Scalar, Weights, Stored, Overflow>& head) {
  return summary_line("rule", described(head.inner())) +
         summary_line("level weights", described(head.level_weights())) +
         summary_line("sizes", "d_model " + std::to_string(head.d_model()) + ", d_k " +
                                   std::to_string(head.d_k()) + ", d_v " +
                                   std::to_string(head.output_dim())) +
         summary_line("levels", std::to_string(head.max_levels()) + " of " +
                                    std::to_string(head.key_rows()) + " x " +
                                    std::to_string(head.output_dim())) +
         summary_line("read order", std::string(name_of(head.read_order()))) +
         summary_of_learning(head.step(), head.learning_rate(), head.has_bias());
}

/// What a layer takes: the numbers of its weights, and the bytes of weights and levels.
[[nodiscard]] inline std::string summary_of_memory(std::size_t parameters, std::size_t scalar_bytes,
                                                   std::size_t level_bytes) {
  return summary_line("parameters", std::to_string(parameters)) +
         summary_line("memory", std::to_string(parameters * scalar_bytes) + " bytes of weights, " +
                                    std::to_string(level_bytes) + " bytes of levels");
}

template <class Inner, class Scalar, class Weights, class Stored, LastLevel Overflow>
[[nodiscard]] std::size_t level_bytes(
    const LogLinearAttention<Inner, Scalar, Weights, Stored, Overflow>& head) {
  const auto numbers = head.max_levels() * head.key_rows() * head.output_dim();
  return static_cast<std::size_t>(numbers) * sizeof(Stored);
}

}  // namespace detail

/// What a layer is, in lines: its rule, level weights, sizes, levels, read order, step rule with
/// learning rate and biases, where several heads are bounded, the number of its parameters, and the
/// bytes of its weights and of its levels when all of them are filled. Memory for work is not
/// counted. A rule of your own appears under the name and hyperparameters that it gives itself, see
/// hyperparameters.hpp. Costs a pass over the names of the weights; allocates.
template <class Inner, class Scalar, class Weights, class Stored, LastLevel Overflow>
[[nodiscard]] std::string summary(
    const LogLinearAttention<Inner, Scalar, Weights, Stored, Overflow>& layer) {
  return detail::summary_of_head(layer) + detail::summary_of_memory(detail::parameter_count(layer),
                                                                    sizeof(Scalar),
                                                                    detail::level_bytes(layer));
}

/// The same for a layer of several heads; rule, sizes and levels are those of each head.
template <class Layer>
[[nodiscard]] std::string summary(const MultiHeadAttention<Layer>& layer) {
  const auto heads = static_cast<std::size_t>(layer.n_heads());
  return detail::summary_line("heads", std::to_string(heads)) +
         detail::summary_of_head(layer.head(0)) +
         detail::summary_line("bound", std::string(name_of(layer.bound()))) +
         detail::summary_of_memory(detail::parameter_count(layer), sizeof(typename Layer::Scalar),
                                   heads * detail::level_bytes(layer.head(0)));
}

/// The same for a layer chosen at run time, whose mode stands for rule, levels and level weights.
/// Copies all states.
template <class Scalar>
[[nodiscard]] std::string summary(const Attention<Scalar>& layer) {
  const AttentionConfig& config = layer.config();
  const detail::Learning learning = detail::learning_of(config);
  const auto level_numbers = static_cast<std::size_t>(layer.state().size());
  return detail::summary_line("heads", std::to_string(config.n_heads)) +
         detail::summary_line("mode", detail::value_to_text(config.mode)) +
         detail::summary_line("sizes", "d_model " + std::to_string(config.d_model) + ", d_k " +
                                           std::to_string(config.d_k) + ", d_v " +
                                           std::to_string(config.d_v)) +
         detail::summary_line("read order", std::string(name_of(config.read_order))) +
         detail::summary_of_learning(learning.step, layer.learning_rate(), learning.bias) +
         detail::summary_line(
             "bound", std::string(name_of(config.bound.value_or(output_bound_of(config.mode))))) +
         detail::summary_of_memory(detail::parameter_count(layer), sizeof(Scalar),
                                   level_numbers * sizeof(Scalar));
}

/// Writes the summary of a layer to a stream, std::ostream or any other that takes a std::string.
template <class Stream, class Layer>
requires requires(Stream& stream, const Layer& layer) {
  { summary(layer) } -> std::same_as<std::string>;
  stream << std::string();
}
Stream& operator<<(Stream& stream, const Layer& layer) {
  stream << summary(layer);
  return stream;
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_SUMMARY_HPP
