// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_KERNELS_NEGLIGIBLE_HPP
#define LOGLINEAR_DETAIL_KERNELS_NEGLIGIBLE_HPP

// What has decayed to nothing, where denormal numbers are not taken for zero anyway.

#include <cmath>
#include <limits>
#include <type_traits>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Magnitudes below this are nothing: the smallest normal number over the rounding error, so that
/// what a state still says when multiplied by ordinary numbers is not denormal. Processors take a
/// hundred times as long over denormal numbers; a state that decays would end in them.
template <class Scalar>
inline constexpr Scalar negligible_magnitude =
    (std::numeric_limits<Scalar>::min)() / std::numeric_limits<Scalar>::epsilon();

/// Clears what has decayed to nothing where `FlushToZero` does nothing; dual numbers and narrow
/// ones are left as they are.
template <class Scalar>
void clear_negligible([[maybe_unused]] Scalar* m, [[maybe_unused]] Index size) {
  if constexpr (std::is_floating_point_v<Scalar> && !flushes_to_zero<Scalar>) {
    for (Index j = 0; j < size; ++j) {
      m[j] = std::abs(m[j]) < negligible_magnitude<Scalar> ? Scalar(0) : m[j];
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_NEGLIGIBLE_HPP
