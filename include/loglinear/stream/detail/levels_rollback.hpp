// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_ROLLBACK_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_ROLLBACK_HPP

#include <cstdint>

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Puts levels back as they were, unless it is told to keep what has become of them. Copies the
/// active levels alone; allocates.
template <class Levels>
class LevelsRollback {
 public:
  explicit LevelsRollback(Levels& levels)
      : levels_(levels), size_(levels.size()), magnitude_(levels.magnitude()) {
    const Index each = levels.d_k() * levels.d_v();
    Index count = 0;
    for ([[maybe_unused]] int l : levels.active_levels()) ++count;
    active_.resize(count * each);
    Index first = 0;
    for (int l : levels.active_levels()) {
      active_.segment(first, each) = Eigen::Map<const Coefficients>(levels.data(l), each);
      first += each;
    }
  }
  LevelsRollback(const LevelsRollback&) = delete;
  LevelsRollback& operator=(const LevelsRollback&) = delete;
  ~LevelsRollback() {
    if (!keeps_) levels_.restore(size_, magnitude_, active_.data());
  }
  void keep() noexcept { keeps_ = true; }

 private:
  using Coefficients = Vector<typename Levels::Scalar>;

  Levels& levels_;
  std::uint64_t size_;
  double magnitude_;
  Coefficients active_{};
  bool keeps_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_ROLLBACK_HPP
