// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_FACTORY_HPP
#define LOGLINEAR_TESTS_FACTORY_HPP

#include <memory>
#include <type_traits>

#include "loglinear/mode/attention.hpp"

namespace loglinear::test {

/// The same layer by its own type, `MultiHeadAttention<LinearAttention<Rule, Scalar>>` or
/// `MultiHeadAttention<LogLinearAttention<Rule, Scalar, Weights>>`, behind the factory's interface.
/// The bound must be given. For double it is there for every rule, for float for the first rule of
/// each kind of transition and for GatedDeltaNet, whose kind is another one than that of the first;
/// weights other than `NormalizedMixture` go with GLA alone.
template <class Scalar>
[[nodiscard]] std::unique_ptr<loglinear::Attention<Scalar>> typed_attention(
    const loglinear::AttentionConfig& config);

/// The first rule of a kind of transition, of those that share a type at run time.
template <class Rule>
struct FirstOf {
  using Type = Rule;
};
template <class First, class... Others>
struct FirstOf<loglinear::AnyRule<First, Others...>> {
  using Type = First;
};

/// Whether there is one.
template <class Scalar, class Rule>
constexpr bool is_typed =
    std::is_same_v<Scalar, double> || std::is_same_v<Rule, loglinear::GLA> ||
    std::is_same_v<Rule, loglinear::KeyOnly<loglinear::DeltaNet>> ||
    std::is_same_v<Rule, loglinear::GatedDeltaNet> ||
    std::is_same_v<Rule, typename FirstOf<loglinear::RuntimeRule<Rule>>::Type>;

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_FACTORY_HPP
