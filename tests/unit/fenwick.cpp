// SPDX-License-Identifier: MIT
#include "loglinear/fenwick.hpp"

#if defined(EIGEN_CORE_H) || defined(EIGEN_CORE_MODULE_H)
#  error "fenwick.hpp must not need Eigen"
#endif

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "read_orders.hpp"

namespace test = loglinear::test;

namespace {

using loglinear::ReadOrder;
using std::uint64_t;

constexpr int tested_max_levels[] = {1, 2, 3, 5, 10, 13, 64};

/// Binary counting done literally: lists of token ids that are moved from slot to slot.
class TokenCounter {
 public:
  explicit TokenCounter(int max_levels) : slots_(static_cast<std::size_t>(max_levels)) {}

  /// Appends the next token. Returns the slot in which it ends up.
  int push() {
    std::vector<uint64_t> carry{count_++};
    std::size_t level = 0;
    while (level + 1 < slots_.size() && !slots_[level].empty()) {
      carry.insert(carry.begin(), slots_[level].begin(), slots_[level].end());
      slots_[level].clear();
      ++level;
    }
    slots_[level].insert(slots_[level].end(), carry.begin(), carry.end());
    return static_cast<int>(level);
  }

  uint64_t count() const { return count_; }
  const std::vector<uint64_t>& tokens(int level) const {
    return slots_[static_cast<std::size_t>(level)];
  }
  int level_holding(uint64_t token) const {
    for (std::size_t level = 0; level < slots_.size(); ++level) {
      for (const uint64_t held : slots_[level]) {
        if (held == token) return static_cast<int>(level);
      }
    }
    return -1;
  }

 private:
  std::vector<std::vector<uint64_t>> slots_;
  uint64_t count_ = 0;
};

bool holds_exactly(const std::vector<uint64_t>& tokens, const loglinear::Bucket& bucket) {
  if (tokens.size() != bucket.size) return false;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] != bucket.first + i) return false;
  }
  return true;
}

constexpr uint64_t power(int exponent) {
  return uint64_t{1} << exponent;
}

}  // namespace

TEST_CASE("The levels of every count up to 4096 are those of a counter that moves tokens") {
  for (const int max_levels : tested_max_levels) {
    TokenCounter counter(max_levels);
    for (uint64_t count = 0; count <= 4096; ++count) {
      CAPTURE(max_levels, count);
      REQUIRE(counter.count() == count);
      uint64_t mask = 0;
      std::vector<int> active;
      bool buckets_agree = true, activity_agrees = true;
      for (int level = 0; level < max_levels; ++level) {
        const auto& tokens = counter.tokens(level);
        if (!tokens.empty()) {
          mask |= power(level);
          active.push_back(level);
        }
        const loglinear::Bucket bucket = loglinear::bucket_of(count, level, max_levels);
        buckets_agree &= bucket.level == level && bucket.size == tokens.size() &&
                         (tokens.empty() || holds_exactly(tokens, bucket));
        activity_agrees &= loglinear::is_active_level(count, level, max_levels) == !tokens.empty();
      }
      REQUIRE(buckets_agree);
      REQUIRE(activity_agrees);
      REQUIRE(loglinear::active_mask(count, max_levels) == mask);
      REQUIRE(loglinear::active_level_count(count, max_levels) == static_cast<int>(active.size()));
      std::vector<int> walked;
      for (int level : loglinear::ActiveLevels(count, max_levels)) walked.push_back(level);
      REQUIRE(walked == active);
      REQUIRE(loglinear::landed_level(count, max_levels) == counter.push());
    }
  }
}

TEST_CASE("The level of every token seen from every later one is where the counter has it") {
  constexpr uint64_t tokens = 300;
  for (const int max_levels : tested_max_levels) {
    TokenCounter before(max_levels), after(max_levels);
    after.push();
    for (uint64_t t = 0; t <= tokens; ++t) {
      const auto level_of = [&](uint64_t s, ReadOrder order) {
        return loglinear::level_of(s, t, order, max_levels);
      };
      bool agree = true;
      for (uint64_t s = 0; s < t; ++s) {
        const int held = before.level_holding(s), held_after = after.level_holding(s);
        agree &= level_of(s, ReadOrder::before_push) == held;
        agree &= level_of(s, ReadOrder::after_push) == held_after;
        agree &= level_of(s, ReadOrder::current_apart) == held + 1;
        for (const ReadOrder order : test::read_orders) {
          agree &= loglinear::seen_level(order, held, t, max_levels) == level_of(s, order);
        }
      }
      agree &= level_of(t, ReadOrder::after_push) == after.level_holding(t);
      agree &= level_of(t, ReadOrder::current_apart) == 0;
      agree &= loglinear::seen_leaf_level(ReadOrder::before_push, t, max_levels) == -1;
      agree &= loglinear::seen_leaf_level(ReadOrder::after_push, t, max_levels) ==
               after.level_holding(t);
      agree &= loglinear::seen_leaf_level(ReadOrder::current_apart, t, max_levels) == 0;
      CAPTURE(max_levels, t);
      REQUIRE(agree);
      before.push();
      after.push();
    }
  }
}

