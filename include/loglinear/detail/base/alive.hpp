// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_ALIVE_HPP
#define LOGLINEAR_DETAIL_BASE_ALIVE_HPP

#include <string_view>

#include "loglinear/detail/base/fail.hpp"

namespace loglinear::detail {

/// Throws std::invalid_argument for the use of an object that has been moved from.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_moved_from(std::string_view object) {
  fail(object, "moved from", "assigned to before it is used again");
}

/// A member by which an object knows that it has been moved from. An object that is moved to itself
/// counts as moved from.
class Alive {
 public:
  Alive() = default;
  Alive(const Alive&) = default;
  Alive(Alive&& other) noexcept : is_alive_(other.is_alive_) { other.is_alive_ = false; }
  Alive& operator=(const Alive&) = default;
  Alive& operator=(Alive&& other) noexcept {
    is_alive_ = other.is_alive_;
    other.is_alive_ = false;
    return *this;
  }

  /// \throws std::invalid_argument unless it is alive
  void require_alive(std::string_view object) const {
    if (!is_alive_) fail_moved_from(object);
  }
  [[nodiscard]] bool operator==(const Alive&) const = default;

 private:
  bool is_alive_ = true;
};

/// The same for an object that stays what it was when it is moved from. Takes no memory.
struct AlwaysAlive {
  static void require_alive(std::string_view /*object*/) {}
  [[nodiscard]] bool operator==(const AlwaysAlive&) const = default;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_ALIVE_HPP
