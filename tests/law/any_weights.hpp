// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_LAW_ANY_WEIGHTS_HPP
#define LOGLINEAR_TESTS_LAW_ANY_WEIGHTS_HPP

// The library's policies of level weights as one, chosen at run time: laws that hold for each rule
// with each policy compile a layer for each rule only.

#include <utility>
#include <variant>
#include <vector>

#include "loglinear/rules/level_weights.hpp"

namespace laws {

struct AnyWeights {
  std::variant<loglinear::NormalizedMixture, loglinear::SoftplusWeights, loglinear::UnitWeights>
      policy{};

  [[nodiscard]] std::vector<loglinear::Parameter> parameters(Eigen::Index n) const {
    return std::visit(
        [&](const auto& own) {
          const auto shapes = own.parameters(n);
          return std::vector<loglinear::Parameter>(shapes.begin(), shapes.end());
        },
        policy);
  }
  template <class Scalar>
  void resolve(int max_levels) {
    std::visit([&](auto& own) { own.template resolve<Scalar>(max_levels); }, policy);
  }
  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    std::visit([&](const auto& own) { own.weigh(raw, free, lambda); }, policy);
  }
  void pullback(const auto& raw, const auto& free, const auto& lambda, const auto& d_lambda,
                auto& d_raw, auto& d_free) const {
    std::visit([&](const auto& own) { own.pullback(raw, free, lambda, d_lambda, d_raw, d_free); },
               policy);
  }
};

static_assert(loglinear::LevelWeights<AnyWeights, double>);

}  // namespace laws

#endif  // LOGLINEAR_TESTS_LAW_ANY_WEIGHTS_HPP
