// SPDX-License-Identifier: MIT
#include <cmath>

#include "catch.hpp"
#include "forecaster.hpp"
#include "inputs.hpp"
#include "metrics.hpp"
#include "ring.hpp"
#include "scaling.hpp"

using namespace stream_forecast;
#if LOGLINEAR_CATCH2_MAJOR >= 3
using Catch::Approx;
#endif

TEST_CASE("A ring keeps the last items") {
  for (const std::size_t capacity : {1u, 2u, 5u}) {
    Ring<int> ring(capacity);
    CHECK(ring.size() == 0);
    for (int i = 0; i < 17; ++i) {
      ring.push(i);
      const auto kept = std::min<std::size_t>(capacity, static_cast<std::size_t>(i) + 1);
      REQUIRE(ring.size() == kept);
      for (std::size_t age = 0; age < kept; ++age)
        REQUIRE(ring.ago(age) == i - static_cast<int>(age));
      REQUIRE(ring.oldest() == i - static_cast<int>(kept) + 1);
    }
  }
}

TEST_CASE("Metrics") {
  Metrics metrics;
  CHECK(std::isnan(metrics.mae()));
  CHECK(std::isnan(metrics.rmse()));
  CHECK(std::isnan(metrics.mape()));
  metrics.add(10, 13);
  metrics.add(-4, -5);
  metrics.add(0, 2);
  CHECK(metrics.count() == 3);
  CHECK(metrics.zero_labels() == 1);
  CHECK(metrics.mae() == Approx(2));
  CHECK(metrics.rmse() == Approx(std::sqrt(14.0 / 3)));
  CHECK(metrics.mape() == Approx(27.5));
}

TEST_CASE("Scaling takes mean and standard deviation, and back") {
  Scaling scaling;
  CHECK(scaling.scaled(3) == 3);
  scaling.observe(5);
  CHECK(scaling.scaled(6) == 1);  // nothing varies yet: only the mean is taken off
  scaling.observe(9);
  CHECK(scaling.scaled(9) == Approx(1));
  CHECK(scaling.restored(scaling.scaled(123.5)) == Approx(123.5));
}

TEST_CASE("Harmonics are distinct frequencies, exact at any time") {
  const Harmonics both({{48, 24}, {336, 60}});
  CHECK(both.size() == 47 + 2 * (60 - 8));  // eight of the week's are the day's
  const Harmonics day({{48, 24}});
  CHECK(day.size() == 47);
  CHECK(Harmonics({{2, 1}}).size() == 1);
  CHECK(Harmonics({}).size() == 0);

  Vector<double> now(both.size()), later(both.size());
  const std::uint64_t far = 336 * (std::uint64_t{1} << 50);
  both.fill(5, now);
  both.fill(far + 5, later);
  CHECK(now == later);
  CHECK(now[0] == Approx(std::cos(2 * std::numbers::pi * 5 / 48)));
  CHECK(now[1] == Approx(std::sin(2 * std::numbers::pi * 5 / 48)));

  CHECK(both.of_period(48).size() == 47);
  CHECK(both.of_period(336).size() == static_cast<std::size_t>(both.size()));
  CHECK(both.of_period(5).empty());
}

TEST_CASE("Same time last season takes the newest whole number of seasons") {
  Options options;
  const auto age = [&](int horizon, int season) {
    options.horizon = horizon;
    options.season = season;
    return SameTimeLastSeason<double>::age(options);
  };
  CHECK(age(1, 336) == 335);
  CHECK(age(48, 336) == 288);
  CHECK(age(48, 48) == 0);
  CHECK(age(49, 48) == 47);
  CHECK(age(5, 1) == 0);
}

TEST_CASE("Inputs: one, lags, features, clock") {
  Options options;
  options.lags = 2;
  options.features = {"a"};
  options.periods = {{4, 1}};
  options.key_period = 4;
  const InputBuilder<double> builder(options);
  REQUIRE(builder.size() == 6);
  History history{Ring<double>(3), {}};
  history.values.push(7);
  Vector<double> inputs;
  builder.fill(history, {9}, 1, inputs);
  CHECK(inputs[0] == 1);
  CHECK(inputs[1] == 7);
  CHECK(inputs[2] == 0);  // before the stream began
  CHECK(inputs[3] == 9);
  CHECK(inputs[4] == Approx(0).margin(1e-15));
  CHECK(inputs[5] == Approx(1));
  CHECK(builder.key_inputs() == std::vector<Eigen::Index>{0, 4, 5});
}
