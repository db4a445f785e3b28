// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_TYPED_PIPELINE_HPP
#define STREAM_FORECAST_TYPED_PIPELINE_HPP

#include <algorithm>
#include <chrono>
#include <loglinear/checkpoint/checkpoint.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attention_forecaster.hpp"
#include "pipeline.hpp"
#include "saved_rows.hpp"

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
        queues_(options) {
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
    queues_.forecasts = forecasters_.size();
    queues_.held.reserve(static_cast<std::size_t>(options.warm_up));
  }

  /// Rows of the warm-up are held until it is over, because they set the scale on which everything
  /// is learnt; none of their forecasts is scored.
  void add(const Row& row) override {
    if (!queues_.scaled) {
      queues_.held.push_back(row);
      if (queues_.held.size() >= static_cast<std::size_t>(std::max(options_.warm_up, 1L)))
        release();
      return;
    }
    step(row);
  }

  void finish() override {
    if (!queues_.scaled) release();
    for (std::size_t age = queues_.waiting.size(); age-- > 0;) sink_(queues_.waiting.ago(age));
  }

  [[nodiscard]] const std::vector<Standing>& standings() const override { return standings_; }

  void save(loglinear::Checkpoint& to) const override {
    to.put("history", history_);
    to.put("queues", queues_);
    for (std::size_t i = 0; i < feature_scaling_.size(); ++i) {
      to.put("feature" + std::to_string(i), feature_scaling_[i]);
    }
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      to.put(standings_[i].column + ".standing", standings_[i]);
      forecasters_[i]->save(to, standings_[i].column);
    }
  }

  void load(loglinear::Checkpoint& from) override {
    from.get("history", history_);
    from.get("queues", queues_);
    for (std::size_t i = 0; i < feature_scaling_.size(); ++i) {
      from.get("feature" + std::to_string(i), feature_scaling_[i]);
    }
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      from.get(standings_[i].column + ".standing", standings_[i]);
      forecasters_[i]->load(from, standings_[i].column);
    }
    // All must have seen the same rows.
    const auto at_most_seen = [&](std::size_t most) {
      return static_cast<Eigen::Index>(std::min<std::uint64_t>(queues_.rows, most));
    };
    const auto require = [](const std::string& what, std::size_t size, Eigen::Index wanted) {
      loglinear::detail::require_size(what, static_cast<Eigen::Index>(size), wanted);
    };
    const std::size_t horizon = queues_.waiting.capacity();
    require("history.values", history_.values.size(), at_most_seen(history_.values.capacity()));
    require("queues.waiting", queues_.waiting.size(), at_most_seen(horizon));
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto waiting = forecasters_[i]->waiting();
      if (waiting) require(standings_[i].column + " waiting", *waiting, at_most_seen(horizon));
    }
  }

 private:
  using Clock = std::chrono::steady_clock;

  /// Rows on their way: held back in the warm-up, or forecast and waiting for their label.
  struct Queues {
    explicit Queues(const Options& options)
        : waiting(static_cast<std::size_t>(options.horizon)),
          features(options.features.size()),
          longest(static_cast<std::size_t>(std::max(options.warm_up, 1L)) - 1) {}

    /// For checkpoints.
    template <class Self, class Visit>
    static void visit(Self& self, Visit&& part) {
      part("scaled", self.scaled);
      part("rows", self.rows);
      visit_ring<double>(
          self.waiting, part, "waiting", static_cast<Eigen::Index>(2 + self.forecasts),
          [](const Outcome& outcome, auto row) {
            row[0] = static_cast<double>(outcome.time);
            row[1] = outcome.scored ? 1 : 0;
            for (std::size_t i = 0; i < outcome.forecasts.size(); ++i) {
              row[static_cast<Eigen::Index>(2 + i)] = outcome.forecasts[i];
            }
          },
          [](const auto& row) {
            return Outcome{
                .time = to_count(row[0]),
                .label = {},
                .forecasts = std::vector<double>(row.data() + 2, row.data() + row.size()),
                .scored = row[1] != 0};
          });
      visit_held(self, part);
    }

    template <class Self, class Visit>
    static void visit_held(Self& self, Visit& part) {
      const auto width = static_cast<Eigen::Index>(2 + self.features);
      if constexpr (loglinear::detail::is_written<Self>) {
        const Rows<double> all =
            loaded_rows<double>(part, "held", width, self.scaled ? 0 : self.longest);
        self.held.clear();
        for (Eigen::Index i = 0; i < all.rows(); ++i) {
          const auto row = all.row(i);
          self.held.push_back(
              {.target = row[0],
               .features = std::vector<double>(row.data() + 2, row.data() + row.size()),
               .time = to_count(row[1])});
        }
      } else {
        Rows<double> all(static_cast<Eigen::Index>(self.held.size()), width);
        for (Eigen::Index i = 0; i < all.rows(); ++i) {
          const Row& row = self.held[static_cast<std::size_t>(i)];
          all(i, 0) = row.target;
          all(i, 1) = static_cast<double>(row.time);
          for (Eigen::Index j = 2; j < width; ++j) {
            all(i, j) = row.features[static_cast<std::size_t>(j - 2)];
          }
        }
        part("held", all);
      }
    }

    /// A row's number, which was stored as a double.
    static std::uint64_t to_count(double number) {
      loglinear::detail::require_between("the number of a row", number, 0.0, 0x1p53);
      return static_cast<std::uint64_t>(number);
    }

    Ring<Outcome> waiting;
    std::vector<Row> held;
    bool scaled = false;
    std::uint64_t rows = 0;
    std::size_t features, longest, forecasts = 0;
  };

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
    for (const Row& row : queues_.held) {
      history_.scaling.observe(row.target);
      for (std::size_t i = 0; i < row.features.size(); ++i)
        feature_scaling_[i].observe(row.features[i]);
    }
    queues_.scaled = true;
    for (const Row& row : queues_.held) step(row);
    queues_.held = {};
  }

  void step(const Row& row) {
    history_.values.push(row.target);
    if (queues_.rows >= static_cast<std::uint64_t>(options_.horizon)) {
      score(row);
      learn();
    }
    forecast(row);
    ++queues_.rows;
  }

  void score(const Row& row) {
    current_ = queues_.waiting.oldest();
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
    current_.scored = queues_.rows >= static_cast<std::uint64_t>(options_.warm_up);
    current_.forecasts.resize(forecasters_.size());
    for (std::size_t i = 0; i < forecasters_.size(); ++i) {
      const auto start = Clock::now();
      current_.forecasts[i] = forecasters_[i]->forecast(now);
      standings_[i].seconds += seconds_since(start) + (forecasters_[i]->uses_inputs() ? making : 0);
    }
    queues_.waiting.push(current_);
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
  Queues queues_;
  Outcome current_;
  Lesson<Scalar> lesson_;
  Vector<Scalar> inputs_;
};

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_TYPED_PIPELINE_HPP
