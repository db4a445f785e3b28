// SPDX-License-Identifier: MIT
// Every competitor's forecasts beside plain computations from their definitions: all samples and
// all outcomes are kept, least squares are solved anew for each forecast.
#include <Eigen/Cholesky>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "catch.hpp"
#include "pipeline.hpp"
#include "support.hpp"

using namespace stream_forecast;

namespace {

using Eigen::VectorXd;

/// What came of a row: its keys and its value, in the order of arrival.
struct Arrival {
  std::vector<std::string> keys;
  double value = 0;
};
using Arrivals = std::vector<Arrival>;
/// An estimate for each category from what arrived.
using Estimates =
    std::function<VectorXd(const Arrivals&, std::size_t category, const std::string&)>;

/// The estimates of all levels of a hierarchy that holds the arrivals, from the newest level on.
VectorXd cascade(const Arrivals& past, std::size_t category, const std::string& key, int levels,
                 double kappa) {
  VectorXd estimates(levels);
  std::size_t begin = 0;
  double estimate = 0;
  for (int l = levels - 1; l >= 0; --l) {
    const std::size_t size = std::size_t{1} << l;
    // The last level holds all that is too old for the others.
    const std::size_t count = l == levels - 1 ? past.size() / size * size : past.size() & size;
    double sum = 0, mass = 0;
    for (std::size_t i = begin; i < begin + count; ++i) {
      if (past[i].keys[category] != key) continue;
      sum += past[i].value;
      mass += 1;
    }
    begin += count;
    estimate = (sum + kappa * estimate) / (mass + kappa);
    estimates[l] = estimate;
  }
  return estimates;
}

/// A mean that decays, at each visit of the key or at each arrival.
double decayed(const Arrivals& past, std::size_t category, const std::string& key, double decay,
               bool by_visit, double kappa) {
  double weight = 1, sum = 0, mass = 0;
  for (std::size_t i = past.size(); i-- > 0;) {
    const bool visits = past[i].keys[category] == key;
    if (visits) {
      sum += weight * past[i].value;
      mass += weight;
    }
    if (visits || !by_visit) weight *= decay;
  }
  return sum / (mass + kappa);
}

/// Ridge regression on all samples so far.
class Samples {
 public:
  void add(const VectorXd& features, double label) {
    if (gram_.size() == 0) {
      gram_ = Eigen::MatrixXd::Identity(features.size(), features.size()) / 10;  // 1 / p0
      moment_ = VectorXd::Zero(features.size());
    }
    gram_ += features * features.transpose();
    moment_ += features * label;
  }
  [[nodiscard]] double predict(const VectorXd& features) const {
    return gram_.size() == 0 ? 0 : features.dot(gram_.ldlt().solve(moment_));
  }

