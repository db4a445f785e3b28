// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_SOFTPLUS_HPP
#define LOGLINEAR_DETAIL_KERNELS_SOFTPLUS_HPP

// softplus(z) = log(1 + exp(z)), of one number of any scalar and of many in memory, which level
// weights wait for at every token.

#include <cmath>
#include <limits>
#include <type_traits>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// |z| beyond which softplus is written as one of its asymptotes: z above, exp(z) below.
inline constexpr int softplus_linear_from = 20;

template <class Scalar>
[[nodiscard]] Scalar softplus(const Scalar& z) {
  using std::exp;
  if (z > Scalar(softplus_linear_from)) return z;
  const Scalar e = exp(z);
  if (z < Scalar(-softplus_linear_from)) return e;
  if constexpr (std::is_floating_point_v<Scalar>) {
    return std::log1p(e);
  } else {  // dual numbers have no log1p
    using std::log;
    return log(Scalar(1) + e);
  }
}

/// log(1 + e) for e in [0, 1], to rounding: 2 artanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...) with
/// s = e / (2 + e), at most 1/3, so that each term gives log2(9) bits. Even and odd terms are
/// summed side by side.
template <class Scalar>
[[nodiscard]] Packet<Scalar> log1p_up_to_1(const Packet<Scalar>& e) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr int terms = std::numeric_limits<Scalar>::digits / 6 * 2;  // even, and 3 bits each
  const auto coefficient = [](int n) { return ei::pset1<P>(Scalar(2) / Scalar(2 * n + 1)); };
  const P s = ei::pdiv(e, ei::padd(ei::pset1<P>(Scalar(2)), e));
  const P square = ei::pmul(s, s), fourth = ei::pmul(square, square);
  P even = coefficient(terms - 2), odd = coefficient(terms - 1);
  for (int n = terms - 4; n >= 0; n -= 2) {
    even = ei::pmadd(even, fourth, coefficient(n));
    odd = ei::pmadd(odd, fourth, coefficient(n + 1));
  }
  return ei::pmul(s, ei::pmadd(square, odd, even));
}

/// out = softplus(z), coefficient by coefficient; `out` may be `z` itself. Where a number in
/// a whole packet is far out, all are done one by one, as is what a packet is too wide for:
/// softplus(z) = max(z, 0) + log(1 + exp(-|z|)).
template <class Scalar>
void softplus(const Scalar* z, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  Index i = 0;
  if constexpr (std::is_floating_point_v<Scalar> && packet_size < Scalar >> 1) {
    using P = Packet<Scalar>;
    constexpr Index width = packet_size<Scalar>;
    const P bound = ei::pset1<P>(Scalar(softplus_linear_from));
    P far_out = ei::pset1<P>(Scalar(0));
    for (Index n = 0; n + width <= size; n += width) {
      far_out = ei::por(far_out, ei::pcmp_lt_or_nan(bound, ei::pabs(ei::ploadu<P>(z + n))));
    }
    const bool none_far_out = !ei::predux_any(far_out);
    for (; none_far_out && i + width <= size; i += width) {
      const P x = ei::ploadu<P>(z + i);
      const P rest = log1p_up_to_1<Scalar>(ei::pexp(ei::pnegate(ei::pabs(x))));
      ei::pstoreu(out + i, ei::padd(ei::pmax(x, ei::pset1<P>(Scalar(0))), rest));
    }
  }
  for (; i < size; ++i) out[i] = softplus<Scalar>(z[i]);
}

}  // namespace loglinear::detail

#define LOGLINEAR_SOFTPLUS(EXTERN, SCALAR) \
  EXTERN template void detail::softplus(const SCALAR*, Eigen::Index, SCALAR*);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_SOFTPLUS)

#endif  // LOGLINEAR_DETAIL_KERNELS_SOFTPLUS_HPP
