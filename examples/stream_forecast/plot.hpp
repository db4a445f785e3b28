// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PLOT_HPP
#define STREAM_FORECAST_PLOT_HPP

#include <cstdint>
#include <string>

#include "options.hpp"
#include "ring.hpp"

namespace stream_forecast {

/// One scored forecast, to be drawn.
struct PlotPoint {
  std::uint64_t row = 0;
  double label = 0, prediction = 0, least_squares = 0;
};

/// Whether a program of that name lies in PATH.
[[nodiscard]] bool in_path(const std::string& program);

/// Draws truth and prediction, and below them the error, by gnuplot; the ending of the file's name
/// says whether as PNG or as SVG. \return whether gnuplot succeeded
[[nodiscard]] bool draw(const Options& options, const std::string& target,
                        const Ring<PlotPoint>& points);

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PLOT_HPP
