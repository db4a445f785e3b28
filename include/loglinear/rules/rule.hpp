// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_RULE_HPP
#define LOGLINEAR_RULES_RULE_HPP

/// \file
/// What an inner rule is: the preparation that turns the projections of one token into the leaf it
/// writes and the transition that older states undergo, and the pullback of that preparation.
///
/// A rule is a small aggregate of hyperparameters with four members to write:
///
///     struct MyRule {
///       double gate_bias = 0;                                              // hyperparameters
///       template <class Scalar> using Transition = ScalarDecay<Scalar>;    // 1. the kind
///       auto parameters(Index d_k, Index d_v) const {                      // 2. own weights
///         return std::array{projection("w_gate", 1)};
///       }
///       void prepare(const auto& in, auto& token) const;                   // 3. forward
///       void pullback(const auto& in, const auto& token,                   // 4. backward
///                     auto& d_token, auto& d_in) const;
///     };
///
/// and, where they differ from the usual: `leaves` (how many `k v^T` a token writes, a static
/// constexpr int or a const member function, 1), `normalizes_key` (whether `KeyOnly` writes
/// `k/|k|`, a static constexpr bool, false), `key_rows(d_k)` (rows of the state, d_k),
/// `prepare_query(in, query)` (`query = in.q`), `info` and `hyperparameters` (names and legal
/// ranges, see hyperparameters.hpp) and `validate()` (throws std::invalid_argument on illegal
/// hyperparameters). A rule never sees a state's storage. Layers call it while denormal numbers
/// count as zero (docs/numerics.md); a thread that it starts inherits that mode. Any of these
/// members, and copies of the rule, may throw any exception: the layer is then what it was before
/// the call. Moves of a rule must not throw.

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/rules/hyperparameters.hpp"
#include "loglinear/transitions/token.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear {

/// One weight array that a rule or a level weighting needs beyond W_k, W_v and W_q.
struct Parameter {
  std::string_view name;  ///< by which the layer reads and sets it; a string literal
  Eigen::Index rows = 0;  ///< outputs of the projection, or length of the free vector; 0: absent
  bool is_projection = true;        ///< a matrix `rows x d_model` applied to x, or a free vector
  std::optional<double> initial{};  ///< all coefficients start here instead of being drawn
};

/// A projection of the input: `in.own` holds its `rows` outputs.
[[nodiscard]] constexpr Parameter projection(std::string_view name, Eigen::Index rows) {
  return {name, rows, true, {}};
}

/// A vector of weights that does not depend on the input: `in.free` holds it.
[[nodiscard]] constexpr Parameter free_vector(std::string_view name, Eigen::Index rows,
                                              std::optional<double> initial = {}) {
  return {name, rows, false, initial};
}

/// What a rule reads: the projections of one token. `Vec` is a read-only or a writable view; with a
/// writable one the same struct receives the gradient. Views are of the layer's memory and valid
/// within the call alone: a rule that keeps one must copy its numbers.
template <class Vec>
struct Projections {
  Vec k;     ///< W_k x, length d_k
  Vec v;     ///< W_v x, length d_v
  Vec q;     ///< W_q x, length d_k
  Vec own;   ///< the rule's own projections one after the other, in the order of `parameters`
  Vec free;  ///< the rule's free vectors one after the other, likewise
};

namespace detail {

template <class Scalar>
using ConstVectorView = Eigen::Map<const Vector<Scalar>>;
template <class Scalar>
using VectorView = Eigen::Map<Vector<Scalar>>;

template <class Rule>
[[nodiscard]] constexpr int leaves_of() {
  static_assert(
      !requires(const Rule& rule) { rule.leaves(); },
      "the number of leaves depends on the rule: ask leaves_of(rule)");
  if constexpr (requires { Rule::leaves; }) {
    return Rule::leaves;
  } else {
    return 1;
  }
}
template <class Rule>
[[nodiscard]] Index leaves_of(const Rule& rule) {
  static_assert(
      requires { rule.leaves(); } || !requires(Rule & own) { own.leaves(); },
      "the member function leaves() of a rule must be const");
  if constexpr (requires { rule.leaves(); }) {
    return rule.leaves();
  } else {
    return leaves_of<Rule>();
  }
}

template <class Rule>
[[nodiscard]] constexpr bool normalizes_key() {
  if constexpr (requires { Rule::normalizes_key; }) {
    return Rule::normalizes_key;
  } else {
    return false;
  }
}

template <class Rule>
[[nodiscard]] Index key_rows_of(const Rule& rule, Index d_k) {
  if constexpr (requires { rule.key_rows(d_k); }) {
    return rule.key_rows(d_k);
  } else {
    return d_k;
  }
}

template <class Rule, class In, class Query>
void prepare_query(const Rule& rule, const In& in, Query& query) {
  if constexpr (requires { rule.prepare_query(in, query); }) {
    rule.prepare_query(in, query);
  } else {
    copy(in.q.data(), in.q.size(), query.data());
  }
}

/// Throws where a hyperparameter is illegal: where its own `validate` says so, or else its ranges.
template <class Rule>
void validate_rule(const Rule& rule) {
  if constexpr (requires { rule.validate(); }) {
    rule.validate();
  } else if constexpr (Described<Rule>) {
    require_legal(rule);
  }
}

}  // namespace detail

/// The requirement `Rule::Transition<Scalar>` names a kind of transition.
template <class Rule, class Scalar>
concept HasTransition = Transition<typename Rule::template Transition<Scalar>, Scalar>;

/// The requirement `rule.parameters(d_k, d_v)` returns a range of `Parameter`.
template <class Rule>
concept HasParameters = requires(const Rule& rule, Eigen::Index d) {
  { *rule.parameters(d, d).begin() } -> std::convertible_to<Parameter>;
};

/// The requirement `rule.prepare(in, token)`: fills `token.keys`, `token.values` and
/// `token.transition` from the projections. Called with every member sized.
template <class Rule, class Scalar>
concept HasPrepare = requires(const Rule& rule,
                              const Projections<detail::ConstVectorView<Scalar>>& in,
                              Token<typename Rule::template Transition<Scalar>>& token) {
  rule.prepare(in, token);
};

/// The requirement `rule.pullback(in, token, d_token, d_in)`: from the gradient with respect to the
/// token, writes `d_in.k`, `d_in.v`, `d_in.own` and `d_in.free`. `d_in.q` already holds
/// `d_token.query`; a rule with a `prepare_query` of its own overwrites it. `d_token` is the rule's
/// to use as scratch memory.
template <class Rule, class Scalar>
concept HasPullback = requires(const Rule& rule,
                               const Projections<detail::ConstVectorView<Scalar>>& in,
                               const Token<typename Rule::template Transition<Scalar>>& token,
                               Projections<detail::VectorView<Scalar>>& d_in) {
  rule.pullback(in, token, token, d_in);
};

/// An inner rule: see the top of this file for what a rule has to supply and an example in
/// `examples/own_rule.cpp`.
template <class Rule, class Scalar>
concept InnerRule = std::copyable<Rule> && HasTransition<Rule, Scalar> && HasParameters<Rule> &&
    HasPrepare<Rule, Scalar> && HasPullback<Rule, Scalar>;

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RULE_HPP
