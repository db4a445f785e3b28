// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_PROGRESS_HPP
#define STREAM_FORECAST_PROGRESS_HPP

#include <chrono>
#include <cstdint>

namespace stream_forecast {

/// Progress on standard output after 1, 2, 4, 8, ... scored forecasts, in the columns of Vowpal
/// Wabbit; the loss is the absolute error.
class DoublingLines {
 public:
  void scored(double label, double prediction);
  /// Whether the next forecast scored will print a line.
  [[nodiscard]] bool due() const { return count_ + 1 >= next_; }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("count", self.count_);
    part("next", self.next_);
    part("last_count", self.last_count_);
    part("loss", self.loss_);
    part("last_loss", self.last_loss_);
  }

 private:
  std::uint64_t count_ = 0, next_ = 1, last_count_ = 0;
  double loss_ = 0, last_loss_ = 0;
};

/// A bar with rate and remaining time on standard error; nothing unless that is a terminal.
class ProgressBar {
 public:
  /// `total_bytes` is 0 when nobody knows how long the input is: then rate and count alone.
  explicit ProgressBar(std::uint64_t total_bytes);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws at most ten times a second.
  void update(std::uint64_t rows, std::uint64_t bytes);
  /// Takes the bar away, so that a line can be printed in its place.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  bool terminal_, drawn_ = false;
  std::uint64_t total_bytes_;
  Clock::time_point start_ = Clock::now(), next_draw_ = start_ + std::chrono::milliseconds(100);
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_PROGRESS_HPP
