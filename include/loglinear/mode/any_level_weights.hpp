// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_ANY_LEVEL_WEIGHTS_HPP
#define LOGLINEAR_MODE_ANY_LEVEL_WEIGHTS_HPP

/// \file
/// Level weights chosen at run time.

#include <variant>
#include <vector>

#include "loglinear/mode/mode.hpp"

namespace loglinear {

/// One of the level weightings, chosen at run time. It is a policy of level weights itself, with
/// the numbers of the weighting that it holds, bit for bit. A call costs one indirection.
class AnyLevelWeights {
 public:
  AnyLevelWeights() = default;  ///< `NormalizedMixture`
  /// Only the run time tells whether the layer has one level.
  static constexpr bool is_chosen_at_run_time = true;

  /// One of the weightings.
  AnyLevelWeights(const LevelWeighting& weighting) : weighting_(weighting) {}

  /// The weighting that it holds.
  [[nodiscard]] const LevelWeighting& weighting() const noexcept { return weighting_; }

  [[nodiscard]] std::vector<Parameter> parameters(Eigen::Index n) const {
    return std::visit(
        [&](const auto& weights) {
          const auto own = weights.parameters(n);
          return std::vector<Parameter>(own.begin(), own.end());
        },
        weighting_);
  }
  /// \throws std::invalid_argument as the weighting that it holds
  template <class Scalar>
  void resolve(int max_levels) {
    std::visit([&](auto& weights) { weights.template resolve<Scalar>(max_levels); }, weighting_);
  }
  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    std::visit([&](const auto& weights) { weights.weigh(raw, free, lambda); }, weighting_);
  }
  void pullback(const auto& raw, const auto& free, const auto& lambda, const auto& d_lambda,
                auto& d_raw, auto& d_free) const {
    std::visit(
        [&](const auto& weights) { weights.pullback(raw, free, lambda, d_lambda, d_raw, d_free); },
        weighting_);
  }

  /// Whether both hold the same weighting with the same hyperparameters.
  [[nodiscard]] bool operator==(const AnyLevelWeights&) const = default;

 private:
  LevelWeighting weighting_{};
};

static_assert(LevelWeights<AnyLevelWeights, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ANY_LEVEL_WEIGHTS_HPP
