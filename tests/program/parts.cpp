// SPDX-License-Identifier: MIT
#include <cmath>

#include "catch.hpp"
#include "defaults.hpp"
#include "forecaster.hpp"
#include "halves.hpp"
#include "inputs.hpp"
#include "keys.hpp"
#include "metrics.hpp"
#include "pending.hpp"
#include "ring.hpp"
#include "scaling.hpp"

using namespace stream_forecast;

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

TEST_CASE("Inputs: the change over the horizon whole seasons before the row forecast") {
  Options options;
  options.lags = 0;
  options.periods.clear();
  options.horizon = 2;
  options.seasonal_lags = {2, 5, 9};
  const InputBuilder<double> builder(options);
  History history{Ring<double>(10), {}};
  for (int t = 0; t < 9; ++t)
    history.values.push(t * t);  // the newest is row 8, forecast is row 10
  Vector<double> inputs;
  builder.fill(history, {}, 10, inputs);
  REQUIRE(inputs.size() == 4);
  CHECK(inputs[1] == 64 - 36);  // rows 8 and 6
  CHECK(inputs[2] == 25 - 9);   // rows 5 and 3
  CHECK(inputs[3] == 0);        // row -1 is before the stream
}

TEST_CASE("Lags and keys that follow from the periods") {
  Options options;
  CHECK(default_seasonal_lags(options) == std::vector<int>{48, 96, 144, 192, 240, 288, 336, 672});
  options.horizon = 100;
  CHECK(default_seasonal_lags(options) == std::vector<int>{144, 192, 240, 288, 336, 672});
  options.periods = {{24, 3}};
  options.horizon = 1;
  CHECK(default_seasonal_lags(options) == std::vector<int>{24, 48});
  options.periods = {{8760, 3}, {24, 3}};
  CHECK(default_seasonal_lags(options) ==
        std::vector<int>{24, 48, 72, 96, 120, 144, 168, 8760, 17520});
  const auto categories = default_categories(options.periods);
  REQUIRE(categories.size() == 2);
  CHECK(categories[0].terms[0].parts == 1000);
  CHECK(categories[1].terms[0].parts == 24);
  options.periods.clear();
  CHECK(default_seasonal_lags(options).empty());
  CHECK(default_categories({}).size() == 1);
}

TEST_CASE("Keys take slots as they come, then share them") {
  SlotTable table(3);
  CHECK(table.slot(70) == 0);
  CHECK(table.slot(71) == 1);
  CHECK(table.slot(70) == 0);
  CHECK(table.slot(72) == 2);
  CHECK(table.slot(76) == 76 % 3);
  CHECK(table.slot(71) == 1);
  CHECK(table.size() == 3);

  KeyMaker maker({*parse_category("a*b"), *parse_category("@10/5"), {"all", {}}}, 100);
  Keys keys;
  const auto made = [&](const std::string& a, const std::string& b, std::uint64_t clock) {
    maker.fill({a, b}, clock, keys);
    return keys;
  };
  CHECK(made("x", "yz", 0) == Keys{0, 0, 0});
  CHECK(made("xy", "z", 1) == Keys{1, 0, 0});  // another pair, the same fifth of ten
  CHECK(made("", "xyz", 2) == Keys{2, 1, 0});
  CHECK(made("x", "yz", 31) == Keys{0, 0, 0});

  const auto season = parse_category("shop*@1440/24");
  REQUIRE(season);
  CHECK(season->terms[0].column == "shop");
  CHECK(season->terms[1].period == 1440);
  CHECK(season->terms[1].parts == 24);
  for (const char* wrong : {"", "*", "a*", "@1", "@5/6", "@5/0", "@5x", "@"}) {
    CHECK_FALSE(parse_category(wrong));
  }
}

TEST_CASE("Halves of a sequence of unknown length") {
  for (const std::uint64_t n : {1u, 2u, 5u, 512u, 513u, 1000u, 5000u, 100000u}) {
    Halves halves;
    for (std::uint64_t i = 0; i < n; ++i) halves.add(static_cast<double>(i));
    const std::uint64_t first = halves.first_count();
    const auto off = std::abs(static_cast<double>(first) - static_cast<double>(n / 2));
    if (n <= 512) CHECK(first == n / 2);
    CHECK(off <= static_cast<double>(n) / 512);
    if (first > 0) CHECK(halves.first() == Approx((static_cast<double>(first) - 1) / 2));
    CHECK(halves.second() == Approx(static_cast<double>(first + n - 1) / 2));
  }
  CHECK(std::isnan(Halves().first()));
  CHECK(std::isnan(Halves().second()));
}

TEST_CASE("What waits comes in the order of its labels, and its ticket is free again") {
  Pending pending(0, 1);
  const auto push = [&](std::uint64_t due, std::uint64_t number) {
    const std::size_t ticket = pending.next_ticket();
    Wait wait;
    wait.due = due;
    wait.number = number;
    wait.outcome.forecasts = {static_cast<double>(number)};
    pending.push(wait);
    return ticket;
  };
  const std::size_t late = push(9, 0), soon = push(4, 1), same = push(4, 2);
  CHECK_FALSE(pending.is_due(3));
  CHECK(pending.is_due(4));
  CHECK(pending.first() == soon);
  pending.pop();
  CHECK(push(5, 3) == soon);
  CHECK(pending.first() == same);
  pending.pop();
  CHECK(pending.first() == soon);
  CHECK(pending[soon].number == 3);
  pending.pop();
  CHECK(pending.first() == late);
  CHECK_FALSE(pending.is_due(8));
  CHECK(pending.size() == 1);
  CHECK(pending.tickets() == 3);
}
