// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DTYPE_HPP
#define LOGLINEAR_CHECKPOINT_DTYPE_HPP

#include "loglinear/detail/base/cpp20.hpp"

#include <Eigen/Core>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

namespace loglinear {

/// What a tensor's coefficients are, as safetensors names it.
enum class DType {
  f64,      ///< double, `"F64"`
  f32,      ///< float, `"F32"`
  f16,      ///< IEEE half precision, `"F16"`
  bf16,     ///< the upper half of a float, `"BF16"`
  i64,      ///< `"I64"`
  i32,      ///< `"I32"`
  i16,      ///< `"I16"`
  i8,       ///< `"I8"`
  u64,      ///< `"U64"`
  u32,      ///< `"U32"`
  u16,      ///< `"U16"`
  u8,       ///< `"U8"`
  boolean,  ///< a byte, `"BOOL"`
  // Files may hold the following, which are read and written but not converted.
  f8_e5m2,      ///< `"F8_E5M2"`
  f8_e4m3,      ///< `"F8_E4M3"`
  f8_e8m0,      ///< `"F8_E8M0"`
  f8_e4m3fnuz,  ///< `"F8_E4M3FNUZ"`
  f8_e5m2fnuz,  ///< `"F8_E5M2FNUZ"`
  f6_e2m3,      ///< `"F6_E2M3"`, four in three bytes
  f6_e3m2,      ///< `"F6_E3M2"`, four in three bytes
  f4,           ///< `"F4"`, two in a byte
  c64,          ///< two floats, `"C64"`
  other,        ///< any other name; `Tensor::other_dtype` has it
};

namespace detail {

static_assert(std::endian::native == std::endian::little,
              "checkpoints are little-endian and copied as they are: this machine is not");

struct DTypeEntry {
  std::string_view name;
  std::uint64_t bits;
};
/// Indexed by DType; `other` has no entry.
inline constexpr std::array<DTypeEntry, 22> dtypes = {{
    {"F64", 64},    {"F32", 32},        {"F16", 16},        {"BF16", 16},   {"I64", 64},
    {"I32", 32},    {"I16", 16},        {"I8", 8},          {"U64", 64},    {"U32", 32},
    {"U16", 16},    {"U8", 8},          {"BOOL", 8},        {"F8_E5M2", 8}, {"F8_E4M3", 8},
    {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6},
    {"F4", 4},      {"C64", 64},
}};
static_assert(dtypes.size() == static_cast<std::size_t>(DType::other));

template <class>
inline constexpr bool is_no_dtype = false;

}  // namespace detail

/// The name in a file, such as `"BF16"`; `"other"` for DType::other, which has many.
[[nodiscard]] constexpr std::string_view name_of(DType dtype) {
  return dtype == DType::other ? "other" : detail::dtypes[static_cast<std::size_t>(dtype)].name;
}

/// Bits of one coefficient; 0 for DType::other, of which nothing is known.
[[nodiscard]] constexpr std::uint64_t bits_of(DType dtype) {
  return dtype == DType::other ? 0 : detail::dtypes[static_cast<std::size_t>(dtype)].bits;
}

/// Bytes of one coefficient; 0 where that is no whole number, and for DType::other.
[[nodiscard]] constexpr std::uint64_t size_of(DType dtype) {
  return bits_of(dtype) / 8;
}

/// The DType of that name; nothing for a name that only DType::other can carry.
[[nodiscard]] constexpr std::optional<DType> dtype_from(std::string_view name) {
  for (std::size_t i = 0; i < detail::dtypes.size(); ++i) {
    if (detail::dtypes[i].name == name) return static_cast<DType>(i);
  }
  return {};
}

/// Whether a coefficient is a floating-point number.
[[nodiscard]] constexpr bool is_floating_point(DType dtype) {
  return dtype <= DType::bf16 || (dtype >= DType::f8_e5m2 && dtype <= DType::f4);
}

/// The DType that holds a C++ number exactly: float, double, Eigen::bfloat16, Eigen::half, bool or
/// an integer of 32 or 64 bits.
template <class Number>
[[nodiscard]] constexpr DType dtype_of() {
  if constexpr (std::is_same_v<Number, float>) {
    return DType::f32;
  } else if constexpr (std::is_same_v<Number, double>) {
    return DType::f64;
  } else if constexpr (std::is_same_v<Number, Eigen::bfloat16>) {
    return DType::bf16;
  } else if constexpr (std::is_same_v<Number, Eigen::half>) {
    return DType::f16;
  } else if constexpr (std::is_same_v<Number, bool>) {
    return DType::boolean;
  } else if constexpr (std::is_integral_v<Number> && sizeof(Number) == 8) {
    return std::is_signed_v<Number> ? DType::i64 : DType::u64;
  } else if constexpr (std::is_integral_v<Number> && sizeof(Number) == 4) {
    return std::is_signed_v<Number> ? DType::i32 : DType::u32;
  } else {
    static_assert(detail::is_no_dtype<Number>,
                  "checkpoints hold float, double and integers: convert the layer with "
                  "cast<double>()");
  }
}

/// Whether every number of a DType is one of `Scalar`, float or double; the others are rounded to
/// nearest, ties to even.
template <class Scalar>
[[nodiscard]] constexpr bool is_exact_in(DType dtype) {
  constexpr bool is_double = std::is_same_v<Scalar, double>;
  switch (dtype) {
    case DType::f64:
      return is_double;
    case DType::i64:
    case DType::u64:
      return false;
    case DType::i32:
    case DType::u32:
      return is_double;
    default:
      return true;
  }
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_DTYPE_HPP
