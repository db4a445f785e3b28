// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RANDOM_HPP
#define LOGLINEAR_RANDOM_HPP

/// \file
/// The generator behind every initial weight. The same seed gives the same bits everywhere, and the
/// same normals up to the rounding of the platform's log and cos.

#include <cmath>
#include <cstdint>
#include <numbers>

#include "loglinear/detail/base/checks.hpp"

namespace loglinear {

/// Marsaglia's 64-bit xorshift (13, 7, 17) with normals by Box and Muller. Its state must never be
/// zero. Does not allocate.
class Xorshift64 {
 public:
  /// \param seed any value but 0
  /// \throws std::invalid_argument if `seed` is 0: the generator would return zeros for ever
  explicit Xorshift64(std::uint64_t seed) : state_(seed) {
    if (seed == 0) detail::fail("seed", seed, "at least 1");
  }

  /// The next 64 bits.
  std::uint64_t next() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

  /// Uniform in [0, 1): the upper 53 bits over 2^53.
  double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  /// Standard normal, `sqrt(-2 ln u1) cos(2 pi u2)`; takes two uniforms, u1 redrawn while 0.
  double normal() noexcept {
    double u1 = uniform();
    while (!(u1 > 0)) u1 = uniform();
    const double u2 = uniform();
    return std::sqrt(-2 * std::log(u1)) * std::cos(2 * std::numbers::pi * u2);
  }

 private:
  std::uint64_t state_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RANDOM_HPP
