// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_ALLOCATION_COUNTER_HPP
#define LOGLINEAR_TESTS_ALLOCATION_COUNTER_HPP

namespace test {

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

}  // namespace test

#endif  // LOGLINEAR_TESTS_ALLOCATION_COUNTER_HPP
