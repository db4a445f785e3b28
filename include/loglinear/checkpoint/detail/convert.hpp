// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_CONVERT_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_CONVERT_HPP

// Coefficients of every DType from and to float and double.

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "loglinear/checkpoint/dtype.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

template <class Number>
[[nodiscard]] Number number_at(const std::byte* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof number);
  return number;
}

/// One coefficient; a NaN where the DType has no conversion.
template <class Scalar>
[[nodiscard]] Scalar decoded(DType dtype, const std::byte* bytes) {
  static_assert(std::is_same_v<Scalar, float> || std::is_same_v<Scalar, double>,
                "tensors are converted to float or double");
  switch (dtype) {
    case DType::f64:
      return static_cast<Scalar>(number_at<double>(bytes));
    case DType::f32:
      return static_cast<Scalar>(number_at<float>(bytes));
    case DType::f16:
      return static_cast<Scalar>(static_cast<float>(
          Eigen::numext::bit_cast<Eigen::half>(number_at<std::uint16_t>(bytes))));
    case DType::bf16:
      return static_cast<Scalar>(
          std::bit_cast<float>(std::uint32_t{number_at<std::uint16_t>(bytes)} << 16));
    case DType::i64:
      return static_cast<Scalar>(number_at<std::int64_t>(bytes));
    case DType::i32:
      return static_cast<Scalar>(number_at<std::int32_t>(bytes));
    case DType::i16:
      return static_cast<Scalar>(number_at<std::int16_t>(bytes));
    case DType::i8:
      return static_cast<Scalar>(number_at<std::int8_t>(bytes));
    case DType::u64:
      return static_cast<Scalar>(number_at<std::uint64_t>(bytes));
    case DType::u32:
      return static_cast<Scalar>(number_at<std::uint32_t>(bytes));
    case DType::u16:
      return static_cast<Scalar>(number_at<std::uint16_t>(bytes));
    case DType::u8:
    case DType::boolean:
      return static_cast<Scalar>(number_at<std::uint8_t>(bytes));
    default:
      return std::numeric_limits<Scalar>::quiet_NaN();
  }
}

[[nodiscard]] constexpr bool is_convertible(DType dtype) {
  return dtype <= DType::boolean;
}

/// Rounds a finite value to `digits` significant binary digits and to a multiple of 2^lowest, ties
/// to even. In one step: double to float to half would round twice.
[[nodiscard]] inline double rounded_to(int digits, int lowest, double value) {
  if (is_exactly(value, 0.0)) return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int unit = (std::max)(exponent - digits, lowest);
  const double scaled = std::ldexp(value, -unit);
  const double down = std::floor(scaled), rest = scaled - down;
  const bool is_odd = !is_exactly(std::fmod(down, 2), 0.0);
  const double nearest = rest > 0.5 || (is_exactly(rest, 0.5) && is_odd) ? down + 1 : down;
  return std::copysign(std::ldexp(nearest, unit), value);
}

/// Writes one coefficient as F64, F32, F16 or BF16. \return whether it is finite there
template <class Scalar>
bool encode(Scalar value, DType dtype, std::byte* bytes) {
  const auto put = [&](auto number, bool fits) {
    std::memcpy(bytes, &number, sizeof number);
    return fits;
  };
  const auto wide = static_cast<double>(value);
  if (dtype == DType::f64) return put(wide, std::isfinite(wide));
  if (dtype == DType::f32) {
    const auto single = static_cast<float>(value);
    return put(single, std::isfinite(single));
  }
  if (!std::isfinite(wide)) return false;
  if (dtype == DType::f16) {
    const double nearest = rounded_to(11, -24, wide);
    const Eigen::half half(static_cast<float>(nearest));
    return put(Eigen::numext::bit_cast<std::uint16_t>(half), std::abs(nearest) <= 65504);
  }
  const auto nearest = static_cast<float>(rounded_to(8, -133, wide));
  return put(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(nearest) >> 16),
             std::isfinite(nearest));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_CONVERT_HPP
