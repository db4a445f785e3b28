// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_DETAIL_STEPS_OF_HPP
#define LOGLINEAR_TRANSITIONS_DETAIL_STEPS_OF_HPP

#include "loglinear/detail/base/types.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear::detail {

/// What a kind is made of: its updates, whether its decays differ between key rows, and whether it
/// decays value columns. Only the kinds of transition.hpp are known.
template <class Kind>
struct StepsOf {
  static constexpr bool known = false;
};
struct NoSteps {
  static constexpr bool known = true, decays = false, by_row = false, by_column = false;
  static constexpr Index updates = 0;
};
template <class Scalar>
struct StepsOf<Identity<Scalar>> : NoSteps {};
template <class Scalar>
struct StepsOf<ScalarDecay<Scalar>> : NoSteps {
  static constexpr bool decays = true;
};
template <class Scalar>
struct StepsOf<KeyDecay<Scalar>> : NoSteps {
  static constexpr bool decays = true, by_row = true;
};
template <class Scalar>
struct StepsOf<ValueDecay<Scalar>> : NoSteps {
  static constexpr bool by_column = true;
};
template <class Diagonal>
struct StepsOf<RankOneUpdate<Diagonal>> : StepsOf<Diagonal> {
  static constexpr Index updates = 1;
};
template <class... Factors>
struct StepsOf<TransitionProduct<Factors...>> {
  static constexpr bool known = (StepsOf<Factors>::known && ...);
  static constexpr bool decays = (StepsOf<Factors>::decays || ...);
  static constexpr bool by_row = (StepsOf<Factors>::by_row || ...);
  static constexpr bool by_column = (StepsOf<Factors>::by_column || ...);
  static constexpr Index updates = (StepsOf<Factors>::updates + ...);
};

/// Whether a kind is made of updates of rank one and of decays of key rows alone.
template <class Kind>
[[nodiscard]] constexpr bool is_low_rank() {
  if constexpr (StepsOf<Kind>::known) {
    return !StepsOf<Kind>::by_column;
  } else {
    return false;
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TRANSITIONS_DETAIL_STEPS_OF_HPP
