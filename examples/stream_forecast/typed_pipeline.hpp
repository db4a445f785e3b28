// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_TYPED_PIPELINE_HPP
#define STREAM_FORECAST_TYPED_PIPELINE_HPP

#include <algorithm>
#include <chrono>
#include <utility>

#include "attention_forecaster.hpp"
#include "pipeline.hpp"

namespace stream_forecast {

template <class Scalar>
class TypedPipeline final : public Pipeline {
 public:
  TypedPipeline(const Options& options, Sink sink)
      : options_(options),
        sink_(std::move(sink)),
        builder_(options),
        history_{Ring<double>(history_needed(options)), {}},
        feature_scaling_(options.features.size()),
        scaled_features_(options.features.size()),
        waiting_(static_cast<std::size_t>(options.horizon)) {
    enter<AttentionForecaster<Scalar>>({"log-linear attention", "log_linear_attention", {}},
                                       options, States::hierarchy, builder_);
    enter<AttentionForecaster<Scalar>>({"linear attention, one state", "linear_attention", {}},
                                       options, States::one, builder_);
    enter<LeastSquares<Scalar>>({"least squares alone", "least_squares", {}}, options,
                                builder_.size());
    if (options.season > 0) {
      enter<SameTimeLastSeason<Scalar>>({"same time last season", "last_season", {}}, options);
    }
    enter<LastValue<Scalar>>({"last value", "last_value", {}});
    lesson_.label.resize(1);
    lesson_.outcome.resize(options.d_v);
    held_.reserve(static_cast<std::size_t>(options.warm_up));
  }

  /// Rows of the warm-up are held until it is over, because they set the scale on which everything
  /// is learnt; none of their forecasts is scored.
  void add(const Row& row) override {
    if (!scaled_) {
      held_.push_back(row);
      if (held_.size() >= static_cast<std::size_t>(std::max(options_.warm_up, 1L))) release();
      return;
    }
    step(row);
  }

  void finish() override {
    if (!scaled_) release();
    for (std::size_t age = waiting_.size(); age-- > 0;) sink_(waiting_.ago(age));
  }

  [[nodiscard]] const std::vector<Standing>& standings() const override { return standings_; }

 private:
  using Clock = std::chrono::steady_clock;

  template <class Competitor, class... Arguments>
  void enter(Standing standing, const Arguments&... arguments) {
    forecasters_.push_back(std::make_unique<Competitor>(arguments...));
    standings_.push_back(std::move(standing));
  }

  static std::size_t history_needed(const Options& options) {
    const std::size_t season = options.season > 0 ? SameTimeLastSeason<Scalar>::age(options) : 0;
    const int recent = std::max({options.horizon, options.lags, options.d_v});
    return std::max(season, static_cast<std::size_t>(recent)) + 1;
  }

  void release() {
    for (const Row& row : held_) {
      history_.scaling.observe(row.target);
      for (std::size_t i = 0; i < row.features.size(); ++i)
        feature_scaling_[i].observe(row.features[i]);
    }
    scaled_ = true;
    for (const Row& row : held_) step(row);
    held_ = {};
  }

  void step(const Row& row) {
    history_.values.push(row.target);
    if (rows_ >= static_cast<std::uint64_t>(options_.horizon)) {
      score(row);
      learn();
    }
    forecast(row);
    ++rows_;
  }

  void score(const Row& row) {
    current_ = waiting_.oldest();
    current_.time = row.time;
    current_.label = row.target;
    for (std::size_t i = 0; i < standings_.size() && current_.scored; ++i) {
      standings_[i].metrics.add(row.target, current_.forecasts[i]);
    }
    sink_(current_);
  }

  void learn() {
    const auto horizon = static_cast<std::size_t>(options_.horizon);
    lesson_.label[0] = static_cast<Scalar>(history_.scaled_ago(0));
    lesson_.outcome[0] = static_cast<Scalar>(history_.scaled_ago(0) - history_.scaled_ago(horizon));
    for (int i = 1; i < options_.d_v; ++i) {
      lesson_.outcome[i] =
          static_cast<Scalar>(history_.scaled_ago(static_cast<std::size_t>(i - 1)));
    }
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto start = Clock::now();
      forecasters_[i]->learn(lesson_);
      standings_[i].seconds += seconds_since(start);
    }
  }

  void forecast(const Row& row) {
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < scaled_features_.size(); ++i) {
      scaled_features_[i] = feature_scaling_[i].scaled(row.features[i]);
    }
    current_.time = row.time + static_cast<std::uint64_t>(options_.horizon);
    builder_.fill(history_, scaled_features_, current_.time, inputs_);
    const double making = seconds_since(begin);

    const Now<Scalar> now{history_, inputs_};
    current_.label.reset();
    current_.scored = rows_ >= static_cast<std::uint64_t>(options_.warm_up);
    current_.forecasts.resize(forecasters_.size());
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto start = Clock::now();
      current_.forecasts[i] = forecasters_[i]->forecast(now);
      standings_[i].seconds += seconds_since(start) + (forecasters_[i]->uses_inputs() ? making : 0);
    }
    waiting_.push(current_);
  }

  static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  Options options_;
  Sink sink_;
  InputBuilder<Scalar> builder_;
  History history_;
  std::vector<Scaling> feature_scaling_;
  std::vector<double> scaled_features_;
  std::vector<std::unique_ptr<Forecaster<Scalar>>> forecasters_;
  std::vector<Standing> standings_;
  Ring<Outcome> waiting_;
  Outcome current_;
  Lesson<Scalar> lesson_;
  Vector<Scalar> inputs_;
  std::vector<Row> held_;
  bool scaled_ = false;
  std::uint64_t rows_ = 0;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_TYPED_PIPELINE_HPP
