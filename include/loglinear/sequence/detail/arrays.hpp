// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_ARRAYS_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_ARRAYS_HPP

namespace loglinear::detail {

/// Calls `visit(name, array...)` for each of the nine arrays of a sequence, in the order of
/// `SequenceInputs`, which alone lists them: one array of each set, which has members of these
/// names (`SequenceInputs`, `SequenceGradients`, `TensorInputs`).
template <class Visit, class... Sets>
constexpr void for_each_array(Visit visit, Sets&... sets) {
  visit("q", sets.q...);
  visit("k", sets.k...);
  visit("v", sets.v...);
  visit("lambda", sets.lambda...);
  visit("g", sets.g...);
  visit("g_value", sets.g_value...);
  visit("beta", sets.beta...);
  visit("u", sets.u...);
  visit("p", sets.p...);
}

/// How many there are.
inline constexpr int array_count = [] {
  int count = 0;
  for_each_array([&](const char*) { ++count; });
  return count;
}();

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_ARRAYS_HPP
