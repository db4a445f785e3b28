// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_ADAM_KERNEL_HPP
#define LOGLINEAR_LAYER_DETAIL_ADAM_KERNEL_HPP

#include <algorithm>
#include <cmath>
#include <limits>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// The numbers of one step of Adam.
template <class Scalar>
struct AdamNumbers {
  Scalar beta1{0}, rest1{1};  // and 1 - beta1
  Scalar beta2{0}, rest2{1};
  Scalar correction{1};  // 1 / (1 - beta2^t)
  Scalar epsilon{0};
  Scalar size{0};   // rate / (1 - beta1^t)
  Scalar reach{1};  // an upper bound of |m'| / sqrt(v')
};

/// m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2, w <- w - size r with g_i = factor d_i and r =
/// m / (sqrt(c v) + epsilon). Where m is null, it is g and is not kept. |r| is cut to at most
/// `reach`, which it would pass only where squares are too small for the scalar.
template <class Scalar>
void adam_update(const AdamNumbers<Scalar>& a, const Scalar& factor, const Scalar* d, Index size,
                 Scalar* m, Scalar* v, Scalar* w) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  // The root of 0 would be an invalid operation: Eigen takes it by way of 1 / sqrt.
  constexpr Scalar smallest = (std::numeric_limits<Scalar>::min)();
  const P least = ei::pset1<P>(smallest);
  const P by = ei::pset1<P>(factor), beta1 = ei::pset1<P>(a.beta1), rest1 = ei::pset1<P>(a.rest1),
          beta2 = ei::pset1<P>(a.beta2), rest2 = ei::pset1<P>(a.rest2),
          correction = ei::pset1<P>(a.correction), epsilon = ei::pset1<P>(a.epsilon),
          by_size = ei::pset1<P>(a.size), most = ei::pset1<P>(a.reach),
          least_quotient = ei::pset1<P>(-a.reach);
  Index i = 0;
  for (; i + width <= size; i += width) {
    const P g = ei::pmul(by, ei::ploadu<P>(d + i));
    P mean = g;
    if (m != nullptr) {
      mean = ei::pmadd(rest1, g, ei::pmul(beta1, ei::ploadu<P>(m + i)));
      ei::pstoreu(m + i, mean);
    }
    const P square = ei::pmadd(rest2, ei::pmul(g, g), ei::pmul(beta2, ei::ploadu<P>(v + i)));
    const P root = ei::padd(ei::psqrt(ei::pmax(ei::pmul(correction, square), least)), epsilon);
    ei::pstoreu(v + i, square);
    // Divided first: the size times the mean may overflow.
    const P quotient = ei::pmin(ei::pmax(ei::pdiv(mean, root), least_quotient), most);
    ei::pstoreu(w + i, ei::psub(ei::ploadu<P>(w + i), ei::pmul(by_size, quotient)));
  }
  for (; i < size; ++i) {
    using std::sqrt;
    const Scalar g = factor * d[i];
    Scalar mean = g;
    if (m != nullptr) mean = m[i] = a.beta1 * m[i] + a.rest1 * g;
    v[i] = a.beta2 * v[i] + a.rest2 * (g * g);
    const Scalar root = sqrt((std::max)(Scalar(a.correction * v[i]), smallest));
    w[i] -= a.size * std::clamp(Scalar(mean / (root + a.epsilon)), Scalar(-a.reach), a.reach);
  }
}

}  // namespace loglinear::detail

#define LOGLINEAR_ADAM(EXTERN, SCALAR)                                                        \
  EXTERN template void detail::adam_update(const detail::AdamNumbers<SCALAR>&, const SCALAR&, \
                                           const SCALAR*, Eigen::Index, SCALAR*, SCALAR*,     \
                                           SCALAR*);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_ADAM)

#endif  // LOGLINEAR_LAYER_DETAIL_ADAM_KERNEL_HPP
