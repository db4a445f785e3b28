// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_ANY_RULE_HPP
#define LOGLINEAR_MODE_ANY_RULE_HPP

/// \file
/// A rule chosen at run time among those whose transitions are of one kind, or, of delta rules,
/// would be with a decay of 1. So a layer is compiled once for each kind and not for each rule:
/// only `prepare` and `pullback` are compiled for each rule.

#include <concepts>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "loglinear/mode/mode.hpp"

namespace loglinear {

namespace detail {

/// A delta rule's kind of transition with a decay where it has none. Its decay is 1 then, which
/// changes no bit and no checkpoint: rules leave alone what they do not know of.
template <class Kind>
struct WithDecay {
  using Type = Kind;
};
template <class Scalar>
struct WithDecay<RankOneUpdate<Identity<Scalar>>> {
  using Type = RankOneUpdate<ScalarDecay<Scalar>>;
};
/// The kind that a layer made at run time has for a rule.
template <class Rule, class Scalar>
using RuntimeKind = typename WithDecay<typename Rule::template Transition<Scalar>>::Type;

}  // namespace detail

/// One of several rules with the same transition, but that it need not have a decay. It is a rule
/// itself, with the numbers of the rule that it holds, bit for bit. A call costs one indirection.
template <class First, class... Others>
class AnyRule {
  static_assert(
      (std::is_same_v<detail::RuntimeKind<First, double>, detail::RuntimeKind<Others, double>> &&
       ...),
      "rules in one layer need one kind of transition");

 public:
  template <class Scalar>
  using Transition = detail::RuntimeKind<First, Scalar>;

  AnyRule() = default;  ///< the first rule
  /// One of the rules.
  template <class Rule>
  requires(std::same_as<Rule, First> || (std::same_as<Rule, Others> || ...))  //
      AnyRule(const Rule& rule)
      : rule_(rule) {}

  /// The rule that it holds.
  [[nodiscard]] const std::variant<First, Others...>& rule() const noexcept { return rule_; }

  [[nodiscard]] std::vector<Parameter> parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    return visit([&](const auto& rule) {
      const auto own = rule.parameters(d_k, d_v);
      return std::vector<Parameter>(own.begin(), own.end());
    });
  }
  [[nodiscard]] Eigen::Index leaves() const {
    return visit([](const auto& rule) { return detail::leaves_of(rule); });
  }
  [[nodiscard]] Eigen::Index key_rows(Eigen::Index d_k) const {
    return visit([&](const auto& rule) { return detail::key_rows_of(rule, d_k); });
  }
  void validate() const {
    visit([](const auto& rule) { detail::validate_rule(rule); });
  }

  void prepare_query(const auto& in, auto& query) const {
    visit([&](const auto& rule) { detail::prepare_query(rule, in, query); });
  }
  void prepare(const auto& in, auto& token) const {
    visit([&](const auto& rule) { rule.prepare(in, token); });
  }
  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    visit([&](const auto& rule) {
      if constexpr (!requires { rule.prepare_query(d_in, d_in.q); }) d_in.q = d_token.query;
      rule.pullback(in, token, d_token, d_in);
    });
  }

  /// Whether both hold the same rule with the same hyperparameters.
  [[nodiscard]] bool operator==(const AnyRule&) const = default;

 private:
  decltype(auto) visit(auto&& work) const { return std::visit(work, rule_); }

  std::variant<First, Others...> rule_{};
};

namespace detail {

/// All rules, and the two that `KeyOnly` reduces them to.
using RuntimeRules = decltype(RuleTypes{} + TypeList<KeyOnly<RetNet>, KeyOnly<DeltaNet>>{});

/// Whether two rules can share a layer.
template <class One>
struct SameKind {
  template <class Other>
  using As = std::is_same<RuntimeKind<One, double>, RuntimeKind<Other, double>>;
};
template <class... Rules>
struct OneOf {
  using Type = AnyRule<Rules...>;
};
template <class Rule>
struct OneOf<Rule> {
  using Type = Rule;
};

}  // namespace detail

/// The rule that layers made at run time have for `Rule`: `AnyRule` of all rules of its kind, or
/// the rule itself where it is the only one.
template <class Rule>
using RuntimeRule =
    typename detail::Filter<detail::RuntimeRules, detail::SameKind<Rule>::template As>::Type::
        template Into<detail::OneOf>::Type;

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ANY_RULE_HPP
