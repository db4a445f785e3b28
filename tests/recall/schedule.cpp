// SPDX-License-Identifier: MIT
#include "schedule.hpp"

#include <cstdint>
#include <limits>
#include <vector>

#include "catch.hpp"

using learning::cosine_share;
using learning::doubles_to;
using learning::growing_length;

TEST_CASE("the learning rate rises in a line and falls by a cosine") {
  const double rounding = 4 * std::numeric_limits<double>::epsilon();
  const auto is = [&](double share, double wanted) { CHECK(std::abs(share - wanted) <= rounding); };
  is(cosine_share(0, 4, 12), 0.2);
  is(cosine_share(3, 4, 12), 0.8);
  is(cosine_share(4, 4, 12), 1);
  is(cosine_share(8, 4, 12), 0.5);
  is(cosine_share(10, 4, 12), (1 - std::numbers::sqrt2 / 2) / 2);
  is(cosine_share(0, 0, 2), 1);
}

TEST_CASE("sequences double, each length for an equal share of the steps") {
  std::vector<std::int64_t> lengths;
  for (std::int64_t step = 0; step < 8; ++step) {
    lengths.push_back(growing_length(step, 8, 32, 256));
  }
  CHECK(lengths == std::vector<std::int64_t>{32, 32, 64, 64, 128, 128, 256, 256});
  // Steps that four lengths do not divide, and one length alone.
  CHECK(growing_length(6, 10, 32, 256) == 128);
  CHECK(growing_length(9, 10, 32, 256) == 256);
  CHECK(growing_length(0, 10, 48, 48) == 48);
  CHECK(growing_length(9, 10, 48, 48) == 48);
}

TEST_CASE("a first length doubles to the length, or is refused") {
  CHECK(doubles_to(32, 256));
  CHECK(doubles_to(48, 48));
  CHECK(doubles_to(3, 96));
  CHECK_FALSE(doubles_to(24, 256));
  CHECK_FALSE(doubles_to(32, 96));
  CHECK_FALSE(doubles_to(512, 256));
}
