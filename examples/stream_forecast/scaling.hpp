// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_SCALING_HPP
#define STREAM_FORECAST_SCALING_HPP

#include <cmath>
#include <loglinear/detail/base/checks.hpp>
#include <loglinear/detail/base/parts.hpp>

namespace stream_forecast {

/// Puts a column on the scale of 1: minus the mean, over the standard deviation, of the warm-up.
/// Fixed from then on, because what has been learnt refers to it.
class Scaling {
 public:
  void observe(double value) {
    // Welford's update.
    count_ += 1;
    const double before = value - mean_;
    mean_ += before / count_;
    squares_ += before * (value - mean_);
    const double deviation = std::sqrt(squares_ / count_);
    scale_ = deviation > 0 ? deviation : 1;
  }
  [[nodiscard]] double scaled(double value) const { return (value - mean_) / scale_; }
  [[nodiscard]] double restored(double value) const { return mean_ + scale_ * value; }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("count", self.count_);
    part("mean", self.mean_);
    part("squares", self.squares_);
    part("scale", self.scale_);
    if (!(self.scale_ > 0)) loglinear::detail::fail("scale", self.scale_, "positive");
  }

 private:
  double count_ = 0, mean_ = 0, squares_ = 0, scale_ = 1;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_SCALING_HPP
