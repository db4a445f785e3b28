// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_UNROLL_HPP
#define LOGLINEAR_DETAIL_BASE_UNROLL_HPP

#include "loglinear/detail/base/cpp20.hpp"

// GCC keeps an array in registers only if the loops over it are unrolled before it looks for such
// arrays, which it has to be told; else the sums of a kernel pass through the stack. Until then the
// loop is one, which compiles faster than copies of its body would.
#if defined(__GNUC__) && !defined(__clang__)
#  define LOGLINEAR_UNROLL _Pragma("GCC unroll 8")
#else
#  define LOGLINEAR_UNROLL
#endif

#endif  // LOGLINEAR_DETAIL_BASE_UNROLL_HPP
