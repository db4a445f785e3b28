// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_NARROW_BITS_HPP
#define LOGLINEAR_DETAIL_BASE_NARROW_BITS_HPP

// A whole packet of float from as many half or bfloat16 numbers, and back: rounded to nearest, ties
// to even, infinite what is too large, NaN what is NaN. Bits do not depend on whether the processor
// flushes denormal numbers (FTZ, DAZ): a denormal half is a normal float, and these formulas never
// let a denormal float meet arithmetic; bfloat16 numbers are moved as integers.
//
// Half numbers take one instruction where there is F16C or AVX-512. Everything else is shifts,
// masks and sums in the vector extension of GCC and Clang, on every instruction set.

#include <Eigen/Core>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"

#if defined(__GNUC__) && defined(EIGEN_VECTORIZE_AVX512)
#  include <immintrin.h>
#  define LOGLINEAR_HALF_INSTRUCTIONS 16  // numbers that one instruction widens or rounds
#elif defined(__GNUC__) && defined(EIGEN_VECTORIZE_AVX) && defined(__F16C__)
#  include <immintrin.h>
#  define LOGLINEAR_HALF_INSTRUCTIONS 8
#else
#  define LOGLINEAR_HALF_INSTRUCTIONS 0
#endif

namespace loglinear::detail {

template <class Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
template <class Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

/// Whether the functions below exist.
inline constexpr bool converts_packets =
#if defined(__GNUC__)
    packet_size<float> > 1;
#else
    false;
#endif

/// Whether one instruction widens or rounds a packet of half numbers.
inline constexpr bool has_half_instructions = LOGLINEAR_HALF_INSTRUCTIONS > 0;

#if defined(__GNUC__)

/// `count` integers in one register, in the vector extension of GCC and Clang.
template <class Integer, int count>
struct VectorOf {
  typedef Integer Type __attribute__((vector_size(count * sizeof(Integer))));
};
using Words = VectorOf<std::uint32_t, static_cast<int>(packet_size<float>)>::Type;
using SignedWords = VectorOf<std::int32_t, static_cast<int>(packet_size<float>)>::Type;
using NarrowWords = VectorOf<std::uint16_t, static_cast<int>(packet_size<float>)>::Type;

/// Where a < b, of words below 2^31.
[[nodiscard]] inline SignedWords is_less(const Words& a, const Words& b) {
  return std::bit_cast<SignedWords>(a) < std::bit_cast<SignedWords>(b);
}

/// The float numbers of half ones whose signs are in place, and whose exponents and fractions are
/// where those of a float are.
[[nodiscard]] inline Packet<float> widen_half(const Words& sign, const Words& magnitude) {
  namespace ei = Eigen::internal;
  using P = Packet<float>;
  // 2^112 x for normal numbers, and infinity and NaN for what they are. A denormal number
  // m 2^-24 now is y = 2^97 + m 2^87, but should be 2 y - 2^98.
  const P y = std::bit_cast<P>(magnitude | (224u << 23));
  const P excess = ei::pmin(ei::psub(y, ei::pset1<P>(0x1p98F)), ei::pset1<P>(0.0F));
  const P x = ei::pmul(ei::padd(y, excess), ei::pset1<P>(0x1p-112F));
  return std::bit_cast<P>(std::bit_cast<Words>(x) | sign);
}

/// The half numbers of float ones, in the lower bits of words.
[[nodiscard]] inline Words round_to_half(const Packet<float>& x) {
  namespace ei = Eigen::internal;
  using P = Packet<float>;
  const Words bits = std::bit_cast<Words>(x);
  const Words magnitude = bits & 0x7FFFFFFFu, sign = (bits ^ magnitude) >> 16;
  // Infinity and NaN are taken for 2^16, which becomes infinity.
  const Words limit = Words{} + 0x47800000u;
  const Words finite = is_less(limit, magnitude) ? limit : magnitude;
  const Words normal = (finite - (112u << 23) + 0xFFFu + ((finite >> 13) & 1u)) >> 13;
  // The last digit of 1/2 + x is that of a denormal half.
  const Words sum = std::bit_cast<Words>(ei::padd(std::bit_cast<P>(finite), ei::pset1<P>(0.5F)));
  const Words denormal = sum - (126u << 23);
  const Words nan = is_less(Words{} + 0x7F800000u, magnitude) ? Words{} + 0x200u : Words{};
  return (is_less(finite, Words{} + (113u << 23)) ? denormal : normal) | nan | sign;
}

/// The bfloat16 numbers of float ones, in the lower bits of words.
[[nodiscard]] inline Words round_to_bfloat16(const Packet<float>& x) {
  const Words bits = std::bit_cast<Words>(x);
  const Words rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const SignedWords is_nan = is_less(Words{} + 0x7F800000u, bits & 0x7FFFFFFFu);
  return (is_nan ? bits | 0x400000u : rounded) >> 16;
}

/// A packet from consecutive narrow numbers.
[[nodiscard]] inline Packet<float> widen_packet(const Eigen::bfloat16* from) {
  NarrowWords narrow;
  std::memcpy(&narrow, static_cast<const void*>(from), sizeof narrow);
  return std::bit_cast<Packet<float>>(__builtin_convertvector(narrow, Words) << 16);
}
[[nodiscard]] inline Packet<float> widen_packet(const Eigen::half* from) {
#  if LOGLINEAR_HALF_INSTRUCTIONS == 16
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#  elif LOGLINEAR_HALF_INSTRUCTIONS == 8
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#  else
  NarrowWords narrow;
  std::memcpy(&narrow, static_cast<const void*>(from), sizeof narrow);
  const Words bits = __builtin_convertvector(narrow, Words);
  return widen_half((bits << 16) & 0x80000000u, (bits << 13) & 0x0FFFE000u);
#  endif
}

/// Consecutive narrow numbers from a packet, rounded.
inline void round_packet(Eigen::bfloat16* to, const Packet<float>& packet) {
  const NarrowWords narrow = __builtin_convertvector(round_to_bfloat16(packet), NarrowWords);
  std::memcpy(static_cast<void*>(to), &narrow, sizeof narrow);
}
inline void round_packet(Eigen::half* to, const Packet<float>& packet) {
#  if LOGLINEAR_HALF_INSTRUCTIONS == 16
  // With all lanes named: without optimisation GCC 12's _mm512_cvtps_ph warns of a sign.
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_maskz_cvtps_ph(__mmask16{0xFFFF}, packet, _MM_FROUND_TO_NEAREST_INT));
#  elif LOGLINEAR_HALF_INSTRUCTIONS == 8
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm256_cvtps_ph(packet, _MM_FROUND_TO_NEAREST_INT));
#  else
  const NarrowWords narrow = __builtin_convertvector(round_to_half(packet), NarrowWords);
  std::memcpy(static_cast<void*>(to), &narrow, sizeof narrow);
#  endif
}

/// Two packets of the numbers in one register, the even ones and the odd ones: a shift and a mask
/// each, where consecutive ones would have to be spread over two registers.
inline void widen_pair(const Eigen::bfloat16* from, Packet<float>& even, Packet<float>& odd) {
  Words words;
  std::memcpy(&words, static_cast<const void*>(from), sizeof words);
  even = std::bit_cast<Packet<float>>(words << 16);
  odd = std::bit_cast<Packet<float>>(words & 0xFFFF0000u);
}
inline void widen_pair(const Eigen::half* from, Packet<float>& even, Packet<float>& odd) {
  Words words;
  std::memcpy(&words, static_cast<const void*>(from), sizeof words);
  even = widen_half((words << 16) & 0x80000000u, (words << 13) & 0x0FFFE000u);
  odd = widen_half(words & 0x80000000u, (words >> 3) & 0x0FFFE000u);
}

#endif

}  // namespace loglinear::detail

#undef LOGLINEAR_HALF_INSTRUCTIONS

#endif  // LOGLINEAR_DETAIL_BASE_NARROW_BITS_HPP
