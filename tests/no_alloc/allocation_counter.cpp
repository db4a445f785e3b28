// SPDX-License-Identifier: MIT

// The C allocator of this program: glibc's own, counted, and refusing where it is told to. Defining
// these functions in an executable replaces them for everything in it, the C++ library included.

#include "allocation_counter.hpp"

#include <atomic>
#include <cerrno>
#include <cstddef>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

std::atomic<bool> counting{false};
std::atomic<int> calls{0};

void count() {
  if (counting.load(std::memory_order_relaxed)) calls.fetch_add(1, std::memory_order_relaxed);
}

std::atomic<bool> refusing{false};
std::atomic<int> requests{0}, refused{0};
int first_refused = 0;
loglinear::test::Refusal how_often = loglinear::test::Refusal::once;
std::atomic<long> live{0};

/// Whether a request for memory is to be refused.
bool is_refused() {
  count();
  if (!refusing.load(std::memory_order_relaxed)) return false;
  const int request = requests.fetch_add(1, std::memory_order_relaxed);
  const bool all_later = how_often == loglinear::test::Refusal::ever_after;
  if (request != first_refused && !(all_later && request > first_refused)) return false;
  refused.fetch_add(1, std::memory_order_relaxed);
  errno = ENOMEM;
  return true;
}
void* taken(void* memory) {
  if (memory != nullptr) live.fetch_add(1, std::memory_order_relaxed);
  return memory;
}

}  // namespace

namespace loglinear::test {

void start_counting_allocations() {
  calls = 0;
  counting = true;
}
int stop_counting_allocations() {
  counting = false;
  return calls;
}
void start_refusing_allocations(int first, Refusal refusal) {
  first_refused = first;
  how_often = refusal;
  requests = refused = 0;
  refusing = true;
}
int stop_refusing_allocations() {
  refusing = false;
  return refused;
}
long live_allocations() {
  return live;
}

}  // namespace loglinear::test

extern "C" {

void* malloc(std::size_t size) {
  return is_refused() ? nullptr : taken(__libc_malloc(size));
}
void* calloc(std::size_t number, std::size_t size) {
  return is_refused() ? nullptr : taken(__libc_calloc(number, size));
}
void* realloc(void* memory, std::size_t size) {
  if (is_refused()) return nullptr;
  void* const moved = __libc_realloc(memory, size);
  return memory == nullptr ? taken(moved) : moved;
}
void* memalign(std::size_t alignment, std::size_t size) {
  return is_refused() ? nullptr : taken(__libc_memalign(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return memalign(alignment, size);
}
void* valloc(std::size_t size) {
  return memalign(4096, size);
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}
void free(void* memory) {
  if (memory != nullptr) {
    count();
    live.fetch_sub(1, std::memory_order_relaxed);
  }
  __libc_free(memory);
}

}  // extern "C"
