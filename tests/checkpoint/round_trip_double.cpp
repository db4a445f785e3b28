// SPDX-License-Identifier: MIT
#include "round_trip.hpp"

namespace test = loglinear::test;

TEST_CASE("A stored layer goes on bit for bit: every rule, double") {
  test::for_each_rule([]<class Rule>(const Rule& rule, const char* name) {
    test::check_rule<Rule, double>(rule, name);
  });
}
