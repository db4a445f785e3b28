// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_DEFAULTS_HPP
#define STREAM_FORECAST_DEFAULTS_HPP

// What follows from the periods unless it is said.

#include <algorithm>
#include <string>
#include <vector>

#include "options.hpp"

namespace stream_forecast {

/// For the shortest period P and the longest L the seasonal lags P, 2 P, ..., up to seven of them
/// and to L, then L and 2 L, as far as those changes are known `horizon` rows before.
[[nodiscard]] inline std::vector<int> default_seasonal_lags(const Options& options) {
  if (options.periods.empty()) return {};
  int shortest = longest_period, longest = 0;
  for (const Period& period : options.periods) {
    shortest = std::min(shortest, period.length);
    longest = std::max(longest, period.length);
  }
  std::vector<int> lags;
  for (int i = 1; i <= 7 && i * shortest <= longest; ++i) lags.push_back(i * shortest);
  for (const int lag : {longest, 2 * longest}) {
    if (std::find(lags.begin(), lags.end(), lag) == lags.end()) lags.push_back(lag);
  }
  std::erase_if(lags, [&](int lag) { return lag < options.horizon; });
  return lags;
}

/// A key for each period, of a thousand parts at most; without a period one for all rows.
[[nodiscard]] inline std::vector<Category> default_categories(const std::vector<Period>& periods) {
  constexpr int most_parts = 1000;
  std::vector<Category> categories;
  for (const Period& period : periods) {
    const std::string text = '@' + std::to_string(period.length);
    const int parts = std::min(period.length, most_parts);
    categories.push_back({text, {{"", period.length, parts}}});
  }
  if (categories.empty()) categories.push_back({"all rows", {}});
  return categories;
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_DEFAULTS_HPP
