// SPDX-License-Identifier: MIT
#include "loglinear/chunks/level_merge.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "catch.hpp"

namespace {

using namespace loglinear;
using namespace loglinear::detail;

/// The level of each token after `count` pushes, by carrying one token after the other.
std::vector<int> levels_after(std::uint64_t count, int max_levels) {
  std::vector<std::vector<std::uint64_t>> levels(static_cast<std::size_t>(max_levels));
  for (std::uint64_t token = 0; token < count; ++token) {
    std::vector<std::uint64_t> carried{token};
    std::size_t l = 0;
    for (; l + 1 < levels.size() && !levels[l].empty(); ++l) {
      carried.insert(carried.end(), levels[l].begin(), levels[l].end());
      levels[l].clear();
    }
    levels[l].insert(levels[l].end(), carried.begin(), carried.end());
  }
  std::vector<int> of_token(count);
  for (std::size_t l = 0; l < levels.size(); ++l) {
    for (const std::uint64_t token : levels[l]) of_token[token] = static_cast<int>(l);
  }
  return of_token;
}

}  // namespace

TEST_CASE("levels that merge are the youngest ones, and land where single carries take them") {
  for (const int max_levels : {1, 2, 3, 5, 20}) {
    std::vector<std::vector<int>> levels;
    for (std::uint64_t count = 0; count <= 100; ++count) {
      levels.push_back(levels_after(count, max_levels));
    }
    for (std::uint64_t before = 0; before <= 60; ++before) {
      for (std::uint64_t after = before + 1; after <= before + 40; ++after) {
        const LevelMerge merge(before, after, max_levels);
        std::uint64_t held = 0;
        bool lands = true;
        int oldest = -1;
        for (std::uint64_t token = 0; token < before; ++token) {
          const int from = levels[before][token], to = levels[after][token];
          held |= std::uint64_t{1} << to;
          lands &= to == (from <= merge.oldest ? merge.landed : from);
          if (to == levels[after][before - 1]) oldest = std::max(oldest, from);
        }
        INFO("max_levels " << max_levels << ", from " << before << " to " << after);
        CHECK(lands);
        CHECK(merge.oldest == oldest);
        CHECK(merge.landed == (before > 0 ? levels[after][before - 1] : -1));
        CHECK(merge.held == held);
      }
    }
  }
}
