// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_SAMPLES_HPP
#define LOGLINEAR_BENCH_SAMPLES_HPP

// Timing of rivals side by side on a noisy machine: each round times all of them in turn, and what
// is reported is the median over rounds, of times and of ratios within a round.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <vector>

namespace bench {

/// Nanoseconds on the wall that `work` takes, where it runs on several threads or one step of it is
/// timed.
template <class Work>
[[nodiscard]] double nanoseconds(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

/// Processor time so far, in nanoseconds; in microseconds where there is no such clock.
[[nodiscard]] inline double processor_time() {
#ifdef CLOCK_PROCESS_CPUTIME_ID
  std::timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
#else
  return 1e9 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
#endif
}

/// Nanoseconds of processor time that `work` takes: time that another program is given does not
/// count.
template <class Work>
[[nodiscard]] double processor_nanoseconds(Work&& work) {
  const double begin = processor_time();
  work();
  return processor_time() - begin;
}

/// How many rounds there are: `measured` for figures, or what LOGLINEAR_BENCH_ROUNDS says where
/// results are checked and no time matters.
[[nodiscard]] inline int rounds(int measured) {
  const char* const given = std::getenv("LOGLINEAR_BENCH_ROUNDS");
  return given != nullptr ? std::max(1, std::atoi(given)) : measured;
}

/// One quantity, measured once a round.
class Samples {
 public:
  void add(double value) { values_.push_back(value); }
  [[nodiscard]] double median() const { return quantile(0.5); }
  /// Half the distance between the quartiles, relative to the median.
  [[nodiscard]] double spread() const {
    return (quantile(0.75) - quantile(0.25)) / (2 * quantile(0.5));
  }
  [[nodiscard]] double quantile(double fraction) const {
    std::vector<double> sorted = values_;
    std::sort(sorted.begin(), sorted.end());
    return sorted.at(static_cast<std::size_t>(fraction * static_cast<double>(sorted.size() - 1)));
  }

 private:
  std::vector<double> values_;
};

}  // namespace bench

#endif  // LOGLINEAR_BENCH_SAMPLES_HPP
