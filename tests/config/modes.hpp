// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MODES_HPP
#define LOGLINEAR_TESTS_MODES_HPP

// Random modes.

#include <cmath>
#include <limits>
#include <optional>
#include <type_traits>
#include <variant>

#include "loglinear/mode/mode.hpp"
#include "support.hpp"

namespace loglinear::test {

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

/// Any legal number, its ends now and then.
inline double any_in(const Range& range, Random& random) {
  double value = any_finite(random);
  if (range.is_bounded()) {
    const double fraction = random.below(4) == 0 ? 0 : random.number(0, 1);
    value = range.low + (range.high - range.low) * (range.has_low ? fraction : 1 - fraction);
  } else if (range.low > Range{}.low) {
    value = range.low + std::abs(value);
  }
  return range.holds(value) ? value : any_in(range, random);
}

/// A valid mode, or level weights, of one type.
template <class Described>
Described any_of(Random& random);

/// One alternative of a variant.
template <class... Alternatives>
void fill_any(std::variant<Alternatives...>& value, Random& random) {
  int number = random.below(static_cast<int>(sizeof...(Alternatives)));
  ((number-- == 0 ? void(value = any_of<Alternatives>(random)) : void()), ...);
}

template <class Described>
Described any_of(Random& random) {
  Described one;
  if constexpr (std::is_same_v<Described, LogLinear>) fill_any(one.inner, random);
  Described::hyperparameters(one, [&](const Hyperparameter& parameter, auto& value) {
    using Value = std::remove_reference_t<decltype(value)>;
    if constexpr (std::is_same_v<Value, double>) {
      value = any_in(parameter.range, random);
    } else if constexpr (std::is_same_v<Value, int>) {
      const int low = static_cast<int>(parameter.range.low);
      value = low + random.below(static_cast<int>(parameter.range.high) - low + 1);
    } else if constexpr (std::is_same_v<Value, std::optional<double>>) {
      if (random.below(2) == 1) value = any_in(parameter.range, random);
    } else if constexpr (std::is_enum_v<Value> || std::is_same_v<Value, bool>) {
      value = static_cast<Value>(random.below(static_cast<int>(words_of(value).size())));
    } else {
      fill_any(value, random);
    }
  });
  return one;
}

/// A valid mode, in one state or log-linear.
inline AttentionMode random_mode(Random& random) {
  if (random.below(2) == 0) return any_of<LogLinear>(random);
  InnerMode inner;
  fill_any(inner, random);
  return one_state(inner);
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_MODES_HPP
