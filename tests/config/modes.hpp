// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MODES_HPP
#define LOGLINEAR_TESTS_MODES_HPP

// Random modes.

#include <cmath>
#include <limits>
#include <variant>

#include "loglinear/mode/mode.hpp"
#include "support.hpp"

namespace test {

using namespace loglinear;

/// Any finite double, or one that is easy to get wrong.
inline double any_finite(Random& random) {
  switch (random.below(4)) {
    case 0: {
      const double special[] = {0.0,
                                -0.0,
                                1e21,
                                -123456789.0,
                                0.1,
                                std::numeric_limits<double>::max(),
                                std::numeric_limits<double>::min(),
                                std::numeric_limits<double>::denorm_min()};
      return special[random.below(8)];
    }
    case 1:
      return std::ldexp(random.number(), random.below(2000) - 1060);
    case 2:
      return random.below(20) - 10;
    default:
      return random.number();
  }
}

/// A valid inner mode, the alternative of the given number.
inline InnerMode random_inner(Random& random, int alternative) {
  const auto any = [&] { return any_finite(random); };
  const auto coin = [&] { return random.below(2) == 1; };
  const auto fraction = [&] { return random.below(4) == 0 ? 0 : random.number(0, 1); };
  switch (alternative) {
    case 0:
      return RetNet{.gamma = 1 - fraction()};
    case 1:
      return Hawk{.gate_bias = any(), .input_bias = any()};
    case 2:
      return GLA{.gate_bias = any()};
    case 3:
      return GLAVector{.gate_bias = any()};
    case 4:
      return DeltaNet{};
    case 5:
      return GatedDeltaNet{.beta_scale = 2 * fraction(),
                           .beta = coin() ? Beta::per_token : Beta::fixed,
                           .gate_bias = any(),
                           .beta_bias = any()};
    case 6:
      return RWKV{.initial_decay = std::abs(any()), .gate_bias = any()};
    case 7:
      return MLSTM{.gate_bias = any(), .input_bias = any()};
    case 8:
      return DeltaProductMode{.n_compositions = 1 + random.below(4),
                              .reflections = coin(),
                              .gate_bias = any(),
                              .beta_bias = any()};
    case 9:
      return RWKV7{.decay_first = coin(), .gate_bias = any(), .iclr_bias = any()};
    case 10:
      return HGRN2{.lower_bound = fraction(), .gate_bias = any()};
    default:
      return Mamba2{.initial_a_log = any(), .initial_dt_bias = any()};
  }
}

inline constexpr int inner_modes = static_cast<int>(std::variant_size_v<InnerMode>);

/// A valid mode, in one state or log-linear.
inline AttentionMode random_mode(Random& random) {
  const InnerMode inner = random_inner(random, random.below(inner_modes));
  if (random.below(2) == 0) return one_state(inner);
  LogLinear mode{
      .inner = inner, .max_levels = 1 + random.below(64), .key_only = random.below(2) == 1};
  if (random.below(2) == 1) mode.lambda_init = any_finite(random);
  return mode;
}

}  // namespace test

#endif  // LOGLINEAR_TESTS_MODES_HPP
