// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_METRICS_HPP
#define STREAM_FORECAST_METRICS_HPP

#include <cmath>
#include <cstdint>
#include <limits>

#include "halves.hpp"

namespace stream_forecast {

/// Running errors of one forecaster. A figure without samples is NaN.
class Metrics {
 public:
  void add(double label, double prediction) {
    const double error = prediction - label;
    ++count_;
    absolute_ += std::abs(error);
    halves_.add(std::abs(error));
    squared_ += error * error;
    if (label == 0) return;  // no percentage of nothing
    ++percentage_count_;
    percentage_ += std::abs(error / label);
  }

  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// Samples that MAPE leaves out because their label is 0.
  [[nodiscard]] std::uint64_t zero_labels() const { return count_ - percentage_count_; }
  [[nodiscard]] double absolute_sum() const { return absolute_; }
  [[nodiscard]] double mae() const { return mean(absolute_, count_); }
  /// The absolute errors of both halves of the samples.
  [[nodiscard]] const Halves& halves() const { return halves_; }
  [[nodiscard]] double rmse() const { return std::sqrt(mean(squared_, count_)); }
  [[nodiscard]] double mape() const { return 100 * mean(percentage_, percentage_count_); }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("count", self.count_);
    part("percentage_count", self.percentage_count_);
    part("absolute", self.absolute_);
    part("squared", self.squared_);
    part("percentage", self.percentage_);
    part("halves", self.halves_);
    if (self.halves_.count() != self.count_)
      loglinear::detail::fail("the halves' count", self.halves_.count(), self.count_);
  }

 private:
  static double mean(double sum, std::uint64_t count) {
    return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
  }

  std::uint64_t count_ = 0, percentage_count_ = 0;
  double absolute_ = 0, squared_ = 0, percentage_ = 0;
  Halves halves_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_METRICS_HPP
