// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_RULES_HPP
#define LOGLINEAR_TESTS_RULES_HPP

// Every rule that the laws and gradient checks run over, in every variant that takes another path:
// those of the list (rules/list.hpp) with every combination of words among their hyperparameters
// and the examples for numbers.

#include <array>
#include <type_traits>

#include "layers.hpp"
#include "loglinear/mode/any_rule.hpp"
#include "read_orders.hpp"
#include "variants.hpp"

namespace loglinear::test {

/// Calls `use(rule, name)` for every rule, which has the type that rules of its kind of transition
/// share (`RuntimeRule`): what `use` makes of it is compiled once a kind and runs once a rule. That
/// a layer with a rule's own type has the same bits is a law by itself (config/types.hpp). Of
/// DeltaProduct three steps stand for more.
template <class Use>
void for_each_rule(Use use) {
  detail::RuntimeRules::for_each([&]<class Rule>(std::type_identity<Rule>) {
    if constexpr (requires { Rule::info; }) {
      if constexpr (detail::leaves_of<Rule>() <= 3) {
        for (const Rule& rule : examples_of<Rule>()) {
          use(RuntimeRule<Rule>(rule), described(rule).c_str());
        }
      }
    } else {
      use(RuntimeRule<Rule>(Rule{}), "keys alone");
    }
  });
}

inline constexpr std::array<int, 4> level_counts = {1, 2, 3, 10};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_RULES_HPP
