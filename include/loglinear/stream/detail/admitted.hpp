// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP
#define LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP

// How large states may become. A running bound of the norm of everything grows with each token;
// only where it passes the limit are the levels measured.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// What levels are beside their coefficients.
struct LevelsAccount {
  std::uint64_t size = 0;  // tokens
  double magnitude = 0;    // the running bound of the norm of all levels and leaves together
};

/// A token that may be written, as `admit` found it: its write demands this.
struct Admitted {
  double magnitude = 0;  // the running bound after the write
  double growth = 1;     // by which the token's transition can grow a norm
};

/// Admits a token whose transition grows norms by at most `growth`, and whose leaf has the
/// magnitude `leaf`. If the running bound would pass the limit, it takes the magnitude that
/// `measure(exactly)` returns instead, first roughly, then exactly measured, and throws if that
/// passes the limit, too.
template <class Stored, class Measure>
[[nodiscard]] Admitted admit(double bound, double growth, double leaf, Measure measure) {
  const double limit = magnitude_limit<Stored>();
  double magnitude = bound * growth + leaf;
  for (const bool exactly : {false, true}) {
    if (is_at_most(magnitude, limit)) return {magnitude, growth};
    magnitude = measure(exactly) * growth + leaf;
  }
  if (!is_at_most(magnitude, limit)) {
    fail("the magnitude of the state after this token", magnitude,
         "within the range of the scalar type");
  }
  return {magnitude, growth};
}

/// A bound of the Frobenius norm of `keys values^T`.
template <class Keys, class Values>
[[nodiscard]] double leaf_magnitude(const Keys& keys, const Values& values) {
  return static_cast<double>(keys.cols()) *
         std::sqrt(static_cast<double>(keys.rows()) * static_cast<double>(values.rows())) *
         max_abs(keys) * max_abs(values);
}

/// The Frobenius norm of numbers that lie in memory.
template <class Stored>
[[nodiscard]] double norm_of(const Stored* m, Index size) {
  using Scalar = Accumulator<Stored>;
  if constexpr (is_narrow<Stored>) {
    constexpr Index piece = 4 * column_block;
    std::array<Scalar, piece> wide;
    double norm = 0;
    for (Index first = 0; first < size; first += piece) {
      const Index length = (std::min)(piece, size - first);
      convert(m + first, length, wide.data());
      norm = std::hypot(norm, norm_of(wide.data(), length));
    }
    return norm;
  } else {
    return stable_norm(Pieces<Scalar>{m, 1, size, 0});
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP
