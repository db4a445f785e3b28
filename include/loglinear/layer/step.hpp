// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_STEP_HPP
#define LOGLINEAR_LAYER_STEP_HPP

#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"

namespace loglinear {

/// How `train_one` and `train_span` move the weights, given the gradient g of the loss.
enum class StepRule {
  /// `w <- w - rate g`: plain stochastic gradient descent. The rate must suit the data.
  sgd,
  /// Adam (Kingma and Ba, arXiv:1412.6980): `m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`,
  /// `w <- w - rate m' / (sqrt(v') + epsilon)`, m' and v' being m and v over `1 - b^t`. The size of
  /// the gradient does not matter; that of the inputs does.
  adam,
  /// An adaptive step for inputs of any scale, after the normalised updates of Ross, Mineiro and
  /// Langford (*Normalized Online Learning*, arXiv:1305.6646). Let s_j be the root mean square of
  /// those values of input j that are not 0, over some 10,000 of them. Then `g <- g / s_j`,
  /// `v <- b2 v + (1 - b2) g^2` and `w <- w - rate_t g / (s_j sqrt(v'))` for a weight of input j.
  /// For a weight of no input s is 1.
  ///
  /// The rate falls: `rate_t = rate max(1/10, 300 / (299 + t))` at step t.
  ///
  /// Drawn weights are for inputs of size 1. Over the first 32 values of input j that are not 0
  /// they are therefore divided by s_j too, so that training begins the same at any scale. If all
  /// inputs are scaled, the weights scale the other way and nothing else changes. That holds also
  /// if only some are scaled, as long as none falls below 1e-6 of the largest. A value below 1e-6
  /// times the largest s may be the rounding residue of a 0: it counts only if s_j is known and not
  /// itself below that bound. While only such values have come, s_j is that bound.
  normalized,
};

/// The name of a step rule in texts, and its default learning rate.
struct StepRuleInfo {
  StepRule rule;          ///< its value
  std::string_view name;  ///< in texts
  double rate;            ///< the learning rate unless one is given
};

/// All step rules, in the order of `StepRule`.
inline constexpr std::array<StepRuleInfo, 3> step_rule_table{{
    {StepRule::sgd, "sgd", 0.05},
    {StepRule::adam, "adam", 0.01},
    {StepRule::normalized, "normalized", 0.02},
}};
/// The entry of a rule in the table.
[[nodiscard]] constexpr const StepRuleInfo& info_of(StepRule rule) noexcept {
  return step_rule_table[static_cast<std::size_t>(rule)];
}
/// The name of a rule in texts.
[[nodiscard]] constexpr std::string_view name_of(StepRule rule) noexcept {
  return info_of(rule).name;
}

namespace detail {

/// \throws std::invalid_argument for a value that is no step rule
inline void require_rule(StepRule rule) {
  const auto value = static_cast<int>(rule);
  if (value >= 0 && value < static_cast<int>(step_rule_table.size())) return;
  fail("the step rule", value, "one of StepRule");
}

}  // namespace detail

/// A step rule with its numbers; the rate is the layer's `learning_rate`.
struct Step {
  StepRule rule = StepRule::normalized;  ///< which
  double beta1 = 0.9;                    ///< of adam, in [0, 1)
  double beta2 = 0.999;                  ///< of adam and normalized, in [0, 1), above beta1^2
  double epsilon = 1e-8;                 ///< of adam, finite and at least 0
  /// The largest norm of the gradient of all weights of a head; for `normalized`, of g / s_j. A
  /// longer gradient is scaled down to it. Finite and at least 0; 0 leaves every gradient as it is.
  double clip = 0;

  /// \throws std::invalid_argument for a number that is out of its range
  void validate() const {
    using detail::fail;
    detail::require_rule(rule);
    if (!(beta1 >= 0 && beta1 < 1)) fail("beta1", beta1, "in [0, 1)");
    if (!(beta2 >= 0 && beta2 < 1)) fail("beta2", beta2, "in [0, 1)");
    if (beta1 > 0 && beta1 * beta1 >= beta2) fail("beta2", beta2, "above beta1^2");
    if (!(epsilon >= 0 && detail::is_finite(epsilon))) fail("epsilon", epsilon, "finite, >= 0");
    if (!(clip >= 0 && detail::is_finite(clip))) fail("clip", clip, "finite, >= 0");
  }

  /// Whether all numbers are equal.
  [[nodiscard]] bool operator==(const Step&) const = default;
};

namespace detail {

/// What the options of a layer say about learning, with defaults filled in: a rate without a step
/// rule means plain gradient descent.
struct Learning {
  Step step;
  double rate;
  bool bias;

  Learning(const std::optional<double>& learning_rate, const std::optional<Step>& given,
           const std::optional<bool>& has_bias)
      : step(given.value_or(Step{.rule = learning_rate ? StepRule::sgd : StepRule::normalized})),
        rate(learning_rate.value_or(known(step.rule).rate)),
        bias(has_bias.value_or(step.rule == StepRule::normalized)) {}

  [[nodiscard]] static const StepRuleInfo& known(StepRule rule) {
    require_rule(rule);
    return info_of(rule);
  }
};
template <class Options>
[[nodiscard]] Learning learning_of(const Options& options) {
  return {options.learning_rate, options.step, options.bias};
}

}  // namespace detail
}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_STEP_HPP
