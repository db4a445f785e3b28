// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_TEXT_HPP
#define LOGLINEAR_MODE_TEXT_HPP

/// \file
/// Modes as text, both ways: `"gla"`, `"gated_delta_net(beta=per_token, gate_bias=6)"`,
/// `"log_linear(delta_product(n_compositions=3), max_levels=20)"`.
///
///     mode     = name [ "(" [ argument { "," argument } ] ")" ]
///     argument = name "=" value
///     value    = number | "true" | "false" | "fixed" | "per_token" | "1/max_levels"
///
/// with space anywhere between those. `log_linear` has its inner mode in front of its arguments.
/// What is not mentioned has its default; that of `lambda_init` is no number but the word
/// `1/max_levels`. All names stand in one table, `detail::mode_entry`.

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

#include "loglinear/detail/error.hpp"
#include "loglinear/mode.hpp"

namespace loglinear {

/// What `parse_mode` throws: a std::invalid_argument whose message says at which column what was
/// found and what would have been legal there.
class ModeSyntaxError : public std::invalid_argument {
 public:
  /// \param column as `column()` \param what what was found and what would have been legal
  ModeSyntaxError(std::size_t column, const std::string& what)
      : std::invalid_argument("loglinear: mode, column " + std::to_string(column) + ": " + what),
        column_(column) {}

  /// Where in the text: 1 is its first byte, its size + 1 its end.
  [[nodiscard]] std::size_t column() const noexcept { return column_; }

 private:
  std::size_t column_;
};

namespace detail {

/// A hyperparameter: its name in the text and its place in the mode.
template <class Mode, class Value>
struct ModeArgument {
  std::string_view name;
  Value Mode::*member;
};
template <class Mode, class Value>
[[nodiscard]] constexpr ModeArgument<Mode, Value> arg(std::string_view name, Value Mode::*member) {
  return {name, member};
}

/// A mode: its name in the text and its hyperparameters, which its `validate` checks one by one.
template <class... Arguments>
struct ModeEntry {
  std::string_view name;
  std::tuple<Arguments...> arguments;
};
template <class... Arguments>
[[nodiscard]] constexpr ModeEntry<Arguments...> entry(std::string_view name,
                                                      Arguments... arguments) {
  return {name, {arguments...}};
}

// Every mode. A new one is an alternative of `InnerMode` and a line here.
template <class Mode>
inline constexpr auto mode_entry = nullptr;
template <>
inline constexpr auto mode_entry<RetNet> = entry("retnet", arg("gamma", &RetNet::gamma));
template <>
inline constexpr auto mode_entry<Hawk> = entry("hawk", arg("gate_bias", &Hawk::gate_bias),
                                               arg("input_bias", &Hawk::input_bias));
template <>
inline constexpr auto mode_entry<GLA> = entry("gla", arg("gate_bias", &GLA::gate_bias));
template <>
inline constexpr auto mode_entry<GLAVector> = entry("gla_vector",
                                                    arg("gate_bias", &GLAVector::gate_bias));
template <>
inline constexpr auto mode_entry<DeltaNet> = entry("delta_net");
template <>
inline constexpr auto mode_entry<GatedDeltaNet> =
    entry("gated_delta_net", arg("beta_scale", &GatedDeltaNet::beta_scale),
          arg("beta", &GatedDeltaNet::beta), arg("gate_bias", &GatedDeltaNet::gate_bias),
          arg("beta_bias", &GatedDeltaNet::beta_bias));
template <>
inline constexpr auto mode_entry<RWKV> = entry("rwkv", arg("initial_decay", &RWKV::initial_decay),
                                               arg("gate_bias", &RWKV::gate_bias));
template <>
inline constexpr auto mode_entry<MLSTM> = entry("mlstm", arg("gate_bias", &MLSTM::gate_bias),
                                                arg("input_bias", &MLSTM::input_bias));
template <>
inline constexpr auto mode_entry<DeltaProductMode> = entry(
    "delta_product", arg("n_compositions", &DeltaProductMode::n_compositions),
    arg("reflections", &DeltaProductMode::reflections),
    arg("gate_bias", &DeltaProductMode::gate_bias), arg("beta_bias", &DeltaProductMode::beta_bias));
template <>
inline constexpr auto mode_entry<RWKV7> = entry("rwkv7", arg("decay_first", &RWKV7::decay_first),
                                                arg("gate_bias", &RWKV7::gate_bias),
                                                arg("iclr_bias", &RWKV7::iclr_bias));
template <>
inline constexpr auto mode_entry<HGRN2> = entry("hgrn2", arg("lower_bound", &HGRN2::lower_bound),
                                                arg("gate_bias", &HGRN2::gate_bias));
template <>
inline constexpr auto mode_entry<Mamba2> = entry("mamba2",
                                                 arg("initial_a_log", &Mamba2::initial_a_log),
                                                 arg("initial_dt_bias", &Mamba2::initial_dt_bias));
template <>
inline constexpr auto mode_entry<LogLinear> = entry("log_linear",
                                                    arg("max_levels", &LogLinear::max_levels),
                                                    arg("lambda_init", &LogLinear::lambda_init),
                                                    arg("key_only", &LogLinear::key_only));

// The words of values that are not numbers, by the value's number.
inline constexpr std::array<std::string_view, 2> bool_words = {"false", "true"};
inline constexpr std::array<std::string_view, 2> beta_words = {"fixed", "per_token"};
[[nodiscard]] constexpr const auto& words_of(bool) {
  return bool_words;
}
[[nodiscard]] constexpr const auto& words_of(Beta) {
  return beta_words;
}

/// The default of `LogLinear::lambda_init`: a word, since it follows another argument.
inline constexpr std::string_view inverse_levels = "1/max_levels";

/// "one of a, b, c", or the only name.
[[nodiscard]] inline std::string one_of(const std::vector<std::string_view>& names) {
  std::string list(names.size() > 1 ? "one of " : "");
  for (const std::string_view& name : names) {
    list.append(&name == names.data() ? "" : ", ").append(name);
  }
  return list;
}

/// The names of a variant's modes.
template <class... Modes>
[[nodiscard]] std::vector<std::string_view> names_of(std::type_identity<std::variant<Modes...>>) {
  return {mode_entry<Modes>.name...};
}

/// Reads one text from left to right.
class ModeReader {
 public:
  explicit ModeReader(std::string_view text) : text_(text) { advance(); }

