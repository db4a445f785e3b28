// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_FUZZ_OPERATIONS_HPP
#define LOGLINEAR_TESTS_FUZZ_OPERATIONS_HPP

// How many operations each part of the fuzz test does: a million together.

namespace loglinear::test {

inline constexpr int state_double_operations = 300'000;
inline constexpr int state_float_operations = 200'000;
inline constexpr int state_fixed_operations = 100'000;
inline constexpr int layer_count = 8;
inline constexpr int layer_operations = 50'000;

static_assert(state_double_operations + state_float_operations + state_fixed_operations +
                  layer_count * layer_operations ==
              1'000'000);

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_FUZZ_OPERATIONS_HPP
