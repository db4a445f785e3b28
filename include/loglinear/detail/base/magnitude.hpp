// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_MAGNITUDE_HPP
#define LOGLINEAR_DETAIL_BASE_MAGNITUDE_HPP

// Whether numbers in memory are all finite, and how large they are: one pass on packets. Only bits
// are looked at where a number may be infinite or NaN, so that no compiler flag removes the test
// and no floating-point exception is raised.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Whether the passes below work on numbers of this type.
template <class Scalar>
inline constexpr bool has_passes = std::is_floating_point_v<Scalar> || is_narrow<Scalar>;

/// Where the numbers of a vector or matrix lie: `pieces` times `size` of them side by side, the
/// pieces `stride` apart.
template <class Scalar>
struct Pieces {
  const Scalar* data;
  Index pieces, size, stride;
};
template <class Derived>
inline constexpr bool has_pieces =
    (Derived::Flags & Eigen::DirectAccessBit) != 0 && Derived::InnerStrideAtCompileTime == 1;
template <class Derived>
[[nodiscard]] Pieces<typename Derived::Scalar> pieces_of(const Eigen::DenseBase<Derived>& values) {
  const Derived& m = values.derived();
  if (m.outerStride() == m.innerSize()) return {m.data(), 1, m.size(), 0};
  return {m.data(), m.outerSize(), m.innerSize(), m.outerStride()};
}

/// Whether a scalar is neither infinite nor NaN.
template <class Scalar>
[[nodiscard]] constexpr bool is_finite(const Scalar& value) {
  if constexpr (std::is_same_v<Scalar, double>) {
    constexpr std::uint64_t exponent = 0x7FF0000000000000u;
    return (std::bit_cast<std::uint64_t>(value) & exponent) != exponent;
  } else if constexpr (std::is_same_v<Scalar, float>) {
    constexpr std::uint32_t exponent = 0x7F800000u;
    return (std::bit_cast<std::uint32_t>(value) & exponent) != exponent;
  } else if constexpr (std::is_floating_point_v<Scalar>) {
    return std::isfinite(value);
  } else {
    return is_finite(to_double(value));
  }
}

/// Binary digits after the first of a number whose bits the passes below know, else 0.
template <class Scalar>
inline constexpr int mantissa_bits = std::is_same_v<Scalar, double>            ? 52
                                     : std::is_same_v<Scalar, float>           ? 23
                                     : std::is_same_v<Scalar, Eigen::half>     ? 10
                                     : std::is_same_v<Scalar, Eigen::bfloat16> ? 7
                                                                               : 0;

/// Whether all numbers are finite. The exponent of those that are not is all ones, so that one more
/// in its last place carries into the sign bit. The last packet may overlap the one before it.
template <class Scalar>
[[nodiscard]] bool are_finite(const Scalar* values, Index size) {
#if defined(__GNUC__)
  constexpr int mantissa = mantissa_bits<Scalar>;
  if constexpr (mantissa != 0) {
    using Bits =
        std::conditional_t<sizeof(Scalar) == 8, std::uint64_t,
                           std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint16_t>>;
    constexpr Index width = packet_size<float> * Index{sizeof(float)} / Index{sizeof(Scalar)};
    if (size >= width) {
      using Packet = typename VectorOf<Bits, static_cast<int>(width)>::Type;
      constexpr auto last_place = static_cast<Bits>(Bits{1} << mantissa);
      constexpr auto magnitude = static_cast<Bits>((std::numeric_limits<Bits>::max)() >> 1);
      const auto carries_of = [&](Index first) {
        Packet packet;
        std::memcpy(&packet, static_cast<const void*>(values + first), sizeof packet);
        return (packet & magnitude) + last_place;
      };
      Packet even = carries_of(size - width), odd = even;
      Index i = 0;
      for (; i + 2 * width <= size; i += 2 * width) {
        even |= carries_of(i);
        odd |= carries_of(i + width);
      }
      if (i + width <= size) even |= carries_of(i);
      even |= odd;
      std::uint64_t words[sizeof even / sizeof(std::uint64_t)];
      std::memcpy(words, &even, sizeof even);
      std::uint64_t carries = 0;
      for (const std::uint64_t word : words) carries |= word;
      constexpr std::uint64_t of_each = ~std::uint64_t{0} / (std::numeric_limits<Bits>::max)();
      return (carries & (of_each * (std::uint64_t{magnitude} + 1))) == 0;
    }
  }
#endif
  bool finite = true;
  for (Index i = 0; i < size; ++i) finite = finite && is_finite(values[i]);
  return finite;
}

template <class Scalar>
[[nodiscard]] bool are_finite(const Pieces<Scalar>& values) {
  bool finite = true;
  for (Index i = 0; i < values.pieces && finite; ++i) {
    finite = are_finite(values.data + i * values.stride, values.size);
  }
  return finite;
}

/// The largest absolute value, 0 for nothing, NaN where a number is not finite. The last packet may
/// overlap the one before it.
template <class Stored>
[[nodiscard]] auto largest_magnitude(const Stored* values, Index size) {
  using Scalar = Accumulator<Stored>;
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  constexpr Index block = 512;  // stays in the cache between the two passes
  Scalar magnitude(0);
  for (Index first = 0; first < size; first += block) {
    const Index end = (std::min)(first + block, size);
    if (!are_finite(values + first, end - first)) return std::numeric_limits<Scalar>::quiet_NaN();
    if (end - first < width) {
      for (Index i = first; i < end; ++i) {
        magnitude = (std::max)(magnitude, std::abs(static_cast<Scalar>(values[i])));
      }
      break;
    }
    P largest = ei::pmax(ei::pset1<P>(magnitude), ei::pabs(load<Scalar>(values + end - width)));
    for (Index i = first; i + width <= end; i += width) {
      largest = ei::pmax(largest, ei::pabs(load<Scalar>(values + i)));
    }
    magnitude = ei::predux_max(largest);
  }
  return magnitude;
}

/// The sum of x^2, or of (x / scale)^2 with `Scaled`.
template <bool Scaled, class Scalar>
[[nodiscard]] Scalar sum_of_squares(const Scalar* x, Index size, const Scalar& scale) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const auto packet = [&](Index i) {
    const P a = ei::ploadu<P>(x + i);
    return Scaled ? ei::pdiv(a, ei::pset1<P>(scale)) : a;
  };
  P even = ei::pset1<P>(Scalar(0)), odd = even;
  Index i = 0;
  for (; i + 2 * width <= size; i += 2 * width) {
    const P a = packet(i), b = packet(i + width);
    even = ei::pmadd(a, a, even);
    odd = ei::pmadd(b, b, odd);
  }
  Scalar sum = ei::predux(ei::padd(even, odd));
  for (; i < size; ++i) {
    const Scalar value = Scaled ? Scalar(x[i] / scale) : x[i];
    sum += value * value;
  }
  return sum;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_MAGNITUDE_HPP
