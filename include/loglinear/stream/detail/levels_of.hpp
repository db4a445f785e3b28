// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP

namespace loglinear::detail {

/// The way to the levels of a LogLinearState, for what the library itself does with them. Throws
/// for a state that has been moved from.
struct LevelsOf {
  template <class State>
  [[nodiscard]] static auto& get(State& state) {
    state.alive_.require_alive("the state");
    return state.levels_;
  }
};
template <class State>
[[nodiscard]] auto& levels_of(State& state) {
  return LevelsOf::get(state);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP
