// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_PARALLEL_EXECUTOR_HPP
#define LOGLINEAR_PARALLEL_EXECUTOR_HPP

#include <atomic>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/parallel/detail/thread_pool.hpp"

namespace loglinear {

/// Who runs the passes of a loop: a callable `parallel_for(n, body)` that calls `body(i)` once for
/// each i in [0, n), on any threads and in any order, and returns when all these calls have
/// returned. `body` throws nothing, may be called from several threads at once, and ends with the
/// call. Results do not depend on the threads.
///
/// An executor cannot spoil a result: the library ignores a pass that runs twice, and runs those
/// that were left out itself. Therefore it also ignores what an executor throws.
///
///     loglinear::set_executor([](Eigen::Index n, const loglinear::LoopBody& body) {
///       tbb::parallel_for(Eigen::Index{0}, n, body);
///     });
using Executor = std::function<void(Eigen::Index n, const LoopBody& body)>;

namespace detail {

/// The settings of threads, one for the whole program.
struct ThreadSettings {
  std::atomic<int> threads{0};  // 0 until it is known
  Executor executor{};
};
[[nodiscard]] inline ThreadSettings& thread_settings() {
  static ThreadSettings settings;
  return settings;
}

}  // namespace detail

/// The most threads that a call of this library uses, the caller's among them. Heads, sequences,
/// streams and columns of a long sequence are shared out to them. It is what `set_thread_count` has
/// set, or else the number of processors that this program may use.
[[nodiscard]] inline int thread_count() noexcept {
  std::atomic<int>& threads = detail::thread_settings().threads;
  int now = threads.load(std::memory_order_relaxed);
  if (now == 0) {
    now = detail::processor_count();
    threads.store(now, std::memory_order_relaxed);
  }
  return now;
}

/// Sets `thread_count()`, for the whole program, from the next call on. Results have the same bits
/// with any number of threads; with 1 the library starts none.
/// \throws std::invalid_argument unless 1 to 1024
inline void set_thread_count(int count) {
  detail::require_between("the number of threads", count, 1, detail::thread_limit);
  detail::thread_settings().threads.store(count, std::memory_order_relaxed);
}

/// Replaces the library's threads by the caller's executor, for the whole program; an empty one
/// brings them back. Do not call it while a call of the library runs on another thread. The
/// executor is used wherever `thread_count()` is at least 2, whatever its value.
inline void set_executor(Executor executor) {
  detail::thread_settings().executor = std::move(executor);
}

}  // namespace loglinear

#endif  // LOGLINEAR_PARALLEL_EXECUTOR_HPP
