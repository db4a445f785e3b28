// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_JSON_FIELDS_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_JSON_FIELDS_HPP

// A JSON object of options, read key by key, so that keys that nobody has asked for are found.
// Python writes numbers that JSON does not have, Infinity, -Infinity and NaN: they are read too.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/error.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// The text with Python's Infinity, -Infinity and NaN put in quotes where they stand outside of
/// strings, so that it is JSON.
[[nodiscard]] inline std::string with_python_numbers_quoted(std::string_view text) {
  std::string result;
  bool is_inside = false;
  for (std::size_t at = 0; at < text.size();) {
    if (is_inside) {
      const std::size_t length = text[at] == '\\' ? 2 : 1;
      is_inside = text[at] != '"';
      result += text.substr(at, length);
      at += length;
      continue;
    }
    std::string_view number;
    for (const std::string_view one : {"-Infinity", "Infinity", "NaN"}) {
      if (text.substr(at).starts_with(one)) number = one;
    }
    if (number.empty()) {
      is_inside = text[at] == '"';
      result += text[at++];
    } else {
      result += '"' + std::string(number) + '"';
      at += number.size();
    }
  }
  return result;
}

/// \throws CheckpointError, which says where, for what is no JSON
[[nodiscard]] inline nlohmann::json parsed_json(std::string_view text, const std::string& source) {
  // The parser takes a byte 0 for the end of the text, and would not see what follows it.
  const std::size_t zero = text.find('\0');
  if (zero != std::string_view::npos) {
    refuse(source, "has a byte 0 at " + std::to_string(zero) + "; JSON has none");
  }
  nlohmann::json json;
  handling<nlohmann::json::exception>(
      [&] { json = nlohmann::json::parse(with_python_numbers_quoted(text)); },
      [&](const auto& error) {
        refuse(source, "is no JSON: " + shortened(std::string_view(error.what()), 200));
      });
  return json;
}

/// The options of one object. A null is an option that is not given.
class JsonFields {
 public:
  /// \param where  what stands before a key in messages, "attn." or nothing
  JsonFields(const nlohmann::json& object, std::string source, std::string where = {})
      : object_(object), source_(std::move(source)), where_(std::move(where)) {
    if (!object.is_object()) {
      detail::refuse(source_, where_.empty() ? "holds no JSON object" : where_ + " is no object");
    }
  }

  /// The value of the first of these keys that is given, or nothing. \throws CheckpointError where
  /// it is of another type
  template <class Value>
  [[nodiscard]] std::optional<Value> find(std::initializer_list<const char*> keys) {
    std::optional<Value> found;
    for (const char* const key : keys) {
      const nlohmann::json* const value = given(key);
      if (value != nullptr && !found) found = converted<Value>(key, *value);
    }
    return found;
  }
  /// The same, and `otherwise` where none is given.
  template <class Value>
  [[nodiscard]] Value get(std::initializer_list<const char*> keys, const Value& otherwise) {
    return find<Value>(keys).value_or(otherwise);
  }
  /// The value of a key as it is, or nullptr where it is not given.
  [[nodiscard]] const nlohmann::json* given(const char* key) {
    read_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  /// \throws CheckpointError for the value of a key
  [[noreturn]] void refuse(const std::string& key, const nlohmann::json& value,
                           const std::string& legal) const {
    detail::refuse(source_,
                   where_ + key + " is " + shortened(value.dump()) + "; it must be " + legal);
  }
  /// \throws CheckpointError for keys that nobody has asked for
  template <class Names>
  void require_all_read(const Names& passed_over) const {
    std::vector<std::string> unknown;
    for (const auto& item : object_.items()) {
      if (!read_.contains(item.key()) && !passed_over.contains(item.key())) {
        unknown.push_back(item.key());
      }
    }
    if (unknown.empty()) return;
    detail::refuse(source_, "has keys that may change the numbers and are not known: " +
                                (where_.empty() ? "" : "in " + where_ + ' ') + in_quotes(unknown));
  }

 private:
  template <class Value>
  [[nodiscard]] Value converted(const std::string& key, const nlohmann::json& value) const {
    if constexpr (std::is_same_v<Value, bool>) {
      if (value.is_boolean()) return value.get<bool>();
      refuse(key, value, "true or false");
    } else if constexpr (std::is_same_v<Value, std::string>) {
      if (value.is_string()) return value.get<std::string>();
      refuse(key, value, "a text");
    } else if constexpr (std::is_same_v<Value, double>) {
      if (value.is_number()) return value.get<double>();
      if (value == "Infinity") return std::numeric_limits<double>::infinity();
      if (value == "-Infinity") return -std::numeric_limits<double>::infinity();
      if (value == "NaN") return std::numeric_limits<double>::quiet_NaN();
      refuse(key, value, "a number");
    } else {
      static_assert(std::is_same_v<Value, Index>);
      constexpr double most = 0x1p53;
      if (value.is_number()) {
        const auto number = value.get<double>();
        const bool fits = number >= -most && number <= most;
        if (fits && is_exactly(static_cast<double>(static_cast<Index>(number)), number)) {
          return static_cast<Index>(number);
        }
      }
      refuse(key, value, "a whole number");
    }
  }

  const nlohmann::json& object_;
  std::string source_, where_;
  std::set<std::string, std::less<>> read_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_JSON_FIELDS_HPP