TEST_CASE("The tokens that find a level active are those that the counter finds one by one") {
  for (const int max_levels : {1, 2, 3, 5, 7}) {
    for (int level = 0; level < max_levels; ++level) {
      std::uint64_t found = 0;
      bool same = true;
      for (std::uint64_t tokens = 0; tokens < 300; ++tokens) {
        same &= loglinear::active_token_count(tokens, level, max_levels) == found;
        if (loglinear::is_active_level(tokens, level, max_levels)) ++found;
      }
      CAPTURE(max_levels, level);
      CHECK(same);
    }
  }
  // Half of all counts have bit l set, and the last level stays active once it is.
  CHECK(loglinear::active_token_count(UINT64_MAX, 40, 64) == (std::uint64_t{1} << 63) - 1);
  CHECK(loglinear::active_token_count(UINT64_MAX, 63, 64) == (std::uint64_t{1} << 63) - 1);
  CHECK(loglinear::active_token_count(UINT64_MAX, 40, 41) == UINT64_MAX - (std::uint64_t{1} << 40));
}

TEST_CASE("Read orders have names, which read back") {
  CHECK(loglinear::name_of(ReadOrder::before_push) == "before_push");
  CHECK(loglinear::name_of(ReadOrder::after_push) == "after_push");
  CHECK(loglinear::name_of(ReadOrder::current_apart) == "current_apart");
  for (const ReadOrder order : test::read_orders) {
    CHECK(loglinear::find_read_order(loglinear::name_of(order)) == order);
    CHECK(loglinear::info_of(order).order == order);
  }
  CHECK_FALSE(loglinear::find_read_order("after"));
  CHECK_FALSE(loglinear::find_read_order(""));
}

TEST_CASE("current_apart takes one weight more than the other orders") {
  for (const int max_levels : tested_max_levels) {
    CHECK(loglinear::level_weight_count(ReadOrder::before_push, max_levels) == max_levels);
    CHECK(loglinear::level_weight_count(ReadOrder::after_push, max_levels) == max_levels);
    CHECK(loglinear::level_weight_count(ReadOrder::current_apart, max_levels) == max_levels + 1);
  }
}

TEST_CASE("levels_needed is the fewest levels whose buckets hold a stream one by one") {
  CHECK(loglinear::levels_needed(0) == 1);
  for (uint64_t length = 1; length <= 4096; ++length) {
    int levels = 1;
    while (power(levels) - 1 < length) ++levels;  // 1 + 2 + ... + 2^(levels - 1)
    REQUIRE(loglinear::levels_needed(length) == levels);
  }
  CHECK(loglinear::levels_needed(power(31)) == 32);
  CHECK(loglinear::levels_needed(power(32) - 1) == 32);
  CHECK(loglinear::levels_needed(power(32)) == 33);
  CHECK(loglinear::levels_needed(power(32) + 1) == 33);
  CHECK(loglinear::levels_needed(power(63) - 1) == 63);
  CHECK(loglinear::levels_needed(power(63)) == 64);
  CHECK(loglinear::levels_needed(UINT64_MAX) == 64);
}

