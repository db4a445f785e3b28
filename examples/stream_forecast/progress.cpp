// SPDX-License-Identifier: MIT
#include "progress.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

namespace stream_forecast {

namespace {

/// What a terminal shows in place of a full and an empty piece of the bar.
constexpr int bar_width = 30;

std::string duration(double seconds) {
  char text[32];
  const auto whole = static_cast<long long>(std::min(seconds, 3.6e8));
  if (whole < 3600) {
    std::snprintf(text, sizeof text, "%02lld:%02lld", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60,
                  whole % 60);
  }
  return text;
}

}  // namespace

void DoublingLines::scored(double label, double prediction) {
  if (count_ == 0) {
    std::printf("%12s %12s %12s %12s %12s\n%12s %12s %12s %12s %12s\n", "average", "since",
                "example", "current", "current", "loss", "last", "counter", "label", "prediction");
  }
  ++count_;
  loss_ += std::abs(label - prediction);
  if (count_ < next_) return;
  std::printf("%12.6g %12.6g %12llu %12.6g %12.6g\n", loss_ / static_cast<double>(count_),
              (loss_ - last_loss_) / static_cast<double>(count_ - last_count_),
              static_cast<unsigned long long>(count_), label, prediction);
  std::fflush(stdout);
  last_count_ = count_;
  last_loss_ = loss_;
  next_ *= 2;
}

ProgressBar::ProgressBar(std::uint64_t total_bytes)
    : terminal_(isatty(STDERR_FILENO) == 1), total_bytes_(total_bytes) {}

void ProgressBar::update(std::uint64_t rows, std::uint64_t bytes) {
  if (!terminal_) return;
  const auto now = Clock::now();
  if (now < next_draw_) return;
  next_draw_ = now + std::chrono::milliseconds(100);
  const double seconds = std::max(std::chrono::duration<double>(now - start_).count(), 1e-9);
  const double rate = static_cast<double>(rows) / seconds;
  if (total_bytes_ == 0 || bytes == 0) {
    std::fprintf(stderr, "\r\033[K%llu rows  %.0f rows/s", static_cast<unsigned long long>(rows),
                 rate);
  } else {
    const double done =
        std::min(1.0, static_cast<double>(bytes) / static_cast<double>(total_bytes_));
    std::string bar(bar_width, '.');
    std::fill_n(bar.begin(), static_cast<int>(done * bar_width), '#');
    std::fprintf(stderr, "\r\033[K[%s] %3.0f %%  %.0f rows/s  %s left", bar.c_str(), 100 * done,
                 rate, duration(seconds / done - seconds).c_str());
  }
  std::fflush(stderr);
  drawn_ = true;
}

void ProgressBar::clear() {
  if (!drawn_) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace stream_forecast
