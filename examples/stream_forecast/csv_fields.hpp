// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CSV_FIELDS_HPP
#define STREAM_FORECAST_CSV_FIELDS_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace stream_forecast {

inline bool is_space(char c) {
  return c == ' ' || c == '\t';
}

inline std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// What can be wrong with the fields of a row.
enum class FieldFault { none, open_quote, text_after_quote, carriage_return };

/// The fields of a row, unquoted. A fault is that of the last field.
class CsvFields {
 public:
  /// Takes a row apart. The strings of the row before are used again.
  FieldFault split(std::string_view text, char delimiter) {
    count_ = 0;
    std::size_t at = 0;
    do {
      if (fields_.size() == count_) fields_.emplace_back();
      const FieldFault fault = take(text, delimiter, at, fields_[count_++]);
      if (fault != FieldFault::none) return fault;
    } while (at++ < text.size());
    return FieldFault::none;
  }

  [[nodiscard]] std::size_t size() const { return count_; }
  [[nodiscard]] const std::string& operator[](std::size_t i) const { return fields_[i]; }

 private:
  /// Takes the field that begins at `at` and moves `at` to its end.
  static FieldFault take(std::string_view text, char delimiter, std::size_t& at,
                         std::string& field) {
    field.clear();
    const auto after_spaces = [&](std::size_t i) {
      while (i < text.size() && is_space(text[i]) && text[i] != delimiter) ++i;
      return i;
    };
    const std::size_t start = after_spaces(at);
    if (start == text.size() || text[start] != '"') {
      const std::size_t end = std::min(text.find(delimiter, at), text.size());
      field.assign(text, at, end - at);
      at = end;
      return field.find('\r') == std::string::npos ? FieldFault::none : FieldFault::carriage_return;
    }
    for (at = start + 1;; ++at) {
      if (at == text.size()) return FieldFault::open_quote;
      if (text[at] == '"') {
        if (at + 1 == text.size() || text[at + 1] != '"') break;
        ++at;  // a doubled quote stands for one
      }
      field += text[at];
    }
    at = after_spaces(at + 1);
    return at == text.size() || text[at] == delimiter ? FieldFault::none
                                                      : FieldFault::text_after_quote;
  }

  std::vector<std::string> fields_;  // only the first `count_` count
  std::size_t count_ = 0;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_CSV_FIELDS_HPP
