// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PLOT_HPP
#define STREAM_FORECAST_PLOT_HPP

#include <cstdint>
#include <string>

#include "options.hpp"
#include "ring.hpp"
#include "saved_rows.hpp"

namespace stream_forecast {

/// One scored forecast, to be drawn.
struct PlotPoint {
  std::uint64_t row = 0;
  double label = 0, prediction = 0, least_squares = 0;
};

/// The rows to draw, for checkpoints.
struct PlotPoints : Ring<PlotPoint> {
  using Ring::Ring;

  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    visit_ring<double>(
        self, part, "points", 4,
        [](const PlotPoint& point, auto row) {
          row << static_cast<double>(point.row), point.label, point.prediction, point.least_squares;
        },
        [](const auto& row) {
          loglinear::detail::require_between("a row's number", row[0], 0.0, 0x1p53);
          return PlotPoint{static_cast<std::uint64_t>(row[0]), row[1], row[2], row[3]};
        });
  }
};

/// Whether a program of that name lies in PATH.
[[nodiscard]] bool in_path(const std::string& program);

/// Draws truth and prediction, and below them the error, by gnuplot; the ending of the file's name
/// says whether as PNG or as SVG. \return whether gnuplot succeeded
[[nodiscard]] bool draw(const Options& options, const std::string& target,
                        const Ring<PlotPoint>& points);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PLOT_HPP
