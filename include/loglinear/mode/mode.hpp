// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_MODE_HPP
#define LOGLINEAR_MODE_MODE_HPP

/// \file
/// Attention chosen at run time, as a value: which rule with which hyperparameters, in one state or
/// in the hierarchy. `mode/attention.hpp` makes a layer of it, `mode_text.hpp` a text and back.

#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/rules.hpp"

namespace loglinear {

/// `DeltaProduct<n_compositions>` with the number of compositions chosen at run time.
struct DeltaProductMode {
  int n_compositions = 2;    ///< steps of the delta rule a token, 1 to 4
  bool reflections = false;  ///< as in `DeltaProduct`
  double gate_bias = 0;      ///< as in `DeltaProduct`
  double beta_bias = 0;      ///< as in `DeltaProduct`

  static constexpr bool normalizes_key = true;

  /// \throws std::invalid_argument unless 1 <= n_compositions <= 4 and both biases are finite
  void validate() const {
    detail::require_between("DeltaProduct::n_compositions", n_compositions, 1, 4);
    rule<1>().validate();
  }

  /// The rule that it stands for if `Compositions` is `n_compositions`.
  template <int Compositions>
  [[nodiscard]] DeltaProduct<Compositions> rule() const {
    return {.reflections = reflections, .gate_bias = gate_bias, .beta_bias = beta_bias};
  }

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const DeltaProductMode&) const = default;
};

/// A rule and its hyperparameters: the rules themselves, in a variant.
using InnerMode = std::variant<RetNet, Hawk, GLA, GLAVector, DeltaNet, GatedDeltaNet, RWKV, MLSTM,
                               DeltaProductMode, RWKV7, HGRN2, Mamba2>;

/// A rule in the hierarchy of log-linear attention. It cannot hold another `LogLinear`.
struct LogLinear {
  InnerMode inner{};                    ///< the rule
  int max_levels = 32;                  ///< 1 to 64
  std::optional<double> lambda_init{};  ///< any finite number; 1 / max_levels unless given
  bool key_only = false;  ///< `KeyOnly<Rule>` instead of the rule in full: no gates, no transition

  /// \throws std::invalid_argument unless max_levels is 1 to 64, lambda_init finite and the rule
  /// valid
  void validate() const {
    detail::require_between("LogLinear::max_levels", max_levels, 1, max_level_limit);
    detail::require_finite_value("LogLinear::lambda_init", lambda_init.value_or(0));
    std::visit([](const auto& rule) { detail::validate_rule(rule); }, inner);
  }

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const LogLinear&) const = default;
};

namespace detail {

template <class Variant, class Extra>
struct WithAlternative;
template <class... Modes, class Extra>
struct WithAlternative<std::variant<Modes...>, Extra> {
  using Type = std::variant<Modes..., Extra>;
};

}  // namespace detail

/// Every mode: the alternatives of `InnerMode`, each a rule in one state, and `LogLinear`.
using AttentionMode = detail::WithAlternative<InnerMode, LogLinear>::Type;

/// The mode that applies a rule to one state.
[[nodiscard]] inline AttentionMode one_state(const InnerMode& inner) {
  return std::visit([](const auto& rule) -> AttentionMode { return rule; }, inner);
}

/// Calls `visit(rule)` with the rule type that an inner mode stands for, and returns what it
/// returns: `DeltaProductMode` becomes one of `DeltaProduct<1>` to `DeltaProduct<4>`, all others
/// are rules already. \throws std::invalid_argument for a number of compositions that is not 1 to 4
template <class Visitor>
decltype(auto) visit_rule(const InnerMode& mode, Visitor&& visit) {
  return std::visit(
      [&](const auto& rule) -> decltype(auto) {
        if constexpr (std::is_same_v<decltype(rule), const DeltaProductMode&>) {
          switch (rule.n_compositions) {
            case 1:
              return visit(rule.template rule<1>());
            case 2:
              return visit(rule.template rule<2>());
            case 3:
              return visit(rule.template rule<3>());
            case 4:
              return visit(rule.template rule<4>());
            default:
              detail::fail("DeltaProduct::n_compositions", rule.n_compositions, "between 1 and 4");
          }
        } else {
          return visit(rule);
        }
      },
      mode);
}

/// Calls `visit(rule)` with what is left of an inner mode when only its key counts, and returns
/// what it returns: `KeyOnly<DeltaNet>` for a rule that normalises its key, else `KeyOnly<RetNet>`;
/// all others behave as one of the two.
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
