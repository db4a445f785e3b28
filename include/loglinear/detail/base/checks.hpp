// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_CHECKS_HPP
#define LOGLINEAR_DETAIL_BASE_CHECKS_HPP

// Run-time checks of arguments. Every failure leaves through `fail`, which names the argument, the
// value received and the legal range.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <limits>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/fail.hpp"
#include "loglinear/detail/base/magnitude.hpp"
#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/detail/base/text.hpp"
#include "loglinear/detail/base/types.hpp"

#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#  error "loglinear: -ffast-math removes the checks for NaN; add -fno-finite-math-only"
#endif

namespace loglinear::detail {

inline void require_positive(std::string_view argument, Index value) {
  if (value < 1) fail(argument, value, "at least 1");
}

/// The largest d_model, d_k, d_v or n_heads d_v of a layer: the product of two of them, 64 levels
/// and the bytes of a number fits in an Index.
inline constexpr Index largest_length = Index{1} << (sizeof(Index) < 8 ? 20 : 26);

inline void require_length(std::string_view argument, Index value) {
  require_positive(argument, value);
  if (value > largest_length) {
    fail(argument, value, "at most ", largest_length);
  }
}

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_size(std::string_view argument, Index size,
                                                             Index expected) {
  fail(Text("the size of ", argument), size, expected);
}
inline void require_size(std::string_view argument, Index size, Index expected) {
  if (size != expected) fail_size(argument, size, expected);
}

/// Whether value <= limit; NaN is not.
[[nodiscard]] inline bool is_at_most(double value, double limit) {
  return is_finite(value) && value <= limit;
}

/// Whether a value is not NaN.
template <class Value>
[[nodiscard]] bool is_number(const Value& value) {
  if constexpr (std::is_integral_v<Value>) {
    return true;
  } else {
    return !std::isnan(to_double(value));
  }
}

template <class Value, class Bound>
void require_between(std::string_view argument, const Value& value, const Bound& low,
                     const Bound& high) {
  if (is_number(value) && value >= low && value <= high) return;
  fail(argument, value, "between ", low, " and ", high);
}

/// Calls `visit` with every coefficient, for expressions that do not lie in memory.
template <class Derived, class Visit>
void for_each_coefficient(const Eigen::DenseBase<Derived>& values, Visit visit) {
  for (Index j = 0; j < values.cols(); ++j) {
    for (Index i = 0; i < values.rows(); ++i) visit(values.derived().coeff(i, j));
  }
}

/// Whether all coefficients of a vector or matrix are finite.
template <class Derived>
[[nodiscard]] bool all_finite(const Eigen::DenseBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    return are_finite(pieces_of(values));
  } else {
    bool finite = true;
    for_each_coefficient(values, [&](const auto& x) { finite = finite && is_finite(x); });
    return finite;
  }
}

/// The same of numbers that lie in memory.
template <class Scalar>
[[nodiscard]] bool all_finite(const Scalar* values, Index size) {
  return are_finite(values, size);
}

template <class Number>
[[nodiscard]] bool all_finite(const RowBlock<Number>& values) {
  if (values.is_contiguous()) {
    return are_finite<std::remove_const_t<Number>>(values.data(), values.rows() * values.cols());
  }
  bool finite = true;
  for (Index i = 0; i < values.rows(); ++i) {
    finite = finite && are_finite<std::remove_const_t<Number>>(values.row(i), values.cols());
  }
  return finite;
}

/// Throws for the first coefficient that is not finite, column by column. A # in the argument's
/// name stands for its place, "projection # of x"; without one the place comes last, "x[0]".
template <class Scalar>
[[gnu::cold, gnu::noinline]] void fail_not_finite(std::string_view argument, const Scalar* data,
                                                  Index rows, Index columns, Index row_stride,
                                                  Index column_stride) {
  for (Index j = 0; j < columns; ++j) {
    for (Index i = 0; i < rows; ++i) {
      const Scalar& value = data[i * row_stride + j * column_stride];
      if (is_finite(value)) continue;
      const Text place = columns > 1 ? Text(i, ", ", j) : Text(i);
      const auto end = argument.find('#');
      if (end == argument.npos) fail(Text(argument, "[", place, "]"), to_double(value), "finite");
      // Not by `substr`, whose own error would pull half of the library into small programs.
      const std::string_view before(argument.data(), end),
          after(argument.data() + end + 1, argument.size() - end - 1);
      const bool is_pair = columns > 1;
      fail(Text(before, is_pair ? "(" : "", place, is_pair ? ")" : "", after), to_double(value),
           "finite");
    }
  }
}

/// Throws unless all coefficients are finite; names the first that is not.
template <class Derived>
void require_finite(std::string_view argument, const Eigen::DenseBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    if (are_finite(pieces_of(values))) return;
    const Derived& m = values.derived();
    constexpr bool by_row = static_cast<bool>(Derived::IsRowMajor);
    fail_not_finite(argument, m.data(), m.rows(), m.cols(), by_row ? m.outerStride() : Index{1},
                    by_row ? Index{1} : m.outerStride());
  } else if (!all_finite(values)) {
    require_finite(argument, values.derived().eval());
  }
}

