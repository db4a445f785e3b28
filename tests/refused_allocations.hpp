// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_REFUSED_ALLOCATIONS_HPP
#define LOGLINEAR_TESTS_REFUSED_ALLOCATIONS_HPP

// Replaces operator new of a test program by one that refuses memory when it is asked to. For one
// source of a program only. The thread sanitizer of Clang has an operator new that no program can
// replace: with it nothing is refused.

#include <atomic>
#include <cstdlib>
#include <new>

#ifdef __has_feature
#  if __has_feature(thread_sanitizer)
#    define LOGLINEAR_TESTS_KEEP_OPERATOR_NEW
#  endif
#endif

namespace loglinear::test {

/// Whether allocations are refused at all.
#ifdef LOGLINEAR_TESTS_KEEP_OPERATOR_NEW
inline constexpr bool refuses_allocations = false;
#else
inline constexpr bool refuses_allocations = true;
#endif

/// How many allocations are granted before one is refused; any number while it is negative.
inline std::atomic<int> allocations_left{-1};

[[nodiscard]] inline void* granted(std::size_t size) noexcept {
  if (allocations_left >= 0 && allocations_left-- == 0) return nullptr;
  return std::malloc(size > 0 ? size : 1);
}

}  // namespace loglinear::test

#ifndef LOGLINEAR_TESTS_KEEP_OPERATOR_NEW
// Not inlined: compilers warn of `free` where they see it meet a `new`.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* const memory = loglinear::test::granted(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return loglinear::test::granted(size);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
#endif
#undef LOGLINEAR_TESTS_KEEP_OPERATOR_NEW

#endif  // LOGLINEAR_TESTS_REFUSED_ALLOCATIONS_HPP
