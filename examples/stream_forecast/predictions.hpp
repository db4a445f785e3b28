// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PREDICTIONS_HPP
#define STREAM_FORECAST_PREDICTIONS_HPP

#include <cstdint>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "report.hpp"

namespace stream_forecast {

/// A CSV of every forecast: the number of the row it is for (data rows count from 1), the label,
/// every competitor's forecast, and whether it is scored. The forecasts beyond the last row have no
/// label yet.
class PredictionsFile {
 public:
  PredictionsFile(const std::string& path, const std::vector<Standing>& competitors)
      : out_(path, std::ios::trunc) {
    out_.precision(std::numeric_limits<double>::max_digits10);
    out_ << "row,label";
    for (const Standing& competitor : competitors) out_ << ',' << competitor.column;
    out_ << ",scored\n";
  }

  void write(std::uint64_t row, std::optional<double> label, const std::vector<double>& forecasts,
             bool scored) {
    out_ << row << ',';
    if (label) out_ << *label;
    for (const double forecast : forecasts) out_ << ',' << forecast;
    out_ << ',' << (scored ? 1 : 0) << '\n';
  }

  /// Whether everything so far could be written.
  bool good() { return static_cast<bool>(out_.flush()); }

 private:
  std::ofstream out_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PREDICTIONS_HPP
