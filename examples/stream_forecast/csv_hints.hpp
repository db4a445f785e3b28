// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CSV_HINTS_HPP
#define STREAM_FORECAST_CSV_HINTS_HPP

// What to say beside an error where the input looks like text of another kind. A hint begins with
// "; " and is empty if nothing speaks for it.

#include <algorithm>
#include <string>
#include <string_view>

namespace stream_forecast {

/// What text that is not UTF-8 is, by its byte-order mark or by where NUL bytes stand in its first
/// line; empty for other text.
[[nodiscard]] inline std::string wide_encoding(std::string_view first_line) {
  using namespace std::string_view_literals;
  if (first_line.starts_with("\xFF\xFE\0\0"sv) || first_line.starts_with("\0\0\xFE\xFF"sv)) {
    return "UTF-32";
  }
  if (first_line.starts_with("\xFF\xFE") || first_line.starts_with("\xFE\xFF")) return "UTF-16";
  const std::size_t nul = first_line.find('\0');
  if (nul == std::string_view::npos) return {};
  return nul % 2 == 1 ? "UTF-16LE" : "UTF-16BE";
}

[[nodiscard]] inline std::string encoding_advice(const std::string& encoding) {
  return "convert it first, for example by iconv -f " + encoding + " -t UTF-8";
}

[[nodiscard]] inline std::string nul_hint(std::string_view line) {
  if (line.find('\0') == std::string_view::npos) return {};
  return "; the line has NUL bytes: if the input is UTF-16, " + encoding_advice("UTF-16LE");
}

[[nodiscard]] inline std::string carriage_return_hint(std::string_view line) {
  if (line.find('\r') == std::string_view::npos) return {};
  return "; if lines end in a carriage return alone, convert them first, for example by tr '\\r' "
         "'\\n'";
}

/// How often a character stands outside quotes.
[[nodiscard]] inline std::ptrdiff_t count_unquoted(std::string_view text, char wanted) {
  bool quoted = false;
  return std::count_if(text.begin(), text.end(), [&](char c) {
    if (c == '"') quoted = !quoted;
    return c == wanted && !quoted;
  });
}

/// Another delimiter, if the first line and the faulty one have equally many of it and it would
/// take apart the faulty cell or, should the first line be a single field, that.
[[nodiscard]] inline std::string delimiter_hint(std::string_view first_line, std::string_view line,
                                                std::string_view cell, char delimiter) {
  const bool single = count_unquoted(first_line, delimiter) == 0;
  for (const char other : {';', '\t', '|', ',', ' '}) {
    const auto count = count_unquoted(first_line, other);
    if (other == delimiter || count == 0 || count_unquoted(line, other) != count) continue;
    if (!single && cell.find(other) == std::string_view::npos) continue;
    const std::string shown = std::string("'") + other + "'";
    return other == '\t' ? "; if tabs separate the fields, say --delimiter tab"
                         : "; if " + shown + " separates the fields, say --delimiter " + shown;
  }
  return {};
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_CSV_HINTS_HPP
