// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_EXCEPTIONS_REFUSING_ALLOCATOR_HPP
#define LOGLINEAR_TESTS_EXCEPTIONS_REFUSING_ALLOCATOR_HPP

// An allocator that has no memory left, from some request on or for one alone.

#include <new>

#include "exceptions/injection.hpp"
#include "no_alloc/allocation_counter.hpp"

namespace loglinear::test {

struct RefusingAllocator {
  using Error = std::bad_alloc;

  Refusal refusal;

  void arm(int place) const { start_refusing_allocations(place, refusal); }
  [[nodiscard]] int disarm() const { return stop_refusing_allocations(); }
  static Tally& tally() {
    static Tally tally("refused allocations");
    return tally;
  }
};

/// `check_unharmed` with both kinds of refusal; and no memory may be lost on the way.
template <class Object>
void check_without_memory(const char* name, const Object& original, const BytesOf<Object>& bytes_of,
                          const Operation<Object>& operation) {
  for (const Refusal refusal : {Refusal::once, Refusal::ever_after}) {
    check_unharmed(RefusingAllocator{refusal}, name, original, bytes_of, operation);
  }
}

/// What `make()` makes is not made, and nothing is left of it.
template <class Make>
void check_not_made(const char* name, Make make) {
  struct Nothing {};
  check_without_memory(
      name, Nothing{}, [](const Nothing&) { return std::string(); },
      [&](Nothing&) { static_cast<void>(make()); });
}

/// Whether `call`, repeated, keeps memory.
template <class Call>
bool loses_memory(Call call) {
  call();  // what is made once stays
  const long before = live_allocations();
  call();
  return live_allocations() != before;
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_EXCEPTIONS_REFUSING_ALLOCATOR_HPP
