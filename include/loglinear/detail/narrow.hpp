// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_NARROW_HPP
#define LOGLINEAR_DETAIL_NARROW_HPP

// Numbers that are stored narrower than they are computed with: bfloat16 and half in memory, float
// in registers. Everything else is stored as it is.

#include <Eigen/Core>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "loglinear/detail/types.hpp"

namespace loglinear::detail {

template <class Stored>
inline constexpr bool is_narrow =
    std::is_same_v<Stored, Eigen::bfloat16> || std::is_same_v<Stored, Eigen::half>;

/// What numbers stored as `Stored` are computed with.
template <class Stored>
using Accumulator = std::conditional_t<is_narrow<Stored>, float, Stored>;

template <class Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
template <class Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

#if defined(__GNUC__)
/// `count` integers in one register, in the vector extension of GCC and Clang.
template <class Integer, int count>
struct VectorOf {
  typedef Integer Type __attribute__((vector_size(count * sizeof(Integer))));
};
#endif

/// A packet of consecutive numbers, widened.
template <class Scalar, class Stored>
[[nodiscard]] inline Packet<Scalar> load(const Stored* from) {
  if constexpr (!is_narrow<Stored>) {
    return Eigen::internal::ploadu<Packet<Scalar>>(from);
  } else {
    constexpr int width = static_cast<int>(packet_size<Scalar>);
#if defined(__GNUC__)
    if constexpr (std::is_same_v<Stored, Eigen::bfloat16> && width > 1) {
      // A bfloat16 is the upper half of a float.
      using Words = typename VectorOf<std::uint32_t, width>::Type;
      typename VectorOf<std::uint16_t, width>::Type halves;
      std::memcpy(&halves, static_cast<const void*>(from), sizeof halves);
      const Words words = __builtin_convertvector(halves, Words) << 16;
      return std::bit_cast<Packet<Scalar>>(words);
    }
#endif
    alignas(64) Scalar widened[width];
    for (int i = 0; i < width; ++i) widened[i] = static_cast<Scalar>(from[i]);
    return Eigen::internal::pload<Packet<Scalar>>(widened);
  }
}

/// Stores a packet, rounded to nearest.
template <class Scalar, class Stored>
inline void store(Stored* to, const Packet<Scalar>& packet) {
  if constexpr (!is_narrow<Stored>) {
    Eigen::internal::pstoreu(to, packet);
  } else {
    constexpr int width = static_cast<int>(packet_size<Scalar>);
    alignas(64) Scalar wide[width];
    Eigen::internal::pstore(wide, packet);
    for (int i = 0; i < width; ++i) to[i] = static_cast<Stored>(wide[i]);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_NARROW_HPP
