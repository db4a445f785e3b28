// SPDX-License-Identifier: MIT

// The C allocator of this program: glibc's own, with a count of what it gives out. Defining these
// functions in an executable replaces them for everything in it, also for Eigen, which operator new
// would miss.

#include "heap_peak.hpp"

#include <cstdlib>
#include <limits>

#if defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define LOGLINEAR_HAS_SANITIZER
#  endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#  define LOGLINEAR_HAS_SANITIZER
#endif

#if defined(__GLIBC__) && !defined(LOGLINEAR_HAS_SANITIZER)

#  include <malloc.h>

#  include <algorithm>
#  include <atomic>
#  include <cerrno>
#  include <cstddef>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
}

namespace {

std::atomic<bool> measures{false};
std::atomic<long long> allocated{0}, most{0};

void* note(void* memory) {
  if (measures.load(std::memory_order_relaxed) && memory != nullptr) {
    const auto size = static_cast<long long>(malloc_usable_size(memory));
    const long long now = allocated.fetch_add(size) + size;
    if (now > most.load()) most.store(now);
  }
  return memory;
}
void forget(void* memory) {
  if (measures.load(std::memory_order_relaxed) && memory != nullptr) {
    allocated.fetch_sub(static_cast<long long>(malloc_usable_size(memory)));
  }
}

}  // namespace

namespace bench {

void start_measuring_heap() {
  allocated = most = 0;
  measures = true;
}
double stop_measuring_heap() {
  measures = false;
  return static_cast<double>(most.load());
}

}  // namespace bench

extern "C" {

void* malloc(std::size_t size) {
  return note(__libc_malloc(size));
}
void* calloc(std::size_t number, std::size_t size) {
  return note(__libc_calloc(number, size));
}
void* realloc(void* memory, std::size_t size) {
  forget(memory);
  return note(__libc_realloc(memory, size));
}
void* memalign(std::size_t alignment, std::size_t size) {
  return note(__libc_memalign(alignment, size));
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return note(__libc_memalign(alignment, size));
}
int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
  *memory = note(__libc_memalign(alignment, size));
  return *memory == nullptr ? ENOMEM : 0;
}
void free(void* memory) {
  forget(memory);
  __libc_free(memory);
}

}  // extern "C"

#else

namespace bench {

void start_measuring_heap() {}
double stop_measuring_heap() {
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace bench

#endif
