// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_TYPED_PIPELINE_HPP
#define STREAM_FORECAST_TYPED_PIPELINE_HPP

#include <algorithm>
#include <chrono>
#include <loglinear/checkpoint/checkpoint.hpp>
#include <loglinear/detail/base/text.hpp>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attention_forecaster.hpp"
#include "key_memory.hpp"
#include "pending.hpp"
#include "pipeline.hpp"
#include "warm_up.hpp"

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
        keys_(options.categories, static_cast<std::size_t>(options.slots)),
        warm_up_(options) {
    enter_competitors();
    lesson_.label.resize(1);
    lesson_.outcome.resize(options.d_v);
    waiting_.emplace(options.categories.size(), forecasters_.size());
  }

  void add(const Row& row) override {
    KeyedRow& next = warm_up_.is_over ? next_ : warm_up_.held.emplace_back();
    next.row = row;
    next.row.texts.clear();
    keys_.fill(row.texts, row.clock + ahead(), next.keys);
    if (warm_up_.is_over) {
      step(next);
    } else if (warm_up_.held.size() == warm_up_.length) {
      release();
    }
  }

  void finish() override {
    if (!warm_up_.is_over) release();
    for (; waiting_->size() > 0; waiting_->pop()) {
      const Wait& wait = (*waiting_)[waiting_->first()];
      if (by_time()) {
        score(wait, wait.label);
      } else {
        sink_(wait.outcome);
      }
    }
  }

  [[nodiscard]] const std::vector<Standing>& standings() const override { return standings_; }

  void save(loglinear::Checkpoint& to) const override {
    for_parts(*this, [&](const std::string& name, const auto& part) { to.put(name, part); });
    for (std::size_t i = 0; i < forecasters_.size(); ++i)
      forecasters_[i]->save(to, standings_[i].column);
  }

  void load(loglinear::Checkpoint& from) override {
    for_parts(*this, [&](const std::string& name, auto& part) { from.get(name, part); });
    for (std::size_t i = 0; i < forecasters_.size(); ++i)
      forecasters_[i]->load(from, standings_[i].column);
    // All must have seen the same rows.
    const auto require = [](const std::string& what, std::size_t size, std::uint64_t wanted) {
      loglinear::detail::require_size(what, static_cast<Eigen::Index>(size),
                                      static_cast<Eigen::Index>(wanted));
    };
    const auto horizon = static_cast<std::uint64_t>(options_.horizon);
    if (!by_time()) require("waiting", waiting_->size(), std::min(warm_up_.rows, horizon));
    loglinear::detail::require_between("the number of forecasts that wait", waiting_->size(),
                                       std::size_t{0}, static_cast<std::size_t>(warm_up_.rows));
    require("history.values", history_.values.size(),
            std::min<std::uint64_t>(by_time() ? warm_up_.rows - waiting_->size() : warm_up_.rows,
                                    history_.values.capacity()));
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto tickets = forecasters_[i]->tickets();
      if (tickets && *tickets < waiting_->tickets())
        loglinear::detail::fail(standings_[i].column + " waiting", *tickets,
                                "at least " + std::to_string(waiting_->tickets()));
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// What is saved beside the competitors.
  template <class Self, class Use>
  static void for_parts(Self& self, Use&& use) {
    use("history", self.history_);
    use("keys", self.keys_);
    use("queues", self.warm_up_);
    use("queues.waiting", *self.waiting_);
    for (std::size_t i = 0; i < self.feature_scaling_.size(); ++i)
      use("feature" + std::to_string(i), self.feature_scaling_[i]);
    for (auto& standing : self.standings_) use(standing.column + ".standing", standing);
  }

  void enter_competitors() {
    const Eigen::Index inputs = builder_.size();
    if (!options_.decays.empty()) {
      enter<KeyedForecaster<Scalar, Cascades<Scalar>>>(
          {"log-linear attention, cascade", "cascade", {}}, options_, inputs,
          Cascades<Scalar>(options_));
    }
    const Standing one_state{"linear attention, one state", "linear_attention", {}};
    if (options_.keys_are_columns) {
      enter<KeyedForecaster<Scalar, OneState<Scalar>>>(one_state, options_, inputs,
                                                       OneState<Scalar>(options_));
    } else {
      enter<AttentionForecaster<Scalar>>(
          {"log-linear attention, mixture", "log_linear_attention", {}}, options_,
          States::hierarchy, builder_);
      enter<AttentionForecaster<Scalar>>(one_state, options_, States::one, builder_);
    }
    using Means = KeyedForecaster<Scalar, DecayedMeans<Scalar>>;
    if (options_.decays.size() > 1) {
      enter<Means>({"bank of " + std::to_string(options_.decays.size()) + " decays", "bank", {}},
                   options_, inputs, DecayedMeans<Scalar>(options_, options_.decays));
    }
    for (const double decay : options_.decays) {
      const std::string text = loglinear::detail::value_to_text(decay);
      enter<Means>({"means that decay by " + text, "decay_" + text, {}}, options_, inputs,
                   DecayedMeans<Scalar>(options_, {decay}));
    }
    enter<LeastSquares<Scalar>>({"least squares alone", "least_squares", {}}, options_, inputs);
    if (options_.season > 0) {
      enter<SameTimeLastSeason<Scalar>>({"same time last season", "last_season", {}}, options_);
    }
    enter<LastValue<Scalar>>({"last value", "last_value", {}});
  }

  template <class Competitor, class... Arguments>
  void enter(Standing standing, Arguments&&... arguments) {
    forecasters_.push_back(std::make_unique<Competitor>(std::forward<Arguments>(arguments)...));
    standings_.push_back(std::move(standing));
  }

  /// Rows from that at which a forecast is made to the row forecast.
  [[nodiscard]] std::uint64_t ahead() const {
    return by_time() ? 0 : static_cast<std::uint64_t>(options_.horizon);
  }
  [[nodiscard]] bool by_time() const { return !options_.label_time.empty(); }

  static std::size_t history_needed(const Options& options) {
    std::size_t most = options.season > 0 ? SameTimeLastSeason<Scalar>::age(options) : 0;
    const int recent = std::max({options.horizon, options.lags, options.d_v});
    most = std::max(most, static_cast<std::size_t>(recent));
    for (const int lag : options.seasonal_lags)
      most = std::max(most, static_cast<std::size_t>(lag));
    return most + 1;
  }

  void release() {
    for (const auto& [row, keys] : warm_up_.held) {
      history_.scaling.observe(row.target);
      for (std::size_t i = 0; i < row.features.size(); ++i)
        feature_scaling_[i].observe(row.features[i]);
    }
    warm_up_.is_over = true;
    for (const KeyedRow& row : warm_up_.held) step(row);
    warm_up_.held = {};
  }

  void step(const KeyedRow& keyed) {
    const Row& row = keyed.row;
    const std::uint64_t now = by_time() ? row.clock : warm_up_.rows;
    if (!by_time()) history_.values.push(row.target);
    for (; waiting_->is_due(now); waiting_->pop()) {
      lesson_.ticket = waiting_->first();
      current_ = (*waiting_)[lesson_.ticket];
      if (by_time()) {
        history_.values.push(current_.label);
      } else {
        current_.label = row.target;
        current_.outcome.row = row.number;
      }
      score(current_, current_.label);
      learn(current_);
    }
    forecast(keyed);
    ++warm_up_.rows;
  }

  void score(const Wait& wait, double label) {
    outcome_ = wait.outcome;
    outcome_.label = label;
    for (std::size_t i = 0; i < standings_.size() && outcome_.scored; ++i) {
      standings_[i].metrics.add(label, outcome_.forecasts[i]);
    }
    sink_(outcome_);
  }

  void learn(const Wait& wait) {
    // Newest in the history is the label.
    const double before =
        by_time() ? 0 : history_.scaled_ago(static_cast<std::size_t>(options_.horizon));
    lesson_.label[0] = static_cast<Scalar>(history_.scaled_ago(0));
    lesson_.outcome[0] = static_cast<Scalar>(history_.scaled_ago(0) - before);
    for (int i = 1; i < options_.d_v; ++i) {
      lesson_.outcome[i] =
          static_cast<Scalar>(history_.scaled_ago(static_cast<std::size_t>(by_time() ? i : i - 1)));
    }
    lesson_.keys = wait.keys;
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto start = Clock::now();
      forecasters_[i]->learn(lesson_);
      standings_[i].seconds += seconds_since(start);
    }
  }

  void forecast(const KeyedRow& keyed) {
    const Row& row = keyed.row;
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < scaled_features_.size(); ++i) {
      scaled_features_[i] = feature_scaling_[i].scaled(row.features[i]);
    }
    current_.due = by_time() ? row.label_time : warm_up_.rows + ahead();
    current_.number = row.number;
    current_.label = by_time() ? row.target : 0;
    current_.keys = keyed.keys;
    builder_.fill(history_, scaled_features_, row.clock + ahead(), inputs_);
    const double making = seconds_since(begin);

    const Now<Scalar> now{history_, inputs_, current_.keys, waiting_->next_ticket()};
    current_.outcome.row = row.number + ahead();
    current_.outcome.label.reset();
    current_.outcome.scored = warm_up_.rows >= static_cast<std::uint64_t>(options_.warm_up);
    current_.outcome.forecasts.resize(forecasters_.size());
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto start = Clock::now();
      current_.outcome.forecasts[i] = forecasters_[i]->forecast(now);
      standings_[i].seconds += seconds_since(start) + (forecasters_[i]->uses_inputs() ? making : 0);
    }
    waiting_->push(current_);
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
  KeyMaker keys_;
  std::vector<std::unique_ptr<Forecaster<Scalar>>> forecasters_;
  std::vector<Standing> standings_;
  std::optional<Pending> waiting_;
  WarmUp warm_up_;
  KeyedRow next_;
  Wait current_;
  Outcome outcome_;
  Lesson<Scalar> lesson_;
  Vector<Scalar> inputs_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_TYPED_PIPELINE_HPP
