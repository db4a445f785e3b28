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
/// each i in [0, n), on any threads and in any order, and returns when all of these calls have
/// returned. `body` throws nothing and may be called from several threads at once; it ends with the
/// call. Results do not depend on the threads.
///
/// Results are whole whatever it does: a pass that it runs again is ignored, and the library itself
/// runs those that it has left out. So what it throws does not come back.
///
///     loglinear::set_executor([](Eigen::Index n, const loglinear::LoopBody& body) {
///       tbb::parallel_for(Eigen::Index{0}, n, body);
///     });
using Executor = std::function<void(Eigen::Index n, const LoopBody& body)>;

namespace detail {

/// The one place for threads.
struct ThreadSettings {
  std::atomic<int> threads{0};  // 0 before anybody has said
  Executor executor{};
};
[[nodiscard]] inline ThreadSettings& thread_settings() {
  static ThreadSettings settings;
  return settings;
}

}  // namespace detail

/// The most threads that a call of this library uses: heads, sequences, streams and stretches of a
/// sequence are shared out to them, and the caller's thread is one of them. What `set_thread_count`
/// has said, before that as many as there are processors for this program.
[[nodiscard]] inline int thread_count() noexcept {
  std::atomic<int>& threads = detail::thread_settings().threads;
  int now = threads.load(std::memory_order_relaxed);
  if (now == 0) {
    now = detail::processor_count();
    threads.store(now, std::memory_order_relaxed);
  }
  return now;
}

/// Sets it, for the whole program, from the next call on. Results have the same bits with any
/// number of threads; with 1 the library starts none. \throws std::invalid_argument unless 1 to
/// 1024
inline void set_thread_count(int count) {
  detail::require_between("the number of threads", count, 1, detail::most_threads);
  detail::thread_settings().threads.store(count, std::memory_order_relaxed);
}

/// Replaces the library's threads by the caller's executor, for the whole program; an empty one
/// brings them back. Not while a call of the library runs on another thread. `thread_count()` then
/// says only whether the executor is asked at all, which it is from 2 on.
inline void set_executor(Executor executor) {
  detail::thread_settings().executor = std::move(executor);
}

}  // namespace loglinear

#endif  // LOGLINEAR_PARALLEL_EXECUTOR_HPP
