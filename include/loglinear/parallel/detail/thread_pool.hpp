// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_PARALLEL_DETAIL_THREAD_POOL_HPP
#define LOGLINEAR_PARALLEL_DETAIL_THREAD_POOL_HPP

// The threads of the library. They are started when a loop first asks for them, sleep while there
// is no loop, and are joined when the program ends. No mutex and no condition variable: their
// headers would cost every program more to compile than <thread> does. For the same reason all of
// it is templates over the type of a loop's body: a program without loops compiles none of them.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "loglinear/detail/base/error.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/parallel/detail/loop_body.hpp"

#ifdef __STDCPP_THREADS__
// <thread> uses names that are macros under windows.h.
#  pragma push_macro("min")
#  pragma push_macro("max")
#  undef min
#  undef max
#  include <thread>
#  pragma pop_macro("min")
#  pragma pop_macro("max")

#  if defined(__unix__) || defined(__APPLE__)
#    include <pthread.h>
#    define LOGLINEAR_FORKS
#  endif
#endif

namespace loglinear::detail {

/// Whether this thread runs a pass of a loop: loops within it are run by it alone.
[[nodiscard]] inline bool& is_inside_loop() {
  thread_local bool inside = false;
  return inside;
}

/// The most threads that a loop can have.
inline constexpr int thread_limit = 1024;

/// Some tens of nanoseconds in which another thread may have the core's resources.
inline void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

#ifdef __STDCPP_THREADS__

/// For a thread that waits for others within a loop, at the n-th look: soon the system may give the
/// processor to one of them.
inline void relax(int n) {
  n < 1000 ? pause_briefly() : std::this_thread::yield();
}

[[nodiscard]] inline int processor_count() {
  return static_cast<int>(
      std::clamp(std::thread::hardware_concurrency(), 1u, unsigned{thread_limit}));
}

/// One loop at a time. Each of P threads has a slice of the passes. For a given number of passes it
/// is always the same slice, so that what a pass works on stays in the cache of one processor. A
/// thread that is done takes over passes of the others.
///
/// `gate_` counts the workers that are in the loop; its highest bit says whether they may enter.
/// Everything else about the loop is written while the gate is closed and nobody is inside.
template <class Body>
class ThreadPool {
 public:
  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    is_ending_.store(true);
    announce();
    for (std::thread& worker : workers_) worker.join();
  }

