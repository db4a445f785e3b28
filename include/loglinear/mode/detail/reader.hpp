// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_DETAIL_READER_HPP
#define LOGLINEAR_MODE_DETAIL_READER_HPP

// Reads a mode from its text; the grammar stands at the top of mode_text.hpp.

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <variant>
#include <vector>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/mode/detail/writer.hpp"
#include "loglinear/mode/mode.hpp"
#include "loglinear/mode/mode_syntax_error.hpp"

namespace loglinear::detail {

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
  return {Modes::info.text...};
}

/// What a variant is one of, in a message.
[[nodiscard]] constexpr const char* noun_of(std::type_identity<AttentionMode>) {
  return "a mode: ";
}
[[nodiscard]] constexpr const char* noun_of(std::type_identity<InnerMode>) {
  return "a mode: ";
}
[[nodiscard]] constexpr const char* noun_of(std::type_identity<LevelWeighting>) {
  return "level weights: ";
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
      if (mode || token_ != Mode::info.text) return;
      advance();
      mode = read_arguments<Mode>();
    };
    (try_mode(std::type_identity<Modes>{}), ...);
    if (mode) return *mode;
    if (token_ == LogLinear::info.text &&
        !TypeList<Modes...>::template contains<NormalizedMixture>) {
      fail("an inner mode, since log_linear cannot be inside log_linear: " +
           one_of(names_of(type)));
    }
    fail(noun_of(type) + one_of(names_of(type)));
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
    Mode::hyperparameters(mode, [&](const Hyperparameter& parameter, auto& value) {
      const bool is_given = std::find(given.begin(), given.end(), parameter.name) != given.end();
      if (!is_given) open.push_back(parameter.name);
      if (is_read || is_given || token_ != parameter.name) return;
      given.push_back(parameter.name);
      advance();
      if (!accept("=")) fail("\"=\" and a value");
      read_value(value, Mode::info.name, parameter);
      is_read = true;
    });
    if (is_read) return;
    const std::string expected = open.empty() ? "\")\"" : "an argument: " + one_of(open);
    const bool again = std::find(given.begin(), given.end(), token_) != given.end();
    fail(again ? "each argument once, now " + expected : expected);
  }

  /// The value of one of the members of `owner`.
  template <class Value>
  void read_value(Value& value, std::string_view owner, const Hyperparameter& parameter) {
    parse(value);
    handling<std::invalid_argument>(
        [&] { require_legal(owner, parameter, value); },
        [&](const auto& error) {
          raise(ModeSyntaxError(column(), std::string(error.what()).substr(prefix.size())));
        });
    advance();
  }
  template <class... Modes>
  void read_value(std::variant<Modes...>& value, std::string_view, const Hyperparameter&) {
    value = read_mode(std::type_identity<std::variant<Modes...>>{});
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
        (std::min)(text_.find_first_not_of(" \t\n\v\f\r", position_ + token_.size()), text_.size());
    const std::string_view rest = text_.substr(position_);
    const std::size_t word = (std::min)(rest.find_first_not_of(word_characters), rest.size());
    token_ = rest.substr(0, (std::max<std::size_t>)(word, 1));
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

  std::string_view text_, token_{};
  std::size_t position_ = 0;  // of the token
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_READER_HPP
