// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_MATH_HPP
#define LOGLINEAR_DETAIL_KERNELS_MATH_HPP

// The few functions that rules and level weights are made of, for any scalar, with their
// derivatives where they are not obvious.

#include <cmath>
#include <limits>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// sg(z) = 1 / (1 + exp(-z)), the logistic sigmoid; never overflows into NaN.
template <class Scalar>
[[nodiscard]] Scalar sigmoid(const Scalar& z) {
  using std::exp;
  if (z >= Scalar(0)) return Scalar(1) / (Scalar(1) + exp(-z));
  const Scalar e = exp(z);
  return e / (Scalar(1) + e);
}

/// Below this, exp(-z) overflows, or nearly so.
template <class Scalar>
inline constexpr auto lowest_exponent =
    static_cast<Scalar>(-0.67 * std::numeric_limits<Scalar>::max_exponent);

/// exp(-z) of an array of floating-point numbers; where it would overflow, a number that is nearly
/// as large. NaN stays NaN.
template <class Z>
[[nodiscard]] auto exp_of_negative(const Eigen::ArrayBase<Z>& z) {
  using Scalar = typename Z::Scalar;
  const auto bound = Z::PlainObject::Constant(z.rows(), z.cols(), lowest_exponent<Scalar>);
  using Larger = Eigen::internal::scalar_max_op<Scalar, Scalar, Eigen::PropagateNaN>;
  return (-z.derived().binaryExpr(bound, Larger())).exp();
}

/// sg(z) of an array, coefficient by coefficient.
template <class Z>
[[nodiscard]] auto sigmoids(const Eigen::ArrayBase<Z>& z) {
  using Scalar = typename Z::Scalar;
  if constexpr (std::is_floating_point_v<Scalar>) {
    return (Scalar(1) + exp_of_negative(z)).inverse();
  } else {
    return z.derived().unaryExpr([](const Scalar& value) { return sigmoid<Scalar>(value); });
  }
}

/// out = sg(z + bias), coefficient by coefficient; `out` may be a temporary view.
template <class In, class Out>
void sigmoid(const Eigen::MatrixBase<In>& z, double bias, Eigen::MatrixBase<Out> const& out) {
  using Scalar = typename In::Scalar;
  as_writable_column(out) = z.unaryExpr(
      [offset = Scalar(bias)](const Scalar& value) { return sigmoid<Scalar>(value + offset); });
}

/// y = tanh(x), coefficient by coefficient.
template <class Scalar>
void tanh_of(const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  const auto of_number = [&](Index i) { return Eigen::numext::tanh(x[i]); };
  if constexpr (packet_size<Scalar> == 1 || ei::packet_traits<Scalar>::HasTanh) {
    fill_by_packets(
        y, size, [&](Index i) { return ei::ptanh(ei::ploadu<Packet<Scalar>>(x + i)); }, of_number);
  } else {
    for (Index i = 0; i < size; ++i) y[i] = of_number(i);
  }
}

/// Its pullback, from `y` itself: d = d (1 - y^2).
template <class Scalar>
void tanh_pullback(const Scalar* y, Index size, Scalar* d) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      d, size,
      [&](Index i) {
        const P bounded = ei::ploadu<P>(y + i);
        return ei::pmul(ei::ploadu<P>(d + i),
                        ei::psub(ei::pset1<P>(Scalar(1)), ei::pmul(bounded, bounded)));
      },
      [&](Index i) { return d[i] * (Scalar(1) - y[i] * y[i]); });
}

/// Keys shorter than this are taken for zero and normalise to zero.
inline constexpr double zero_key_norm = 1e-12;

/// |raw| = scale * norm, with the largest coefficient as the scale: neither overflows or underflows
/// where |raw|^2 would.
template <class Scalar>
struct ScaledNorm {
  Scalar scale, norm;
  [[nodiscard]] bool is_zero() const { return to_double(scale) * to_double(norm) < zero_key_norm; }
};
template <class Raw>
[[nodiscard]] ScaledNorm<typename Raw::Scalar> scaled_norm(const Eigen::MatrixBase<Raw>& raw) {
  using Scalar = typename Raw::Scalar;
  using std::sqrt;
  const auto scale = static_cast<Scalar>(max_abs(raw));
  if (!(scale > Scalar(0))) return {Scalar(1), Scalar(0)};
  return {scale, sqrt((raw / scale).squaredNorm())};
}

/// out = raw / |raw|, or 0 where |raw| < 1e-12.
template <class Raw, class Out>
void unit_vector(const Eigen::MatrixBase<Raw>& raw, Eigen::MatrixBase<Out> const& out_) {
  auto&& out = as_writable_column(out_);
  const auto length = scaled_norm(raw);
  if (length.is_zero()) {
    out.setZero();
  } else {
    out = raw / length.scale / length.norm;
  }
}

/// The pullback of `unit_vector`: d_raw = (d_unit - unit (unit . d_unit)) / |raw|. Where the key
/// was taken for zero, d_unit passes unchanged, so that learning can leave the origin.
template <class Raw, class Unit, class Cotangent, class Out>
void unit_vector_pullback(const Eigen::MatrixBase<Raw>& raw, const Eigen::MatrixBase<Unit>& unit,
                          const Eigen::MatrixBase<Cotangent>& d_unit,
                          Eigen::MatrixBase<Out> const& out_) {
  using Scalar = typename Raw::Scalar;
  auto&& out = as_writable_column(out_);
  const auto length = scaled_norm(raw);
  if (length.is_zero()) {
    out = d_unit;
  } else {
    const Scalar along = unit.dot(d_unit);
    out = (d_unit - along * unit) / length.norm / length.scale;
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_MATH_HPP