/// The same of numbers that lie in memory.
template <class Scalar>
void require_finite(std::string_view argument, const Scalar* values, Index size) {
  if (!are_finite(values, size)) fail_not_finite(argument, values, size, 1, 1, size);
}
/// Refuses a matrix of another shape, or with a number that is not finite.
template <class Derived>
void require_matrix(std::string_view argument, const Eigen::DenseBase<Derived>& matrix, Index rows,
                    Index columns) {
  require_size(std::string(argument) + " (rows)", matrix.rows(), rows);
  require_size(std::string(argument) + " (columns)", matrix.cols(), columns);
  require_finite(argument, matrix);
}

template <class Keys, class Values>
void require_finite_leaf(const Keys& keys, const Values& values) {
  require_finite("coefficient # of the written key", keys);
  require_finite("coefficient # of the written value", values);
}

/// Magnitudes above this are refused before they are written: two of them still add up to a finite
/// number.
template <class Scalar>
[[nodiscard]] constexpr double magnitude_limit() {
  if constexpr (std::is_same_v<Scalar, float>) {
    return static_cast<double>((std::numeric_limits<float>::max)()) / 4;
  } else if constexpr (std::is_floating_point_v<Scalar>) {
    return (std::numeric_limits<double>::max)() / 4;
  } else {
    return to_double(Eigen::NumTraits<Scalar>::highest()) / 4;
  }
}

/// The larger of two magnitudes; NaN where one of them is not finite.
[[nodiscard]] inline double larger_magnitude(double a, double b) {
  if (!is_finite(a) || !is_finite(b)) return std::numeric_limits<double>::quiet_NaN();
  return (std::max)(a, b);
}

/// The largest absolute value, as a double; 0 for nothing, NaN where a coefficient is not finite.
template <class Scalar>
[[nodiscard]] double max_abs(const Scalar* values, Index size) {
  if constexpr (has_passes<Scalar>) {
    return to_double(largest_magnitude(values, size));
  } else {
    double largest = 0;
    for (Index i = 0; i < size; ++i) {
      largest = larger_magnitude(largest, std::abs(to_double(values[i])));
    }
    return largest;
  }
}
template <class Scalar>
[[nodiscard]] double max_abs(const Pieces<Scalar>& values) {
  if (values.pieces == 1) return max_abs(values.data, values.size);
  double largest = 0;
  for (Index i = 0; i < values.pieces; ++i) {
    largest = larger_magnitude(largest, max_abs(values.data + i * values.stride, values.size));
  }
  return largest;
}
template <class Derived>
[[nodiscard]] double max_abs(const Eigen::DenseBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    return max_abs(pieces_of(values));
  } else {
    double largest = 0;
    for_each_coefficient(values, [&](const auto& x) {
      largest = larger_magnitude(largest, std::abs(to_double(x)));
    });
    return largest;
  }
}

/// The Frobenius norm of a vector or matrix, also where its square would overflow or underflow; not
/// finite where a coefficient is not. Eigen's stableNorm multiplies by 1 over the largest
/// coefficient: that of the largest numbers is denormal, and is 0 where those are flushed.
template <class Scalar>
[[nodiscard]] double stable_norm(const Pieces<Scalar>& values) {
  using std::sqrt;
  constexpr double safe = std::is_same_v<Scalar, float> ? 0x1p40 : 0x1p300;
  const double largest = max_abs(values);
  if (!is_finite(largest) || is_exactly(largest, 0.0)) return largest;
  const bool is_safe = largest < safe && largest > 1 / safe;
  const auto scale = static_cast<Scalar>(largest);
  Scalar sum(0);
  for (Index i = 0; i < values.pieces; ++i) {
    const Scalar* const piece = values.data + i * values.stride;
    sum += is_safe ? sum_of_squares<false>(piece, values.size, scale)
                   : sum_of_squares<true>(piece, values.size, scale);
  }
  return (is_safe ? 1.0 : largest) * to_double(Scalar(sqrt(sum)));
}
template <class Derived>
[[nodiscard]] double stable_norm(const Eigen::MatrixBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    return stable_norm(pieces_of(values));
  } else {
    return stable_norm(values.derived().eval());
  }
}

}  // namespace loglinear::detail

#define LOGLINEAR_CHECKS(EXTERN, SCALAR)                                                      \
  EXTERN template void detail::fail_not_finite(std::string_view, const SCALAR*, Eigen::Index, \
                                               Eigen::Index, Eigen::Index, Eigen::Index);     \
  EXTERN template double detail::max_abs(const SCALAR*, Eigen::Index);                        \
  EXTERN template double detail::stable_norm(const detail::Pieces<SCALAR>&);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_CHECKS)

#endif  // LOGLINEAR_DETAIL_BASE_CHECKS_HPP
