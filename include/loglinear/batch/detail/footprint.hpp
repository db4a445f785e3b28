// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_DETAIL_FOOTPRINT_HPP
#define LOGLINEAR_BATCH_DETAIL_FOOTPRINT_HPP

// Whether two arrays of a batch share memory, however they are interleaved.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "loglinear/batch/head_array.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// The greatest common divisor; of 0 and a number it is the number. That of the standard library is
/// in a header that does not compile beside the macros of windows.h.
[[nodiscard]] inline std::uintptr_t common_divisor(std::uintptr_t a, std::uintptr_t b) {
  while (b != 0) a = std::exchange(b, a % b);
  return a;
}

/// The memory of an array: blocks of `width` bytes, which begin at `first + sum_i k_i stride_i` for
/// all 0 <= k_i < size_i.
struct Footprint {
  struct Step {
    std::uintptr_t stride, size;
  };

  std::uintptr_t first = 0, width = 0;
  std::array<Step, 4> steps{};
  std::size_t count = 0;  // of steps

  /// Just after the last byte.
  [[nodiscard]] std::uintptr_t end() const {
    std::uintptr_t end = first + width;
    for (std::size_t i = 0; i < count; ++i) end += steps[i].stride * (steps[i].size - 1);
    return end;
  }
  /// The greatest length of which every stride is a multiple; 0 for a single block.
  [[nodiscard]] std::uintptr_t period() const {
    std::uintptr_t period = 0;
    for (std::size_t i = 0; i < count; ++i) period = common_divisor(period, steps[i].stride);
    return period;
  }
  /// Where the blocks begin, sorted.
  [[nodiscard]] std::vector<std::uintptr_t> begins() const {
    std::vector<std::uintptr_t> all{first};
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t before = all.size();
      for (std::uintptr_t k = 1; k < steps[i].size; ++k) {
        for (std::size_t j = 0; j < before; ++j) all.push_back(all[j] + k * steps[i].stride);
      }
    }
    std::sort(all.begin(), all.end());
    return all;
  }
};

/// That of an array with numbers. Directions in which they are neighbours become one block.
template <class Number>
[[nodiscard]] Footprint footprint_of(const HeadArray<Number>& array) {
  Footprint result{reinterpret_cast<std::uintptr_t>(array.data()), sizeof(Number)};
  std::array<std::pair<Index, Index>, 4> steps{};
  for (std::size_t i = 0; i < 4; ++i) {
    const Index size = array.sizes()[i], stride = array.strides()[i] * Index{sizeof(Number)};
    if (stride < 0) result.first -= static_cast<std::uintptr_t>(-stride * (size - 1));
    steps[i] = {size == 1 ? 0 : std::abs(stride), size};
  }
  std::sort(steps.begin(), steps.end());
  for (const auto& [stride, size] : steps) {
    const Footprint::Step step{static_cast<std::uintptr_t>(stride),
                               static_cast<std::uintptr_t>(size)};
    if (result.count == 0 && step.stride <= result.width) {
      result.width += step.stride * (step.size - 1);
    } else {
      result.steps[result.count++] = step;
    }
  }
  return result;
}

/// Whether two arrays share a byte. Costs nothing where they lie apart or side by side in rows of
/// one array; otherwise all blocks are compared.
[[nodiscard]] inline bool overlap(const Footprint& a, const Footprint& b) {
  if (a.end() <= b.first || b.end() <= a.first) return false;
  const std::uintptr_t period = common_divisor(a.period(), b.period());
  if (period > 0) {
    const std::uintptr_t shift = b.first >= a.first
                                     ? (b.first - a.first) % period
                                     : (period - (a.first - b.first) % period) % period;
    if (shift >= a.width && shift + b.width <= period) return false;
  }
  const std::vector<std::uintptr_t> own = a.begins(), others = b.begins();
  for (std::size_t i = 0, j = 0; i < own.size() && j < others.size();) {
    if (own[i] < others[j] + b.width && others[j] < own[i] + a.width) return true;
    if (own[i] < others[j]) {
      ++i;
    } else {
      ++j;
    }
  }
  return false;
}

/// The same of arrays, which share nothing where one of them has no numbers.
template <class Number, class Other>
[[nodiscard]] bool overlap(const HeadArray<Number>& a, const HeadArray<Other>& b) {
  return a.size() > 0 && b.size() > 0 && overlap(footprint_of(a), footprint_of(b));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_FOOTPRINT_HPP
