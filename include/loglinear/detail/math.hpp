// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_MATH_HPP
#define LOGLINEAR_DETAIL_MATH_HPP

// The few functions that rules and level weights are made of, for any scalar, with their
// derivatives where they are not obvious.

#include <cmath>

#include "loglinear/detail/types.hpp"

namespace loglinear::detail {

/// sg(z) = 1 / (1 + exp(-z)), the logistic sigmoid; never overflows into NaN.
template <class Scalar>
[[nodiscard]] Scalar sigmoid(const Scalar& z) {
  using std::exp;
  if (z >= Scalar(0)) return Scalar(1) / (Scalar(1) + exp(-z));
  const Scalar e = exp(z);
  return e / (Scalar(1) + e);
}

/// |z| beyond which softplus is written as one of its asymptotes: z above, exp(z) below.
inline constexpr int softplus_linear_from = 20;

/// softplus(z) = log(1 + exp(z)), coefficient by coefficient, `out` may be `z` itself. The
/// vectorised form goes first; coefficients far out are then set to their asymptote.
template <class In, class Out>
void softplus(const Eigen::ArrayBase<In>& z, Eigen::ArrayBase<Out>& out) {
  using Scalar = typename In::Scalar;
  const Scalar far(softplus_linear_from);
  const bool some_far = z.size() > 0 && z.abs().maxCoeff() > far;
  if (!some_far) {
    out = z.max(Scalar(0)) + (-z.abs()).exp().log1p();
    return;
  }
  for (Index i = 0; i < z.size(); ++i) {
    using std::exp;
    using std::log1p;
    const Scalar value = z.coeff(i);
    out.coeffRef(i) = value > far ? value : value < -far ? exp(value) : log1p(exp(value));
  }
}

/// Keys shorter than this are taken for zero and normalise to zero.
inline constexpr double zero_key_norm = 1e-12;

/// out = raw / |raw|, or 0 where |raw| < 1e-12. The norm is taken of the scaled vector, so that it
/// neither overflows nor underflows.
template <class Raw, class Out>
void unit_vector(const Eigen::MatrixBase<Raw>& raw, Eigen::MatrixBase<Out> const& out_) {
  using Scalar = typename Raw::Scalar;
  auto& out = const_cast<Eigen::MatrixBase<Out>&>(out_).derived();
  const Scalar norm = raw.stableNorm();
  if (to_double(norm) < zero_key_norm) {
    out.setZero();
  } else {
    out = raw / norm;
  }
}

/// The pullback of `unit_vector`: d_raw = (d_unit - unit (unit . d_unit)) / |raw|. Where the key
/// was taken for zero, d_unit passes unchanged, so that learning can leave the origin.
template <class Raw, class Unit, class Cotangent, class Out>
void unit_vector_pullback(const Eigen::MatrixBase<Raw>& raw, const Eigen::MatrixBase<Unit>& unit,
                          const Eigen::MatrixBase<Cotangent>& d_unit,
                          Eigen::MatrixBase<Out> const& out_) {
  using Scalar = typename Raw::Scalar;
  auto& out = const_cast<Eigen::MatrixBase<Out>&>(out_).derived();
  const Scalar norm = raw.stableNorm();
  if (to_double(norm) > zero_key_norm) {
    const Scalar along = unit.dot(d_unit);
    out = (d_unit - along * unit) / norm;
  } else {
    out = d_unit;
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_MATH_HPP
