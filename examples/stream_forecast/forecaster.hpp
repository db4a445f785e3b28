// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_FORECASTER_HPP
#define STREAM_FORECAST_FORECASTER_HPP

// What every competitor is, and the three that need no attention.

#include <algorithm>
#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/readout/recursive_least_squares.hpp>
#include <optional>
#include <string>

#include "inputs.hpp"
#include "keys.hpp"

namespace stream_forecast {

/// What is known when a forecast is made. Its label comes later, with the same ticket; tickets are
/// given out again.
template <class Scalar>
struct Now {
  const History& history;
  const Vector<Scalar>& inputs;
  const Keys& keys;
  std::size_t ticket;
};

/// What the arrival of a label teaches about its forecast.
template <class Scalar>
struct Lesson {
  Vector<Scalar> label;    ///< length 1, on the models' scale
  Vector<Scalar> outcome;  ///< length d_v: what came of it, then the last values
  Keys keys;               ///< of the forecast
  std::size_t ticket = 0;
};

template <class Scalar>
class Forecaster {
 public:
  virtual ~Forecaster() = default;
  /// The forecast, on the label's own scale. Called once a row.
  virtual double forecast(const Now<Scalar>& now) = 0;
  /// Called once for each forecast, before those of the row at which its label has arrived.
  virtual void learn(const Lesson<Scalar>&) {}
  /// Whether it needs `Now::inputs`, whose making then counts as its own time.
  [[nodiscard]] virtual bool uses_inputs() const { return true; }

  /// What it has learnt, under `name`, to a checkpoint and back. \throws loglinear::CheckpointError
  virtual void save(loglinear::Checkpoint&, const std::string& /*name*/) const {}
  virtual void load(loglinear::Checkpoint&, const std::string& /*name*/) {}
  /// For how many tickets it has room, if it keeps what forecasts were made of.
  [[nodiscard]] virtual std::optional<std::size_t> tickets() const { return {}; }
};

template <class Scalar>
class LastValue final : public Forecaster<Scalar> {
 public:
  double forecast(const Now<Scalar>& now) override { return now.history.values.ago(0); }
  [[nodiscard]] bool uses_inputs() const override { return false; }
};

/// The newest known value a whole number of seasons before the row forecast; the last value while
/// the stream is younger than that.
template <class Scalar>
class SameTimeLastSeason final : public Forecaster<Scalar> {
 public:
  explicit SameTimeLastSeason(const Options& options) : age_(age(options)) {}

  double forecast(const Now<Scalar>& now) override {
    const Ring<double>& values = now.history.values;
    return values.ago(age_ < values.size() ? age_ : 0);
  }
  [[nodiscard]] bool uses_inputs() const override { return false; }

  /// How many rows before the newest one that value lies.
  [[nodiscard]] static std::size_t age(const Options& options) {
    const int seasons = (options.horizon + options.season - 1) / options.season;
    return static_cast<std::size_t>(seasons) * static_cast<std::size_t>(options.season) -
           static_cast<std::size_t>(options.horizon);
  }

 private:
  std::size_t age_;
};

/// Recursive least squares on features that wait for their label.
template <class Scalar>
class Readout {
 public:
  Readout(const Options& options, Eigen::Index features)
      : squares_({.features = features,
                  .forgetting = options.forgetting,
                  .initial_covariance = options.initial_covariance}),
        waiting_(Rows<Scalar>::Zero(options.horizon, features)),
        learnt_(features) {}

  double predict(const Vector<Scalar>& features, std::size_t ticket) {
    const auto row = static_cast<Eigen::Index>(ticket);
    if (row >= waiting_.rows()) {
      const Eigen::Index before = waiting_.rows();
      waiting_.conservativeResize(std::max(row + 1, 2 * before), Eigen::NoChange);
      waiting_.bottomRows(waiting_.rows() - before).setZero();
    }
    waiting_.row(row) = features.transpose();
    return static_cast<double>(squares_.predict(features)[0]);
  }
  void learn(const Lesson<Scalar>& lesson) {
    learnt_ = waiting_.row(static_cast<Eigen::Index>(lesson.ticket)).transpose();
    squares_.update(learnt_, lesson.label);
  }
  /// The features of the forecast that was learnt from last.
  [[nodiscard]] const Vector<Scalar>& learnt() const { return learnt_; }
  [[nodiscard]] std::size_t tickets() const { return static_cast<std::size_t>(waiting_.rows()); }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("squares", self.squares_);
    if constexpr (loglinear::detail::is_written<Self>) {
      constexpr std::size_t most = std::size_t{1} << 30;
      self.waiting_ = loaded_rows<Scalar>(part, "waiting", self.squares_.features(), most);
    } else {
      part("waiting", self.waiting_);
    }
  }

 private:
  loglinear::RecursiveLeastSquares<Scalar> squares_;
  Rows<Scalar> waiting_;  // a row a ticket
  Vector<Scalar> learnt_;
};

template <class Scalar>
class LeastSquares final : public Forecaster<Scalar> {
 public:
  LeastSquares(const Options& options, Eigen::Index inputs) : readout_(options, inputs) {}

  double forecast(const Now<Scalar>& now) override {
    return now.history.scaling.restored(readout_.predict(now.inputs, now.ticket));
  }
  void learn(const Lesson<Scalar>& lesson) override { readout_.learn(lesson); }

  void save(loglinear::Checkpoint& to, const std::string& name) const override {
    to.put(name, readout_);
  }
  void load(loglinear::Checkpoint& from, const std::string& name) override {
    from.get(name, readout_);
  }
  [[nodiscard]] std::optional<std::size_t> tickets() const override { return readout_.tickets(); }

 private:
  Readout<Scalar> readout_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_FORECASTER_HPP
