// SPDX-License-Identifier: MIT
#include "report.hpp"

#include <cstdio>

namespace stream_forecast {

namespace {

std::string figure(const char* format, double value, const char* unit = "") {
  if (std::isnan(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return std::string(text) + unit;
}

/// By how much the first errs less than the second, of the second.
std::string difference(const Metrics& first, const Metrics& second) {
  const double percent = 100 * (first.mae() - second.mae()) / second.mae();
  return figure("%+.1f", percent, " %");
}

}  // namespace

void print_report(const std::vector<Standing>& standings, std::uint64_t rows, int horizon) {
  const Metrics& ours = standings[log_linear].metrics;
  std::printf("\nForecasts %d row%s ahead: %llu scored, %llu rows read\n\n", horizon,
              horizon == 1 ? "" : "s", static_cast<unsigned long long>(ours.count()),
              static_cast<unsigned long long>(rows));
  std::printf("%-28s %10s %10s %10s %10s\n", "", "MAE", "RMSE", "MAPE", "tokens/s");
  for (const Standing& s : standings) {
    if (s.metrics.count() == 0) continue;
    std::printf("%-28s %10s %10s %10s %10s\n", s.name.c_str(),
                figure("%.6g", s.metrics.mae()).c_str(), figure("%.6g", s.metrics.rmse()).c_str(),
                figure(s.metrics.mape() < 1e5 ? "%.3f" : "%.3g", s.metrics.mape(), " %").c_str(),
                figure("%.3g", static_cast<double>(rows) / s.seconds).c_str());
  }
  std::printf(
      "\nMAE of log-linear attention: %s against least squares alone, %s against one state.\n",
      difference(ours, standings[least_squares].metrics).c_str(),
      difference(ours, standings[one_state].metrics).c_str());
  if (ours.zero_labels() > 0) {
    std::printf("MAPE leaves out labels that are 0: %llu of them.\n",
                static_cast<unsigned long long>(ours.zero_labels()));
  }
}

}  // namespace stream_forecast
