// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_SHOWN_HPP
#define STREAM_FORECAST_SHOWN_HPP

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace stream_forecast {

/// Text from outside in quotes, fit for a terminal: short and without control characters. A UTF-8
/// character is never cut in two.
[[nodiscard]] inline std::string shown(std::string_view text) {
  constexpr std::size_t longest = 40;
  std::size_t end = std::min(text.size(), longest);
  const auto continues = [&](std::size_t i) {
    return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  while (end < text.size() && end > longest - 3 && continues(end)) --end;
  std::string result = "'";
  for (const char c : text.substr(0, end)) {
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return result + (end < text.size() ? "...'" : "'");
}

/// The first of many names, and how many more there are.
[[nodiscard]] inline std::string shown(const std::vector<std::string>& names) {
  constexpr std::size_t most = 8;
  std::string result;
  for (std::size_t i = 0; i < std::min(names.size(), most); ++i) {
    result += (i == 0 ? "" : ", ") + shown(names[i]);
  }
  if (names.size() > most) result += " and " + std::to_string(names.size() - most) + " more";
  return result;
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_SHOWN_HPP
