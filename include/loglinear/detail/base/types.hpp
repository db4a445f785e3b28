// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_TYPES_HPP
#define LOGLINEAR_DETAIL_BASE_TYPES_HPP

// Eigen spellings used throughout, and conversions between scalars.

#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <functional>
#include <type_traits>

#include "loglinear/detail/base/same_flags.hpp"

namespace loglinear::detail {

using Eigen::Index;

template <class Scalar, int Size = Eigen::Dynamic>
using Vector = Eigen::Matrix<Scalar, Size, 1>;

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

template <class Scalar>
using RowMajorMatrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A view of any stride: a block of a stacked matrix, or a vector seen as one row.
template <class Scalar>
using ConstMatrixView = Eigen::Map<const Matrix<Scalar>, Eigen::Unaligned,
                                   Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

/// Rows that lie somewhere, contiguous each.
template <class Scalar>
using RowsView = Eigen::Map<const RowMajorMatrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// Whether a matrix lies in memory row by row, or column by column, so that kernels may work on it.
template <class Type, bool row_major>
inline constexpr bool is_memory = [] {
  using Plain = std::remove_cvref_t<Type>;
  if constexpr (requires { Plain::InnerStrideAtCompileTime; }) {
    return static_cast<bool>(Plain::IsRowMajor) == row_major &&
           (Plain::Flags & Eigen::DirectAccessBit) != 0 && Plain::InnerStrideAtCompileTime == 1;
  } else {
    return false;
  }
}();
template <class Type>
inline constexpr bool is_row_major_memory = is_memory<Type, true>;
template <class Type>
inline constexpr bool is_column_major_memory = is_memory<Type, false>;

/// Vectors and matrices filled with one number, in functions that are compiled once for each
/// scalar.
template <class Scalar>
[[nodiscard, gnu::noinline]] Vector<Scalar> filled(Index size, const Scalar& value) {
  Vector<Scalar> out(size);
  std::fill_n(out.data(), size, value);
  return out;
}
template <class Scalar>
[[nodiscard]] Vector<Scalar> zeros(Index size) {
  return filled(size, Scalar(0));
}
template <class Scalar>
[[nodiscard]] Vector<Scalar> ones(Index size) {
  return filled(size, Scalar(1));
}
template <class Dense>
[[nodiscard, gnu::noinline]] Dense zeros(Index rows, Index columns) {
  Dense out(rows, columns);
  std::fill_n(out.data(), out.size(), typename Dense::Scalar(0));
  return out;
}

/// Columns that are worked on at a time, so that what they need fits on the stack.
inline constexpr int column_block = 64;

/// A count that is not negative as the bound of an array.
[[nodiscard]] constexpr std::size_t array_size(Index count) {
  return static_cast<std::size_t>(count);
}

/// Whether two numbers compare equal, for comparisons that are meant to be exact.
template <class Scalar>
[[nodiscard]] constexpr bool is_exactly(const Scalar& value, const Scalar& expected) {
  return std::equal_to<>{}(value, expected);
}

/// The value of a scalar as a double, for bounds and messages: also of dual numbers (`.value()`)
/// and of the narrow floating-point types.
template <class Scalar>
[[nodiscard]] double to_double(const Scalar& value) {
  if constexpr (std::is_convertible_v<Scalar, double>) {
    return static_cast<double>(value);
  } else if constexpr (requires { value.value(); }) {
    return to_double(value.value());
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

/// Any Eigen vector expression as a column, without a copy; a temporary view may be written to.
template <class Derived>
[[nodiscard]] decltype(auto) as_column(const Eigen::MatrixBase<Derived>& vector) {
  if constexpr (Derived::ColsAtCompileTime == 1) {
    return vector.derived();
  } else {
    return vector.derived().transpose();
  }
}
template <class Derived>
[[nodiscard]] decltype(auto) as_writable_column(const Eigen::MatrixBase<Derived>& vector) {
  auto& writable = const_cast<Eigen::MatrixBase<Derived>&>(vector).derived();
  if constexpr (Derived::ColsAtCompileTime == 1) {
    return (writable);
  } else {
    return writable.transpose();
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_TYPES_HPP
