// SPDX-License-Identifier: MIT
#ifndef LEARNING_SCHEDULE_HPP
#define LEARNING_SCHEDULE_HPP

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace learning {

/// The share of the peak learning rate at a step: a straight rise over `warm_up` steps to 1, then
/// half a cosine down to 0 just after the last step (Loshchilov and Hutter, arXiv:1608.03983).
///
///     (s + 1) / (w + 1)  for s < w,   (1 + cos(pi (s - w) / (n - w))) / 2  for w <= s < n
[[nodiscard]] inline double cosine_share(std::int64_t step, std::int64_t warm_up,
                                         std::int64_t steps) {
  if (step < warm_up) return static_cast<double>(step + 1) / static_cast<double>(warm_up + 1);
  const double done = static_cast<double>(step - warm_up) / static_cast<double>(steps - warm_up);
  return (1 + std::cos(std::numbers::pi * done)) / 2;
}

/// Whether `full` is `first` times a power of two.
[[nodiscard]] inline bool doubles_to(std::int64_t first, std::int64_t full) {
  return full % first == 0 && std::has_single_bit(static_cast<std::uint64_t>(full / first));
}

/// The length of the sequences of a step: `first` to begin with, then twice that, and so on up to
/// `full`, each for an equal share of the steps. It must be that `doubles_to(first, full)`.
[[nodiscard]] inline std::int64_t growing_length(std::int64_t step, std::int64_t steps,
                                                 std::int64_t first, std::int64_t full) {
  const std::int64_t lengths = std::bit_width(static_cast<std::uint64_t>(full / first));
  return first << (step * lengths / steps);
}

}  // namespace learning

#endif  // LEARNING_SCHEDULE_HPP