  /// The whole text as one of the variant's modes.
  template <class Variant>
  [[nodiscard]] Variant read_all() {
    Variant mode = read_mode(std::type_identity<Variant>{});
    if (!token_.empty()) fail("the end");
    return mode;
  }

 private:
  template <class... Modes>
  [[nodiscard]] std::variant<Modes...> read_mode(std::type_identity<std::variant<Modes...>> type) {
    std::optional<std::variant<Modes...>> mode;
    const auto try_mode = [&]<class Mode>(std::type_identity<Mode>) {
      if (mode || token_ != mode_entry<Mode>.name) return;
      advance();
      mode = read_arguments<Mode>();
    };
    (try_mode(std::type_identity<Modes>{}), ...);
    if (mode) return *mode;
    if (token_ == mode_entry<LogLinear>.name) {
      fail("an inner mode, since log_linear cannot be inside log_linear: " +
           one_of(names_of(type)));
    }
    fail("a mode: " + one_of(names_of(type)));
  }

  template <class Mode>
  [[nodiscard]] Mode read_arguments() {
    constexpr bool has_inner = std::is_same_v<Mode, LogLinear>;
    Mode mode{};
    if (!accept("(")) {
      if constexpr (has_inner) fail("\"(\" and an inner mode");
      return mode;
    }
    if constexpr (has_inner) mode.inner = read_mode(std::type_identity<InnerMode>{});
    if (!has_inner && accept(")")) return mode;
    std::vector<std::string_view> given;
    bool first = !has_inner;
    while (first || !accept(")")) {
      if (!first && !accept(",")) fail("\",\" or \")\"");
      read_argument(mode, given);
      first = false;
    }
    return mode;
  }

  template <class Mode>
  void read_argument(Mode& mode, std::vector<std::string_view>& given) {
    std::vector<std::string_view> open;  // arguments that may still come
    bool is_read = false;
    const auto try_argument = [&](const auto& argument) {
      const bool is_given = std::find(given.begin(), given.end(), argument.name) != given.end();
      if (!is_given) open.push_back(argument.name);
      if (is_read || is_given || token_ != argument.name) return;
      given.push_back(argument.name);
      advance();
      if (!accept("=")) fail("\"=\" and a value");
      read_value(mode.*argument.member, mode);
      is_read = true;
    };
    std::apply([&](const auto&... arguments) { (try_argument(arguments), ...); },
               mode_entry<Mode>.arguments);
    if (is_read) return;
    const std::string expected = open.empty() ? "\")\"" : "an argument: " + one_of(open);
    const bool again = std::find(given.begin(), given.end(), token_) != given.end();
    fail(again ? "each argument once, now " + expected : expected);
  }

