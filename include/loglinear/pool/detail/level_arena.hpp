// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_POOL_DETAIL_LEVEL_ARENA_HPP
#define LOGLINEAR_POOL_DETAIL_LEVEL_ARENA_HPP

#include <cstddef>
#include <new>
#include <vector>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Memory for matrices of one size, a block of them at a time, taken and given back by number. It
/// lies in one piece and never becomes smaller.
template <class Scalar>
class LevelArena {
 public:
  /// \param block  numbers of a block
  explicit LevelArena(Index block) : block_(block) {}

  [[nodiscard]] Scalar* data(Index number) { return numbers_.data() + number * block_; }
  [[nodiscard]] const Scalar* data(Index number) const { return numbers_.data() + number * block_; }

  /// Makes room so that `count` blocks can be taken, and all be given back, without allocating.
  /// Growing moves the blocks; if it throws, nothing is changed.
  void reserve(std::size_t count) {
    free_.reserve(block_count());  // a copy has less
    if (free_.size() >= count) return;
    const std::size_t more = count - free_.size(), size = block_count();
    if (more > numbers_.max_size() / array_size(block_) - size) raise(std::bad_alloc());
    free_.reserve(size + more);
    numbers_.resize((size + more) * array_size(block_));
    for (std::size_t i = size + more; i-- > size;) free_.push_back(static_cast<Index>(i));
  }
  /// A block with any numbers in it; does not throw if one is free.
  [[nodiscard]] Index take() {
    if (free_.empty()) reserve(block_count() / 2 + 1);
    const Index number = free_.back();
    free_.pop_back();
    return number;
  }
  /// Precondition: `reserve` has been called on this arena, or since it was copied.
  void give_back(Index number) noexcept { free_.push_back(number); }

  [[nodiscard]] std::size_t block_count() const { return numbers_.size() / array_size(block_); }
  [[nodiscard]] std::size_t byte_count() const { return numbers_.size() * sizeof(Scalar); }

 private:
  Index block_;
  std::vector<Scalar> numbers_{};
  std::vector<Index> free_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_POOL_DETAIL_LEVEL_ARENA_HPP
