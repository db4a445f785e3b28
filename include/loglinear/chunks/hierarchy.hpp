// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_HIERARCHY_HPP
#define LOGLINEAR_CHUNKS_HIERARCHY_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

#include "loglinear/chunks/level_merge.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// The levels that the chunkwise algorithm works on, a matrix each, allocated when first active; or
/// the gradient with respect to them. For a stretch of tokens that is computed apart and begins
/// after `origin` others, it holds only the levels with tokens of the stretch; what is older counts
/// as zero.
template <class Scalar>
class Hierarchy {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  Hierarchy(int max_levels, Index d_k, Index d_v, std::uint64_t count = 0, std::uint64_t origin = 0)
      : max_levels_(max_levels),
        d_k_(d_k),
        d_v_(d_v),
        count_(count),
        origin_(origin),
        levels_(static_cast<std::size_t>(max_levels)) {}

  [[nodiscard]] int max_levels() const { return max_levels_; }
  [[nodiscard]] Index d_k() const { return d_k_; }
  [[nodiscard]] Index d_v() const { return d_v_; }
  [[nodiscard]] bool has_shape(int max_levels, Index d_k, Index d_v) const {
    return max_levels_ == max_levels && d_k_ == d_k && d_v_ == d_v;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  void set_count(std::uint64_t count) { count_ = count; }
  [[nodiscard]] std::uint64_t origin() const { return origin_; }
  void set_origin(std::uint64_t origin) { origin_ = origin; }
  [[nodiscard]] ActiveLevels active() const { return {count_, max_levels_, origin_}; }
  [[nodiscard]] Bucket bucket(int level) const { return bucket_of(count_, level, max_levels_); }

  [[nodiscard]] const Matrix& level(int l) const { return levels_[static_cast<std::size_t>(l)]; }
  [[nodiscard]] Matrix& level(int l) { return levels_[static_cast<std::size_t>(l)]; }
  void set_zero(int l) { detail::set_zero(level(l), d_k_, d_v_); }
  /// Memory for a level that is about to be written.
  void allocate(int l) { resize(level(l), d_k_, d_v_); }
  /// A hierarchy of the same shape before any token.
  [[nodiscard]] Hierarchy empty() const { return {max_levels_, d_k_, d_v_, 0, origin_}; }

  /// The active levels alone, at the same count.
  [[nodiscard]] Hierarchy snapshot() const {
    Hierarchy copy(max_levels_, d_k_, d_v_);
    copy.become(*this);
    return copy;
  }
  /// Takes over the count and the active levels of another of the same shape, in the memory that
  /// this one has.
  void become(const Hierarchy& other) {
    count_ = other.count_;
    origin_ = other.origin_;
    for (int l : active()) level(l) = other.level(l);
  }

  /// The levels that become one until there are `count` tokens.
  [[nodiscard]] LevelMerge merge_until(std::uint64_t count) const {
    return {active(), count_, count, max_levels_};
  }
  /// The sum of the active levels up to level `oldest`: that one itself, or in `sum`.
  const Matrix& sum_until(int oldest, Matrix& sum) const {
    const Matrix* all = nullptr;
    for (int l : active()) {
      if (l > oldest) break;
      if (all == nullptr) {
        all = &level(l);
        continue;
      }
      resize(sum, d_k_, d_v_);
      add(all->data(), level(l).data(), sum.size(), sum.data());
      all = &sum;
    }
    return *all;
  }
  /// The level whose bucket, after `count` tokens, holds token s.
  [[nodiscard]] int holder(std::uint64_t count, std::uint64_t s) const {
    return level_of(s, count, ReadOrder::before_push, max_levels_);
  }

 private:
  int max_levels_;
  Index d_k_, d_v_;
  std::uint64_t count_, origin_;
  std::vector<Matrix> levels_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_HIERARCHY_HPP