  /// Calls `body(i)` for all i in [0, n) on up to `threads` threads; does nothing and returns false
  /// where another thread of the program has a loop running.
  [[nodiscard]] bool run(Index n, int threads, const Body& body) {
    if (is_busy_.exchange(true, std::memory_order_acquire)) return false;
    start_workers(threads - 1);
    body_ = &body;
    mode_ = FloatingPointControl::read();
    threads_ = (std::min)(threads, static_cast<int>(workers_.size()) + 1);
    for (int t = 0; t < threads_; ++t) {
      Slice& slice = slices_[static_cast<std::size_t>(t)];
      slice.next.store(n * t / threads_, std::memory_order_relaxed);
      slice.end = n * (t + 1) / threads_;
    }
    gate_.store(open);
    announce();
    is_inside_loop() = true;
    work(0);
    is_inside_loop() = false;
    gate_.fetch_and(~open);
    for (int inside = gate_.load(); inside != 0; inside = gate_.load()) await(gate_, inside);
    is_busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  static constexpr int open = 1 << 30;
  struct alignas(64) Slice {
    std::atomic<Index> next{0};
    Index end = 0;
  };

  /// Waits until `value` is another one: some 20 microseconds awake, then asleep.
  static void await(const std::atomic<int>& value, int old) {
    for (int i = 0; i < 1000; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause_briefly();
    }
    value.wait(old);
  }
  void announce() {
    loops_.fetch_add(1);
    loops_.notify_all();
  }

  /// Fewer where the system has no more threads or no memory for them; the next loop tries again.
  void start_workers(int count) {
    const auto wanted = static_cast<std::size_t>(count);
    if (workers_.size() >= wanted) return;
    static_cast<void>(caught([&] {
      if (slices_.size() <= wanted) slices_ = std::vector<Slice>(wanted + 1);
      workers_.reserve(wanted);
      while (workers_.size() < wanted) {
        workers_.emplace_back(&ThreadPool::serve, this, static_cast<int>(workers_.size()) + 1,
                              loops_.load());
      }
    }));
  }

  /// What worker number `self` does.
  void serve(int self, int seen) {
    is_inside_loop() = true;
    while (true) {
      await(loops_, seen);
      seen = loops_.load();
      if (is_ending_.load()) return;
      int inside = gate_.load();
      while ((inside & open) != 0 && !gate_.compare_exchange_weak(inside, inside + 1)) {
      }
      if ((inside & open) == 0) continue;
      if (self < threads_) {
        FloatingPointControl::follow(mode_);
        work(self);
      }
      if (gate_.fetch_sub(1) == 1) gate_.notify_all();
    }
  }

  void work(int self) {
    for (int t = 0; t < threads_; ++t) {
      Slice& slice = slices_[static_cast<std::size_t>((self + t) % threads_)];
      while (slice.next.load(std::memory_order_relaxed) < slice.end) {
        const Index i = slice.next.fetch_add(1, std::memory_order_relaxed);
        if (i < slice.end) (*body_)(i);
      }
    }
  }

  std::atomic<int> loops_{0}, gate_{0};
  std::atomic<bool> is_busy_{false}, is_ending_{false};
  const Body* body_ = nullptr;
  FloatingPointControl::Word mode_{};  // of the caller: workers compute as it does
  int threads_ = 1;
  std::vector<Slice> slices_{1};
  std::vector<std::thread> workers_{};
};

/// The pool of this program. A process that it forks has none of the pool's threads: it leaves the
/// old pool behind and makes its own.
template <class Body>
class ProgramPool {
  using Pool = ThreadPool<Body>;

 public:
  /// Null once the program has ended, and where there is no memory for it.
  [[nodiscard]] static Pool* get() {
    static const ProgramPool ended_with_the_program;
    Pool* pool = current().load(std::memory_order_acquire);
    if (pool != nullptr || has_ended().load()) return pool;
    std::unique_ptr<Pool> fresh;
    static_cast<void>(caught([&] { fresh = std::make_unique<Pool>(); }));
    if (current().compare_exchange_strong(pool, fresh.get())) pool = fresh.release();
    return pool;
  }

 private:
  ProgramPool() {
#  ifdef LOGLINEAR_FORKS
    pthread_atfork(nullptr, nullptr, [] { current().store(nullptr); });
#  endif
  }
  ~ProgramPool() {
    has_ended().store(true);
    std::unique_ptr<Pool> pool(current().exchange(nullptr));
    // Where a pass of a loop ends the program, its worker cannot be joined: the pool stays.
    if (is_inside_loop()) static_cast<void>(pool.release());
  }
  static std::atomic<Pool*>& current() {
    static std::atomic<Pool*> pool{nullptr};
    return pool;
  }
  static std::atomic<bool>& has_ended() {
    static std::atomic<bool> ended{false};
    return ended;
  }
};

/// Runs a loop on the program's threads; false where it has none to spare.
template <class Body>
[[nodiscard]] bool run_on_threads(Index n, int threads, const Body& body) {
  ThreadPool<Body>* const pool = ProgramPool<Body>::get();
  return pool != nullptr && pool->run(n, threads, body);
}

#else  // a system without threads

inline void relax(int) {}

[[nodiscard]] inline int processor_count() {
  return 1;
}
template <class Body>
[[nodiscard]] bool run_on_threads(Index, int, const Body&) {
  return false;
}

#endif

}  // namespace loglinear::detail

#undef LOGLINEAR_FORKS

#endif  // LOGLINEAR_PARALLEL_DETAIL_THREAD_POOL_HPP
