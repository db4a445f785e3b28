// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_MOMENT_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_MOMENT_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/admitted.hpp"

namespace loglinear::detail {

/// What levels hold at a moment: the active ones, and nothing of the others.
template <class Scalar>
class LevelsMoment {
 public:
  [[nodiscard]] std::uint64_t size() const noexcept { return account_.size; }
  [[nodiscard]] std::size_t byte_count() const noexcept { return active_.size() * sizeof(Scalar); }

  /// Makes room for what `levels` hold now; what is held stays.
  template <class Levels>
  void reserve(const Levels& levels) {
    active_.reserve(static_cast<std::size_t>(
        active_level_count(levels.size(), levels.max_levels()) * levels.d_k() * levels.d_v()));
  }
  /// Allocates where there is no room.
  template <class Levels>
  void take(const Levels& levels) {
    reserve(levels);
    account_ = levels.account();
    active_.clear();
    for (int l : levels.active_levels()) {
      active_.insert(active_.end(), levels.data(l), levels.data(l) + levels.d_k() * levels.d_v());
    }
  }
  /// Makes `levels`, of the same shape, what the levels were that `take` was given.
  template <class Levels>
  void restore(Levels& levels) const noexcept {
    levels.restore(account_, active_.data());
  }

  /// See fields.hpp.
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.account_, self.active_);
  }

 private:
  LevelsAccount account_{};
  std::vector<Scalar> active_{};  // lowest first
};

/// Puts levels back as they were at its construction, unless `keep` is called. Allocates.
template <class Levels>
class LevelsRollback {
 public:
  explicit LevelsRollback(Levels& levels) : levels_(levels) { before_.take(levels); }
  LevelsRollback(const LevelsRollback&) = delete;
  LevelsRollback& operator=(const LevelsRollback&) = delete;
  ~LevelsRollback() {
    if (!keeps_) before_.restore(levels_);
  }
  void keep() noexcept { keeps_ = true; }

 private:
  Levels& levels_;
  LevelsMoment<typename Levels::Scalar> before_{};
  bool keeps_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_MOMENT_HPP
