// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_CSV_NUMBER_HPP
#define STREAM_FORECAST_CSV_NUMBER_HPP

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>

#include "csv_fields.hpp"
#include "shown.hpp"

namespace stream_forecast {

/// A larger number is an error: squares of numbers must stay finite.
inline constexpr double largest_number = 1e100;

/// Reads a whole cell as a number, spaces around it aside. It is written as in C, with a decimal
/// point, but not in hexadecimal. \return what is wrong with it; empty if nothing is
[[nodiscard]] inline std::string parse_number(std::string_view cell, double& value) {
  const std::string_view text = trimmed(cell);
  if (text.empty()) return "the cell is empty";
  const bool plus = text.size() > 1 && text[0] == '+' && text[1] != '-';
  const char* const first = text.data() + (plus ? 1 : 0);
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(first, last, value);
  if (end != last || error == std::errc::invalid_argument) {
    const std::size_t comma = text.find(',');
    std::string pointed(text);
    if (comma != std::string_view::npos) pointed[comma] = '.';
    const bool decimal_comma =
        comma != std::string_view::npos && parse_number(pointed, value).empty();
    return shown(text) + " is not a number" +
           (decimal_comma ? "; write it with a decimal point" : "");
  }
  // Out of range may also mean too small, which is as good as 0.
  if (error == std::errc::result_out_of_range) {
    value = std::strtod(std::string(text).c_str(), nullptr);
  }
  if (!std::isfinite(value)) return shown(text) + " is not finite";
  if (std::abs(value) > largest_number) return shown(text) + " is beyond 1e100";
  return {};
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_CSV_NUMBER_HPP
