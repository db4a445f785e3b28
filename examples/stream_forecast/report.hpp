// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_REPORT_HPP
#define STREAM_FORECAST_REPORT_HPP

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "metrics.hpp"

namespace stream_forecast {

/// One competitor's line of the table.
struct Standing {
  std::string name;
  std::string column;  ///< its name in the predictions file
  Metrics metrics;
  double seconds = 0;  ///< spent on forecasting and learning, the making of inputs included

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("metrics", self.metrics);
    part("seconds", self.seconds);
  }
};

/// The competitor of that column. \throws std::out_of_range if there is none
[[nodiscard]] inline std::size_t index_of(const std::vector<Standing>& standings,
                                          const std::string& column) {
  for (std::size_t i = 0; i < standings.size(); ++i) {
    if (standings[i].column == column) return i;
  }
  throw std::out_of_range("no competitor is called " + column);
}

/// Prints the table of errors and speed to standard output, and how the cascade, the first, stands
/// to the others. Of the means of one decay it takes the one that the first half chooses.
/// `ahead` says of what the forecasts are.
void print_report(const std::vector<Standing>& standings, std::uint64_t rows,
                  const std::string& ahead);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_REPORT_HPP
