// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HYPERPARAMETERS_HPP
#define LOGLINEAR_RULES_HYPERPARAMETERS_HPP

/// \file
/// What a rule or a level weighting says about itself: its names, and for each hyperparameter the
/// name, the legal range and example values. Checks, mode texts, tests, benchmarks and tables are
/// made from it. A rule of your own may leave it out.
///
///     struct MyRule {
///       double gate_bias = 0;
///       static constexpr RuleInfo info{.name = "MyRule", .text = "my_rule"};
///       static constexpr void hyperparameters(auto& self, auto&& visit) {
///         visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
///       }
///       ...

#include <array>
#include <concepts>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"

namespace loglinear {

/// The finite numbers between two ends, each of which may belong to them or not.
struct Range {
  double low = std::numeric_limits<double>::lowest();  ///< the lower end
  double high = (std::numeric_limits<double>::max)();  ///< the upper end
  bool has_low = true;                                 ///< whether the lower end itself is legal
  bool has_high = true;                                ///< whether the upper end itself is legal

  /// [low, high]
  [[nodiscard]] static constexpr Range between(double low, double high) { return {low, high}; }
  [[nodiscard]] static constexpr Range above_to(double low, double high) {
    return {low, high, false, true};
  }  ///< (low, high]
  [[nodiscard]] static constexpr Range from_to_below(double low, double high) {
    return {low, high, true, false};
  }  ///< [low, high)
  /// [low, the largest number]
  [[nodiscard]] static constexpr Range at_least(double low) { return {.low = low}; }
  /// (low, the largest number]
  [[nodiscard]] static constexpr Range above(double low) { return {.low = low, .has_low = false}; }

  /// Whether a number lies in it; NaN and the infinities never do.
  [[nodiscard]] bool holds(double value) const {
    return detail::is_finite(value) && (has_low ? value >= low : value > low) &&
           (has_high ? value <= high : value < high);
  }
  /// Whether both ends are given.
  [[nodiscard]] constexpr bool is_bounded() const {
    return low > Range{}.low && high < Range{}.high;
  }

  /// Whether all members are equal.
  [[nodiscard]] constexpr bool operator==(const Range&) const = default;
};

/// One hyperparameter. If it is not a number, every value of its type is legal.
struct Hyperparameter {
  std::string_view name;         ///< of the member, and in a text
  Range range{};                 ///< what is legal
  double example = 1;            ///< legal, and not the default
  std::optional<double> slow{};  ///< forgets within some 10,000 tokens; the
                                 ///< default unless given
};

/// The names of a rule or a level weighting, and what a table says about it.
struct RuleInfo {
  std::string_view name;        ///< of its type, as errors name it
  std::string_view text;        ///< in a text
  std::string_view paper{};     ///< its number on arXiv
  std::string_view equation{};  ///< what a token does to the state, in the notation of the comments
  bool bounds_output = false;   ///< whether one-state layers made at run time bound its output by a
                                ///< tanh; those of rules that normalise keys always do
};

/// A rule with hyperparameters that make it forget slowly.
template <class Rule>
[[nodiscard]] Rule slow() {
  Rule rule;
  Rule::hyperparameters(rule, [](const Hyperparameter& parameter, auto& value) {
    if constexpr (std::is_same_v<decltype(value), double&>) value = parameter.slow.value_or(value);
  });
  return rule;
}

/// The words of values that are not numbers, in the order of the values.
[[nodiscard]] constexpr std::array<std::string_view, 2> words_of(bool) {
  return {"false", "true"};
}

namespace detail {

/// A type that has a name and a list of its hyperparameters.
template <class Type>
concept Described = requires {
  { Type::info.name } -> std::convertible_to<std::string_view>;
};

/// Throws unless a value is in its range.
template <class Number>
void require_in(const Range& range, const Text& argument, const Number& value) {
  if (range.holds(static_cast<double>(value))) return;
  if (range == Range{}) fail(argument, value, "finite");
  if (!range.is_bounded()) {
    fail(argument, value, range.has_low ? "finite and at least " : "finite and above ", range.low);
  }
  if (range.has_low && range.has_high) {
    fail(argument, value, "between ", range.low, " and ", range.high);
  }
  fail(argument, value, range.has_low ? "in [" : "in (", range.low, ", ", range.high,
       range.has_high ? "]" : ")");
}

template <Described Type>
void require_legal(const Type& described);

/// Throws unless a hyperparameter of `owner` has a legal value.
inline void require_legal(std::string_view owner, const Hyperparameter& parameter, double value) {
  if (!parameter.range.holds(value)) {
    require_in(parameter.range, Text(owner, "::", parameter.name), value);
  }
}
inline void require_legal(std::string_view owner, const Hyperparameter& parameter, int value) {
  if (!parameter.range.holds(value)) {
    require_in(parameter.range, Text(owner, "::", parameter.name), value);
  }
}
inline void require_legal(std::string_view owner, const Hyperparameter& parameter,
                          const std::optional<double>& value) {
  if (value) require_legal(owner, parameter, *value);
}
/// Words are all legal; an alternative of a variant has hyperparameters of its own.
template <class Value>
void require_legal(std::string_view, const Hyperparameter&, const Value& value) {
  if constexpr (!std::is_enum_v<Value> && !std::is_same_v<Value, bool>) {
    visit([](const auto& alternative) { require_legal(alternative); }, value);
  }
}

/// Throws unless every hyperparameter has a legal value; names the first that does not.
template <Described Type>
void require_legal(const Type& described) {
  Type::hyperparameters(described, [](const Hyperparameter& parameter, const auto& value) {
    require_legal(Type::info.name, parameter, value);
  });
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HYPERPARAMETERS_HPP
