// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_DETAIL_WRITER_HPP
#define LOGLINEAR_MODE_DETAIL_WRITER_HPP

// From a mode to its text.

#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <variant>

#include "loglinear/mode/detail/entries.hpp"
#include "loglinear/mode/mode.hpp"

namespace loglinear::detail {

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
template <class Value>
[[nodiscard]] std::string value_to_text(Value value) {
  return std::string(words_of(value)[static_cast<std::size_t>(value)]);
}

/// A mode as text, with all its arguments or only with those that do not print as the defaults do.
template <class Mode>
[[nodiscard]] std::string mode_to_text(const Mode& mode, bool with_defaults) {
  std::string arguments;
  const auto add = [&](const std::string& argument) {
    arguments += (arguments.empty() ? "" : ", ") + argument;
  };
  if constexpr (std::is_same_v<Mode, LogLinear>) {
    add(std::visit([](const auto& inner) { return mode_to_text(inner, false); }, mode.inner));
  }
  const auto add_argument = [&](const auto& argument) {
    const std::string value = value_to_text(mode.*argument.member);
    if (with_defaults || value != value_to_text(Mode{}.*argument.member)) {
      add(std::string(argument.name) + '=' + value);
    }
  };
  std::apply([&](const auto&... argument) { (add_argument(argument), ...); },
             mode_entry<Mode>.arguments);
  std::string text(mode_entry<Mode>.name);
  return arguments.empty() ? text : text + '(' + arguments + ')';
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_WRITER_HPP
