// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MODES_HPP
#define LOGLINEAR_TESTS_MODES_HPP

// Random modes, and their comparison member by member.

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>

#include "loglinear/mode.hpp"
#include "support.hpp"

namespace test {

using namespace loglinear;

inline auto members(const RetNet& m) {
  return std::tuple(m.gamma);
}
inline auto members(const Hawk& m) {
  return std::tuple(m.gate_bias, m.input_bias);
}
inline auto members(const GLA& m) {
  return std::tuple(m.gate_bias);
}
inline auto members(const GLAVector& m) {
  return std::tuple(m.gate_bias);
}
inline auto members(const DeltaNet&) {
  return std::tuple();
}
inline auto members(const GatedDeltaNet& m) {
  return std::tuple(m.beta_scale, m.beta, m.gate_bias, m.beta_bias);
}
inline auto members(const RWKV& m) {
  return std::tuple(m.initial_decay, m.gate_bias);
}
inline auto members(const MLSTM& m) {
  return std::tuple(m.gate_bias, m.input_bias);
}
inline auto members(const DeltaProductMode& m) {
  return std::tuple(m.n_compositions, m.reflections, m.gate_bias, m.beta_bias);
}
inline auto members(const RWKV7& m) {
  return std::tuple(m.decay_first, m.gate_bias, m.iclr_bias);
}
inline auto members(const HGRN2& m) {
  return std::tuple(m.lower_bound, m.gate_bias);
}
inline auto members(const Mamba2& m) {
  return std::tuple(m.initial_a_log, m.initial_dt_bias);
}

template <class Value>
bool same(const Value& a, const Value& b) {
  return a == b;
}
inline bool same(const double& a, const double& b) {
  return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b);
}
template <class... Values>
bool same(const std::tuple<Values...>& a, const std::tuple<Values...>& b) {
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    return (same(std::get<I>(a), std::get<I>(b)) && ...);
  }
  (std::index_sequence_for<Values...>{});
}
template <class... Modes>
bool same(const std::variant<Modes...>& a, const std::variant<Modes...>& b);
inline bool same(const LogLinear& a, const LogLinear& b) {
  return a.lambda_init.has_value() == b.lambda_init.has_value() &&
         same(a.lambda_init.value_or(0), b.lambda_init.value_or(0)) && same(a.inner, b.inner) &&
         a.max_levels == b.max_levels && a.key_only == b.key_only;
}
/// Whether two modes are the same alternative with the same bits in every member.
template <class... Modes>
bool same(const std::variant<Modes...>& a, const std::variant<Modes...>& b) {
  return a.index() == b.index() && std::visit(
                                       [&]<class Mode>(const Mode& one) {
                                         const Mode& other = std::get<Mode>(b);
                                         if constexpr (std::is_same_v<Mode, LogLinear>) {
                                           return same(one, other);
                                         } else {
                                           return same(members(one), members(other));
                                         }
                                       },
                                       a);
}

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
