// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_SAME_FLAGS_HPP
#define LOGLINEAR_DETAIL_BASE_SAME_FLAGS_HPP

// All source files of a program must be compiled with the same flags where these change what the
// templates of Eigen and of this library become: instruction set, sizes and alignments, exceptions,
// Eigen's storage order. The linker keeps one copy of each template and would mix them
// silently: wrong offsets, instructions that the machine lacks, errors that nobody can catch.
//
// Linkers have no common way to notice, so the program itself does: before main() each source file
// compares what its flags made with what those of the first made, and where they differ the program
// says so and aborts. LOGLINEAR_ALLOW_MIXED_FLAGS turns that off, for programs that keep such
// objects apart by other means.

#include "loglinear/detail/base/cpp20.hpp"
#include "loglinear/detail/base/error.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#ifndef LOGLINEAR_ALLOW_MIXED_FLAGS

namespace loglinear::detail {

inline const int* facts_of_first_file = nullptr;

namespace {

constexpr const char* instruction_sets[] = {"the baseline", "SSE4.1",  "AVX", "AVX2",
                                            "AVX2 and FMA", "AVX-512", "SVE"};
constexpr int instruction_set =
#  if defined(__ARM_FEATURE_SVE)
    6;
#  elif defined(__AVX512F__)
    5;
#  elif defined(__AVX2__) && defined(__FMA__)
    4;
#  elif defined(__AVX2__)
    3;
#  elif defined(__AVX__)
    2;
#  elif defined(__SSE4_1__)
    1;
#  else
    0;
#  endif

constexpr int has_exceptions =
#  ifdef __cpp_exceptions
    1;
#  else
    0;
#  endif

constexpr int has_own_throw =
#  ifdef LOGLINEAR_HAS_OWN_THROW
    1;
#  else
    0;
#  endif

constexpr int keeps_denormals =
#  ifdef LOGLINEAR_KEEP_DENORMALS
    1;
#  else
    0;
#  endif

enum Enumeration { enumerator };
struct Padded {
  char first;
  double second;
};

/// That of Eigen::Matrix<Scalar, size, 1>, without the class itself, which takes a compiler long.
template <class Scalar, int size>
constexpr int alignment = (std::max)(
    static_cast<int>(alignof(Scalar)),
    static_cast<int>(Eigen::internal::traits<Eigen::Matrix<Scalar, size, 1>>::Alignment));

/// Every macro and flag that changes a layout shows in one of these, whatever its name; in the
/// order of their names.
constexpr int facts_of_this_file[] = {
    instruction_set,
    has_exceptions,
    has_own_throw,
    keeps_denormals,
    sizeof(Eigen::Index),
    alignment<float, 4>,
    alignment<double, 4>,
    alignment<double, 8>,
    EIGEN_DEFAULT_ALIGN_BYTES,
    EIGEN_MALLOC_ALREADY_ALIGNED,
    Eigen::internal::packet_traits<float>::size,
    (Eigen::internal::traits<Eigen::MatrixXd>::Flags & Eigen::RowMajorBit) != 0 ? 1 : 0,
    sizeof(Enumeration),
    sizeof(Padded),
    sizeof(long double),
    sizeof(std::vector<int>),
    sizeof(std::string),
};
constexpr const char* names_of_facts[] = {
    "the instruction set",
    "whether there are exceptions",
    "whether the program defines LOGLINEAR_THROW",
    "whether LOGLINEAR_KEEP_DENORMALS is defined",
    "sizeof(Eigen::Index)",
    "alignof(Eigen::Vector4f)",
    "alignof(Eigen::Vector4d)",
    "alignof(Eigen::Matrix<double, 8, 1>)",
    "EIGEN_DEFAULT_ALIGN_BYTES",
    "EIGEN_MALLOC_ALREADY_ALIGNED",
    "the size of Eigen's packets of float",
    "whether Eigen's matrices are row-major",
    "the size of an enumeration",
    "the size of a struct of char and double",
    "sizeof(long double)",
    "sizeof(std::vector<int>)",
    "sizeof(std::string)",
};
constexpr int count_of_facts = sizeof names_of_facts / sizeof *names_of_facts;
static_assert(sizeof facts_of_this_file == count_of_facts * sizeof(int));

/// Aborts unless this file's facts are those of the first.
inline bool require_same_flags() {
  if (facts_of_first_file == nullptr) facts_of_first_file = facts_of_this_file;
  int different = 0;
  for (int i = 0; i < count_of_facts; ++i) {
    const int first = facts_of_first_file[i], own = facts_of_this_file[i];
    if (first == own) continue;
    std::fprintf(stderr, "%s%s is ",
                 different++ == 0 ? "loglinear: source files of one program were compiled with "
                                    "different flags: "
                                  : "; ",
                 names_of_facts[i]);
    if (i == 0) {
      std::fprintf(stderr, "%s in some and %s in others", instruction_sets[first],
                   instruction_sets[own]);
    } else {
      std::fprintf(stderr, "%d in some and %d in others", first, own);
    }
  }
  if (different == 0) return true;
  std::fprintf(stderr, "\n");
  std::abort();
}

#  if defined(__GNUC__) && defined(__ELF__)
// Before the objects of any source file are made.
[[gnu::constructor(101)]] inline void check_flags() {
  (void)require_same_flags();
}
#  else
[[maybe_unused]] const bool has_same_flags = require_same_flags();
#  endif

}  // namespace

}  // namespace loglinear::detail

#endif

#endif  // LOGLINEAR_DETAIL_BASE_SAME_FLAGS_HPP