  /// The value of one of the mode's members, which the mode must then find valid.
  template <class Value, class Mode>
  void read_value(Value& value, const Mode& mode) {
    parse(value);
    handling<std::invalid_argument>(
        [&] { validate_rule(mode); },
        [&](const auto& error) {
          raise(ModeSyntaxError(column(), std::string(error.what()).substr(prefix.size())));
        });
    advance();
  }

  void parse(double& value) const { parse_number(value, "a number"); }
  void parse(int& value) const { parse_number(value, "a whole number"); }
  void parse(std::optional<double>& value) const {
    value.reset();
    if (token_ == inverse_levels) return;
    parse_number(value.emplace(), "a number or 1/max_levels");
  }
  template <class Value>
  void parse(Value& value) const {
    const auto& words = words_of(value);
    const auto word = std::find(words.begin(), words.end(), token_);
    if (word == words.end()) fail(one_of({words.begin(), words.end()}));
    value = static_cast<Value>(word - words.begin());
  }
  template <class Number>
  void parse_number(Number& value, const char* expected) const {
    const char* const end = token_.data() + token_.size();
    const auto [stop, error] = std::from_chars(token_.data(), end, value);
    if (error == std::errc::result_out_of_range) fail(std::string(expected) + " within its range");
    if (error != std::errc{} || stop != end) fail(expected);
  }

  /// Goes to the next token: a word or number, one other character, or empty at the end.
  void advance() {
    const char* const word_characters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-/";
    position_ =
        std::min(text_.find_first_not_of(" \t\n\v\f\r", position_ + token_.size()), text_.size());
    const std::string_view rest = text_.substr(position_);
    const std::size_t word = std::min(rest.find_first_not_of(word_characters), rest.size());
    token_ = rest.substr(0, std::max<std::size_t>(word, 1));
  }
  bool accept(std::string_view wanted) {
    if (token_ != wanted) return false;
    advance();
    return true;
  }

  [[nodiscard]] std::size_t column() const { return position_ + 1; }
  [[noreturn]] void fail(const std::string& expected) const {
    raise(ModeSyntaxError(column(), "found " + quoted(token_) + "; expected " + expected));
  }

  /// A token for a message: printable and short.
  [[nodiscard]] static std::string quoted(std::string_view token) {
    constexpr std::size_t longest = 40;
    if (token.empty()) return "the end";
    std::string text = "\"";
    for (const char c : token.substr(0, longest)) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte < 0x7F) {
        text += c;
      } else {
        text.append("\\x").append({"0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]});
      }
    }
    return text + (token.size() > longest ? "...\"" : "\"");
  }

  static constexpr std::string_view prefix = "loglinear: ";

  std::string_view text_, token_;
  std::size_t position_ = 0;  // of the token
};

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

template <class Mode>
concept HasModeEntry = !std::is_null_pointer_v<std::remove_cv_t<decltype(mode_entry<Mode>)>>;

}  // namespace detail

/// A mode as text, with those arguments that differ from their defaults; `parse_mode` reads the
/// same mode back, bit for bit, if it is valid.
[[nodiscard]] inline std::string to_text(const AttentionMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for an inner mode.
[[nodiscard]] inline std::string to_text(const InnerMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for one alternative, such as `to_text(GLA{.gate_bias = 6})`.
template <detail::HasModeEntry Mode>
[[nodiscard]] std::string to_text(const Mode& mode) {
  return detail::mode_to_text(mode, false);
}

/// The mode that a text describes; the grammar stands at the top of this file. \throws
/// ModeSyntaxError where the text breaks the grammar, names what does not exist, repeats an
/// argument or gives a value that is out of its range
[[nodiscard]] inline AttentionMode parse_mode(std::string_view text) {
  return detail::ModeReader(text).read_all<AttentionMode>();
}
/// The same for an inner mode: `log_linear` is refused.
[[nodiscard]] inline InnerMode parse_inner_mode(std::string_view text) {
  return detail::ModeReader(text).read_all<InnerMode>();
}

/// The name of a mode in its text, such as `"gated_delta_net"`.
[[nodiscard]] inline std::string_view mode_name(const AttentionMode& mode) {
  return std::visit([]<class Mode>(const Mode&) { return detail::mode_entry<Mode>.name; }, mode);
}

/// One line a mode, with all arguments and their defaults, for a help text:
/// `"retnet(gamma=0.95)"`, ... `parse_mode` reads each as the mode with its defaults.
[[nodiscard]] inline std::vector<std::string> mode_signatures() {
  return []<class... Modes>(std::type_identity<std::variant<Modes...>>) {
    return std::vector<std::string>{detail::mode_to_text(Modes{}, true)...};
  }(std::type_identity<AttentionMode>{});
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_TEXT_HPP
