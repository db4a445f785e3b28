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
/// Packets of columns that fit in half of the registers, or a quarter where they are widened.
template <class Scalar>
inline constexpr int widest_block =
    Eigen::internal::gebp_traits<Scalar, Scalar>::NumberOfRegisters >= 32 ? 16 : 8;

/// Whether Eigen converts whole packets of the two.
template <class From, class To>
inline constexpr bool casts_packets =
    Eigen::internal::type_casting_traits<From, To>::VectorizedCast == 1 &&
    packet_size<From> == packet_size<To>;

/// A packet of consecutive numbers, widened.
template <class Scalar, class Stored>
[[nodiscard]] inline Packet<Scalar> load(const Stored* from) {
  namespace ei = Eigen::internal;
  if constexpr (!is_narrow<Stored>) {
    return ei::ploadu<Packet<Scalar>>(from);
  } else if constexpr (casts_packets<Stored, Scalar>) {
    return ei::pcast<Packet<Stored>, Packet<Scalar>>(ei::ploadu<Packet<Stored>>(from));
  } else {
    alignas(64) Scalar wide[array_size(packet_size<Scalar>)];
    for (Index i = 0; i < packet_size<Scalar>; ++i) wide[i] = static_cast<Scalar>(from[i]);
    return ei::pload<Packet<Scalar>>(wide);
  }
}

/// Stores a packet, rounded to nearest.
template <class Scalar, class Stored>
inline void store(Stored* to, const Packet<Scalar>& packet) {
  namespace ei = Eigen::internal;
  if constexpr (!is_narrow<Stored>) {
    ei::pstoreu(to, packet);
  } else if constexpr (casts_packets<Scalar, Stored>) {
    ei::pstoreu(to, ei::pcast<Packet<Scalar>, Packet<Stored>>(packet));
  } else {
    alignas(64) Scalar wide[array_size(packet_size<Scalar>)];
    ei::pstore(wide, packet);
    for (Index i = 0; i < packet_size<Scalar>; ++i) to[i] = static_cast<Stored>(wide[i]);
  }
}

// A bfloat16 is the upper half of a float, so two of them in a word are widened by a shift and a
// mask; but then the even ones come in one packet and the odd ones in another. That is no matter as
// long as everything that meets them is in the same order.

/// Whether N packets come in pairs of even and odd numbers.
template <class Stored, int N>
inline constexpr bool comes_in_pairs =
#if defined(__GNUC__)
    std::is_same_v<Stored, Eigen::bfloat16>&& N % 2 == 0 && packet_size<float> > 1 &&
    std::endian::native == std::endian::little;
#else
    false;
#endif

#if defined(__GNUC__)
/// `count` integers in one register, in the vector extension of GCC and Clang.
template <class Integer, int count>
struct VectorOf {
  typedef Integer Type __attribute__((vector_size(count * sizeof(Integer))));
};
#endif

/// N packets of consecutive numbers, widened, perhaps in pairs.
template <class Scalar, int N, class Stored>
inline void load_packets(const Stored* from, Packet<Scalar> (&packets)[array_size(N)]) {
  constexpr Index width = packet_size<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
#if defined(__GNUC__)
    typename VectorOf<std::uint32_t, static_cast<int>(width)>::Type words;
    for (int n = 0; n < N; n += 2) {
      std::memcpy(&words, static_cast<const void*>(from + n * width), sizeof words);
      packets[n] = std::bit_cast<Packet<Scalar>>(words << 16);
      packets[n + 1] = std::bit_cast<Packet<Scalar>>(words & 0xFFFF0000u);
    }
#endif
  } else {
    for (int n = 0; n < N; ++n) packets[n] = load<Scalar>(from + n * width);
  }
}

/// N packets of consecutive numbers in the order in which `load_packets` brings those of `Stored`.
template <class Stored, int N, class Scalar>
inline void load_in_order_of(const Scalar* from, Packet<Scalar> (&packets)[array_size(N)]) {
  namespace ei = Eigen::internal;
  constexpr Index width = packet_size<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    alignas(64) Scalar even[array_size(width)], odd[array_size(width)];
    for (int n = 0; n < N; n += 2, from += 2 * width) {
      for (Index i = 0; i < width; ++i) {
        even[i] = from[2 * i];
        odd[i] = from[2 * i + 1];
      }
      packets[n] = ei::pload<Packet<Scalar>>(even);
      packets[n + 1] = ei::pload<Packet<Scalar>>(odd);
    }
  } else {
    for (int n = 0; n < N; ++n) packets[n] = ei::ploadu<Packet<Scalar>>(from + n * width);
  }
}

/// Stores packets that are in that order as consecutive numbers.
template <class Stored, int N, class Scalar>
inline void store_from_order_of(Scalar* to, const Packet<Scalar> (&packets)[array_size(N)]) {
  namespace ei = Eigen::internal;
  constexpr Index width = packet_size<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    alignas(64) Scalar even[array_size(width)], odd[array_size(width)];
    for (int n = 0; n < N; n += 2, to += 2 * width) {
      ei::pstore(even, packets[n]);
      ei::pstore(odd, packets[n + 1]);
      for (Index i = 0; i < width; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
      }
    }
  } else {
    for (int n = 0; n < N; ++n) ei::pstoreu(to + n * width, packets[n]);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_NARROW_HPP