 private:
  Eigen::MatrixXd gram_;
  VectorXd moment_;
};

/// A stream of the test, and the columns of the models that have plain twins.
struct Plain {
  Options options;
  std::vector<Row> rows;
  std::map<std::string, Estimates> models;
};

std::vector<std::string> keys_of(const Options& options, const Row& row, std::uint64_t clock) {
  std::vector<std::string> keys;
  std::size_t text = 0;
  for (const Category& category : options.categories) {
    std::string key;
    for (const KeyTerm& term : category.terms) {
      const auto parts = static_cast<double>(term.parts), period = static_cast<double>(term.period);
      key += term.column.empty()
                 ? std::to_string(static_cast<int>(
                       std::floor(std::fmod(static_cast<double>(clock), period) * parts / period)))
                 : row.texts[text++];
      key += '|';
    }
    keys.push_back(key);
  }
  return keys;
}

/// All forecasts of the plain models by row and column, from the definition of the task.
std::map<std::pair<std::uint64_t, std::string>, double> plain_forecasts(const Plain& plain) {
  const Options& o = plain.options;
  const bool late = !o.label_time.empty();
  const auto warm_up = static_cast<std::size_t>(o.warm_up);
  double mean = 0, deviation = 0;
  for (std::size_t i = 0; i < warm_up; ++i) mean += plain.rows[i].target / double(o.warm_up);
  for (std::size_t i = 0; i < warm_up; ++i)
    deviation += std::pow(plain.rows[i].target - mean, 2) / double(o.warm_up);
  deviation = std::sqrt(deviation);
  const auto scaled = [&](double y) { return (y - mean) / deviation; };

  struct Waiting {
    std::map<std::string, VectorXd> features;
    std::vector<std::string> keys;
    double before = 0, label = 0;
  };
  std::map<std::pair<std::uint64_t, std::size_t>, Waiting> waiting;  // by time and row
  std::map<std::string, Samples> samples;
  Arrivals arrivals;
  std::vector<double> known;  // the targets so far
  std::map<std::pair<std::uint64_t, std::string>, double> forecasts;
  const auto ago = [&](int age) {
    const auto i = static_cast<std::ptrdiff_t>(known.size()) - 1 - age;
    return i < 0 ? 0.0 : scaled(known[static_cast<std::size_t>(i)]);
  };

  for (std::size_t t = 0; t < plain.rows.size(); ++t) {
    const Row& row = plain.rows[t];
    if (!late) known.push_back(row.target);
    const std::uint64_t now = late ? row.clock : t;
    while (!waiting.empty() && waiting.begin()->first.first <= now) {
      const Waiting& wait = waiting.begin()->second;
      const double label = late ? wait.label : row.target;
      if (late) known.push_back(label);
      for (const auto& [name, features] : wait.features) samples[name].add(features, scaled(label));
      arrivals.push_back({wait.keys, scaled(label) - wait.before});
      waiting.erase(waiting.begin());
    }
    const int ahead = late ? 0 : o.horizon;
    const std::uint64_t clock = row.clock + static_cast<std::uint64_t>(ahead);
    std::vector<double> inputs{1};
    for (int lag = 0; lag < o.lags; ++lag) inputs.push_back(ago(lag));
    for (const int lag : o.seasonal_lags) {
      const bool there = static_cast<std::size_t>(lag) < known.size();
      inputs.push_back(there ? ago(lag - o.horizon) - ago(lag) : 0);
    }
    for (const Period& period : o.periods) {  // of the test: none has another's frequencies
      for (int j = 1; j <= period.harmonics; ++j) {
        const double angle = 2 * std::numbers::pi * j * double(clock) / period.length;
        inputs.push_back(std::cos(angle));
        inputs.push_back(std::sin(angle));
      }
    }
    Waiting wait;
    wait.keys = keys_of(o, row, clock);
    wait.before = late ? 0 : ago(0);
    wait.label = row.target;
    for (const auto& [name, estimates] : plain.models) {
      std::vector<double> all = inputs;
      for (std::size_t c = 0; c < o.categories.size(); ++c) {
        const VectorXd found = estimates(arrivals, c, wait.keys[c]);
        all.insert(all.end(), found.begin(), found.end());
      }
      const VectorXd features =
          Eigen::Map<VectorXd>(all.data(), static_cast<Eigen::Index>(all.size()));
      forecasts[{row.number + static_cast<std::uint64_t>(ahead), name}] =
          mean + deviation * samples[name].predict(features);
      wait.features[name] = features;
    }
    waiting[{late ? row.label_time : t + static_cast<std::uint64_t>(ahead), t}] = wait;
  }
  return forecasts;
}

/// The models that both ways of labels have.
std::map<std::string, Estimates> common_models(const Options& o) {
  std::map<std::string, Estimates> models;
  models["least_squares"] = [](const Arrivals&, std::size_t, const std::string&) {
    return VectorXd();
  };
  models["cascade"] = [o](const Arrivals& past, std::size_t c, const std::string& key) {
    return cascade(past, c, key, o.levels, o.kappa);
  };
  const auto means = [o](const std::vector<double>& decays) {
    return [o, decays](const Arrivals& past, std::size_t c, const std::string& key) {
      VectorXd found(static_cast<Eigen::Index>(decays.size()));
      for (std::size_t i = 0; i < decays.size(); ++i)
        found[static_cast<Eigen::Index>(i)] = decayed(past, c, key, decays[i], true, o.kappa);
      return found;
    };
  };
  models["bank"] = means(o.decays);
  models["decay_0.5"] = means({0.5});
  models["decay_0.9"] = means({0.9});
  return models;
}

void compare(const Plain& plain) {
  const auto expected = plain_forecasts(plain);
  std::map<std::string, std::size_t> columns;
  std::vector<Outcome> outcomes;
  const auto pipeline =
      make_pipeline(plain.options, [&](const Outcome& outcome) { outcomes.push_back(outcome); });
  for (const Row& row : plain.rows) pipeline->add(row);
  pipeline->finish();
  const std::vector<Standing>& standings = pipeline->standings();
  REQUIRE(outcomes.size() == plain.rows.size());
  for (const auto& model : plain.models) {
    const std::string& name = model.first;
    const std::size_t column = index_of(standings, name);
    std::vector<double> errors;
    for (const Outcome& outcome : outcomes) {
      const double forecast = outcome.forecasts[column], wanted = expected.at({outcome.row, name});
      INFO(name << " row " << outcome.row << ": " << forecast << ", plain " << wanted);
      // Recursive and direct solution of a ridge regression of up to 40 features.
      REQUIRE(std::abs(forecast - wanted) < 1e-7 * (1 + std::abs(wanted)));
      if (outcome.label && outcome.scored) errors.push_back(std::abs(wanted - *outcome.label));
    }
    const std::size_t half = errors.size() / 2;
    double first = 0, second = 0;
    for (std::size_t i = 0; i < errors.size(); ++i) (i < half ? first : second) += errors[i];
    const Metrics& metrics = standings[column].metrics;
    REQUIRE(metrics.count() == errors.size());
    CHECK(metrics.halves().first_count() == half);
    CHECK(std::abs(metrics.halves().first() - first / double(half)) < 1e-6);
    CHECK(std::abs(metrics.halves().second() - second / double(errors.size() - half)) < 1e-6);
  }
}

}  // namespace

