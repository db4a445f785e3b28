// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_MATH_HPP
#define LOGLINEAR_DETAIL_KERNELS_MATH_HPP

// The few functions that rules and level weights are made of, for any scalar, with their
// derivatives where they are not obvious. Those of vectors take pointers and a length; a result may
// be an argument itself.

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// Whether Eigen has exp, or tanh, of a whole packet.
template <class Scalar>
inline constexpr bool has_packet_exp =
    packet_size<Scalar> == 1 || Eigen::internal::packet_traits<Scalar>::HasExp;
template <class Scalar>
inline constexpr bool has_packet_tanh =
    packet_size<Scalar> == 1 || Eigen::internal::packet_traits<Scalar>::HasTanh;

/// sg(z) = 1 / (1 + exp(-z)), the logistic sigmoid; never overflows into NaN.
template <class Scalar>
[[nodiscard]] Scalar sigmoid(const Scalar& z) {
  using std::exp;
  if (z >= Scalar(0)) return Scalar(1) / (Scalar(1) + exp(-z));
  const Scalar e = exp(z);
  return e / (Scalar(1) + e);
}

/// out = sg(z + bias), coefficient by coefficient, each to rounding.
template <class Scalar>
void sigmoid(const Scalar* z, double bias, Index size, Scalar* out) {
  const auto offset = Scalar(bias);
  for (Index i = 0; i < size; ++i) out[i] = sigmoid<Scalar>(z[i] + offset);
}

/// Below this, exp(-z) overflows, or nearly so.
template <class Scalar>
inline constexpr auto lowest_exponent =
    static_cast<Scalar>(-0.67 * std::numeric_limits<Scalar>::max_exponent);

/// exp(-z) of floating-point numbers; where it would overflow, a number that is nearly as large.
/// NaN stays NaN.
template <class Scalar>
void exp_of_negative(const Scalar* z, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Scalar lowest = lowest_exponent<Scalar>;
  const auto of_number = [&](Index i) { return std::exp(-(z[i] < lowest ? lowest : z[i])); };
  if constexpr (has_packet_exp<Scalar>) {
    const P bound = ei::pset1<P>(lowest);
    fill_by_packets(
        out, size,
        [&](Index i) {
          return ei::pexp(ei::pnegate(ei::pmax<Eigen::PropagateNaN>(ei::ploadu<P>(z + i), bound)));
        },
        of_number);
  } else {
    for (Index i = 0; i < size; ++i) out[i] = of_number(i);
  }
}

/// sg(z), coefficient by coefficient.
template <class Scalar>
void sigmoids(const Scalar* z, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  if constexpr (std::is_floating_point_v<Scalar>) {
    exp_of_negative(z, size, out);
    const P one = ei::pset1<P>(Scalar(1));
    fill_by_packets(
        out, size, [&](Index i) { return ei::pdiv(one, ei::padd(one, ei::ploadu<P>(out + i))); },
        [&](Index i) { return Scalar(1) / (Scalar(1) + out[i]); });
  } else {
    sigmoid(z, 0, size, out);
  }
}

/// y = exp(x), coefficient by coefficient.
template <class Scalar>
void exp_of(const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  const auto of_number = [&](Index i) {
    using std::exp;
    return Scalar(exp(x[i]));
  };
  if constexpr (has_packet_exp<Scalar>) {
    fill_by_packets(
        y, size, [&](Index i) { return ei::pexp(ei::ploadu<Packet<Scalar>>(x + i)); }, of_number);
  } else {
    for (Index i = 0; i < size; ++i) y[i] = of_number(i);
  }
}

/// y = tanh(x), coefficient by coefficient.
template <class Scalar>
void tanh_of(const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  const auto of_number = [&](Index i) { return Eigen::numext::tanh(x[i]); };
  if constexpr (has_packet_tanh<Scalar>) {
    fill_by_packets(
        y, size, [&](Index i) { return ei::ptanh(ei::ploadu<Packet<Scalar>>(x + i)); }, of_number);
  } else {
    for (Index i = 0; i < size; ++i) y[i] = of_number(i);
  }
}

/// The pullback of tanh from its result y: d = d (1 - y^2).
template <class Scalar>
void tanh_pullback(const Scalar* y, Index size, Scalar* d) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P one = ei::pset1<P>(Scalar(1));
  fill_by_packets(
      d, size,
      [&](Index i) {
        const P value = ei::ploadu<P>(y + i);
        return ei::pmul(ei::ploadu<P>(d + i), ei::psub(one, ei::pmul(value, value)));
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
template <class Scalar>
[[nodiscard]] ScaledNorm<Scalar> scaled_norm(const Scalar* raw, Index size) {
  using std::sqrt;
  const auto scale = static_cast<Scalar>(max_abs(raw, size));
  if (!(scale > Scalar(0))) return {Scalar(1), Scalar(0)};
  return {scale, sqrt(sum_of_squares<true>(raw, size, scale))};
}

/// out = x / a / b, coefficient by coefficient.
template <class Scalar>
void divide_twice(const Scalar* x, const Scalar& a, const Scalar& b, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P first = ei::pset1<P>(a), second = ei::pset1<P>(b);
  fill_by_packets(
      out, size, [&](Index i) { return ei::pdiv(ei::pdiv(ei::ploadu<P>(x + i), first), second); },
      [&](Index i) { return x[i] / a / b; });
}

/// out = raw / |raw|, or 0 where |raw| < 1e-12.
template <class Scalar>
void unit_vector(const Scalar* raw, Index size, Scalar* out) {
  const auto length = scaled_norm(raw, size);
  if (length.is_zero()) {
    std::fill_n(out, size, Scalar(0));
  } else {
    divide_twice(raw, length.scale, length.norm, size, out);
  }
}

/// The pullback of `unit_vector`: d_raw = (d_unit - unit (unit . d_unit)) / |raw|. Where the key
/// was taken for zero, d_unit passes unchanged, so that learning can leave the origin.
template <class Scalar>
void unit_vector_pullback(const Scalar* raw, const Scalar* unit, const Scalar* d_unit, Index size,
                          Scalar* d_raw) {
  const auto length = scaled_norm(raw, size);
  if (d_raw != d_unit) copy(d_unit, size, d_raw);
  if (length.is_zero()) return;
  axpy(Scalar(-dot(unit, d_raw, size)), unit, size, d_raw);
  divide_twice(d_raw, length.norm, length.scale, size, d_raw);
}

}  // namespace loglinear::detail

#define LOGLINEAR_MATH(EXTERN, SCALAR)                                                           \
  EXTERN template void detail::sigmoid(const SCALAR*, double, Eigen::Index, SCALAR*);            \
  EXTERN template void detail::sigmoids(const SCALAR*, Eigen::Index, SCALAR*);                   \
  EXTERN template void detail::exp_of_negative(const SCALAR*, Eigen::Index, SCALAR*);            \
  EXTERN template void detail::exp_of(const SCALAR*, Eigen::Index, SCALAR*);                     \
  EXTERN template void detail::tanh_of(const SCALAR*, Eigen::Index, SCALAR*);                    \
  EXTERN template void detail::tanh_pullback(const SCALAR*, Eigen::Index, SCALAR*);              \
  EXTERN template void detail::unit_vector(const SCALAR*, Eigen::Index, SCALAR*);                \
  EXTERN template void detail::unit_vector_pullback(const SCALAR*, const SCALAR*, const SCALAR*, \
                                                    Eigen::Index, SCALAR*);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_MATH)

#endif  // LOGLINEAR_DETAIL_KERNELS_MATH_HPP
