// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_DETAIL_WRITER_HPP
#define LOGLINEAR_MODE_DETAIL_WRITER_HPP

// Writes a mode as text.

#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "loglinear/mode/mode.hpp"

namespace loglinear::detail {

/// The default of `lambda_init`: a word, since its value depends on the number of levels.
inline constexpr std::string_view inverse_levels = "1/max_levels";

template <Listed Mode>
[[nodiscard]] std::string mode_to_text(const Mode& mode, bool with_defaults);

[[nodiscard]] inline std::string value_to_text(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}
[[nodiscard]] inline std::string value_to_text(int value) {
  return std::to_string(value);
}
[[nodiscard]] inline std::string value_to_text(const std::optional<double>& value) {
  return value ? value_to_text(*value) : std::string(inverse_levels);
}
template <class... Modes>
[[nodiscard]] std::string value_to_text(const std::variant<Modes...>& value) {
  return std::visit([](const auto& mode) { return mode_to_text(mode, false); }, value);
}
template <class Value>
requires(std::is_enum_v<Value> || std::is_same_v<Value, bool>)  //
    [[nodiscard]] std::string value_to_text(Value value) {
  return std::string(words_of(value)[static_cast<std::size_t>(value)]);
}

/// The values of all hyperparameters.
template <class Mode>
[[nodiscard]] std::vector<std::string> values_of(const Mode& mode) {
  std::vector<std::string> values;
  Mode::hyperparameters(mode, [&](const Hyperparameter&, const auto& value) {
    values.push_back(value_to_text(value));
  });
  return values;
}

/// A mode as text, with all its arguments or only with those that do not print as the defaults do.
template <Listed Mode>
[[nodiscard]] std::string mode_to_text(const Mode& mode, bool with_defaults) {
  std::string arguments;
  const auto add = [&](const std::string& argument) {
    arguments += (arguments.empty() ? "" : ", ") + argument;
  };
  if constexpr (std::is_same_v<Mode, LogLinear>) add(value_to_text(mode.inner));
  const std::vector<std::string> values = values_of(mode), defaults = values_of(Mode{});
  std::size_t next = 0;
  Mode::hyperparameters(mode, [&](const Hyperparameter& parameter, const auto&) {
    const std::size_t i = next++;
    if (with_defaults || values[i] != defaults[i]) {
      add(std::string(parameter.name) + '=' + values[i]);
    }
  });
  std::string text(Mode::info.text);
  return arguments.empty() ? text : text + '(' + arguments + ')';
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_WRITER_HPP