TEST_CASE("Counts beyond 32 bits carry as small ones do") {
  constexpr uint64_t last = UINT64_MAX;

  SECTION("landed level") {
    CHECK(loglinear::landed_level(power(31) - 1, 64) == 31);
    CHECK(loglinear::landed_level(power(31), 64) == 0);
    CHECK(loglinear::landed_level(power(32) - 1, 64) == 32);
    CHECK(loglinear::landed_level(power(32) - 1, 32) == 31);
    CHECK(loglinear::landed_level(power(32), 64) == 0);
    CHECK(loglinear::landed_level(power(32) + 1, 64) == 1);
    CHECK(loglinear::landed_level(power(63) - 1, 64) == 63);
    CHECK(loglinear::landed_level(power(63), 64) == 0);
    CHECK(loglinear::landed_level(last, 64) == 63);
    CHECK(loglinear::landed_level(last, 1) == 0);
    CHECK(loglinear::landed_level(last, 10) == 9);
  }
  SECTION("active levels") {
    CHECK(loglinear::active_mask(power(31), 64) == power(31));
    CHECK(loglinear::active_mask(power(32) - 1, 64) == power(32) - 1);
    CHECK(loglinear::active_mask(power(32), 32) == power(31));
    CHECK(loglinear::active_mask(power(32) + 1, 32) == power(31) + 1);
    CHECK(loglinear::active_mask(power(32) - 1, 10) == power(10) - 1);
    CHECK(loglinear::active_mask(power(63), 64) == power(63));
    CHECK(loglinear::active_mask(power(63), 10) == power(9));
    CHECK(loglinear::active_mask(last, 64) == last);
    CHECK(loglinear::active_level_count(last, 64) == 64);
    CHECK(loglinear::active_level_count(last, 10) == 10);
    CHECK(loglinear::active_level_count(power(63), 1) == 1);
    int walked = 0;
    for (int level : loglinear::ActiveLevels(last, 64)) walked += level == walked ? 1 : 100;
    CHECK(walked == 64);
  }
  SECTION("buckets") {
    const auto first_and_size = [](uint64_t count, int level, int max_levels) {
      const loglinear::Bucket bucket = loglinear::bucket_of(count, level, max_levels);
      return std::pair(bucket.first, bucket.size);
    };
    CHECK(first_and_size(power(32) + 1, 0, 64) == std::pair(power(32), uint64_t{1}));
    CHECK(first_and_size(power(32) + 1, 32, 64) == std::pair(uint64_t{0}, power(32)));
    CHECK(first_and_size(power(32) + power(31), 31, 64) == std::pair(power(32), power(31)));
    CHECK(first_and_size(power(32) + power(31), 31, 32) ==
          std::pair(uint64_t{0}, power(32) + power(31)));
    CHECK(first_and_size(power(63), 63, 64) == std::pair(uint64_t{0}, power(63)));
    CHECK(first_and_size(last, 0, 64) == std::pair(last - 1, uint64_t{1}));
    CHECK(first_and_size(last, 62, 64) == std::pair(power(63), power(62)));
    CHECK(first_and_size(last, 63, 64) == std::pair(uint64_t{0}, power(63)));
    CHECK(first_and_size(last, 0, 1) == std::pair(uint64_t{0}, last));
    CHECK(first_and_size(last, 9, 10) == std::pair(uint64_t{0}, last - (power(9) - 1)));
  }
  SECTION("level of a token") {
    const auto before = [](uint64_t s, uint64_t t, int max_levels = 64) {
      return loglinear::level_of(s, t, ReadOrder::before_push, max_levels);
    };
    const auto after = [](uint64_t s, uint64_t t, int max_levels = 64) {
      return loglinear::level_of(s, t, ReadOrder::after_push, max_levels);
    };
    const auto apart = [](uint64_t s, uint64_t t, int max_levels = 64) {
      return loglinear::level_of(s, t, ReadOrder::current_apart, max_levels);
    };
    CHECK(before(0, power(31)) == 31);
    CHECK(before(power(32) - 1, power(32)) == 32);
    CHECK(before(power(32), power(32) + 1) == 0);
    CHECK(before(0, power(32) + 1) == 32);
    CHECK(before(0, power(32), 10) == 9);
    CHECK(before(0, power(63)) == 63);
    CHECK(before(0, last) == 63);
    CHECK(before(last - 1, last) == 0);
    CHECK(after(power(32) - 1, power(32) - 1) == 32);
    CHECK(after(power(32), power(32)) == 0);
    CHECK(after(0, power(63) - 1) == 63);
    CHECK(after(0, last - 1) == 63);
    CHECK(after(last - 1, last - 1) == 0);
    CHECK(after(0, last) == 63);  // the count would be 2^64: everything is in the last level
    CHECK(after(last, last) == 63);
    CHECK(after(last, last, 3) == 2);
    CHECK(apart(power(32), power(32)) == 0);
    CHECK(apart(power(32) - 1, power(32)) == 33);
    CHECK(apart(0, last) == 64);
    CHECK(apart(0, last, 10) == 10);
    CHECK(apart(last, last) == 0);
  }
}

namespace {

constexpr int sum_of_active_levels(uint64_t count, int max_levels) {
  int sum = 0;
  for (int level : loglinear::ActiveLevels(count, max_levels)) sum += level;
  return sum;
}

// Everything is usable at compile time.
static_assert(loglinear::landed_level(7, 64) == 3);
static_assert(loglinear::active_mask(11, 3) == 0b111);
static_assert(loglinear::active_level_count(10, 64) == 2);
static_assert(loglinear::is_active_level(10, 3, 64) && !loglinear::is_active_level(10, 2, 64));
static_assert(loglinear::levels_needed(4033) == 12);
static_assert(loglinear::level_of(0, 6, ReadOrder::before_push, 64) == 2);
static_assert(loglinear::level_of(0, 6, ReadOrder::after_push, 64) == 2);
static_assert(loglinear::level_of(6, 6, ReadOrder::current_apart, 64) == 0);
static_assert(loglinear::level_weight_count(ReadOrder::current_apart, 5) == 6);
static_assert(loglinear::bucket_of(6, 1, 64).first == 4 &&
              loglinear::bucket_of(6, 1, 64).size == 2);
static_assert(sum_of_active_levels(11, 64) == 4);
static_assert(loglinear::seen_level(ReadOrder::after_push, 0, 1, 64) == 1);
static_assert(loglinear::seen_leaf_level(ReadOrder::after_push, 3, 64) == 2);

}  // namespace
