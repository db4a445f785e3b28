// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_MAGNITUDE_HPP
#define LOGLINEAR_DETAIL_MAGNITUDE_HPP

// Whether numbers in memory are all finite, and how large they are: one pass on Eigen's packets.
// 0 x is 0 unless x is infinite or NaN; packets of floating-point numbers have no other test that
// is quick on every instruction set.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "loglinear/detail/narrow.hpp"
#include "loglinear/detail/types.hpp"

namespace loglinear::detail {

/// Whether the passes below work on an expression: numbers with packets, piece by piece in memory.
template <class Derived>
inline constexpr bool has_pieces =
    (std::is_floating_point_v<typename Derived::Scalar> ||
     is_narrow<typename Derived::Scalar>)&&(Derived::Flags& Eigen::DirectAccessBit) != 0 &&
    Derived::InnerStrideAtCompileTime == 1;

/// Calls `visit(first, count)` for the pieces of memory in which a vector or matrix lies.
template <class Derived, class Visit>
void for_each_piece(const Eigen::DenseBase<Derived>& values, Visit visit) {
  const auto& m = values.derived();
  if (m.outerStride() == m.innerSize()) return visit(m.data(), m.size());
  for (Index outer = 0; outer < m.outerSize(); ++outer) {
    visit(m.data() + outer * m.outerStride(), m.innerSize());
  }
}

/// A zero that no compiler knows: under -ffast-math, GCC takes 0 x for 0 even where it has been
/// told that there are NaNs.
template <class Scalar>
[[nodiscard]] inline Scalar unknown_zero() {
  const volatile Scalar zero(0);
  return zero;
}

/// 0 where all numbers are finite, NaN otherwise.
template <class Stored>
[[nodiscard]] auto zero_if_finite(const Stored* values, Index size) {
  using Scalar = Accumulator<Stored>;
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const Scalar nothing = unknown_zero<Scalar>();
  const P zero = ei::pset1<P>(nothing);
  P sums[2] = {zero, zero};
  Index i = 0;
  for (; i + 2 * width <= size; i += 2 * width) {
    sums[0] = ei::pmadd(zero, load<Scalar>(values + i), sums[0]);
    sums[1] = ei::pmadd(zero, load<Scalar>(values + i + width), sums[1]);
  }
  Scalar sum = ei::predux(ei::padd(sums[0], sums[1]));
  for (; i < size; ++i) sum += nothing * static_cast<Scalar>(values[i]);
  return sum;
}

/// The largest absolute value, 0 for nothing, NaN where a number is not finite.
template <class Stored>
[[nodiscard]] auto largest_magnitude(const Stored* values, Index size) {
  using Scalar = Accumulator<Stored>;
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const Scalar nothing = unknown_zero<Scalar>();
  const P zero = ei::pset1<P>(nothing);
  P largest = zero, sum = zero;
  Index i = 0;
  for (; i + width <= size; i += width) {
    const P x = load<Scalar>(values + i);
    largest = ei::pmax(largest, ei::pabs(x));
    sum = ei::pmadd(zero, x, sum);
  }
  Scalar magnitude = ei::predux_max(largest), rest = ei::predux(sum);
  for (; i < size; ++i) {
    const auto x = static_cast<Scalar>(values[i]);
    magnitude = (std::max)(magnitude, std::abs(x));
    rest += nothing * x;
  }
  return magnitude + rest;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_MAGNITUDE_HPP