TEST_CASE("Forecasts of rows ahead are those of plain computations") {
  for (const int horizon : {1, 3}) {
    Plain plain;
    Options& o = plain.options;
    o.horizon = horizon;
    o.periods = {{5, 2}, {12, 2}};
    o.lags = 2;
    o.seasonal_lags = {5, 12, 24};
    o.season = 12;
    o.warm_up = 30;
    o.key_period = 5;
    o.categories = {*parse_category("@5"), *parse_category("@12/4"), *parse_category("@5*@12/4")};
    o.levels = 5;
    o.kappa = 2;
    o.decays = {0.5, 0.9};
    o.forgetting = 1;
    for (std::uint64_t t = 0; t < 300; ++t) {
      const double y = std::sin(double(t % 5)) * double(t % 12) + std::cos(0.01 * double(t * t));
      plain.rows.push_back({.target = y, .features = {}, .texts = {}, .number = t, .clock = t});
    }
    plain.models = common_models(o);
    compare(plain);
  }
}

TEST_CASE("Forecasts whose labels are late are those of plain computations") {
  Plain plain;
  Options& o = plain.options;
  o.time = "time";
  o.label_time = "known";
  o.periods = {{24, 2}};
  o.lags = 1;
  o.warm_up = 40;
  o.categories = {*parse_category("shop"), *parse_category("shop*@24/6")};
  o.keys_are_columns = true;
  o.levels = 6;
  o.kappa = 0.5;
  o.state_decay = 0.93;
  o.decays = {0.5, 0.9};
  o.forgetting = 1;
  std::uint64_t clock = 3;
  for (std::uint64_t t = 0; t < 300; ++t) {
    clock += t * 7 % 4;
    const std::uint64_t shop = t * t % 7;
    const double y = double(shop) + std::sin(0.1 * double(t)) + double(clock % 24) / 5;
    const std::string text(1, static_cast<char>('a' + shop));
    plain.rows.push_back({.target = y,
                          .features = {},
                          .texts = {text, text},
                          .number = t,
                          .clock = clock,
                          .label_time = clock + t * 11 % 60});
  }
  plain.models = common_models(o);
  plain.models["linear_attention"] = [o](const Arrivals& past, std::size_t c,
                                         const std::string& key) {
    return VectorXd::Constant(1, decayed(past, c, key, o.state_decay, false, o.kappa));
  };
  compare(plain);
}
