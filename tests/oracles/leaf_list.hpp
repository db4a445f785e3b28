// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ORACLES_LEAF_LIST_HPP
#define LOGLINEAR_TESTS_ORACLES_LEAF_LIST_HPP

// The naive hierarchy: every leaf is kept for ever and undergoes every later transition by itself;
// levels are sums of leaves, worked out when asked for. Plain loops over plain numbers, so that it
// shares nothing with what it checks.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace loglinear::test {

class LeafList {
 public:
  LeafList(int max_levels, int d_k, int d_v)
      : max_levels_(max_levels),
        d_k_(static_cast<std::size_t>(d_k)),
        d_v_(static_cast<std::size_t>(d_v)) {}

  std::size_t size() const { return count_; }
  void clear() {
    count_ = 0;
    leaves_.clear();
    total_norm_ = 0;
    operations_ = 0;
  }

  /// Appends a leaf, d_k x d_v, row-major. `norm` bounds its norm and that of the terms it was
  /// summed from, which may cancel.
  void push(const std::vector<double>& leaf, double norm) {
    total_norm_ += norm;
    leaves_.insert(leaves_.end(), leaf.begin(), leaf.end());
    ++count_;
    ++operations_;
  }

  /// Every leaf becomes L leaf diag(r); L is d_k x d_k, row-major.
  void undergo(const std::vector<double>& l, const std::vector<double>& r) {
    std::vector<double> column(d_k_);
    for (std::size_t leaf = 0; leaf < count_; ++leaf) {
      double* m = leaves_.data() + leaf * d_k_ * d_v_;
      for (std::size_t j = 0; j < d_v_; ++j) {
        for (std::size_t i = 0; i < d_k_; ++i) {
          double sum = 0;
          for (std::size_t c = 0; c < d_k_; ++c) sum += l[i * d_k_ + c] * m[c * d_v_ + j];
          column[i] = sum * r[j];
        }
        for (std::size_t i = 0; i < d_k_; ++i) m[i * d_v_ + j] = column[i];
      }
    }
    ++operations_;
  }

  /// The level of the leaf pushed as number `leaf`: what is left of the count after the last
  /// level's share is cut into powers of two, the largest and oldest first.
  int level_of(std::size_t leaf) const {
    const std::size_t largest = std::size_t{1} << (max_levels_ - 1);
    std::size_t end = count_ / largest * largest;
    if (leaf < end) return max_levels_ - 1;
    for (int level = max_levels_ - 2; level >= 0; --level) {
      const std::size_t bucket = std::size_t{1} << level;
      if ((count_ & bucket) == 0) continue;
      end += bucket;
      if (leaf < end) return level;
    }
    return -1;
  }

  /// All levels, max_levels x d_k x d_v, row-major.
  std::vector<double> levels() const {
    const std::size_t coefficients = d_k_ * d_v_;
    std::vector<double> sums(static_cast<std::size_t>(max_levels_) * coefficients, 0.0);
    for (std::size_t leaf = 0; leaf < count_; ++leaf) {
      double* sum = sums.data() + static_cast<std::size_t>(level_of(leaf)) * coefficients;
      for (std::size_t i = 0; i < coefficients; ++i) sum[i] += leaves_[leaf * coefficients + i];
    }
    return sums;
  }

  /// Sum of the leaves' norms when they were written: bounds every level while all transitions
  /// have norm 1 at most.
  double total_norm() const { return total_norm_; }

  /// A bound of the rounding errors of levels in arithmetic of precision `epsilon`, while all
  /// transitions have norm 1 at most: each operation adds `roundings` relative to all there is.
  double tolerance(double epsilon, double roundings = 8) const {
    return roundings * std::sqrt(static_cast<double>(d_k_ + d_v_)) * epsilon *
           static_cast<double>(operations_ + 1) * total_norm_;
  }

 private:
  int max_levels_;
  std::size_t d_k_, d_v_;
  std::size_t count_ = 0, operations_ = 0;
  std::vector<double> leaves_;
  double total_norm_ = 0;
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ORACLES_LEAF_LIST_HPP
