// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_KEEP_MEMORY_HPP
#define LOGLINEAR_BENCH_KEEP_MEMORY_HPP

#if __has_include(<malloc.h>)
#  include <malloc.h>
#endif

namespace bench {

/// Makes the program keep memory that it frees, if the C library can be told so (glibc).
inline void keep_memory() {
#if defined(M_TRIM_THRESHOLD) && defined(M_MMAP_THRESHOLD)
  constexpr int most = 1 << 30;
  mallopt(M_TRIM_THRESHOLD, most);
  mallopt(M_MMAP_THRESHOLD, most);
#endif
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_KEEP_MEMORY_HPP
