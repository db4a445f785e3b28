// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_PARALLEL_DETAIL_PARALLEL_FOR_HPP
#define LOGLINEAR_PARALLEL_DETAIL_PARALLEL_FOR_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <utility>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/parallel/executor.hpp"

namespace loglinear::detail {

/// What the first of the passes that fail has thrown, whichever came first in time.
class FirstFailure {
 public:
  /// Whether a pass still matters.
  [[nodiscard]] bool is_after(Index i) const { return i < first(); }
  /// The first pass that has failed, or the largest number.
  [[nodiscard]] Index first() const { return index_.load(std::memory_order_relaxed); }
  void note(Index i, std::exception_ptr failure) {
    while (is_taken_.test_and_set(std::memory_order_acquire)) {
    }
    if (is_after(i)) {
      index_.store(i, std::memory_order_relaxed);
      failure_.swap(failure);
    }
    is_taken_.clear(std::memory_order_release);
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic<Index> index_{(std::numeric_limits<Index>::max)()};
  std::atomic_flag is_taken_{};
  std::exception_ptr failure_{};
};

/// How many threads a loop of n passes may use; 1 within another loop.
[[nodiscard]] inline int threads_for(Index n, int most) {
  if (n <= 1 || most <= 1 || is_inside_loop()) return 1;
  return static_cast<int>((std::min)(n, static_cast<Index>((std::min)(most, thread_count()))));
}

/// Calls `body(i)` once for each i in [0, n) by an executor that is not trusted: a pass that it
/// runs again is ignored, and those that it leaves out, be it by an error of its own, run here. So
/// the loops that write what has been computed are whole, whatever it does. Returns when all passes
/// have; throws nothing.
template <class Body>
void run_by_executor(const Executor& executor, Index n, const Body& body) {
  const auto count = static_cast<std::size_t>(n);
  const std::unique_ptr<std::atomic_flag[]> begun(new (std::nothrow) std::atomic_flag[count]);
  if (begun == nullptr) {
    for (Index i = 0; i < n; ++i) body(i);
    return;
  }
  std::atomic<Index> ended{0};
  const auto once = [&](Index i) {
    if (i < 0 || i >= n || begun[static_cast<std::size_t>(i)].test_and_set()) return;
    bool& inside = is_inside_loop();
    const bool before = std::exchange(inside, true);
    body(i);
    inside = before;
    ended.fetch_add(1, std::memory_order_release);
  };
  static_cast<void>(caught([&] { executor(n, LoopBody(once)); }));
  for (Index i = 0; i < n; ++i) once(i);
  while (ended.load(std::memory_order_acquire) != n) {  // on threads that it has not waited for
  }
}

/// `parallel_for` on two threads or more. The body has one type here, so that this is compiled once
/// for a scalar.
template <class Scalar>
void run_loop(Index n, int threads, const LoopBody& body) {
  FirstFailure failure;
  const auto pass = [&](Index i) {
    if (!failure.is_after(i)) return;
    const FlushToZero<Scalar> flush;
    std::exception_ptr thrown = caught([&] { body(i); });
    if (thrown) failure.note(i, std::move(thrown));
  };
  const Executor& executor = thread_settings().executor;
  if (executor) {
    run_by_executor(executor, n, LoopBody(pass));
  } else if (!run_on_threads(n, threads, LoopBody(pass))) {
    for (Index i = 0; i < n; ++i) pass(i);
  }
  failure.rethrow();
}

/// Calls `body(i)` for each i in [0, n) on up to `most` threads, then throws what the lowest i that
/// failed has thrown; those before it have all run. Throws nothing else: a loop whose passes do not
/// fail is always whole. A loop within a loop runs on its own thread. Does not allocate but to
/// start threads and for an executor. In each pass `Scalar`'s denormal numbers are zero.
template <class Scalar, class Body>
void parallel_for(Index n, int most, const Body& body) {
  const int threads = threads_for(n, most);
  if (threads > 1) return run_loop<Scalar>(n, threads, LoopBody(body));
  const FlushToZero<Scalar> flush;
  for (Index i = 0; i < n; ++i) body(i);
}

}  // namespace loglinear::detail

#define LOGLINEAR_RUN_LOOP(EXTERN, SCALAR) \
  EXTERN template void detail::run_loop<SCALAR>(Eigen::Index, int, const LoopBody&);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_RUN_LOOP)

#endif  // LOGLINEAR_PARALLEL_DETAIL_PARALLEL_FOR_HPP
