// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_VECTORS_HPP
#define LOGLINEAR_DETAIL_KERNELS_VECTORS_HPP

// Arithmetic on vectors that lie in memory, given by a pointer and a length. An Eigen expression
// says the same, but each one is some forty types of its own to the compiler, and a rule has
// hundreds: here a compiler sees each function once for each scalar.
//
// Vectors may be empty, and may be the same one where the comment does not say otherwise.

#include <algorithm>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// to[i] = of_packet(i), or of_number(i) for those at the end that fill no packet.
template <class Scalar, class OfPacket, class OfNumber>
void fill_by_packets(Scalar* to, Index size, OfPacket of_packet, OfNumber of_number) {
  constexpr Index width = packet_size<Scalar>;
  Index i = 0;
  for (; i + width <= size; i += width) Eigen::internal::pstoreu(to + i, of_packet(i));
  for (; i < size; ++i) to[i] = of_number(i);
}

/// x . y
template <class Scalar>
[[nodiscard]] Scalar dot(const Scalar* x, const Scalar* y, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const auto product = [&](Index i) {
    return ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i));
  };
  Scalar sum(0);
  Index i = 0;
  if (size >= width) {
    P even = product(0);
    i = width;
    if (size >= 2 * width) {
      P odd = product(width);
      for (i = 2 * width; i + 2 * width <= size; i += 2 * width) {
        even = ei::pmadd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i), even);
        odd = ei::pmadd(ei::ploadu<P>(x + i + width), ei::ploadu<P>(y + i + width), odd);
      }
      even = ei::padd(even, odd);
      if (i + width <= size) {
        even = ei::pmadd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i), even);
        i += width;
      }
    }
    sum = ei::predux(even);
  }
  for (; i < size; ++i) sum += x[i] * y[i];
  return sum;
}

/// sum_i x_i y_i z_i
template <class Scalar>
[[nodiscard]] Scalar dot(const Scalar* x, const Scalar* y, const Scalar* z, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const auto product = [&](Index i) {
    return ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i));
  };
  Scalar sum(0);
  Index i = 0;
  if (size >= width) {
    P sums = ei::pmul(product(0), ei::ploadu<P>(z));
    for (i = width; i + width <= size; i += width) {
      sums = ei::pmadd(product(i), ei::ploadu<P>(z + i), sums);
    }
    sum = ei::predux(sums);
  }
  for (; i < size; ++i) sum += x[i] * y[i] * z[i];
  return sum;
}

/// The sum of the numbers.
template <class Scalar>
[[nodiscard]] Scalar sum(const Scalar* x, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  Scalar sum(0);
  Index i = 0;
  if (size >= width) {
    P packets = ei::ploadu<P>(x);
    for (i = width; i + width <= size; i += width)
      packets = ei::padd(packets, ei::ploadu<P>(x + i));
    sum = ei::predux(packets);
  }
  for (; i < size; ++i) sum += x[i];
  return sum;
}

/// y = a x
template <class Scalar>
void scale_to(const Scalar& a, const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      y, size, [&](Index i) { return ei::pmul(factor, ei::ploadu<P>(x + i)); },
      [&](Index i) { return a * x[i]; });
}

/// y = a x; the result is y . z
template <class Scalar>
Scalar scale_and_dot(const Scalar& a, const Scalar* x, Index size, Scalar* y, const Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const P factor = ei::pset1<P>(a);
  P sums[4];  // as many chains, to hide the latency of the additions
  for (P& sum : sums) sum = ei::pset1<P>(Scalar(0));
  const auto add_packet = [&](Index i, P& sum) {
    const P scaled = ei::pmul(factor, ei::ploadu<P>(x + i));
    ei::pstoreu(y + i, scaled);
    sum = ei::pmadd(scaled, ei::ploadu<P>(z + i), sum);
  };
  Index i = 0;
  for (; i + 4 * width <= size; i += 4 * width) {
    for (Index n = 0; n < 4; ++n) add_packet(i + n * width, sums[n]);
  }
  for (; i + width <= size; i += width) add_packet(i, sums[0]);
  Scalar sum = ei::predux(ei::padd(ei::padd(sums[0], sums[1]), ei::padd(sums[2], sums[3])));
  for (; i < size; ++i) {
    y[i] = a * x[i];
    sum += y[i] * z[i];
  }
  return sum;
}

/// x = a x
template <class Scalar>
void scale_by(const Scalar& a, Scalar* x, Index size) {
  scale_to(a, x, size, x);
}

/// y = y + a x
template <class Scalar>
void axpy(const Scalar& a, const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      y, size,
      [&](Index i) { return ei::pmadd(factor, ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return y[i] + a * x[i]; });
}

/// z = x + y
template <class Scalar>
void add(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size, [&](Index i) { return ei::padd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return x[i] + y[i]; });
}

/// z = x - y
template <class Scalar>
void subtract(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size, [&](Index i) { return ei::psub(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return x[i] - y[i]; });
}

/// z_i = x_i y_i
template <class Scalar>
void multiply(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size, [&](Index i) { return ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return x[i] * y[i]; });
}

/// z_i = z_i + x_i y_i
template <class Scalar>
void add_product(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size,
      [&](Index i) {
        return ei::pmadd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i), ei::ploadu<P>(z + i));
      },
      [&](Index i) { return z[i] + x[i] * y[i]; });
}

/// z_i = a x_i y_i
template <class Scalar>
void scaled_product(const Scalar& a, const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      z, size,
      [&](Index i) {
        return ei::pmul(factor, ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)));
      },
      [&](Index i) { return a * (x[i] * y[i]); });
}

/// z_i = z_i + a x_i y_i
template <class Scalar>
void add_scaled_product(const Scalar& a, const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      z, size,
      [&](Index i) {
        return ei::pmadd(factor, ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)),
                         ei::ploadu<P>(z + i));
      },
      [&](Index i) { return z[i] + a * (x[i] * y[i]); });
}

/// y = x, which do not overlap.
template <class Scalar>
void copy(const Scalar* x, Index size, Scalar* y) {
  std::copy_n(x, size, y);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_VECTORS_HPP
