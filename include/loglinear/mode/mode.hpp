// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_MODE_HPP
#define LOGLINEAR_MODE_MODE_HPP

/// \file
/// Attention chosen at run time, as a value: a rule with its hyperparameters, in one state or in
/// the hierarchy, and the weighting of the levels. `mode/attention.hpp` makes a layer of it;
/// `mode_text.hpp` makes a text of it and reads one.

#include <string_view>
#include <type_traits>
#include <variant>

#include "loglinear/fenwick.hpp"
#include "loglinear/rules.hpp"
#include "loglinear/rules/level_weights.hpp"

namespace loglinear {

/// A rule and its hyperparameters: the rules themselves, in a variant.
using InnerMode = Rules::Into<std::variant>;

/// How levels are weighed, with its hyperparameters: the policies of level_weights.hpp.
using LevelWeighting = LevelWeightings::Into<std::variant>;

/// A rule in the hierarchy of log-linear attention. It cannot hold another `LogLinear`.
struct LogLinear {
  InnerMode inner{};               ///< the rule
  int max_levels = 32;             ///< 1 to 64
  LevelWeighting level_weights{};  ///< `NormalizedMixture` unless given
  bool key_only = false;  ///< `KeyOnly<Rule>` instead of the rule in full: no gates, no transition

  static constexpr RuleInfo info{.name = "LogLinear", .text = "log_linear"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "max_levels", .range = Range::between(1, max_level_limit), .example = 3},
          self.max_levels);
    visit({.name = "level_weights"}, self.level_weights);
    visit({.name = "key_only"}, self.key_only);
  }

  /// \throws std::invalid_argument unless max_levels is 1 to 64 and level weights and rule are
  /// valid
  void validate() const;

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const LogLinear&) const = default;
};

/// Every mode: the alternatives of `InnerMode`, each a rule in one state, and `LogLinear`.
using AttentionMode = decltype(Rules{} + detail::TypeList<LogLinear>{})::Into<std::variant>;

namespace detail {

/// Whether a type is one of the alternatives that texts know.
template <class Type>
concept Listed =
    Rules::contains<Type> || LevelWeightings::contains<Type> || std::is_same_v<Type, LogLinear>;

}  // namespace detail

inline void LogLinear::validate() const {
  detail::require_legal(*this);
  std::visit([](const auto& rule) { detail::require_legal(rule); }, inner);
}

/// The mode that applies a rule to one state.
[[nodiscard]] inline AttentionMode one_state(const InnerMode& inner) {
  return std::visit([](const auto& rule) -> AttentionMode { return rule; }, inner);
}

/// The rule of a mode, in one state or in the hierarchy.
[[nodiscard]] inline InnerMode inner_of(const AttentionMode& mode) {
  return std::visit(
      []<class Mode>(const Mode& one) -> InnerMode {
        if constexpr (std::is_same_v<Mode, LogLinear>) {
          return one.inner;
        } else {
          return one;
        }
      },
      mode);
}

/// Calls `visit(rule)` with the rule type that one alternative of an inner mode stands for.
template <class Mode, class Visitor>
requires(Rules::contains<Mode>)  //
    decltype(auto) visit_rule(const Mode& mode, Visitor&& visit) {
  if constexpr (requires { typename Mode::Rules; }) {
    return mode.visit_rule(visit);
  } else {
    return visit(mode);
  }
}
/// Calls `visit(rule)` with the rule type that an inner mode stands for, and returns what it
/// returns: `DeltaProductMode` becomes one of `DeltaProduct<1>` to `DeltaProduct<4>`, the same for
/// `GatedDeltaProductMode`, and all others are rules already. \throws std::invalid_argument for a
/// number of compositions that is not 1 to 4
template <class Visitor>
decltype(auto) visit_rule(const InnerMode& mode, Visitor&& visit) {
  return std::visit([&](const auto& one) -> decltype(auto) { return visit_rule(one, visit); },
                    mode);
}

/// Calls `visit(rule)` with the `KeyOnly` rule of an inner mode, and returns what it returns:
/// `KeyOnly<DeltaNet>` for a rule that normalises its key, else `KeyOnly<RetNet>`.
template <class Visitor>
decltype(auto) visit_key_only(const InnerMode& mode, Visitor&& visit) {
  const bool normalizes = std::visit(
      [](const auto& rule) { return detail::normalizes_key<std::decay_t<decltype(rule)>>(); },
      mode);
  return normalizes ? visit(KeyOnly<DeltaNet>{}) : visit(KeyOnly<RetNet>{});
}

/// Checks every hyperparameter of a mode. \throws std::invalid_argument naming the first that is
/// out of its range
inline void validate(const AttentionMode& mode) {
  std::visit([](const auto& alternative) { detail::validate_rule(alternative); }, mode);
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_HPP
