// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_FORECASTER_HPP
#define STREAM_FORECAST_FORECASTER_HPP

// What every competitor is, and the three that need no attention.

#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/readout/recursive_least_squares.hpp>
#include <optional>
#include <string>

#include "inputs.hpp"

namespace stream_forecast {

/// What is known when a forecast is made.
template <class Scalar>
struct Now {
  const History& history;
  const Vector<Scalar>& inputs;
};

/// What the arrival of a label teaches about the forecast made `horizon` rows before.
template <class Scalar>
struct Lesson {
  Vector<Scalar> label;    ///< length 1, on the models' scale
  Vector<Scalar> outcome;  ///< length d_v: the change over the horizon, then the last values
};

template <class Scalar>
class Forecaster {
 public:
  virtual ~Forecaster() = default;
  /// The label `horizon` rows from now, on the label's own scale. Called once a row.
  virtual double forecast(const Now<Scalar>& now) = 0;
  /// Called once a row from row `horizon` on, before the forecast of that row.
  virtual void learn(const Lesson<Scalar>&) {}
  /// Whether it needs `Now::inputs`, whose making then counts as its own time.
  [[nodiscard]] virtual bool uses_inputs() const { return true; }

  /// What it has learnt, under `name`, to a checkpoint and back. \throws loglinear::CheckpointError
  virtual void save(loglinear::Checkpoint&, const std::string& /*name*/) const {}
  virtual void load(loglinear::Checkpoint&, const std::string& /*name*/) {}
  /// How many of its forecasts wait for their label, if it keeps what they were made of.
  [[nodiscard]] virtual std::optional<std::size_t> waiting() const { return {}; }
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

/// Recursive least squares on features that wait `horizon` rows for their label.
template <class Scalar>
class Readout {
 public:
  Readout(const Options& options, Eigen::Index features)
      : squares_({.features = features,
                  .forgetting = options.forgetting,
                  .initial_covariance = options.initial_covariance}),
        waiting_(static_cast<std::size_t>(options.horizon)) {}

  double predict(const Vector<Scalar>& features) {
    waiting_.push(features);
    return static_cast<double>(squares_.predict(features)[0]);
  }
  void learn(const Vector<Scalar>& label) { squares_.update(oldest(), label); }
  /// The features of the forecast whose label arrives now.
  [[nodiscard]] const Vector<Scalar>& oldest() const { return waiting_.oldest(); }
  /// Features that wait for their label.
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("squares", self.squares_);
    visit_ring<Scalar>(
        self.waiting_, part, "waiting", self.squares_.features(),
        [](const Vector<Scalar>& features, auto row) { row = features.transpose(); },
        [](const auto& row) { return Vector<Scalar>(row.transpose()); });
  }

 private:
  loglinear::RecursiveLeastSquares<Scalar> squares_;
  Ring<Vector<Scalar>> waiting_;
};

template <class Scalar>
class LeastSquares final : public Forecaster<Scalar> {
 public:
  LeastSquares(const Options& options, Eigen::Index inputs) : readout_(options, inputs) {}

  double forecast(const Now<Scalar>& now) override {
    return now.history.scaling.restored(readout_.predict(now.inputs));
  }
  void learn(const Lesson<Scalar>& lesson) override { readout_.learn(lesson.label); }

  void save(loglinear::Checkpoint& to, const std::string& name) const override {
    to.put(name, readout_);
  }
  void load(loglinear::Checkpoint& from, const std::string& name) override {
    from.get(name, readout_);
  }
  [[nodiscard]] std::optional<std::size_t> waiting() const override { return readout_.waiting(); }

 private:
  Readout<Scalar> readout_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_FORECASTER_HPP
