// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP

namespace loglinear::detail {

/// The way to the levels of a LogLinearState, for what the library itself does with them.
struct LevelsOf {
  template <class State>
  [[nodiscard]] static auto& get(State& state) noexcept {
    return state.levels_;
  }
};
template <class State>
[[nodiscard]] auto& levels_of(State& state) noexcept {
  return LevelsOf::get(state);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP
