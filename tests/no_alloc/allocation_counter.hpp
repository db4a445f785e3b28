// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ALLOCATION_COUNTER_HPP
#define LOGLINEAR_TESTS_ALLOCATION_COUNTER_HPP

// The C allocator of a test program, counted and made to fail.

namespace loglinear::test {

void start_counting_allocations();
int stop_counting_allocations();

/// Calls of malloc, calloc, realloc, aligned_alloc, posix_memalign, memalign, valloc or free, in
/// any thread, while `call` runs. Counting operator new would miss what Eigen allocates.
template <class Call>
int allocations_in(Call&& call) {
  start_counting_allocations();
  call();
  return stop_counting_allocations();
}

/// How often the allocator refuses.
enum class Refusal {
  once,        ///< one request, and then it has memory again
  ever_after,  ///< that one and all that follow
};
/// From now on the allocator refuses request number `first`, counted from 0.
void start_refusing_allocations(int first, Refusal refusal);
/// The allocator works again. Returns how many requests it has refused.
int stop_refusing_allocations();
/// Blocks of memory in use.
long live_allocations();

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_ALLOCATION_COUNTER_HPP
