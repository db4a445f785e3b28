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

/// By how much the first errs less than the second in the second half, of the second.
std::string difference(const Standing& first, const Standing& second) {
  const double base = second.metrics.halves().second();
  return figure("%+.1f", 100 * (first.metrics.halves().second() - base) / base, " %");
}

/// Of the means of one decay the one with the smallest error in the first half.
const Standing* chosen_decay(const std::vector<Standing>& standings) {
  const Standing* best = nullptr;
  for (const Standing& s : standings) {
    if (!s.column.starts_with("decay_")) continue;
    if (best == nullptr || s.metrics.halves().first() < best->metrics.halves().first()) best = &s;
  }
  return best;
}

}  // namespace

void print_report(const std::vector<Standing>& standings, std::uint64_t rows,
                  const std::string& ahead) {
  const Standing& ours = standings.front();
  const std::uint64_t scored = ours.metrics.count(), first = ours.metrics.halves().first_count();
  std::printf("\nForecasts %s: %llu scored (%llu and %llu), %llu rows read\n\n", ahead.c_str(),
              static_cast<unsigned long long>(scored), static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(scored - first),
              static_cast<unsigned long long>(rows));
  std::printf("%-30s %10s %10s %10s %10s %10s %9s\n", "", "1st half", "2nd half", "MAE", "RMSE",
              "MAPE", "tokens/s");
  for (const Standing& s : standings) {
    if (s.metrics.count() == 0) continue;
    const Halves& halves = s.metrics.halves();
    std::printf("%-30s %10s %10s %10s %10s %10s %9s\n", s.name.c_str(),
                figure("%.6g", halves.first()).c_str(), figure("%.6g", halves.second()).c_str(),
                figure("%.6g", s.metrics.mae()).c_str(), figure("%.6g", s.metrics.rmse()).c_str(),
                figure(s.metrics.mape() < 1e5 ? "%.3f" : "%.3g", s.metrics.mape(), " %").c_str(),
                figure("%.3g", static_cast<double>(rows) / s.seconds).c_str());
  }
  std::printf("\n1st and 2nd half are mean absolute errors. In the second half the MAE of %s is\n",
              ours.name.c_str());
  const Standing* const decay = chosen_decay(standings);
  for (const Standing& s : standings) {
    if (&s == &ours || s.column.starts_with("last_")) continue;
    if (s.column.starts_with("decay_") && &s != decay) continue;
    std::printf("%8s against %s%s\n", difference(ours, s).c_str(), s.name.c_str(),
                &s == decay ? ", which the first half chooses" : "");
  }
  if (ours.metrics.zero_labels() > 0) {
    std::printf("MAPE leaves out labels that are 0: %llu of them.\n",
                static_cast<unsigned long long>(ours.metrics.zero_labels()));
  }
}

}  // namespace stream_forecast
