// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_REPORT_HPP
#define STREAM_FORECAST_REPORT_HPP

#include <cstdint>
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

/// The roles that the table's last lines compare, as indices into the standings.
enum Competitor : std::size_t { log_linear, one_state, least_squares, last_season, last_value };

/// Prints the table of errors and speed to standard output, and what attention adds. Without a
/// season there is no line `last_season`; its metrics are then empty.
void print_report(const std::vector<Standing>& standings, std::uint64_t rows, int horizon);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_REPORT_HPP
