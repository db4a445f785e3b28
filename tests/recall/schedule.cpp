// SPDX-License-Identifier: MIT
#include "schedule.hpp"

#include <limits>

#include "catch.hpp"

using learning::cosine_share;

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
