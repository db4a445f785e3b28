// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_NARROW_HPP
#define LOGLINEAR_DETAIL_BASE_NARROW_HPP

// Numbers that are stored narrower than they are computed with: bfloat16 and half in memory, float
// in registers. Everything else is stored as it is.

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cstddef>
#include <type_traits>

#include "loglinear/detail/base/narrow_bits.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

template <class Stored>
inline constexpr bool is_narrow =
    std::is_same_v<Stored, Eigen::bfloat16> || std::is_same_v<Stored, Eigen::half>;

/// What numbers stored as `Stored` are computed with.
template <class Stored>
using Accumulator = std::conditional_t<is_narrow<Stored>, float, Stored>;

/// Numbers in a packet, as the size of an array.
template <class Scalar>
inline constexpr auto packet_length = static_cast<std::size_t>(packet_size<Scalar>);
/// Packets of columns that fit in half of the registers.
template <class Scalar>
inline constexpr int widest_block =
    Eigen::internal::gebp_traits<Scalar, Scalar>::NumberOfRegisters >= 32 ? 16 : 8;

/// Whether packets have no more than 16 bytes, as on plain x86-64. Kernels then have blocks of
/// fewer sizes, because each size takes its time to compile and a short packet is soon done alone.
template <class Scalar>
inline constexpr bool has_short_packets = sizeof(Packet<Scalar>) <= 16;
/// How many packets the blocks have for columns that are too few for blocks of `packets`.
template <class Scalar>
[[nodiscard]] constexpr int next_block(int packets) {
  return has_short_packets<Scalar> && packets <= 4 ? 1 : packets / 2;
}

/// A packet of consecutive numbers, widened.
template <class Scalar, class Stored>
[[nodiscard]] inline Packet<Scalar> load(const Stored* from) {
  namespace ei = Eigen::internal;
  if constexpr (!is_narrow<Stored>) {
    return ei::ploadu<Packet<Scalar>>(from);
  } else if constexpr (converts_packets) {
    return widen_packet(from);
  } else {
    alignas(64) Scalar wide[packet_length<Scalar>];
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
  } else if constexpr (converts_packets) {
    round_packet(to, packet);
  } else {
    alignas(64) Scalar wide[packet_length<Scalar>];
    ei::pstore(wide, packet);
    for (Index i = 0; i < packet_size<Scalar>; ++i) to[i] = static_cast<Stored>(wide[i]);
  }
}

/// to[j] = from[j], widened or rounded. The last packet may overlap the one before it.
template <class From, class To>
void convert(const From* from, Index size, To* to) {
  using Scalar = Accumulator<To>;
  constexpr Index width = packet_size<Scalar>;
  if (size >= width) {
    for (Index j = 0; j + width < size; j += width) store<Scalar>(to + j, load<Scalar>(from + j));
    store<Scalar>(to + size - width, load<Scalar>(from + size - width));
  } else {
    From some[packet_length<Scalar>] = {};
    To converted[packet_length<Scalar>];
    std::copy_n(from, size, some);
    store<Scalar>(converted, load<Scalar>(some));
    std::copy_n(converted, size, to);
  }
}

/// The numbers of a row from `first` on, which are fewer than a packet: where they lie, or widened
/// in `buffer`.
template <class Scalar, class Stored>
[[nodiscard]] inline const Scalar* wide_rest(const Stored* row, Index first, Index columns,
                                             Scalar (&buffer)[packet_length<Scalar>]) {
  constexpr Index width = packet_size<Scalar>;
  if constexpr (!is_narrow<Stored>) {
    return row + first;
  } else if (columns >= width) {
    Eigen::internal::pstoreu(buffer, load<Scalar>(row + columns - width));
    return buffer + width - (columns - first);
  } else {
    convert(row + first, columns - first, buffer);
    return buffer;
  }
}

// Two narrow numbers lie in a word, from which shifts and masks widen them where no instruction
// does; but then the even ones come in one packet and the odd ones in another. That is no matter as
// long as everything that meets them is in the same order.
//
// These functions are always inlined: sums whose address goes to a call leave their registers.

/// Whether N packets come in pairs of even and odd numbers.
template <class Stored, std::size_t N>
inline constexpr bool comes_in_pairs =
    is_narrow<Stored>&& converts_packets&& N % 2 == 0 &&
    !(std::is_same_v<Stored, Eigen::half> && has_half_instructions) &&
    std::endian::native == std::endian::little;

/// Calls `use(n, packet)` for N packets of consecutive numbers, widened, perhaps in pairs.
template <class Scalar, std::size_t N, class Stored, class Use>
[[gnu::always_inline]] inline void for_each_packet(const Stored* from, Use use) {
  constexpr std::size_t width = packet_length<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    for (std::size_t n = 0; n < N; n += 2) {
      Packet<Scalar> even, odd;
      widen_pair(from + n * width, even, odd);
      use(n, even);
      use(n + 1, odd);
    }
  } else {
    for (std::size_t n = 0; n < N; ++n) use(n, load<Scalar>(from + n * width));
  }
}

/// N packets of consecutive numbers in the order in which `for_each_packet` brings those of
/// `Stored`.
template <class Stored, std::size_t N, class Scalar>
[[gnu::always_inline]] inline void load_in_order_of(const Scalar* from,
                                                    Packet<Scalar> (&packets)[N]) {
  namespace ei = Eigen::internal;
  constexpr std::size_t width = packet_length<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    alignas(64) Scalar even[width], odd[width];
    for (std::size_t n = 0; n < N; n += 2, from += 2 * width) {
      for (std::size_t i = 0; i < width; ++i) {
        even[i] = from[2 * i];
        odd[i] = from[2 * i + 1];
      }
      packets[n] = ei::pload<Packet<Scalar>>(even);
      packets[n + 1] = ei::pload<Packet<Scalar>>(odd);
    }
  } else {
    for (std::size_t n = 0; n < N; ++n) packets[n] = ei::ploadu<Packet<Scalar>>(from + n * width);
  }
}

/// Stores packets that are in that order as consecutive numbers.
template <class Stored, std::size_t N, class Scalar>
[[gnu::always_inline]] inline void store_from_order_of(Scalar* to,
                                                       const Packet<Scalar> (&packets)[N]) {
  namespace ei = Eigen::internal;
  constexpr std::size_t width = packet_length<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    alignas(64) Scalar even[width], odd[width];
    for (std::size_t n = 0; n < N; n += 2, to += 2 * width) {
      ei::pstore(even, packets[n]);
      ei::pstore(odd, packets[n + 1]);
      for (std::size_t i = 0; i < width; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
      }
    }
  } else {
    for (std::size_t n = 0; n < N; ++n) ei::pstoreu(to + n * width, packets[n]);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_NARROW_HPP
