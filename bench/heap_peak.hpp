// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_HEAP_PEAK_HPP
#define LOGLINEAR_BENCH_HEAP_PEAK_HPP

namespace bench {

/// Begins to count allocated bytes, in all threads; the count is 0 at this moment.
void start_measuring_heap();
/// The most bytes that were allocated at any one time since then. NaN where that is not known:
/// without glibc, and under sanitizers.
double stop_measuring_heap();

}  // namespace bench

#endif  // LOGLINEAR_BENCH_HEAP_PEAK_HPP
