// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_INPUTS_HPP
#define STREAM_FORECAST_INPUTS_HPP

// What is known when a forecast is made, as one vector: the inputs of every model here.
//
//     1, the last values of the target, its changes whole seasons before the row forecast, feature
//     columns, sines and cosines of the clock at the row forecast

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <numeric>
#include <vector>

#include "options.hpp"
#include "ring.hpp"
#include "saved_rows.hpp"
#include "scaling.hpp"

namespace stream_forecast {

template <class Scalar>
using Vector = Eigen::Matrix<Scalar, Eigen::Dynamic, 1>;

/// The clock's part: `cos(2 pi j t / P)` and `sin(2 pi j t / P)` for each period P and j up to its
/// number of harmonics; frequencies that an earlier period already has are left out.
class Harmonics {
 public:
  explicit Harmonics(const std::vector<Period>& periods) {
    for (const Period& period : periods) {
      for (int j = 1; j <= period.harmonics; ++j) add(j, period.length);
    }
  }

  [[nodiscard]] Eigen::Index size() const { return size_; }

  /// Fills `out`, of length `size()`, for row `t`.
  template <class Out>
  void fill(std::uint64_t t, Out&& out) const {
    using Scalar = typename std::decay_t<Out>::Scalar;
    Eigen::Index i = 0;
    for (const Frequency& f : frequencies_) {
      // The phase is reduced in integers: exact however long the stream.
      const auto step = (t % f.rows) * f.cycles % f.rows;
      const double angle =
          2 * std::numbers::pi * static_cast<double>(step) / static_cast<double>(f.rows);
      out[i++] = static_cast<Scalar>(std::cos(angle));
      if (f.has_sine) out[i++] = static_cast<Scalar>(std::sin(angle));
    }
  }

  /// Where the harmonics that divide `period` lie: those a season of that length is made of.
  [[nodiscard]] std::vector<Eigen::Index> of_period(int period) const {
    std::vector<Eigen::Index> found;
    Eigen::Index i = 0;
    for (const Frequency& f : frequencies_) {
      const bool belongs = static_cast<std::uint64_t>(period) % f.rows == 0;
      for (int k = 0; k < (f.has_sine ? 2 : 1); ++k, ++i) {
        if (belongs) found.push_back(i);
      }
    }
    return found;
  }

 private:
  struct Frequency {
    std::uint64_t cycles, rows;  // in lowest terms
    bool has_sine;               // at half the sampling rate the sine is 0
    bool operator==(const Frequency&) const = default;
  };

  void add(int cycles, int rows) {
    const int divisor = std::gcd(cycles, rows);
    const Frequency f{static_cast<std::uint64_t>(cycles / divisor),
                      static_cast<std::uint64_t>(rows / divisor), 2 * cycles != rows};
    for (const Frequency& known : frequencies_) {
      if (known == f) return;
    }
    frequencies_.push_back(f);
    size_ += f.has_sine ? 2 : 1;
  }

  std::vector<Frequency> frequencies_;
  Eigen::Index size_ = 0;
};

/// The target's last values, and on which scale the models see them.
struct History {
  Ring<double> values;
  Scaling scaling;

  /// On the models' scale; 0, the mean, before the stream began.
  [[nodiscard]] double scaled_ago(std::size_t age) const {
    return age < values.size() ? scaling.scaled(values.ago(age)) : 0;
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    visit_ring<double>(
        self.values, part, "values", 1, [](double value, auto row) { row[0] = value; },
        [](const auto& row) { return row[0]; });
    part("scaling", self.scaling);
  }
};

template <class Scalar>
class InputBuilder {
 public:
  explicit InputBuilder(const Options& options) : options_(options), harmonics_(options.periods) {}

  [[nodiscard]] Eigen::Index size() const { return clock_begin() + harmonics_.size(); }

  /// Fills `inputs` when `history` ends with the row before; `target_row` is the row forecast.
  void fill(const History& history, const std::vector<double>& scaled_features,
            std::uint64_t target_row, Vector<Scalar>& inputs) const {
    inputs.resize(size());
    Eigen::Index i = 0;
    inputs[i++] = Scalar(1);
    for (int lag = 0; lag < options_.lags; ++lag) {
      inputs[i++] = static_cast<Scalar>(history.scaled_ago(static_cast<std::size_t>(lag)));
    }
    for (const int lag : options_.seasonal_lags) {
      // The change over the horizon that ended so many rows before the row forecast.
      const auto begin = static_cast<std::size_t>(lag);
      const auto end = begin - static_cast<std::size_t>(options_.horizon);
      const bool known = begin < history.values.size();
      inputs[i++] = known ? static_cast<Scalar>(history.scaled_ago(end) - history.scaled_ago(begin))
                          : Scalar(0);
    }
    for (const double feature : scaled_features) inputs[i++] = static_cast<Scalar>(feature);
    harmonics_.fill(target_row, inputs.tail(harmonics_.size()));
  }

  /// The inputs that attention's keys are made of.
  [[nodiscard]] std::vector<Eigen::Index> key_inputs() const {
    std::vector<Eigen::Index> chosen{0};
    if (options_.key_period == 0) {
      for (Eigen::Index i = 1; i < size(); ++i) chosen.push_back(i);
    } else {
      for (const Eigen::Index i : harmonics_.of_period(options_.key_period)) {
        chosen.push_back(clock_begin() + i);
      }
    }
    return chosen;
  }

 private:
  [[nodiscard]] Eigen::Index clock_begin() const {
    return 1 + options_.lags +
           static_cast<Eigen::Index>(options_.seasonal_lags.size() + options_.features.size());
  }

  Options options_;
  Harmonics harmonics_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_INPUTS_HPP
