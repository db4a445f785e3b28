// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_SAME_FLAGS_HPP
#define LOGLINEAR_DETAIL_SAME_FLAGS_HPP

// All source files of a program must be compiled with the same flags where these change what the
// templates of Eigen and of this library become: instruction set, alignment, exceptions,
// Eigen's storage order. The linker keeps one copy of each template and would mix them
// silently: wrong alignment, instructions that the machine lacks, errors that nobody can catch.
//
// Linkers have no common way to notice, so the program itself does: before main() each source file
// compares its flags with those of the first, and where they differ the program says so and aborts.
// LOGLINEAR_ALLOW_MIXED_FLAGS turns that off, for programs that keep such objects apart by other
// means.

#include "loglinear/detail/cpp20.hpp"

#include <Eigen/Core>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifndef LOGLINEAR_ALLOW_MIXED_FLAGS

namespace loglinear::detail {

inline const char* flags_of_first_file = nullptr;

namespace {

constexpr const char* flags_of_this_file =
#  if defined(__AVX512F__)
    "AVX-512"
#  elif defined(__AVX2__) && defined(__FMA__)
    "AVX2 with FMA"
#  elif defined(__AVX2__)
    "AVX2"
#  elif defined(__AVX__)
    "AVX"
#  elif defined(__SSE4_1__)
    "SSE4.1"
#  elif defined(__ARM_FEATURE_SVE)
    "SVE"
#  else
    "the baseline instruction set"
#  endif
#  if EIGEN_MAX_ALIGN_BYTES >= 64
    ", 64-byte alignment"
#  elif EIGEN_MAX_ALIGN_BYTES >= 32
    ", 32-byte alignment"
#  elif EIGEN_MAX_ALIGN_BYTES >= 16
    ", 16-byte alignment"
#  else
    ", no vectorisation by Eigen"
#  endif
#  ifndef __cpp_exceptions
    ", -fno-exceptions"
#  endif
#  ifdef EIGEN_DEFAULT_TO_ROW_MAJOR
    ", EIGEN_DEFAULT_TO_ROW_MAJOR"
#  endif
#  ifdef LOGLINEAR_KEEP_DENORMALS
    ", LOGLINEAR_KEEP_DENORMALS"
#  endif
    ;

[[maybe_unused]] const bool has_same_flags = [] {
  if (flags_of_first_file == nullptr) flags_of_first_file = flags_of_this_file;
  if (std::strcmp(flags_of_first_file, flags_of_this_file) == 0) return true;
  std::fprintf(stderr,
               "loglinear: source files of one program were compiled with different flags, some "
               "with %s, some with %s\n",
               flags_of_first_file, flags_of_this_file);
  std::abort();
}();

}  // namespace

}  // namespace loglinear::detail

#endif

#endif  // LOGLINEAR_DETAIL_SAME_FLAGS_HPP
