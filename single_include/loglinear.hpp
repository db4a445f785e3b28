// SPDX-License-Identifier: MIT
//
// loglinear 0.1.0: log-linear attention, header-only, on Eigen. One file for C++20 and Eigen 3.4 or 5.
//
// The whole library: what loglinear/loglinear.hpp includes, and the modes chosen at run time
// (loglinear/mode/attention.hpp and loglinear/mode/mode_text.hpp), which a copied file could not include.
// Generated from the folder include/loglinear by cmake/single_header.cmake: change it there.
//
// MIT License
//
// Copyright (c) 2026 The loglinear authors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy
// of this software and associated documentation files (the "Software"), to deal
// in the Software without restriction, including without limitation the rights
// to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
// copies of the Software, and to permit persons to whom the Software is
// furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all
// copies or substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
// IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
// FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
// AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
// LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
// OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
// SOFTWARE.


// ---- loglinear/detail/base/cpp20.hpp

#ifndef LOGLINEAR_DETAIL_BASE_CPP20_HPP
#define LOGLINEAR_DETAIL_BASE_CPP20_HPP

// The first thing that a compiler says about an older standard is a sentence: every header begins
// with this one or with one that does.

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#  error "loglinear needs C++20: compile with -std=c++20, or /std:c++20 for Visual C++"
#endif

#endif  // LOGLINEAR_DETAIL_BASE_CPP20_HPP

#include <Eigen/Core>
#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>
#include <numbers>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

// ---- loglinear/detail/base/same_flags.hpp

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

// ---- loglinear/detail/base/types.hpp

#ifndef LOGLINEAR_DETAIL_BASE_TYPES_HPP
#define LOGLINEAR_DETAIL_BASE_TYPES_HPP

// Eigen spellings used throughout, and conversions between scalars.

namespace loglinear::detail {

using Eigen::Index;

template <class Scalar, int Size = Eigen::Dynamic>
using Vector = Eigen::Matrix<Scalar, Size, 1>;

template <class Scalar>
using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>;

template <class Scalar>
using RowMajorMatrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A view of any stride: a block of a stacked matrix, or a vector seen as one row.
template <class Scalar>
using ConstMatrixView = Eigen::Map<const Matrix<Scalar>, Eigen::Unaligned,
                                   Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;

/// Rows that lie somewhere, contiguous each.
template <class Scalar>
using RowsView = Eigen::Map<const RowMajorMatrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;

/// Whether a matrix lies in memory row by row, or column by column, so that kernels may work on it.
template <class Type, bool row_major>
inline constexpr bool is_memory = [] {
  using Plain = std::remove_cvref_t<Type>;
  if constexpr (requires { Plain::InnerStrideAtCompileTime; }) {
    return static_cast<bool>(Plain::IsRowMajor) == row_major &&
           (Plain::Flags & Eigen::DirectAccessBit) != 0 && Plain::InnerStrideAtCompileTime == 1;
  } else {
    return false;
  }
}();
template <class Type>
inline constexpr bool is_row_major_memory = is_memory<Type, true>;
template <class Type>
inline constexpr bool is_column_major_memory = is_memory<Type, false>;

/// Vectors and matrices of one number, in functions that each scalar has once.
template <class Scalar>
[[nodiscard, gnu::noinline]] Vector<Scalar> filled(Index size, const Scalar& value) {
  Vector<Scalar> out(size);
  std::fill_n(out.data(), size, value);
  return out;
}
template <class Scalar>
[[nodiscard]] Vector<Scalar> zeros(Index size) {
  return filled(size, Scalar(0));
}
template <class Scalar>
[[nodiscard]] Vector<Scalar> ones(Index size) {
  return filled(size, Scalar(1));
}
template <class Dense>
[[nodiscard, gnu::noinline]] Dense zeros(Index rows, Index columns) {
  Dense out(rows, columns);
  std::fill_n(out.data(), out.size(), typename Dense::Scalar(0));
  return out;
}

/// Columns that are worked on at a time, so that what they need fits on the stack.
inline constexpr int column_block = 64;

/// A count that is not negative as the bound of an array.
[[nodiscard]] constexpr std::size_t array_size(Index count) {
  return static_cast<std::size_t>(count);
}

/// Whether two numbers are the same to the last bit, where that is what is meant.
template <class Scalar>
[[nodiscard]] constexpr bool is_exactly(const Scalar& value, const Scalar& expected) {
  return std::equal_to<>{}(value, expected);
}

/// The value of a scalar as a double, for bounds and messages: also of dual numbers (`.value()`)
/// and of the narrow floating-point types.
template <class Scalar>
[[nodiscard]] double to_double(const Scalar& value) {
  if constexpr (std::is_convertible_v<Scalar, double>) {
    return static_cast<double>(value);
  } else if constexpr (requires { value.value(); }) {
    return to_double(value.value());
  } else {
    return static_cast<double>(static_cast<float>(value));
  }
}

/// Any Eigen vector expression as a column, without a copy; a temporary view may be written to.
template <class Derived>
[[nodiscard]] decltype(auto) as_column(const Eigen::MatrixBase<Derived>& vector) {
  if constexpr (Derived::ColsAtCompileTime == 1) {
    return vector.derived();
  } else {
    return vector.derived().transpose();
  }
}
template <class Derived>
[[nodiscard]] decltype(auto) as_writable_column(const Eigen::MatrixBase<Derived>& vector) {
  auto& writable = const_cast<Eigen::MatrixBase<Derived>&>(vector).derived();
  if constexpr (Derived::ColsAtCompileTime == 1) {
    return (writable);
  } else {
    return writable.transpose();
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_TYPES_HPP

// ---- loglinear/batch/head_array.hpp

#ifndef LOGLINEAR_BATCH_HEAD_ARRAY_HPP
#define LOGLINEAR_BATCH_HEAD_ARRAY_HPP

namespace loglinear {

namespace detail {

/// The product of sizes, or the largest Index where it is more; 0 where one is not positive.
[[nodiscard]] inline Index count_of(std::initializer_list<Index> sizes) {
  constexpr Index largest = (std::numeric_limits<Index>::max)();
  Index product = 1;
  for (const Index size : sizes) {
    if (size <= 0) return 0;
    product = product > largest / size ? largest : product * size;
  }
  return product;
}

}  // namespace detail

/// A view of numbers for every sequence, token and head, wherever they lie: a pointer, four sizes
/// and four strides, counted in numbers. Nothing is owned and nothing is copied; without a pointer
/// the array is absent.
///
///     HeadArray<const float> q = HeadArray<const float>::bthd(data, batch, tokens, heads, d_k);
///
/// \tparam Number  float or double, const for what is only read
template <class Number>
class HeadArray {
 public:
  using Index = Eigen::Index;
  using Scalar = std::remove_const_t<Number>;
  using Four = std::array<Index, 4>;

  HeadArray() = default;  ///< absent

  /// Any strides, in the order batch, tokens, heads, columns whatever the order in memory. A stride
  /// may be 0 or negative where the array is only read.
  HeadArray(Number* data, const Four& sizes, const Four& strides)
      : data_(data), sizes_(sizes), strides_(strides) {}

  /// Contiguous, [B, T, H, D]; without columns [B, T, H].
  [[nodiscard]] static HeadArray bthd(Number* data, Index batch, Index tokens, Index heads,
                                      Index columns = 1) {
    return {data,
            {batch, tokens, heads, columns},
            {detail::count_of({tokens, heads, columns}), detail::count_of({heads, columns}),
             columns, 1}};
  }
  /// Contiguous, [B, H, T, D]; without columns [B, H, T].
  [[nodiscard]] static HeadArray bhtd(Number* data, Index batch, Index heads, Index tokens,
                                      Index columns = 1) {
    return {data,
            {batch, tokens, heads, columns},
            {detail::count_of({heads, tokens, columns}), columns,
             detail::count_of({tokens, columns}), 1}};
  }

  /// The same numbers, to be read.
  operator HeadArray<const Scalar>() const requires(!std::is_const_v<Number>) {
    return {data_, sizes_, strides_};
  }

  [[nodiscard]] Index batch() const { return sizes_[0]; }    ///< B
  [[nodiscard]] Index rows() const { return sizes_[1]; }     ///< T, or n rows a token
  [[nodiscard]] Index heads() const { return sizes_[2]; }    ///< H
  [[nodiscard]] Index columns() const { return sizes_[3]; }  ///< D
  [[nodiscard]] Number* data() const { return data_; }
  [[nodiscard]] const Four& sizes() const { return sizes_; }
  [[nodiscard]] const Four& strides() const { return strides_; }
  /// How many numbers there are; the largest Index where they are more.
  [[nodiscard]] Index size() const {
    return detail::count_of({sizes_[0], sizes_[1], sizes_[2], sizes_[3]});
  }
  [[nodiscard]] bool is_absent() const { return data_ == nullptr || size() == 0; }

  /// Where a row of a head begins.
  [[nodiscard]] Number* row(Index batch, Index row, Index head) const {
    return data_ + batch * strides_[0] + row * strides_[1] + head * strides_[2];
  }

 private:
  Number* data_ = nullptr;
  Four sizes_{}, strides_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_HEAD_ARRAY_HPP

// ---- loglinear/detail/base/row_block.hpp

#ifndef LOGLINEAR_DETAIL_BASE_ROW_BLOCK_HPP
#define LOGLINEAR_DETAIL_BASE_ROW_BLOCK_HPP

namespace loglinear::detail {

template <class Number>
class TransposedBlock;

/// A block of a row-major matrix, where it lies: one type whatever it is a part of, where Eigen has
/// one for each expression. It copies as a pointer does.
///
/// \tparam Number  a scalar, const where it is not to be written to
template <class Number>
class RowBlock {
 public:
  using Scalar = std::remove_const_t<Number>;
  static constexpr bool IsRowMajor = true;  // by the name that Eigen has for it
  static constexpr bool is_const = std::is_const_v<Number>;
  using Matrix = std::conditional_t<is_const, const RowMajorMatrix<Scalar>, RowMajorMatrix<Scalar>>;

  RowBlock() = default;
  RowBlock(Number* data, Index rows, Index cols, Index stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}
  RowBlock(Matrix& m) : RowBlock(m.data(), m.rows(), m.cols(), m.cols()) {}
  template <class Other>
  requires(is_const&& std::is_same_v<Other, Scalar>) RowBlock(const RowBlock<Other>& other)
      : RowBlock(other.data(), other.rows(), other.cols(), other.outerStride()) {}

  [[nodiscard]] Number* data() const { return data_; }
  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index cols() const { return cols_; }
  [[nodiscard]] Index outerStride() const { return stride_; }
  [[nodiscard]] Number* row(Index i) const { return data_ + i * stride_; }
  [[nodiscard]] Number& operator()(Index i, Index j) const { return data_[i * stride_ + j]; }

  [[nodiscard]] RowBlock block(Index row, Index column, Index rows, Index columns) const {
    return {data_ + row * stride_ + column, rows, columns, stride_};
  }
  [[nodiscard]] RowBlock middleRows(Index first, Index rows) const {
    return block(first, 0, rows, cols_);
  }
  [[nodiscard]] RowBlock topRows(Index rows) const { return block(0, 0, rows, cols_); }
  [[nodiscard]] RowBlock leftCols(Index columns) const { return block(0, 0, rows_, columns); }
  [[nodiscard]] TransposedBlock<Number> transpose() const { return TransposedBlock<Number>(*this); }

  void setZero() const {
    for (Index i = 0; i < rows_; ++i) std::fill_n(row(i), cols_, Scalar(0));
  }

 private:
  Number* data_ = nullptr;
  Index rows_ = 0, cols_ = 0, stride_ = 0;
};

/// Its transpose, as the left operand of a product.
template <class Number>
class TransposedBlock {
 public:
  using Scalar = std::remove_const_t<Number>;
  static constexpr bool IsRowMajor = false;

  explicit TransposedBlock(const RowBlock<Number>& block) : block_(block) {}
  [[nodiscard]] Number* data() const { return block_.data(); }
  [[nodiscard]] Index rows() const { return block_.cols(); }
  [[nodiscard]] Index cols() const { return block_.rows(); }
  [[nodiscard]] Index outerStride() const { return block_.outerStride(); }

 private:
  RowBlock<Number> block_;
};

template <class Scalar>
using ConstRowBlock = RowBlock<const Scalar>;

/// A block to be read, of anything row-major that lies in memory.
template <class Rows>
[[nodiscard]] ConstRowBlock<typename Rows::Scalar> block_of(const Rows& rows) {
  static_assert(Rows::IsRowMajor);
  return {rows.data(), rows.rows(), rows.cols(), rows.outerStride()};
}
/// The same to be written to.
template <class Rows>
[[nodiscard]] auto writable_block_of(Rows&& rows) {
  using Plain = std::remove_cvref_t<Rows>;
  static_assert(Plain::IsRowMajor);
  return RowBlock<typename Plain::Scalar>(rows.data(), rows.rows(), rows.cols(),
                                          rows.outerStride());
}

/// The rows of `to` become those of `from`, which has as many columns and no more rows.
template <class Number>
void copy_rows(const RowBlock<Number>& from,
               const std::type_identity_t<RowBlock<std::remove_const_t<Number>>>& to) {
  for (Index i = 0; i < from.rows(); ++i) std::copy_n(from.row(i), from.cols(), to.row(i));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_ROW_BLOCK_HPP

// ---- loglinear/detail/base/error.hpp

#ifndef LOGLINEAR_DETAIL_BASE_ERROR_HPP
#define LOGLINEAR_DETAIL_BASE_ERROR_HPP

// How an error leaves the library: through `raise`, and from there through LOGLINEAR_THROW.

/// What happens to an error, a `const std::exception&` whose `what()` says everything: it is
/// thrown, or printed before std::abort() where exceptions are off (-fno-exceptions). Define this
/// macro before the first include, the same in the whole program, to do something else; it must not
/// return, and the program is aborted if it does.
///
///     #define LOGLINEAR_THROW(error) my_panic((error).what())
#ifndef LOGLINEAR_THROW
#  ifdef __cpp_exceptions
#    define LOGLINEAR_THROW(error) throw error
#  else
#    define LOGLINEAR_THROW(error) std::fprintf(stderr, "%s\n", (error).what())
#  endif
#endif

namespace loglinear::detail {

template <class Error>
[[noreturn]] void raise([[maybe_unused]] const Error& error) {
  LOGLINEAR_THROW(error);
  std::abort();
}

/// What `work()` throws, or nothing. Where exceptions are off an error does not come back.
template <class Work>
[[nodiscard]] std::exception_ptr caught(Work work) {
#ifdef __cpp_exceptions
  try {
    work();
  } catch (...) {
    return std::current_exception();
  }
#else
  work();
#endif
  return nullptr;
}

/// Calls `work()`, and `handle(error)` with the `Error` that it throws.
template <class Error, class Work, class Handle>
void handling(Work work, [[maybe_unused]] Handle handle) {
#ifdef __cpp_exceptions
  try {
    work();
  } catch (const Error& error) {
    handle(error);
  }
#else
  work();
#endif
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_ERROR_HPP

// ---- loglinear/detail/base/decimal.hpp

#ifndef LOGLINEAR_DETAIL_BASE_DECIMAL_HPP
#define LOGLINEAR_DETAIL_BASE_DECIMAL_HPP

// Numbers as text for messages: the shortest decimal that reads back as the same number. The
// standard library's way brings tables of 100 KB, or follows the locale.

namespace loglinear::detail {

/// A natural number below 2^1280, for exact arithmetic on any double: none needs more than 1140
/// bits.
class Natural {
 public:
  constexpr explicit Natural(std::uint64_t value)
      : words_{static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)} {}

  constexpr void multiply(std::uint32_t factor) {
    std::uint64_t carry = 0;
    for (std::uint32_t& word : words_) {
      carry += std::uint64_t{word} * factor;
      word = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  constexpr void shift(int bits) {  // multiplies by 2^bits
    for (; bits >= 31; bits -= 31) multiply(std::uint32_t{1} << 31);
    multiply(std::uint32_t{1} << bits);
  }
  constexpr void add(const Natural& other) {
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      carry += std::uint64_t{words_[i]} + other.words_[i];
      words_[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  constexpr void subtract(const Natural& other) {  // one that is not larger
    std::uint64_t borrow = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const std::uint64_t difference = std::uint64_t{words_[i]} - other.words_[i] - borrow;
      words_[i] = static_cast<std::uint32_t>(difference);
      borrow = difference >> 63;
    }
  }
  /// Negative, 0 or positive, as the first is smaller, the same or larger.
  [[nodiscard]] static constexpr int compare(const Natural& a, const Natural& b) {
    for (std::size_t i = a.words_.size(); i-- > 0;) {
      if (a.words_[i] != b.words_[i]) return a.words_[i] < b.words_[i] ? -1 : 1;
    }
    return 0;
  }

 private:
  std::array<std::uint32_t, 40> words_;
};

/// 0.d1 d2 ... dn * 10^exponent
struct Digits {
  std::array<char, 20> digit{};
  int count = 0, exponent = 0;
};

/// The shortest digits nearer to a number than to its neighbours, and of these the nearest: the
/// free-format algorithm of Steele and White, 1990.
/// \param mantissa  at least 1
/// \param uneven    whether the lower neighbour is half as far away as the upper one
[[nodiscard]] constexpr Digits shortest_digits(std::uint64_t mantissa, int exponent, bool uneven) {
  // The number is rest / one; the numbers that are rounded to it reach up by above / one and down
  // by below / one, ends included where the mantissa is even.
  Natural rest(mantissa), one(1), above(1), below(1);
  rest.shift(exponent > 0 ? exponent : 0);
  above.shift(exponent > 0 ? exponent : 0);
  one.shift(exponent < 0 ? -exponent : 0);
  below = above;
  rest.shift(uneven ? 2 : 1);
  one.shift(uneven ? 2 : 1);
  above.shift(uneven ? 1 : 0);
  const int closed = mantissa % 2 == 0 ? 1 : 0;
  const auto reaches_one = [&] {
    Natural end = rest;
    end.add(above);
    return Natural::compare(end, one) + closed > 0;
  };
  const auto next_place = [&] {
    for (Natural* number : {&rest, &above, &below}) number->multiply(10);
  };
  Digits found;
  for (; reaches_one(); ++found.exponent) one.multiply(10);
  for (;; --found.exponent) {
    const Natural kept[] = {rest, above, below};
    next_place();
    if (!reaches_one()) continue;
    rest = kept[0];
    above = kept[1];
    below = kept[2];
    break;
  }
  for (;;) {
    next_place();
    char digit = '0';
    for (; Natural::compare(rest, one) >= 0; ++digit) rest.subtract(one);
    const bool low = Natural::compare(rest, below) - closed < 0, high = reaches_one();
    if (low || high) {
      Natural twice = rest;
      twice.multiply(2);
      const int half = Natural::compare(twice, one);
      if (high && (!low || half > 0 || (half == 0 && digit % 2 != 0))) ++digit;
    }
    found.digit[static_cast<std::size_t>(found.count++)] = digit;
    if (low || high) return found;
  }
}

/// A float or a double as text.
class Decimal {
 public:
  constexpr explicit Decimal(double value) { write(value); }
  constexpr explicit Decimal(float value) { write(value); }

  [[nodiscard]] constexpr std::string_view text() const {
    return {text_.data(), static_cast<std::size_t>(size_)};
  }

 private:
  template <class Float>
  constexpr void write(Float value) {
    static_assert(std::numeric_limits<Float>::is_iec559 && sizeof(Float) <= 8);
    using Bits = std::conditional_t<sizeof(Float) == 8, std::uint64_t, std::uint32_t>;
    constexpr int width = std::numeric_limits<Float>::digits - 1;  // of the stored mantissa
    constexpr Bits hidden = Bits{1} << width;
    constexpr int special = 2 * std::numeric_limits<Float>::max_exponent - 1;
    const Bits bits = std::bit_cast<Bits>(value);
    const Bits fraction = bits % hidden;
    const int exponent = static_cast<int>(bits >> width) & special;
    if (exponent == special && fraction != 0) return put("nan");
    if (bits >> (8 * sizeof(Float) - 1) != 0) put("-");
    if (exponent == special) return put("inf");
    if (exponent == 0 && fraction == 0) return put("0");
    constexpr int bias = std::numeric_limits<Float>::max_exponent - 1 + width;
    put(shortest_digits(exponent == 0 ? fraction : fraction + hidden,
                        (exponent == 0 ? 1 : exponent) - bias, fraction == 0 && exponent > 1));
  }

  constexpr void put(char c) { text_[static_cast<std::size_t>(size_++)] = c; }
  constexpr void put(std::string_view text) {
    for (const char c : text) put(c);
  }
  constexpr void put_zeros(int count) {
    for (int i = 0; i < count; ++i) put('0');
  }
  constexpr void put(const Digits& number, int first, int end) {
    for (int i = first; i < end; ++i) put(number.digit[static_cast<std::size_t>(i)]);
  }
  /// Numbers from 0.0001 to 10^16 are written out, others have an exponent.
  constexpr void put(const Digits& number) {
    const int point = number.exponent, count = number.count;
    if (point > -4 && point <= 0) {
      put("0.");
      put_zeros(-point);
      return put(number, 0, count);
    }
    const bool is_written_out = point > 0 && point <= 16;
    const int whole = !is_written_out ? 1 : point < count ? point : count;
    put(number, 0, whole);
    if (is_written_out) put_zeros(point - whole);
    if (count > whole) put('.');
    put(number, whole, count);
    if (is_written_out) return;
    int exponent = point - 1;
    put(exponent < 0 ? "e-" : "e+");
    if (exponent < 0) exponent = -exponent;
    if (exponent >= 100) put(static_cast<char>('0' + exponent / 100));
    put(static_cast<char>('0' + exponent / 10 % 10));
    put(static_cast<char>('0' + exponent % 10));
  }

  std::array<char, 32> text_{};
  int size_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_DECIMAL_HPP

// ---- loglinear/detail/base/text.hpp

#ifndef LOGLINEAR_DETAIL_BASE_TEXT_HPP
#define LOGLINEAR_DETAIL_BASE_TEXT_HPP

// Messages put together from words and numbers, the same under every locale.

namespace loglinear::detail {

template <class Scalar>
[[nodiscard]] double to_double(const Scalar& value);  // in types.hpp

#ifdef __cpp_exceptions
using TextStorage = std::string;
#else
/// A string of at most 511 characters, the rest is lost: where exceptions are off a message takes
/// no heap, and no code that throws.
class TextStorage {
 public:
  void append(std::string_view text) {
    for (const char c : text) {
      if (size_ + 1 < characters_.size()) characters_[size_++] = c;
    }
  }
  [[nodiscard]] const char* c_str() const { return characters_.data(); }
  [[nodiscard]] operator std::string_view() const { return {characters_.data(), size_}; }

 private:
  std::array<char, 512> characters_{};
  std::size_t size_ = 0;
};
#endif

/// One part of a message: words, an integer or another number. It refers to the words.
class TextPart {
 public:
  template <class Value>
  TextPart(const Value& value) {  // NOLINT(google-explicit-constructor)
    if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
      words_ = static_cast<std::string_view>(value);
    } else if constexpr (std::is_integral_v<Value>) {
      sort_ = value < 0 ? Sort::negative : Sort::natural;
      integer_ =
          value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
    } else if constexpr (std::is_same_v<Value, float>) {
      sort_ = Sort::single;
      number_ = static_cast<double>(value);
    } else {
      sort_ = Sort::number;
      number_ = to_double(value);
    }
  }

  void append_to(TextStorage& storage) const {
    if (sort_ == Sort::words) {
      storage.append(words_);
    } else if (sort_ == Sort::number) {
      storage.append(Decimal(number_).text());
    } else if (sort_ == Sort::single) {
      storage.append(Decimal(static_cast<float>(number_)).text());
    } else {
      if (sort_ == Sort::negative) storage.append("-");
      std::array<char, 24> digits;
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), integer_).ptr;
      storage.append({digits.data(), static_cast<std::size_t>(end - digits.data())});
    }
  }

 private:
  enum class Sort { words, natural, negative, single, number };

  std::string_view words_{};
  std::uint64_t integer_ = 0;
  double number_ = 0;
  Sort sort_ = Sort::words;
};

/// Its parts one after the other: `Text("at most ", n, " tokens")`. Numbers are written in the
/// shortest way that reads back as the same number.
class Text {
 public:
  template <class... Parts>
  explicit Text(const Parts&... parts)
      : Text(std::initializer_list<TextPart>{TextPart(parts)...}) {}
  explicit Text(std::initializer_list<TextPart> parts) {
    for (const TextPart& part : parts) part.append_to(storage_);
  }

  [[nodiscard]] const char* c_str() const { return storage_.c_str(); }
  [[nodiscard]] operator std::string_view() const { return storage_; }

 private:
  TextStorage storage_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_TEXT_HPP

// ---- loglinear/detail/base/fail.hpp

#ifndef LOGLINEAR_DETAIL_BASE_FAIL_HPP
#define LOGLINEAR_DETAIL_BASE_FAIL_HPP

// How an argument is refused. Needs no Eigen, and no streams, locales or heap where exceptions are
// off.

namespace loglinear::detail {

#ifndef __cpp_exceptions
/// Stands for std::invalid_argument where exceptions are off, for that brings 70 KB of code along.
class InvalidArgument final : public std::exception {
 public:
  explicit InvalidArgument(const Text& text) : text_(text) {}
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  Text text_;
};
#endif

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_with(
    std::string_view argument, const TextPart& value, std::initializer_list<TextPart> legal) {
  const Text text("loglinear: ", argument, " is ", Text{value}, "; it must be ", Text(legal));
#ifdef __cpp_exceptions
  raise(std::invalid_argument(text.c_str()));
#else
  raise(InvalidArgument(text));
#endif
}

/// Raises std::invalid_argument: "<argument> is <value>; it must be <legal>". What is legal may
/// come in parts, words and numbers.
template <class Value, class... Legal>
[[noreturn, gnu::cold, gnu::noinline]] void fail(std::string_view argument, const Value& value,
                                                 const Legal&... legal) {
  fail_with(argument, value, {TextPart(legal)...});
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_FAIL_HPP

// ---- loglinear/fenwick.hpp

#ifndef LOGLINEAR_FENWICK_HPP
#define LOGLINEAR_FENWICK_HPP

/// \file
/// Level arithmetic: which power-of-two bucket of the past holds which token.
///
/// A stream of `count` tokens is kept like a binary counter: level l holds the bucket of 2^l
/// consecutive tokens that bit l of `count` stands for (Guo et al., arXiv:2506.04761, section 2).
/// With `max_levels` levels everything older folds into the last one. All functions are constexpr
/// and need no Eigen. They throw std::invalid_argument unless `max_levels` is 1 to 64 and a level
/// is one of those, and do not allocate otherwise; in a constant expression that is an error of the
/// compiler.

namespace loglinear {

/// The most levels a hierarchy can have: one for each bit of a 64-bit token count.
inline constexpr int max_level_limit = 64;

namespace detail {

constexpr void require_level_count(int max_levels) {
  if (max_levels < 1 || max_levels > max_level_limit) {
    fail("max_levels", max_levels, "between 1 and ", max_level_limit);
  }
}
/// `max_levels` must have been checked.
constexpr void require_level(int level, int max_levels) {
  if (level < 0 || level >= max_levels) fail("level", level, "between 0 and ", max_levels - 1);
}

}  // namespace detail

/// What the last level does with what it holds when a carry adds another bucket of
/// `2^(max_levels - 1)` tokens to it.
enum class LastLevel {
  fold,    ///< keeps it, and adds: nothing is ever lost, only resolution
  forget,  ///< drops it: the last level holds the newest such bucket alone
  halve,   ///< keeps half: a bucket counts 1, 1/2, 1/4, ... as newer ones come
};

/// The fraction of what the last level holds that is left after `carries` more buckets.
[[nodiscard]] constexpr double kept_fraction(LastLevel policy, std::uint64_t carries) noexcept {
  if (policy == LastLevel::fold || carries == 0) return 1;
  if (policy == LastLevel::forget || carries > 1074) return 0;  // 2^-1074: the smallest double
  double fraction = 1;
  for (; carries > 0; --carries) fraction /= 2;
  return fraction;
}

/// What a read at token t sees. The three orders of the field are easily confused; every layer and
/// every function here that reads names the one it uses.
enum class ReadOrder {
  /// All earlier tokens, before this token's transition: token s is at level
  /// `bit_width(t ^ s) - 1`. M levels, M weights.
  before_push,
  /// Everything after this token's transition, carry and leaf: token s is at level
  /// `bit_width((t + 1) ^ s) - 1`. M levels, M weights.
  after_push,
  /// The paper's order: the transition is applied and this token's own leaf stands apart as level
  /// 0, the buckets above it: token s is at level `bit_width(t ^ s)`. M levels, M + 1 weights.
  current_apart,
};

/// What one read order does.
struct ReadOrderInfo {
  ReadOrder order;        ///< its value
  std::string_view name;  ///< in texts
  bool reads_written;     ///< whether a read sees this token's transition, carry and leaf
  bool is_leaf_apart;     ///< whether the own leaf has a weight for itself, in front of the levels'

  /// Whether the own leaf is read where the carry takes it.
  [[nodiscard]] constexpr bool is_leaf_carried() const { return reads_written && !is_leaf_apart; }
};

/// All read orders, in the order of `ReadOrder`; a new one is its value there and its row here.
inline constexpr std::array<ReadOrderInfo, 3> read_order_table{{
    {ReadOrder::before_push, "before_push", false, false},
    {ReadOrder::after_push, "after_push", true, false},
    {ReadOrder::current_apart, "current_apart", true, true},
}};

/// The row of an order.
[[nodiscard]] constexpr const ReadOrderInfo& info_of(ReadOrder order) noexcept {
  return read_order_table[static_cast<std::size_t>(order)];
}
static_assert([] {
  for (std::size_t i = 0; i < read_order_table.size(); ++i) {
    if (read_order_table[i].order != ReadOrder(i)) return false;
  }
  return true;
}());
/// Its name in texts.
[[nodiscard]] constexpr std::string_view name_of(ReadOrder order) noexcept {
  return info_of(order).name;
}
/// The order of a name; nothing for a name that no order has.
[[nodiscard]] constexpr std::optional<ReadOrder> find_read_order(std::string_view name) noexcept {
  for (const ReadOrderInfo& row : read_order_table) {
    if (row.name == name) return row.order;
  }
  return {};
}

/// Number of level weights a read over `max_levels` levels takes: one more for `current_apart`.
[[nodiscard]] constexpr int level_weight_count(ReadOrder order, int max_levels) {
  detail::require_level_count(max_levels);
  return max_levels + (info_of(order).is_leaf_apart ? 1 : 0);
}

/// The level at which the next leaf lands when `count` tokens have been pushed:
/// `min(countr_one(count), max_levels - 1)`. All active levels below it are merged into it.
[[nodiscard]] constexpr int landed_level(std::uint64_t count, int max_levels) {
  detail::require_level_count(max_levels);
  return (std::min)(std::countr_one(count), max_levels - 1);
}

/// Bit l is set iff level l holds a bucket after `count` tokens: the bits of `count`, with the last
/// level active iff `count >= 2^(max_levels - 1)`.
[[nodiscard]] constexpr std::uint64_t active_mask(std::uint64_t count, int max_levels) {
  detail::require_level_count(max_levels);
  const std::uint64_t last = std::uint64_t{1} << (max_levels - 1);
  return (count & (last - 1)) | (count >= last ? last : 0);
}

/// Whether level `level` holds a bucket after `count` tokens.
[[nodiscard]] constexpr bool is_active_level(std::uint64_t count, int level, int max_levels) {
  const std::uint64_t mask = active_mask(count, max_levels);
  detail::require_level(level, max_levels);
  return ((mask >> level) & 1u) != 0;
}

/// Number of levels that hold a bucket after `count` tokens: the set bits of `active_mask`.
[[nodiscard]] constexpr int active_level_count(std::uint64_t count, int max_levels) {
  return std::popcount(active_mask(count, max_levels));
}

/// The fewest levels that hold `length` tokens without overflow, `floor(log2(length)) + 1`; 1 for
/// an empty stream.
[[nodiscard]] constexpr int levels_needed(std::uint64_t length) noexcept {
  return (std::max)(1, static_cast<int>(std::bit_width(length)));
}

/// The level of token `s` seen from token `t >= s` (tokens are numbered from 0), clamped to the
/// last level: `max_levels - 1`, or `max_levels` for `current_apart`. In the order `before_push`
/// a token does not see itself: `s < t` there.
[[nodiscard]] constexpr int level_of(std::uint64_t s, std::uint64_t t, ReadOrder order,
                                     int max_levels) {
  const ReadOrderInfo& info = info_of(order);
  int level = static_cast<int>(std::bit_width(t ^ s)) - 1;
  if (info.is_leaf_apart) {
    level += 1;
  } else if (info.reads_written) {
    const std::uint64_t next = t + 1;  // 2^64 wraps to 0; every token is then 64 bits away
    level = next == 0 ? max_level_limit : static_cast<int>(std::bit_width(next ^ s)) - 1;
  }
  return (std::min)(level, level_weight_count(order, max_levels) - 1);
}

/// The consecutive tokens `[first, first + size)` that one level holds.
struct Bucket {
  int level;            ///< the level that holds them
  std::uint64_t first;  ///< the oldest token
  std::uint64_t size;   ///< how many: 2^level, but for the last level, which also takes overflow
};

/// The bucket that level `level` holds after `count` tokens; its `size` is 0 when inactive.
[[nodiscard]] constexpr Bucket bucket_of(std::uint64_t count, int level, int max_levels) {
  detail::require_level_count(max_levels);
  detail::require_level(level, max_levels);
  const std::uint64_t unit = std::uint64_t{1} << level;
  if (level == max_levels - 1) return {level, 0, count & ~(unit - 1)};
  return {level, count & ~(2 * unit - 1), count & unit};
}

/// The levels that hold a bucket after `count` tokens, newest (lowest) first, for range-for:
/// `for (int level : ActiveLevels(count, max_levels))`. One step costs one bit scan.
class ActiveLevels {
 public:
  /// The levels after `count` tokens.
  constexpr ActiveLevels(std::uint64_t count, int max_levels)
      : mask_(active_mask(count, max_levels)) {}

  /// Walks the set bits of the mask upwards.
  class Iterator {
   public:
    /// At the lowest set bit of `mask`; 0 is the end.
    constexpr explicit Iterator(std::uint64_t mask) noexcept : mask_(mask) {}
    /// The level.
    constexpr int operator*() const noexcept { return std::countr_zero(mask_); }
    /// To the next level.
    constexpr Iterator& operator++() noexcept {
      mask_ &= mask_ - 1;
      return *this;
    }
    /// Whether both are at the same level of the same stream.
    constexpr bool operator==(const Iterator&) const noexcept = default;

   private:
    std::uint64_t mask_;
  };

  [[nodiscard]] constexpr Iterator begin() const noexcept { return Iterator(mask_); }  ///< newest
  [[nodiscard]] constexpr Iterator end() const noexcept { return Iterator(0); }        ///< the end

 private:
  std::uint64_t mask_;
};

/// The weight index under which a read at the next token sees the bucket now at level `level`, with
/// `count` tokens pushed: where the bucket is (`before_push`), where the carry takes it
/// (`after_push`), or one above (`current_apart`).
[[nodiscard]] constexpr int seen_level(ReadOrder order, int level, std::uint64_t count,
                                       int max_levels) {
  detail::require_level_count(max_levels);
  detail::require_level(level, max_levels);
  const ReadOrderInfo& info = info_of(order);
  if (info.is_leaf_apart) return level + 1;
  return info.reads_written ? (std::max)(level, landed_level(count, max_levels)) : level;
}

/// The weight index under which a read at the next token sees that token's own leaf, or -1 where
/// it does not (`before_push`).
[[nodiscard]] constexpr int seen_leaf_level(ReadOrder order, std::uint64_t count, int max_levels) {
  detail::require_level_count(max_levels);
  const ReadOrderInfo& info = info_of(order);
  if (!info.reads_written) return -1;
  return info.is_leaf_apart ? 0 : landed_level(count, max_levels);
}

}  // namespace loglinear

#endif  // LOGLINEAR_FENWICK_HPP

// ---- loglinear/chunks/chunk.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_HPP
#define LOGLINEAR_CHUNKS_CHUNK_HPP

// The tokens of one chunk, and where they come from. The chunkwise algorithm sees nothing else: it
// is compiled once a scalar, whatever rule or interface fills the chunks.

namespace loglinear::detail {

/// When the rows of an array happen within a chunk: `rows` of them at moment `first`, as many
/// `stride` moments later, and so on. A query sees what was written up to and including its moment.
struct Moments {
  Index first = 0, stride = 1, rows = 1;

  [[nodiscard]] Index operator[](Index i) const { return first + i / rows * stride; }
  /// How many of `count` rows lie before `moment`.
  [[nodiscard]] Index count_before(Index moment, Index count) const {
    return moment <= first ? 0 : (std::min)(count, ((moment - 1 - first) / stride + 1) * rows);
  }
  /// How many of `count` rows lie at or before `moment`.
  [[nodiscard]] Index count_until(Index moment, Index count) const {
    return count_before(moment + 1, count);
  }
  /// Whether row i happens at moment `first + i`.
  [[nodiscard]] bool is_dense() const { return stride == 1 && rows == 1; }
};

/// The transition of a token, taken apart: an optional decay of every value column, and `steps`
/// updates `D_j - u_j p_j^T` one after the other, or one decay D alone where `steps` is 0.
struct SequenceShape {
  Index d_k = 0, d_v = 0;
  Index leaves = 1;            // keys and values a token writes
  Index steps = 0;             // rank-one updates a token
  Index decays = 0;            // coefficients of each D: 0 for D = I, 1, or d_k
  bool decays_values = false;  // whether value columns decay too
  bool is_delta = false;       // whether leaf j is written right after update j, and u_j is its key
  ReadOrder order = ReadOrder::current_apart;

  /// Moments a token takes: one an update.
  [[nodiscard]] Index moments() const { return (std::max)(steps, Index{1}); }

  [[nodiscard]] Moments queries_at() const {
    return {info_of(order).reads_written ? moments() - 1 : -1, moments()};
  }
  [[nodiscard]] Moments leaves_at() const {
    return is_delta ? Moments{0, 1} : Moments{moments() - 1, moments(), leaves};
  }
  [[nodiscard]] static Moments lookups_at() { return {-1, 1}; }  // p^T S of the state before
  [[nodiscard]] static Moments removals_at() { return {0, 1}; }
};

/// The rows of a matrix where they are.
template <class Rows>
[[nodiscard]] RowsView<typename Rows::Scalar> view_of(const Rows& rows) {
  static_assert(Rows::IsRowMajor);
  return {rows.data(), rows.rows(), rows.cols(), Eigen::OuterStride<>(rows.outerStride())};
}

/// The same to be written to.
template <class Scalar>
using RowsTarget = Eigen::Map<RowMajorMatrix<Scalar>, Eigen::Unaligned, Eigen::OuterStride<>>;
template <class Rows>
[[nodiscard]] RowsTarget<typename std::remove_cvref_t<Rows>::Scalar> target_of(Rows&& rows) {
  static_assert(std::remove_cvref_t<Rows>::IsRowMajor);
  return {rows.data(), rows.rows(), rows.cols(), Eigen::OuterStride<>(rows.outerStride())};
}

/// Up to `capacity` consecutive tokens, a row each (`leaves` or `moments` rows where said so); or
/// the gradient with respect to them, with decays as logarithms.
template <class Scalar>
struct Chunk {
  Chunk(const SequenceShape& shape, Index capacity, Index weights)
      : q(capacity, shape.d_k),
        k(capacity * shape.leaves, shape.d_k),
        v(capacity * shape.leaves, shape.d_v),
        decay(shape.decays > 0 ? capacity * shape.moments() : 0, shape.decays),
        value_decay(shape.decays_values ? capacity : 0, shape.d_v),
        u(shape.is_delta ? 0 : capacity * shape.steps, shape.d_k),
        p(capacity * shape.steps, shape.d_k),
        lambda(capacity, weights),
        out(capacity, shape.d_v) {}

  RowMajorMatrix<Scalar> q;            // queries
  RowMajorMatrix<Scalar> k, v;         // leaves
  RowMajorMatrix<Scalar> decay;        // of each moment
  RowMajorMatrix<Scalar> value_decay;  // of each token
  RowMajorMatrix<Scalar> u, p;         // of each moment; u is k for delta rules
  RowMajorMatrix<Scalar> lambda;       // level weights
  RowMajorMatrix<Scalar> out;          // reads
  Index tokens = 0;                    // of the capacity, those in use

  /// The queries, leaves and level weights in use: those above, or where the source has them.
  struct Views {
    ConstRowBlock<Scalar> q{}, k{}, v{}, lambda{};
  };
  [[nodiscard]] Views own_views() const {
    const Index rows = own_rows();
    return {block_of(q).topRows(tokens), block_of(k).topRows(rows), block_of(v).topRows(rows),
            block_of(lambda).topRows(tokens)};
  }

  /// For a gradient: where those of the queries and leaves are to be written, and where that of the
  /// reads is.
  struct Targets {
    RowBlock<Scalar> q{}, k{}, v{};
    ConstRowBlock<Scalar> out{};
  };
  [[nodiscard]] Targets own_targets(const ConstRowBlock<Scalar>& d_out) {
    const Index rows = own_rows();
    return {writable_block_of(q).topRows(tokens), writable_block_of(k).topRows(rows),
            writable_block_of(v).topRows(rows), d_out};
  }

 private:
  /// Rows of k and v in use.
  [[nodiscard]] Index own_rows() const {
    return tokens * (q.rows() == 0 ? 1 : k.rows() / q.rows());
  }
};

/// Fills chunks and takes what was computed from them.
template <class Scalar>
class TokenSource {
 public:
  virtual ~TokenSource() = default;
  [[nodiscard]] virtual SequenceShape shape() const = 0;
  [[nodiscard]] virtual Index length() const = 0;
  /// Whether `load` and `take_out` may be called for different chunks at the same time.
  [[nodiscard]] virtual bool is_concurrent() const { return false; }
  /// Fills everything but `out` with the tokens from `first` on, `chunk.tokens` of them; q, k, v
  /// and lambda need not be filled where the result says where else they are.
  virtual typename Chunk<Scalar>::Views load(Index first, Chunk<Scalar>& chunk) = 0;
  /// Takes `chunk.out`.
  virtual void take_out(Index first, const Chunk<Scalar>& chunk) = 0;
  /// Says where the gradient with respect to `out` is, and where those of q, k and v are to be
  /// written: in `gradient` or elsewhere. `chunk` is loaded.
  virtual typename Chunk<Scalar>::Targets open_gradient(Index first, const Chunk<Scalar>& chunk,
                                                        Chunk<Scalar>& gradient) = 0;
  /// Takes what has been written, and everything else in `gradient`; the last such call for these
  /// tokens.
  virtual void take_gradient(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_HPP

// ---- loglinear/detail/base/narrow_bits.hpp

#ifndef LOGLINEAR_DETAIL_BASE_NARROW_BITS_HPP
#define LOGLINEAR_DETAIL_BASE_NARROW_BITS_HPP

// A whole packet of float from as many half or bfloat16 numbers, and back: rounded to nearest, ties
// to even, infinite what is too large, NaN what is NaN. Bits do not depend on whether the processor
// flushes denormal numbers (FTZ, DAZ): a denormal half is a normal float, and these formulas never
// let a denormal float meet arithmetic; bfloat16 numbers are moved as integers.
//
// Half numbers take one instruction where there is F16C or AVX-512. Everything else is shifts,
// masks and sums in the vector extension of GCC and Clang, on every instruction set.

#if defined(__GNUC__) && defined(EIGEN_VECTORIZE_AVX512)
#  include <immintrin.h>
#  define LOGLINEAR_HALF_INSTRUCTIONS 16  // numbers that one instruction widens or rounds
#elif defined(__GNUC__) && defined(EIGEN_VECTORIZE_AVX) && defined(__F16C__)
#  include <immintrin.h>
#  define LOGLINEAR_HALF_INSTRUCTIONS 8
#else
#  define LOGLINEAR_HALF_INSTRUCTIONS 0
#endif

namespace loglinear::detail {

template <class Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;
template <class Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

/// Whether the functions below exist.
inline constexpr bool converts_packets =
#if defined(__GNUC__)
    packet_size<float> > 1;
#else
    false;
#endif

/// Whether one instruction widens or rounds a packet of half numbers.
inline constexpr bool has_half_instructions = LOGLINEAR_HALF_INSTRUCTIONS > 0;

#if defined(__GNUC__)

/// `count` integers in one register, in the vector extension of GCC and Clang.
template <class Integer, int count>
struct VectorOf {
  typedef Integer Type __attribute__((vector_size(count * sizeof(Integer))));
};
using Words = VectorOf<std::uint32_t, static_cast<int>(packet_size<float>)>::Type;
using SignedWords = VectorOf<std::int32_t, static_cast<int>(packet_size<float>)>::Type;
using NarrowWords = VectorOf<std::uint16_t, static_cast<int>(packet_size<float>)>::Type;

/// Where a < b, of words below 2^31.
[[nodiscard]] inline SignedWords is_less(const Words& a, const Words& b) {
  return std::bit_cast<SignedWords>(a) < std::bit_cast<SignedWords>(b);
}

/// The float numbers of half ones whose signs are in place, and whose exponents and fractions are
/// where those of a float are.
[[nodiscard]] inline Packet<float> widen_half(const Words& sign, const Words& magnitude) {
  namespace ei = Eigen::internal;
  using P = Packet<float>;
  // 2^112 x for normal numbers, and infinity and NaN for what they are. A denormal number
  // m 2^-24 now is y = 2^97 + m 2^87, but should be 2 y - 2^98.
  const P y = std::bit_cast<P>(magnitude | (224u << 23));
  const P excess = ei::pmin(ei::psub(y, ei::pset1<P>(0x1p98F)), ei::pset1<P>(0.0F));
  const P x = ei::pmul(ei::padd(y, excess), ei::pset1<P>(0x1p-112F));
  return std::bit_cast<P>(std::bit_cast<Words>(x) | sign);
}

/// The half numbers of float ones, in the lower bits of words.
[[nodiscard]] inline Words round_to_half(const Packet<float>& x) {
  namespace ei = Eigen::internal;
  using P = Packet<float>;
  const Words bits = std::bit_cast<Words>(x);
  const Words magnitude = bits & 0x7FFFFFFFu, sign = (bits ^ magnitude) >> 16;
  // Infinity and NaN are taken for 2^16, which becomes infinity.
  const Words limit = Words{} + 0x47800000u;
  const Words finite = is_less(limit, magnitude) ? limit : magnitude;
  const Words normal = (finite - (112u << 23) + 0xFFFu + ((finite >> 13) & 1u)) >> 13;
  // The last digit of 1/2 + x is that of a denormal half.
  const Words sum = std::bit_cast<Words>(ei::padd(std::bit_cast<P>(finite), ei::pset1<P>(0.5F)));
  const Words denormal = sum - (126u << 23);
  const Words nan = is_less(Words{} + 0x7F800000u, magnitude) ? Words{} + 0x200u : Words{};
  return (is_less(finite, Words{} + (113u << 23)) ? denormal : normal) | nan | sign;
}

/// The bfloat16 numbers of float ones, in the lower bits of words.
[[nodiscard]] inline Words round_to_bfloat16(const Packet<float>& x) {
  const Words bits = std::bit_cast<Words>(x);
  const Words rounded = bits + 0x7FFFu + ((bits >> 16) & 1u);
  const SignedWords is_nan = is_less(Words{} + 0x7F800000u, bits & 0x7FFFFFFFu);
  return (is_nan ? bits | 0x400000u : rounded) >> 16;
}

/// A packet from consecutive narrow numbers.
[[nodiscard]] inline Packet<float> widen_packet(const Eigen::bfloat16* from) {
  NarrowWords narrow;
  std::memcpy(&narrow, static_cast<const void*>(from), sizeof narrow);
  return std::bit_cast<Packet<float>>(__builtin_convertvector(narrow, Words) << 16);
}
[[nodiscard]] inline Packet<float> widen_packet(const Eigen::half* from) {
#  if LOGLINEAR_HALF_INSTRUCTIONS == 16
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#  elif LOGLINEAR_HALF_INSTRUCTIONS == 8
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#  else
  NarrowWords narrow;
  std::memcpy(&narrow, static_cast<const void*>(from), sizeof narrow);
  const Words bits = __builtin_convertvector(narrow, Words);
  return widen_half((bits << 16) & 0x80000000u, (bits << 13) & 0x0FFFE000u);
#  endif
}

/// Consecutive narrow numbers from a packet, rounded.
inline void round_packet(Eigen::bfloat16* to, const Packet<float>& packet) {
  const NarrowWords narrow = __builtin_convertvector(round_to_bfloat16(packet), NarrowWords);
  std::memcpy(static_cast<void*>(to), &narrow, sizeof narrow);
}
inline void round_packet(Eigen::half* to, const Packet<float>& packet) {
#  if LOGLINEAR_HALF_INSTRUCTIONS == 16
  // With all lanes named: without optimisation GCC 12's _mm512_cvtps_ph warns of a sign.
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_maskz_cvtps_ph(__mmask16{0xFFFF}, packet, _MM_FROUND_TO_NEAREST_INT));
#  elif LOGLINEAR_HALF_INSTRUCTIONS == 8
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm256_cvtps_ph(packet, _MM_FROUND_TO_NEAREST_INT));
#  else
  const NarrowWords narrow = __builtin_convertvector(round_to_half(packet), NarrowWords);
  std::memcpy(static_cast<void*>(to), &narrow, sizeof narrow);
#  endif
}

/// Two packets of the numbers in one register, the even ones and the odd ones: a shift and a mask
/// each, where consecutive ones would have to be spread over two registers.
inline void widen_pair(const Eigen::bfloat16* from, Packet<float>& even, Packet<float>& odd) {
  Words words;
  std::memcpy(&words, static_cast<const void*>(from), sizeof words);
  even = std::bit_cast<Packet<float>>(words << 16);
  odd = std::bit_cast<Packet<float>>(words & 0xFFFF0000u);
}
inline void widen_pair(const Eigen::half* from, Packet<float>& even, Packet<float>& odd) {
  Words words;
  std::memcpy(&words, static_cast<const void*>(from), sizeof words);
  even = widen_half((words << 16) & 0x80000000u, (words << 13) & 0x0FFFE000u);
  odd = widen_half(words & 0x80000000u, (words >> 3) & 0x0FFFE000u);
}

#endif

}  // namespace loglinear::detail

#undef LOGLINEAR_HALF_INSTRUCTIONS

#endif  // LOGLINEAR_DETAIL_BASE_NARROW_BITS_HPP

// ---- loglinear/detail/base/narrow.hpp

#ifndef LOGLINEAR_DETAIL_BASE_NARROW_HPP
#define LOGLINEAR_DETAIL_BASE_NARROW_HPP

// Numbers that are stored narrower than they are computed with: bfloat16 and half in memory, float
// in registers. Everything else is stored as it is.

namespace loglinear::detail {

template <class Stored>
inline constexpr bool is_narrow =
    std::is_same_v<Stored, Eigen::bfloat16> || std::is_same_v<Stored, Eigen::half>;

/// What numbers stored as `Stored` are computed with.
template <class Stored>
using Accumulator = std::conditional_t<is_narrow<Stored>, float, Stored>;

/// Numbers in a packet, as the size of an array.
template <class Scalar>
inline constexpr auto packet_length = static_cast<std::size_t>(packet_size<Scalar>);
/// Packets of columns that fit in half of the registers.
template <class Scalar>
inline constexpr int widest_block =
    Eigen::internal::gebp_traits<Scalar, Scalar>::NumberOfRegisters >= 32 ? 16 : 8;

/// A packet of consecutive numbers, widened.
template <class Scalar, class Stored>
[[nodiscard]] inline Packet<Scalar> load(const Stored* from) {
  namespace ei = Eigen::internal;
  if constexpr (!is_narrow<Stored>) {
    return ei::ploadu<Packet<Scalar>>(from);
  } else if constexpr (converts_packets) {
    return widen_packet(from);
  } else {
    alignas(64) Scalar wide[packet_length<Scalar>];
    for (Index i = 0; i < packet_size<Scalar>; ++i) wide[i] = static_cast<Scalar>(from[i]);
    return ei::pload<Packet<Scalar>>(wide);
  }
}

/// Stores a packet, rounded to nearest.
template <class Scalar, class Stored>
inline void store(Stored* to, const Packet<Scalar>& packet) {
  namespace ei = Eigen::internal;
  if constexpr (!is_narrow<Stored>) {
    ei::pstoreu(to, packet);
  } else if constexpr (converts_packets) {
    round_packet(to, packet);
  } else {
    alignas(64) Scalar wide[packet_length<Scalar>];
    ei::pstore(wide, packet);
    for (Index i = 0; i < packet_size<Scalar>; ++i) to[i] = static_cast<Stored>(wide[i]);
  }
}

/// to[j] = from[j], widened or rounded. The last packet may overlap the one before it.
template <class From, class To>
void convert(const From* from, Index size, To* to) {
  using Scalar = Accumulator<To>;
  constexpr Index width = packet_size<Scalar>;
  if (size >= width) {
    for (Index j = 0; j + width < size; j += width) store<Scalar>(to + j, load<Scalar>(from + j));
    store<Scalar>(to + size - width, load<Scalar>(from + size - width));
  } else {
    From some[packet_length<Scalar>] = {};
    To converted[packet_length<Scalar>];
    std::copy_n(from, size, some);
    store<Scalar>(converted, load<Scalar>(some));
    std::copy_n(converted, size, to);
  }
}

/// The numbers of a row from `first` on, which are fewer than a packet: where they lie, or widened
/// in `buffer`.
template <class Scalar, class Stored>
[[nodiscard]] inline const Scalar* wide_rest(const Stored* row, Index first, Index columns,
                                             Scalar (&buffer)[packet_length<Scalar>]) {
  constexpr Index width = packet_size<Scalar>;
  if constexpr (!is_narrow<Stored>) {
    return row + first;
  } else if (columns >= width) {
    Eigen::internal::pstoreu(buffer, load<Scalar>(row + columns - width));
    return buffer + width - (columns - first);
  } else {
    convert(row + first, columns - first, buffer);
    return buffer;
  }
}

// Two narrow numbers lie in a word, from which shifts and masks widen them where no instruction
// does; but then the even ones come in one packet and the odd ones in another. That is no matter as
// long as everything that meets them is in the same order.
//
// These functions are always inlined: sums whose address goes to a call leave their registers.

/// Whether N packets come in pairs of even and odd numbers.
template <class Stored, std::size_t N>
inline constexpr bool comes_in_pairs =
    is_narrow<Stored>&& converts_packets&& N % 2 == 0 &&
    !(std::is_same_v<Stored, Eigen::half> && has_half_instructions) &&
    std::endian::native == std::endian::little;

/// Calls `use(n, packet)` for N packets of consecutive numbers, widened, perhaps in pairs.
template <class Scalar, std::size_t N, class Stored, class Use>
[[gnu::always_inline]] inline void for_each_packet(const Stored* from, Use use) {
  constexpr std::size_t width = packet_length<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    for (std::size_t n = 0; n < N; n += 2) {
      Packet<Scalar> even, odd;
      widen_pair(from + n * width, even, odd);
      use(n, even);
      use(n + 1, odd);
    }
  } else {
    for (std::size_t n = 0; n < N; ++n) use(n, load<Scalar>(from + n * width));
  }
}

/// N packets of consecutive numbers in the order in which `for_each_packet` brings those of
/// `Stored`.
template <class Stored, std::size_t N, class Scalar>
[[gnu::always_inline]] inline void load_in_order_of(const Scalar* from,
                                                    Packet<Scalar> (&packets)[N]) {
  namespace ei = Eigen::internal;
  constexpr std::size_t width = packet_length<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    alignas(64) Scalar even[width], odd[width];
    for (std::size_t n = 0; n < N; n += 2, from += 2 * width) {
      for (std::size_t i = 0; i < width; ++i) {
        even[i] = from[2 * i];
        odd[i] = from[2 * i + 1];
      }
      packets[n] = ei::pload<Packet<Scalar>>(even);
      packets[n + 1] = ei::pload<Packet<Scalar>>(odd);
    }
  } else {
    for (std::size_t n = 0; n < N; ++n) packets[n] = ei::ploadu<Packet<Scalar>>(from + n * width);
  }
}

/// Stores packets that are in that order as consecutive numbers.
template <class Stored, std::size_t N, class Scalar>
[[gnu::always_inline]] inline void store_from_order_of(Scalar* to,
                                                       const Packet<Scalar> (&packets)[N]) {
  namespace ei = Eigen::internal;
  constexpr std::size_t width = packet_length<Scalar>;
  if constexpr (comes_in_pairs<Stored, N>) {
    alignas(64) Scalar even[width], odd[width];
    for (std::size_t n = 0; n < N; n += 2, to += 2 * width) {
      ei::pstore(even, packets[n]);
      ei::pstore(odd, packets[n + 1]);
      for (std::size_t i = 0; i < width; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
      }
    }
  } else {
    for (std::size_t n = 0; n < N; ++n) ei::pstoreu(to + n * width, packets[n]);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_NARROW_HPP

// ---- loglinear/detail/kernels/vectors.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_VECTORS_HPP
#define LOGLINEAR_DETAIL_KERNELS_VECTORS_HPP

// Arithmetic on vectors that lie in memory, given by a pointer and a length. An Eigen expression
// says the same, but each one is some forty types of its own to the compiler, and a rule has
// hundreds: here a compiler sees each function once for each scalar.
//
// Vectors may be empty, and may be the same one where the comment does not say otherwise.

namespace loglinear::detail {

/// to[i] = of_packet(i), or of_number(i) for those at the end that fill no packet.
template <class Scalar, class OfPacket, class OfNumber>
void fill_by_packets(Scalar* to, Index size, OfPacket of_packet, OfNumber of_number) {
  constexpr Index width = packet_size<Scalar>;
  Index i = 0;
  for (; i + width <= size; i += width) Eigen::internal::pstoreu(to + i, of_packet(i));
  for (; i < size; ++i) to[i] = of_number(i);
}

/// x . y
template <class Scalar>
[[nodiscard]] Scalar dot(const Scalar* x, const Scalar* y, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const auto product = [&](Index i) {
    return ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i));
  };
  Scalar sum(0);
  Index i = 0;
  if (size >= width) {
    P even = product(0);
    i = width;
    if (size >= 2 * width) {
      P odd = product(width);
      for (i = 2 * width; i + 2 * width <= size; i += 2 * width) {
        even = ei::pmadd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i), even);
        odd = ei::pmadd(ei::ploadu<P>(x + i + width), ei::ploadu<P>(y + i + width), odd);
      }
      even = ei::padd(even, odd);
      if (i + width <= size) {
        even = ei::pmadd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i), even);
        i += width;
      }
    }
    sum = ei::predux(even);
  }
  for (; i < size; ++i) sum += x[i] * y[i];
  return sum;
}

/// sum_i x_i y_i z_i
template <class Scalar>
[[nodiscard]] Scalar dot(const Scalar* x, const Scalar* y, const Scalar* z, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const auto product = [&](Index i) {
    return ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i));
  };
  Scalar sum(0);
  Index i = 0;
  if (size >= width) {
    P sums = ei::pmul(product(0), ei::ploadu<P>(z));
    for (i = width; i + width <= size; i += width) {
      sums = ei::pmadd(product(i), ei::ploadu<P>(z + i), sums);
    }
    sum = ei::predux(sums);
  }
  for (; i < size; ++i) sum += x[i] * y[i] * z[i];
  return sum;
}

/// The sum of the numbers.
template <class Scalar>
[[nodiscard]] Scalar sum(const Scalar* x, Index size) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  Scalar sum(0);
  Index i = 0;
  if (size >= width) {
    P packets = ei::ploadu<P>(x);
    for (i = width; i + width <= size; i += width)
      packets = ei::padd(packets, ei::ploadu<P>(x + i));
    sum = ei::predux(packets);
  }
  for (; i < size; ++i) sum += x[i];
  return sum;
}

/// y = a x
template <class Scalar>
void scale_to(const Scalar& a, const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      y, size, [&](Index i) { return ei::pmul(factor, ei::ploadu<P>(x + i)); },
      [&](Index i) { return a * x[i]; });
}

/// x = a x
template <class Scalar>
void scale_by(const Scalar& a, Scalar* x, Index size) {
  scale_to(a, x, size, x);
}

/// y = y + a x
template <class Scalar>
void axpy(const Scalar& a, const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      y, size,
      [&](Index i) { return ei::pmadd(factor, ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return y[i] + a * x[i]; });
}

/// z = x + y
template <class Scalar>
void add(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size, [&](Index i) { return ei::padd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return x[i] + y[i]; });
}

/// z = x - y
template <class Scalar>
void subtract(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size, [&](Index i) { return ei::psub(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return x[i] - y[i]; });
}

/// z_i = x_i y_i
template <class Scalar>
void multiply(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size, [&](Index i) { return ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)); },
      [&](Index i) { return x[i] * y[i]; });
}

/// z_i = z_i + x_i y_i
template <class Scalar>
void add_product(const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  fill_by_packets(
      z, size,
      [&](Index i) {
        return ei::pmadd(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i), ei::ploadu<P>(z + i));
      },
      [&](Index i) { return z[i] + x[i] * y[i]; });
}

/// z_i = a x_i y_i
template <class Scalar>
void scaled_product(const Scalar& a, const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      z, size,
      [&](Index i) {
        return ei::pmul(factor, ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)));
      },
      [&](Index i) { return a * (x[i] * y[i]); });
}

/// z_i = z_i + a x_i y_i
template <class Scalar>
void add_scaled_product(const Scalar& a, const Scalar* x, const Scalar* y, Index size, Scalar* z) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P factor = ei::pset1<P>(a);
  fill_by_packets(
      z, size,
      [&](Index i) {
        return ei::pmadd(factor, ei::pmul(ei::ploadu<P>(x + i), ei::ploadu<P>(y + i)),
                         ei::ploadu<P>(z + i));
      },
      [&](Index i) { return z[i] + a * (x[i] * y[i]); });
}

/// y = x, which do not overlap.
template <class Scalar>
void copy(const Scalar* x, Index size, Scalar* y) {
  std::copy_n(x, size, y);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_VECTORS_HPP

// ---- loglinear/chunks/halves.hpp

#ifndef LOGLINEAR_CHUNKS_HALVES_HPP
#define LOGLINEAR_CHUNKS_HALVES_HPP

// Vector decays between pairs of rows. D(b+1..a) does not split into a part of b and a part of a
// over a whole chunk: it would be a quotient of cumulative products. Between the two halves of a
// stretch of moments it does: D passes through the middle, and both parts are products. The rows of
// the later half meet those of the earlier half in one matrix product; each half is then a stretch
// of its own, and the shortest stretches are summed directly.

namespace loglinear::detail {

/// Consecutive rows.
struct RowRange {
  Index first, size;
};
/// The rows, of `count`, that happen in [low, high).
[[nodiscard]] inline RowRange rows_between(Moments m, Index low, Index high, Index count) {
  const Index first = m.count_before(low, count);
  return {first, m.count_before(high, count) - first};
}

inline constexpr Index shortest_stretch = 8;

/// Halves [low, high): `between(low, middle, high)` for each pair of halves, `direct(low, high)`
/// for each stretch that is short enough.
template <class Direct, class Between>
void visit_halves(Index low, Index high, Direct direct, Between between) {
  if (high - low <= shortest_stretch) return direct(low, high);
  const auto half = std::bit_ceil(static_cast<std::uint64_t>(high - low)) / 2;
  const Index middle = low + static_cast<Index>(half);
  between(low, middle, high);
  visit_halves(low, middle, direct, between);
  visit_halves(middle, high, direct, between);
}

/// The two parts of the decays between the halves of a stretch.
template <class Scalar>
class HalfDecays {
 public:
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  HalfDecays(Index moments, Index columns)
      : columns_(columns), later_(moments, columns), earlier_(moments, columns) {}

  void prepare(const ConstBlock& decay, Index low, Index middle, Index high) {
    low_ = low;
    middle_ = middle;
    const Block later(later_), earlier(earlier_);
    copy(decay.row(middle), columns_, later.row(0));
    for (Index m = middle + 1; m < high; ++m) {
      multiply(later.row(m - middle - 1), decay.row(m), columns_, later.row(m - middle));
    }
    std::fill_n(earlier.row(middle - 1 - low), columns_, Scalar(1));
    for (Index m = middle - 1; m > low; --m) {
      multiply(earlier.row(m - low), decay.row(m), columns_, earlier.row(m - 1 - low));
    }
  }
  /// D(middle..a) for a in the later half.
  [[nodiscard]] const Scalar* later(Index a) const {
    return later_.data() + (a - middle_) * columns_;
  }
  /// D(b+1..middle-1) for b in the earlier half.
  [[nodiscard]] const Scalar* earlier(Index b) const {
    return earlier_.data() + (b - low_) * columns_;
  }

  /// Adds to the gradient of the log decays what rows x of the later half and their gradients say:
  /// row i counts for the moments from the middle up to a_i. `sum` is scratch.
  static void note_later(Moments a, RowRange rows, Index middle, Index high, const ConstBlock& x,
                         const ConstBlock& d_x, Vector<Scalar>& sum, const Block& d_log) {
    std::fill_n(sum.data(), sum.size(), Scalar(0));
    for (Index m = high - 1, i = rows.size; m >= middle; --m) {
      for (; i > 0 && a[rows.first + i - 1] == m; --i) {
        add_product(x.row(i - 1), d_x.row(i - 1), sum.size(), sum.data());
      }
      add(d_log.row(m), sum.data(), sum.size(), d_log.row(m));
    }
  }
  /// Likewise of the earlier half: row j counts for the moments after b_j.
  static void note_earlier(Moments b, RowRange rows, Index low, Index middle, const ConstBlock& x,
                           const ConstBlock& d_x, Vector<Scalar>& sum, const Block& d_log) {
    std::fill_n(sum.data(), sum.size(), Scalar(0));
    for (Index m = low + 1, j = 0; m < middle; ++m) {
      for (; j < rows.size && b[rows.first + j] < m; ++j) {
        add_product(x.row(j), d_x.row(j), sum.size(), sum.data());
      }
      add(d_log.row(m), sum.data(), sum.size(), d_log.row(m));
    }
  }

 private:
  Index columns_;
  RowMajorMatrix<Scalar> later_, earlier_;
  Index low_ = 0, middle_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_HALVES_HPP

// ---- loglinear/detail/base/resize.hpp

#ifndef LOGLINEAR_DETAIL_BASE_RESIZE_HPP
#define LOGLINEAR_DETAIL_BASE_RESIZE_HPP

// Another size for a matrix that has one. Eigen's own `resize`, and with it assignment, frees the
// old memory before it allocates the new; where that throws, the matrix would free the old memory
// once more when it is destroyed. Here it is empty by then.

namespace loglinear::detail {

/// m becomes rows x columns, or a vector of so many; what it holds is not specified.
template <class Plain, class... Sizes>
void resize(Plain& m, Sizes... sizes) {
  if ((sizes * ...) != m.size()) m.resize((Sizes{0} * sizes)...);
  m.resize(sizes...);
}

/// The same, with zeros.
template <class Plain, class... Sizes>
void set_zero(Plain& m, Sizes... sizes) {
  resize(m, sizes...);
  std::fill_n(m.data(), m.size(), typename Plain::Scalar(0));
}

/// to = from, which may have another size.
template <class Plain, class From>
void assign(Plain& to, const Eigen::MatrixBase<From>& from) {
  if (from.size() != to.size()) to.resize(from.rows() * 0, from.cols());
  to = from;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_RESIZE_HPP

// ---- loglinear/detail/base/product.hpp

#ifndef LOGLINEAR_DETAIL_BASE_PRODUCT_HPP
#define LOGLINEAR_DETAIL_BASE_PRODUCT_HPP

// Matrix products of the sequence form: operands of some 64 to 128 rows and columns that lie in the
// nearest caches, so nothing is packed. A tile of the result stays in registers while the rows of
// the right operand stream by and coefficients of the left one are broadcast from where they lie,
// which makes a transposed left operand cost the same. On Eigen's packets, so that one text serves
// every instruction set and scalar. Never parallelises, never allocates; a row's sums are formed in
// the same order whatever rows stand beside it.

namespace loglinear::detail {

/// How a product meets what is already in its result; `add_scaled` multiplies its rows first.
enum class Into { replace, add, subtract, add_scaled };

/// The left operand: coefficient (i, p) at `data + i * row + p * column`; and what the rows of the
/// product are multiplied by, for `Into::add_scaled`.
template <class Scalar>
struct LeftOperand {
  const Scalar* data;
  Index row, column;
  const Scalar* scale = nullptr;
};

/// A tile of `Rows` rows and `Packets` packets of columns: c = c0 +- sum_p a(., p) b(p, .).
template <int Rows, int Packets, class Scalar>
inline void product_tile(Into into, const LeftOperand<Scalar>& a, Index depth, const Scalar* b,
                         Index b_stride, Scalar* c, Index c_stride) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P sums[array_size(Rows)][array_size(Packets)];
  for (int i = 0; i < Rows; ++i) {
    for (int n = 0; n < Packets; ++n) sums[i][n] = ei::pset1<P>(Scalar(0));
  }
  const Scalar* column = a.data;
  for (Index p = 0; p < depth; ++p, column += a.column, b += b_stride) {
    P right[array_size(Packets)];
    for (int n = 0; n < Packets; ++n) right[n] = ei::ploadu<P>(b + n * width);
    for (int i = 0; i < Rows; ++i) {
      const P left = ei::pset1<P>(column[i * a.row]);
      for (int n = 0; n < Packets; ++n) sums[i][n] = ei::pmadd(left, right[n], sums[i][n]);
    }
  }
  for (int i = 0; i < Rows; ++i, c += c_stride) {
    for (int n = 0; n < Packets; ++n) {
      Scalar* const to = c + n * width;
      if (into == Into::add) sums[i][n] = ei::padd(ei::ploadu<P>(to), sums[i][n]);
      if (into == Into::subtract) sums[i][n] = ei::psub(ei::ploadu<P>(to), sums[i][n]);
      if (into == Into::add_scaled) {
        sums[i][n] = ei::pmadd(ei::pset1<P>(a.scale[i]), sums[i][n], ei::ploadu<P>(to));
      }
      ei::pstoreu(to, sums[i][n]);
    }
  }
}

/// All rows of one panel of `Packets` packets of columns, `Rows` at a time.
template <int Rows, int Packets, class Scalar>
void product_panel(Into into, LeftOperand<Scalar> a, Index rows, Index depth, const Scalar* b,
                   Index b_stride, Scalar* c, Index c_stride) {
  Index i = 0;
  for (; i + Rows <= rows; i += Rows) {
    product_tile<Rows, Packets>(into, a, depth, b, b_stride, c, c_stride);
    a.data += Rows * a.row;
    if (into == Into::add_scaled) a.scale += Rows;
    c += Rows * c_stride;
  }
  if constexpr (Rows > 1) {
    constexpr int fewer = Rows > 4 ? 4 : Rows / 2;
    if (i < rows) {
      product_panel<fewer, Packets>(into, a, rows - i, depth, b, b_stride, c, c_stride);
    }
  }
}

template <class Scalar>
void product_kernel(Into into, const LeftOperand<Scalar>& a, Index rows, Index depth, Index columns,
                    const Scalar* b, Index b_stride, Scalar* c, Index c_stride) {
  constexpr Index width = packet_size<Scalar>;
  // 24 sums, 4 packets of the right operand and a coefficient fill 32 registers; 12 + 2 + 1, 16.
  constexpr int wide =
      Eigen::internal::gebp_traits<Scalar, Scalar>::NumberOfRegisters >= 32 ? 4 : 2;
  Index j = 0;
  for (; j + wide * width <= columns; j += wide * width) {
    product_panel<6, wide>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
  }
  if constexpr (wide > 2) {
    for (; j + 2 * width <= columns; j += 2 * width) {
      product_panel<6, 2>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
    }
  }
  for (; j + width <= columns; j += width) {
    product_panel<6, 1>(into, a, rows, depth, b + j, b_stride, c + j, c_stride);
  }
  for (; j < columns; ++j) {
    for (Index i = 0; i < rows; ++i) {
      Scalar sum(0);
      for (Index p = 0; p < depth; ++p) {
        sum += a.data[i * a.row + p * a.column] * b[p * b_stride + j];
      }
      Scalar& to = c[i * c_stride + j];
      if (into == Into::replace) to = sum;
      if (into == Into::add) to += sum;
      if (into == Into::subtract) to -= sum;
      if (into == Into::add_scaled) to += a.scale[i] * sum;
    }
  }
}

/// `columns` rounded up to whole packets as far as there are any: a result may be computed wider
/// than it is needed, but never in single columns where packets fit.
template <class Scalar>
[[nodiscard]] constexpr Index whole_packets(Index columns, Index available) {
  constexpr Index width = 2 * packet_size<Scalar>;
  return (std::min)(available, (columns + width - 1) / width * width);
}

// A packet of Eigen's carries an alignment that GCC drops, and says so, where it is a template
// argument.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"

/// target = source^T, both row-major: in square blocks that are transposed in registers.
template <class Scalar>
void transpose_rows(const Scalar* source, Index rows, Index columns, Index source_stride,
                    Scalar* target, Index target_stride) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  Index i = 0;
  if constexpr (width > 1) {
    for (; i + width <= rows; i += width) {
      Index j = 0;
      for (; j + width <= columns; j += width) {
        ei::PacketBlock<P, static_cast<int>(width)> block;
        for (Index n = 0; n < width; ++n) {
          block.packet[n] = ei::ploadu<P>(source + (i + n) * source_stride + j);
        }
        ei::ptranspose(block);
        for (Index n = 0; n < width; ++n) {
          ei::pstoreu(target + (j + n) * target_stride + i, block.packet[n]);
        }
      }
      for (; j < columns; ++j) {
        for (Index n = i; n < i + width; ++n) {
          target[j * target_stride + n] = source[n * source_stride + j];
        }
      }
    }
  }
  for (; i < rows; ++i) {
    for (Index j = 0; j < columns; ++j) {
      target[j * target_stride + i] = source[i * source_stride + j];
    }
  }
}
#pragma GCC diagnostic pop

/// to = from^T, both row-major.
template <class From, class To>
void transpose_into(const From& from, To&& to) {
  static_assert(From::IsRowMajor && std::remove_cvref_t<To>::IsRowMajor);
  transpose_rows(from.data(), from.rows(), from.cols(), from.outerStride(), to.data(),
                 to.outerStride());
}
/// The same into a matrix that takes its size.
template <class From, class Scalar>
void transpose_into(const From& from, RowMajorMatrix<Scalar>& to) {
  resize(to, from.cols(), from.rows());
  transpose_rows(from.data(), from.rows(), from.cols(), from.outerStride(), to.data(),
                 to.outerStride());
}

/// c = a b, c += a b, c -= a b or c += diag(scale) a b. All three lie in memory; b and c are
/// row-major with contiguous rows, a may be a block, a transpose or column-major. c overlaps
/// neither a nor b.
template <Into into, class A, class B, class C>
void product(const A& a, const B& b, C&& c, const typename A::Scalar* scale = nullptr) {
  using Scalar = typename A::Scalar;
  static_assert(B::IsRowMajor && std::remove_cvref_t<C>::IsRowMajor, "b and c must be row-major");
  if (a.rows() == 0) return;
  if (a.cols() == 0) {  // b.data() may be null, to which nothing must be added
    for (Index i = 0; into == Into::replace && i < c.rows(); ++i) {
      std::fill_n(c.data() + i * c.outerStride(), c.cols(), Scalar(0));
    }
    return;
  }
  const LeftOperand<Scalar> operand{a.data(), A::IsRowMajor ? a.outerStride() : Index{1},
                                    A::IsRowMajor ? Index{1} : a.outerStride(), scale};
  product_kernel(into, operand, a.rows(), a.cols(), b.cols(), b.data(), b.outerStride(), c.data(),
                 c.outerStride());
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_PRODUCT_HPP

// ---- loglinear/chunks/gram_by_halves.hpp

#ifndef LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP
#define LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP

namespace loglinear::detail {

/// g(i, j) = x_i^T diag(D(b_j+1..a_i)) y_j with a decay of its own for every key row.
template <class Scalar>
class GramByHalves {
 public:
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  /// For up to `moments` moments and `rows` rows on either side.
  GramByHalves(Index d_k, Index moments, Index rows)
      : d_k_(d_k),
        halves_(moments, d_k),
        left_(rows, d_k),
        right_(rows, d_k),
        right_transposed_(d_k, rows),
        d_left_(rows, d_k),
        d_right_(rows, d_k),
        running_(d_k),
        sum_(d_k),
        notes_(shortest_stretch, d_k) {}

  /// Fills g, `x.rows() x y.rows()`, for moments [0, N) with the decays `decay`, N x d_k.
  void gram(const ConstBlock& decay, const ConstBlock& x, Moments a, const ConstBlock& y, Moments b,
            const Block& g) {
    g.setZero();
    visit_halves(
        0, decay.rows(),
        [&](Index low, Index high) {
          const RowRange rows = rows_between(a, low, high, x.rows());
          for (Index i = rows.first; i < rows.first + rows.size; ++i) {
            for_each_earlier(decay, a[i], low, y.rows(), b, [&](Index j, Index) {
              g(i, j) = dot(x.row(i), running_.data(), y.row(j), d_k_);
            });
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(a, middle, high, x.rows());
          const RowRange earlier = rows_between(b, low, middle, y.rows());
          meet(decay, low, middle, high, x, a, later, y, b, earlier);
          const Block transposed = Block(right_transposed_).leftCols(earlier.size);
          transpose_into(Block(right_).topRows(earlier.size), transposed);
          product<Into::replace>(ConstBlock(left_).topRows(later.size), ConstBlock(transposed),
                                 g.block(later.first, earlier.first, later.size, earlier.size));
        });
  }

  /// The pullback: adds to `d_x`, `d_y` and the gradient of the log decays.
  void pull_back(const ConstBlock& decay, const ConstBlock& x, Moments a, const ConstBlock& y,
                 Moments b, const ConstBlock& d_g, const Block& d_x, const Block& d_y,
                 const Block& d_log) {
    visit_halves(
        0, decay.rows(),
        [&](Index low, Index high) {
          const RowRange rows = rows_between(a, low, high, x.rows());
          for (Index i = rows.first; i < rows.first + rows.size; ++i) {
            pull_back_row(decay, x.row(i), a[i], low, y, b, d_g.row(i), d_x.row(i), d_y, d_log);
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(a, middle, high, x.rows());
          const RowRange earlier = rows_between(b, low, middle, y.rows());
          meet(decay, low, middle, high, x, a, later, y, b, earlier);
          const ConstBlock d_block =
              d_g.block(later.first, earlier.first, later.size, earlier.size);
          const ConstBlock left = ConstBlock(left_).topRows(later.size);
          const ConstBlock right = ConstBlock(right_).topRows(earlier.size);
          const Block d_left = Block(d_left_).topRows(later.size);
          const Block d_right = Block(d_right_).topRows(earlier.size);
          product<Into::replace>(d_block, right, d_left);
          product<Into::replace>(d_block.transpose(), left, d_right);
          halves_.note_later(a, later, middle, high, left, d_left, sum_, d_log);
          halves_.note_earlier(b, earlier, low, middle, right, d_right, sum_, d_log);
          for (Index i = 0; i < later.size; ++i) {
            const Index row = later.first + i;
            add_product(d_left.row(i), halves_.later(a[row]), d_k_, d_x.row(row));
          }
          for (Index j = 0; j < earlier.size; ++j) {
            const Index row = earlier.first + j;
            add_product(d_right.row(j), halves_.earlier(b[row]), d_k_, d_y.row(row));
          }
        });
  }

 private:
  /// The pullback of one row of g within a stretch that is summed directly.
  void pull_back_row(const ConstBlock& decay, const Scalar* x, Index a, Index low,
                     const ConstBlock& y, Moments b, const Scalar* d_g, Scalar* d_x,
                     const Block& d_y, const Block& d_log) {
    const Block notes(notes_);
    notes.setZero();
    for_each_earlier(decay, a, low, y.rows(), b, [&](Index j, Index moment) {
      add_scaled_product(d_g[j], running_.data(), y.row(j), d_k_, d_x);
      scaled_product(d_g[j], running_.data(), x, d_k_, sum_.data());
      add(d_y.row(j), sum_.data(), d_k_, d_y.row(j));
      add_product(sum_.data(), y.row(j), d_k_, notes.row(moment - low));
    });
    std::fill_n(sum_.data(), d_k_, Scalar(0));
    for (Index moment = low + 1; moment <= a; ++moment) {
      add(sum_.data(), notes.row(moment - 1 - low), d_k_, sum_.data());
      add(d_log.row(moment), sum_.data(), d_k_, d_log.row(moment));
    }
  }

  /// Calls `visit(j, b_j)` for the rows of [low, a], the newest first, with D(b_j+1..a) in
  /// `running_`.
  template <class Visit>
  void for_each_earlier(const ConstBlock& decay, Index a, Index low, Index count, Moments b,
                        Visit visit) {
    std::fill_n(running_.data(), d_k_, Scalar(1));
    for (Index moment = a; moment >= low; --moment) {
      const RowRange rows = rows_between(b, moment, moment + 1, count);
      for (Index j = rows.first; j < rows.first + rows.size; ++j) visit(j, moment);
      multiply(running_.data(), decay.row(moment), d_k_, running_.data());
    }
  }

  /// The rows of both halves as they are in the middle.
  void meet(const ConstBlock& decay, Index low, Index middle, Index high, const ConstBlock& x,
            Moments a, RowRange later, const ConstBlock& y, Moments b, RowRange earlier) {
    halves_.prepare(decay, low, middle, high);
    for (Index i = 0; i < later.size; ++i) {
      const Index row = later.first + i;
      multiply(x.row(row), halves_.later(a[row]), d_k_, left_.data() + i * d_k_);
    }
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      multiply(y.row(row), halves_.earlier(b[row]), d_k_, right_.data() + j * d_k_);
    }
  }

  Index d_k_;
  HalfDecays<Scalar> halves_;
  RowMajorMatrix<Scalar> left_, right_, right_transposed_, d_left_, d_right_;
  Vector<Scalar> running_, sum_;
  RowMajorMatrix<Scalar> notes_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_GRAM_BY_HALVES_HPP

// ---- loglinear/chunks/pairs.hpp

#ifndef LOGLINEAR_CHUNKS_PAIRS_HPP
#define LOGLINEAR_CHUNKS_PAIRS_HPP

// Products with a matrix of pairs: one row for each of what happens at moments a, a column for each
// of what happens at moments b, and only pairs with b_j <= a_i count. That is about half of them; a
// block of rows at a time, the other half is left out. Coefficients that do not count may be
// written; where they are read, they must be zero.

namespace loglinear::detail {

inline constexpr Index pair_rows = 12;

/// An operand of a product, whatever can be seen as a block; the result says the scalar.
template <class Scalar>
using Operand = std::type_identity_t<ConstRowBlock<Scalar>>;

/// Calls `visit(first row, rows, columns that the last of them sees)`.
template <class Visit>
void for_each_pair_block(Moments a, Index rows, Moments b, Index columns, Visit visit) {
  for (Index i = 0; i < rows; i += pair_rows) {
    const Index size = (std::min)(pair_rows, rows - i);
    visit(i, size, b.count_until(a[i + size - 1], columns));
  }
}

/// pairs (+-)= x y^T where they count.
template <Into into, class Scalar>
void product_to_pairs(const Operand<Scalar>& x, Moments a, const Operand<Scalar>& y_transposed,
                      Moments b, const RowBlock<Scalar>& pairs) {
  const Index columns = y_transposed.cols();
  for_each_pair_block(a, x.rows(), b, columns, [&](Index i, Index rows, Index seen) {
    const Index wide = whole_packets<Scalar>(seen, columns);
    product<into>(x.middleRows(i, rows), y_transposed.leftCols(wide),
                  pairs.block(i, 0, rows, wide));
  });
}

/// c (+-)= pairs right.
template <Into into, class Scalar>
void product_of_pairs(const Operand<Scalar>& pairs, Moments a, Moments b,
                      const Operand<Scalar>& right, const RowBlock<Scalar>& c) {
  for_each_pair_block(a, pairs.rows(), b, pairs.cols(), [&](Index i, Index rows, Index seen) {
    product<into>(pairs.block(i, 0, rows, seen), right.topRows(seen), c.middleRows(i, rows));
  });
}

/// c (+-)= pairs^T left.
template <Into into, class Scalar>
void product_of_transposed_pairs(const Operand<Scalar>& pairs, Moments a, Moments b,
                                 const Operand<Scalar>& left, const RowBlock<Scalar>& c) {
  for (Index j = 0; j < pairs.cols(); j += pair_rows) {
    const Index columns = (std::min)(pair_rows, pairs.cols() - j);
    const Index unseen = a.count_before(b[j], pairs.rows()), rows = pairs.rows() - unseen;
    product<into>(pairs.block(unseen, j, rows, columns).transpose(), left.middleRows(unseen, rows),
                  c.middleRows(j, columns));
  }
}

/// result (+-)= pairs lower, or what counts of pairs upper, where the result counts: neither
/// triangle has anything between what a row sees and what it does not.
template <Into into, class Scalar>
void product_within_pairs(const Operand<Scalar>& pairs, Moments a, Moments b,
                          const Operand<Scalar>& triangle, const RowBlock<Scalar>& result) {
  for_each_pair_block(a, pairs.rows(), b, pairs.cols(), [&](Index i, Index rows, Index seen) {
    const Index wide = whole_packets<Scalar>(seen, pairs.cols());
    product<into>(pairs.block(i, 0, rows, seen), triangle.block(0, 0, seen, wide),
                  result.block(i, 0, rows, wide));
  });
}

/// Clears the pairs that do not count.
template <class Scalar>
void clear_unseen(Moments a, Moments b, const RowBlock<Scalar>& pairs) {
  for (Index i = 0; i < pairs.rows(); ++i) {
    Scalar* const row = pairs.row(i);
    std::fill(row + b.count_until(a[i], pairs.cols()), row + pairs.cols(), Scalar(0));
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_PAIRS_HPP

// ---- loglinear/detail/kernels/row_updates.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP
#define LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP

// Rows scaled, and updates of low rank.

namespace loglinear::detail {

/// rows[j] = factor factors rows[j] - found[j] u, where factors is 1 for all if it is null.
template <class Scalar>
void update_rows(Scalar* m, Index rows, Index columns, Index stride, const Scalar& factor,
                 const Scalar* factors, const Scalar* u, const Scalar* found) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (Index j = 0; j < rows; ++j, m += stride) {
    const P minus = ei::pset1<P>(-found[j]), common = ei::pset1<P>(factor);
    Index i = 0;
    for (; i + width <= columns; i += width) {
      P old = ei::pmul(common, ei::ploadu<P>(m + i));
      if (factors != nullptr) old = ei::pmul(old, ei::ploadu<P>(factors + i));
      ei::pstoreu(m + i, ei::pmadd(minus, ei::ploadu<P>(u + i), old));
    }
    for (; i < columns; ++i) {
      m[i] *= factor;
      if (factors != nullptr) m[i] *= factors[i];
      m[i] -= found[j] * u[i];
    }
  }
}

/// A matrix of rank one: coefficient (i, j) is factor of_row[i] along[j].
template <class Scalar>
struct OuterProduct {
  const Scalar* of_row = nullptr;
  const Scalar* along = nullptr;
  Scalar factor{1};
};

/// What a matrix is multiplied by: row i by factor of_row[i], where null is 1 for all, and column j
/// by of_column[j], where that is said to be used.
template <class Scalar>
struct Scaling {
  Scalar factor{1};
  const Scalar* of_row = nullptr;
  const Scalar* of_column = nullptr;

  [[nodiscard]] Scalar row(Index i) const {
    return of_row == nullptr ? factor : Scalar(factor * of_row[i]);
  }
};

/// `step_rows` for N packets of columns from `first` on. What `Terms` outer products have along the
/// rows stays in registers; with `Terms` 0 there are `count` of them, in memory.
template <int N, int Terms, bool ScalesColumns, class Stored, class Scalar>
void step_rows_block(Stored* m, Index first, Index rows, Index stride,
                     const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms, int count) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  constexpr std::size_t held = Terms == 0 ? 1 : Terms;
  P along[held][array_size(N)], coefficients[held], sums[array_size(N)];
  for (int t = 0; t < Terms; ++t) {
    for (int n = 0; n < N; ++n) along[t][n] = ei::ploadu<P>(terms[t].along + first + n * width);
  }
  Stored* row = m + first;
  for (Index i = 0; i < rows; ++i, row += stride) {
    const P scale = ei::pset1<P>(scaling.row(i));
    const auto coefficient = [&](int t) {
      return ei::pset1<P>(Scalar(terms[t].factor * terms[t].of_row[i]));
    };
    for (int t = 0; t < Terms; ++t) coefficients[t] = coefficient(t);
    for (int n = 0; n < N; ++n) {
      P sum = ei::pmul(scale, load<Scalar>(row + n * width));
      if constexpr (ScalesColumns) {
        sum = ei::pmul(sum, ei::ploadu<P>(scaling.of_column + first + n * width));
      }
      for (int t = 0; t < Terms; ++t) sum = ei::pmadd(coefficients[t], along[t][n], sum);
      if constexpr (Terms > 0) store<Scalar>(row + n * width, sum);
      if constexpr (Terms == 0) sums[n] = sum;
    }
    if constexpr (Terms > 0) continue;
    for (int t = 0; t < count; ++t) {
      const P factor = coefficient(t);
      const Scalar* const from = terms[t].along + first;
      for (int n = 0; n < N; ++n) {
        sums[n] = ei::pmadd(factor, ei::ploadu<P>(from + n * width), sums[n]);
      }
    }
    for (int n = 0; n < N; ++n) store<Scalar>(row + n * width, sums[n]);
  }
}

template <int N, int Terms, bool ScalesColumns, class Stored, class Scalar>
void step_rows_from(Stored* m, Index first, Index rows, Index columns, Index stride,
                    const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms, int count) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    step_rows_block<N, Terms, ScalesColumns>(m, first, rows, stride, scaling, terms, count);
  }
  if constexpr (N > 1) {  // each size of block takes its time to compile
    constexpr int fewer = N > 4 ? N / 4 : 1;
    step_rows_from<fewer, Terms, ScalesColumns>(m, first, rows, columns, stride, scaling, terms,
                                                count);
  } else {
    for (Index i = 0; i < rows && first < columns; ++i, m += stride) {
      for (Index j = first; j < columns; ++j) {
        Scalar sum = scaling.row(i) * static_cast<Scalar>(m[j]);
        if constexpr (ScalesColumns) sum *= scaling.of_column[j];
        for (int t = 0; t < count; ++t) {
          sum += terms[t].factor * terms[t].of_row[i] * terms[t].along[j];
        }
        m[j] = static_cast<Stored>(sum);
      }
    }
  }
}

/// m <- scaling m + sum of the outer products, j < columns: each number is read, rounded and
/// written once. Is fastest with `Usual` outer products, 1 or 2. `ScalesColumns`: whether
/// `of_column` is used, which must not be null then.
template <int Usual, bool ScalesColumns, class Stored, class Scalar>
void step_rows(Stored* m, Index rows, Index columns, Index stride, const Scaling<Scalar>& scaling,
               const OuterProduct<Scalar>* terms, int count) {
  if constexpr (Usual > 0) {
    if (count == Usual) {
      return step_rows_from<8 / Usual, Usual, ScalesColumns>(m, Index{0}, rows, columns, stride,
                                                             scaling, terms, count);
    }
  }
  step_rows_from<4, 0, ScalesColumns>(m, Index{0}, rows, columns, stride, scaling, terms, count);
}

/// m[i][j] += c[i] v[j], j < columns: a rank-one update of a row-major matrix.
template <class Scalar>
void add_outer(Scalar* m, Index rows, Index columns, Index stride, const Scalar* c,
               const Scalar* v) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (Index i = 0; i < rows; ++i, m += stride) {
    const P factor = ei::pset1<P>(c[i]);
    Index j = 0;
    for (; j + width <= columns; j += width) {
      ei::pstoreu(m + j, ei::pmadd(factor, ei::ploadu<P>(v + j), ei::ploadu<P>(m + j)));
    }
    for (; j < columns; ++j) m[j] += c[i] * v[j];
  }
}

/// m[i][j] *= scale_of(i) of_column[j], the latter 1 for all where it is null.
template <class Stored, class Scalar, class ScaleOfRow>
void scale(Stored* m, Index rows, Index columns, Index stride, ScaleOfRow scale_of,
           const Scalar* of_column) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  for (Index i = 0; i < rows; ++i, m += stride) {
    const Scalar scale_of_row = scale_of(i);
    const P factor = ei::pset1<P>(scale_of_row);
    const auto scaled_at = [&](Index j) {
      const P scaled = ei::pmul(factor, load<Scalar>(m + j));
      return of_column == nullptr ? scaled : ei::pmul(scaled, load<Scalar>(of_column + j));
    };
    Index j = 0;
    if (columns >= width) {  // the last packet, which may overlap the one before it
      const P last = scaled_at(columns - width);
      for (; j + width < columns; j += width) store<Scalar>(m + j, scaled_at(j));
      store<Scalar>(m + columns - width, last);
      continue;
    }
    for (; j < columns; ++j) {
      Scalar scaled = scale_of_row * static_cast<Scalar>(m[j]);
      if (of_column != nullptr) scaled *= of_column[j];
      m[j] = static_cast<Stored>(scaled);
    }
  }
}

/// to[j] = c from[j], added to to[j] if `Add`: a bucket of one leaf, row by row.
template <bool Add, class Scalar>
void scaled_row(const Scalar& c, const Scalar* from, Index size, Scalar* to) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const P factor = ei::pset1<P>(c), zero = ei::pset1<P>(Scalar(0));
  Index j = 0;
  for (; j + width <= size; j += width) {
    const P old = Add ? ei::ploadu<P>(to + j) : zero;
    ei::pstoreu(to + j, ei::pmadd(factor, ei::ploadu<P>(from + j), old));
  }
  for (; j < size; ++j) to[j] = c * from[j] + (Add ? to[j] : Scalar(0));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_ROW_UPDATES_HPP

// ---- loglinear/chunks/chunk_decay.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP
#define LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP

// The diagonal decays within a chunk of N moments: D(b+1..a), the product of the decays of the
// moments after b up to a, is what something written at moment b has gone through at moment a.
// Every product is built from factors, never as a quotient, so that a decay of 0 or 1e-30 is as
// good as any other. Gradients are with respect to the logarithms of the decays and sum up terms
// without cancelling any.

namespace loglinear::detail {

template <class Scalar>
class ChunkDecay {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  /// `decays` as in SequenceShape (0, 1 or d_k), for up to `moments` moments and `rows` rows.
  ChunkDecay(Index d_k, Index decays, Index moments, Index rows)
      : per_row_(decays > 1),
        decays_(decays),
        decay_(decays > 0 ? moments : 0, decays),
        from_start_(moments + 1, decays),
        to_end_(moments, decays),
        between_(has_scalar() ? moments + 1 : 0, moments),
        right_transposed_(d_k, rows),
        halves_(d_k, per_row_ ? moments : 1, per_row_ ? rows : 1),
        d_until_(moments + 1, decays),
        d_after_(moments, decays),
        d_log_(decays > 0 ? moments : 0, decays),
        sums_(moments) {}

  /// The decays of the chunk's N moments, rows 0..N-1 x decays; those between pairs only where
  /// `gram` needs them.
  void prepare(const Matrix& decay, Index moments, bool needs_pairs) {
    moments_ = moments;
    if (decays_ == 0) return;
    copy(decay.data(), moments * decays_, decay_.data());
    const Block from_start(from_start_), to_end(to_end_);
    std::fill_n(from_start.row(0), decays_, Scalar(1));
    std::fill_n(to_end.row(moments - 1), decays_, Scalar(1));
    if (has_scalar()) return prepare_scalar(needs_pairs);
    for (Index a = 0; a < moments; ++a) {
      multiply(from_start.row(a), decays().row(a), decays_, from_start.row(a + 1));
    }
    for (Index b = moments - 1; b > 0; --b) {
      multiply(to_end.row(b), decays().row(b), decays_, to_end.row(b - 1));
    }
  }

  /// to_i = D(0..a_i) x_i: rows at moments a, as what stood before the chunk meets them.
  void decay_from_start(const ConstBlock& x, Moments a, const Block& to) const {
    scale_rows(x, from_start_, a, 1, to);
  }
  /// to_j = D(b_j+1..N-1) y_j: rows written at moments b, as they are at the end of the chunk.
  void decay_to_end(const ConstBlock& y, Moments b, const Block& to) const {
    scale_rows(y, to_end_, b, 0, to);
  }
  /// The factor of `decay_from_start` at moment a, where there is one for all rows.
  [[nodiscard]] Scalar factor_from_start(Index a) const {
    return decays_ == 0 ? Scalar(1) : from_start_(a + 1, 0);
  }
  /// Coefficient i of D(0..N-1), the decay of the whole chunk.
  [[nodiscard]] Scalar total(Index i) const {
    return decays_ == 0 ? Scalar(1) : from_start_(moments_, decays_ == 1 ? 0 : i);
  }
  /// to = D(0..N-1) s; in place where `to` is s.
  void decay_state(const Matrix& s, Matrix& to) const {
    if (decays_ == 0) {
      if (&to != &s) to = s;
      return;
    }
    resize(to, s.rows(), s.cols());
    for (Index i = 0; i < s.rows(); ++i) {
      scaled_row<false>(total(i), s.data() + i * s.cols(), s.cols(), to.data() + i * s.cols());
    }
  }

  /// g(i, j) = x_i^T D(b_j+1..a_i) y_j where b_j <= a_i, else 0.
  void gram(const ConstBlock& x, Moments a, const ConstBlock& y, Moments b, const Block& g) {
    if (per_row_) return halves_.gram(decays(), x, a, y, b, g);
    const Block transposed = Block(right_transposed_).leftCols(y.rows());
    transpose_into(y, transposed);
    product_to_pairs<Into::replace>(x, a, transposed, b, g);
    decay_pairs(g, a, b);
  }

  /// The pullback of `gram`: adds to `d_x`, `d_y` and the gradient of the decays; `d_g` is changed.
  void pull_back_gram(const ConstBlock& x, Moments a, const ConstBlock& y, Moments b,
                      const ConstBlock& g, const Block& d_g, const Block& d_x, const Block& d_y) {
    if (per_row_) return halves_.pull_back(decays(), x, a, y, b, d_g, d_x, d_y, d_log_);
    if (has_scalar()) note_pairs(g, d_g, a, b);
    decay_pairs(d_g, a, b);
    product_of_pairs<Into::add>(d_g, a, b, y, d_x);
    product_of_transposed_pairs<Into::add>(d_g, a, b, x, d_y);
  }

  /// Before the pullbacks of one chunk.
  void start_pull_back() {
    Block(d_until_).setZero();
    Block(d_after_).setZero();
    Block(d_log_).setZero();
  }
  /// The pullback of `decay_from_start`, d_x = D d_decayed, given the decayed rows.
  void pull_back_from_start(const ConstBlock& decayed, Moments a, const ConstBlock& d_decayed,
                            const Block& d_x) {
    note_rows(decayed, d_decayed, a, 1, d_until_);
    decay_from_start(d_decayed, a, d_x);
  }
  /// The pullback of `decay_to_end`, likewise.
  void pull_back_to_end(const ConstBlock& decayed, Moments b, const ConstBlock& d_decayed,
                        const Block& d_y) {
    note_rows(decayed, d_decayed, b, 0, d_after_);
    decay_to_end(d_decayed, b, d_y);
  }
  /// Notes a gradient with respect to the logarithm of `total(i)`.
  void pull_back_total(Index i, const Scalar& d_log) {
    if (decays_ > 0) d_until_(moments_, decays_ == 1 ? 0 : i) += d_log;
  }
  /// Adds all that was noted to the gradient with respect to log decays, rows 0..N-1 x decays.
  void finish_pull_back(Matrix& d_log_decay) {
    if (decays_ == 0) return;
    const auto accumulate = [&](Matrix& notes, Index row, Index before, Index moment) {
      for (Index i = 0; i < decays_; ++i) {
        if (before >= 0 && before <= moments_) notes(row, i) += notes(before, i);
        d_log_(moment, i) += notes(row, i);
      }
    };
    for (Index t = moments_ - 1; t >= 0; --t) accumulate(d_until_, t + 1, t + 2, t);
    for (Index t = 1; t < moments_; ++t) accumulate(d_after_, t - 1, t - 2, t);
    add(d_log_decay.data(), d_log_.data(), moments_ * decays_, d_log_decay.data());
  }

 private:
  void prepare_scalar(bool needs_pairs) {
    for (Index a = 0; a < moments_; ++a) {
      const Scalar decay = decay_.data()[a];
      from_start_.data()[a + 1] = from_start_.data()[a] * decay;
      if (!needs_pairs) continue;
      const Scalar* const before = between_.data() + a * between_.cols();
      Scalar* const now = between_.data() + (a + 1) * between_.cols();
      for (Index b = 0; b < a; ++b) now[b] = decay * before[b];
      now[a] = Scalar(1);
    }
    for (Index b = moments_ - 1; b > 0; --b) {
      to_end_.data()[b - 1] = to_end_.data()[b] * decay_.data()[b];
    }
  }

  [[nodiscard]] bool has_scalar() const { return decays_ == 1; }

  /// The decays of the chunk's moments.
  [[nodiscard]] ConstBlock decays() const { return block_of(decay_).topRows(moments_); }

  /// to_i = factors.row(at_i + shift) x_i; in place where `to` is x.
  void scale_rows(const ConstBlock& x, const Matrix& factors, Moments at, Index shift,
                  const Block& to) const {
    const ConstBlock by(factors);
    for (Index i = 0; i < x.rows(); ++i) {
      if (decays_ == 0) {
        if (to.data() != x.data()) copy(x.row(i), x.cols(), to.row(i));
      } else if (decays_ == 1) {
        scaled_row<false>(*by.row(at[i] + shift), x.row(i), x.cols(), to.row(i));
      } else {
        multiply(x.row(i), by.row(at[i] + shift), x.cols(), to.row(i));
      }
    }
  }

  /// notes.row(at_i + shift) += x_i . d_x_i, for all rows together or each for itself.
  void note_rows(const ConstBlock& x, const ConstBlock& d_x, Moments at, Index shift,
                 const Block& notes) const {
    for (Index i = 0; decays_ > 0 && i < x.rows(); ++i) {
      Scalar* const into = notes.row(at[i] + shift);
      if (decays_ == 1) {
        *into += dot(x.row(i), d_x.row(i), x.cols());
      } else {
        add_product(x.row(i), d_x.row(i), x.cols(), into);
      }
    }
  }

  /// Multiplies each pair by its decay, and clears it where the right row is not seen.
  void decay_pairs(const Block& g, Moments a, Moments b) const {
    if (!has_scalar()) return clear_unseen(a, b, g);
    for (Index i = 0; i < g.rows(); ++i) {
      const Index seen = b.count_until(a[i], g.cols());
      Scalar* const row = g.row(i);
      const Scalar* const decay = between_.data() + (a[i] + 1) * between_.cols();
      if (b.is_dense()) {
        // All columns, so that the loop has no rest: what is not seen may be anything.
        for (Index j = 0; j < g.cols(); ++j) {
          const Scalar decayed = row[j] * decay[j];
          row[j] = j < seen ? decayed : Scalar(0);
        }
      } else {
        for (Index j = 0; j < seen; ++j) row[j] *= decay[b[j]];
        std::fill(row + seen, row + g.cols(), Scalar(0));
      }
    }
  }

  /// A pair counts for all moments after b_j up to a_i. From the last moment down, `sums_` holds at
  /// each moment what the rows at or after this one have from what was written then.
  void note_pairs(const ConstBlock& g, const ConstBlock& d_g, Moments a, Moments b) {
    std::fill_n(sums_.data(), sums_.size(), Scalar(0));
    for (Index moment = moments_ - 1, i = g.rows(); moment > 0; --moment) {
      for (; i > 0 && a[i - 1] >= moment; --i) {
        const Index seen = b.count_until(a[i - 1], g.cols());
        if (b.is_dense()) {
          add_product(g.row(i - 1), d_g.row(i - 1), seen, sums_.data() + b.first);
        } else {
          for (Index j = 0; j < seen; ++j) sums_[b[j]] += g(i - 1, j) * d_g(i - 1, j);
        }
      }
      d_log_(moment, 0) += sum(sums_.data(), moment);
    }
  }

  bool per_row_;
  Index decays_, moments_ = 0;
  Matrix decay_;
  Matrix from_start_;  // row a + 1: D(0..a)
  Matrix to_end_;      // row b: D(b+1..N-1)
  Matrix between_;     // one decay for all rows: D(b+1..a) at row a + 1, column b <= a
  Matrix right_transposed_;
  GramByHalves<Scalar> halves_;
  Matrix d_until_;  // row a + 1: what counts for the moments up to a
  Matrix d_after_;  // row b: what counts for the moments after b
  Matrix d_log_;
  Vector<Scalar> sums_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_DECAY_HPP

// ---- loglinear/chunks/triangular.hpp

#ifndef LOGLINEAR_CHUNKS_TRIANGULAR_HPP
#define LOGLINEAR_CHUNKS_TRIANGULAR_HPP

namespace loglinear::detail {

/// inverse = (I + strictly lower part of `lower`)^-1, by halves:
///
///     [ A 0 ]^-1   [     A^-1        0   ]
///     [ B C ]    = [ -C^-1 B A^-1   C^-1 ]
///
/// `scratch` has the same size as both.
template <class Scalar>
void invert_unit_lower(ConstRowBlock<Scalar> lower, RowBlock<Scalar> inverse,
                       RowBlock<Scalar> scratch) {
  constexpr Index shortest = 16;
  const Index size = lower.rows();
  if (size <= shortest) {
    for (Index i = 0; i < size; ++i) {
      Scalar* const row = inverse.row(i);
      std::fill_n(row, size, Scalar(0));
      for (Index j = 0; j < i; ++j) axpy(-lower(i, j), inverse.row(j), j + 1, row);
      row[i] = Scalar(1);
    }
    return;
  }
  const Index half = (size / 2 + shortest - 1) / shortest * shortest, rest = size - half;
  const auto first = [&](const auto& m) { return m.block(0, 0, half, half); };
  const auto below = [&](const auto& m) { return m.block(half, 0, rest, half); };
  const auto second = [&](const auto& m) { return m.block(half, half, rest, rest); };
  invert_unit_lower<Scalar>(first(lower), first(inverse), first(scratch));
  invert_unit_lower<Scalar>(second(lower), second(inverse), second(scratch));
  product<Into::replace>(below(lower), first(inverse), below(scratch));
  inverse.block(0, half, half, rest).setZero();
  below(inverse).setZero();
  product<Into::subtract>(second(inverse), below(scratch), below(inverse));
}

/// The same for whole matrices; sizes `inverse` and `scratch`.
template <class Scalar>
void invert_unit_lower(const RowMajorMatrix<Scalar>& lower, RowMajorMatrix<Scalar>& inverse,
                       RowMajorMatrix<Scalar>& scratch) {
  const Index size = lower.rows();
  resize(inverse, size, size);
  resize(scratch, size, size);
  invert_unit_lower<Scalar>(ConstRowBlock<Scalar>(lower), RowBlock<Scalar>(inverse),
                            RowBlock<Scalar>(scratch));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_TRIANGULAR_HPP

// ---- loglinear/chunks/chunk_map.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_MAP_HPP
#define LOGLINEAR_CHUNKS_CHUNK_MAP_HPP

// What a chunk of tokens does, as four matrices, whatever the transitions are:
//
//     scores    C x Cn    q_t^T A_t ... A_{s+1} k_s of each query and leaf of the chunk
//     queries   C x d_k   (A_t ... A_0)^T q_t: what meets the states from before the chunk
//     keys      Cn x d_k  A_{C-1} ... A_{s+1} k_s: the leaves as they are at the end of the chunk
//     A         d_k x d_k A_{C-1} ... A_0: what the older states undergo
//
// With D the decays of chunk_decay.hpp and <x, y>_D the Gram matrix of rows decayed in between, a
// diagonal transition gives them at once: <q, k>_D, q D, k D and D. Rank-one updates D - u p^T
// remove what the rows p find. With L = <p, u>_D, strictly lower triangular, and T = (I + L)^-1
// (the WY form; Yang et al., arXiv:2406.06484, section 3, and arXiv:2412.06464, section 3.3),
//
//     found    F = T (p D),  T <p, k>_D       what p finds of older states, and of the leaves
//     scores   = <q, k>_D - <q, u>_D T <p, k>_D         queries = q D - <q, u>_D F
//     keys     = k D - (T <p, k>_D)^T u D               A       = D - (u D)^T F
//
// In the delta rules u is the leaf's own key. Then <p, k>_D = L and I - T L = T, so that
//
//     scores   = <q, k>_D T         keys = T^T k D
//     queries  = q D - scores p D   A    = D - keys^T p D

namespace loglinear::detail {

/// The four matrices. It has many members: each term of the equations above is one, with a name.
template <class Scalar>
class ChunkMap {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Views = typename Chunk<Scalar>::Views;

  ChunkMap(const SequenceShape& shape, Index capacity)
      : shape_(shape),
        decay_(shape.d_k, shape.decays, capacity * shape.moments(),
               capacity * (std::max)(shape.moments(), shape.leaves)) {}

  /// What a pass over a chunk is for: its states alone, reads as well, or gradients, which a pass
  /// for states may have preceded.
  enum class Pass { states, reads, gradients, gradients_after_states };

  /// What a pass for states computes.
  struct Kept {
    Matrix decayed_keys{};                      // k D
    Matrix lookups{}, removals{};               // p D, u D
    Matrix lower{}, lookup_key{};               // L = <p, u>_D, <p, k>_D
    Matrix inverse{}, found{}, found_leaves{};  // T, T p D, T <p, k>_D
    Matrix keys{}, transition{};  // the matrices of the same names; A only if `is_formed`
    bool is_formed = false;
    std::vector<Matrix> found_states{};  // F S of each older state, F p D for delta rules; if not
  };
  /// Exchanges what is kept: after a pass for states, and before the one for gradients that it
  /// precedes.
  void swap_kept(Kept& kept) { std::swap(kept_, kept); }

  /// Computes the four matrices, or only `keys` and A for states alone. `rows` must stay where they
  /// are while the matrices are in use.
  void forward(const Chunk<Scalar>& chunk, const Views& rows, Pass pass) {
    pass_ = pass;
    rows_ = rows;
    tokens_ = chunk.tokens;
    leaves_ = tokens_ * shape_.leaves;
    moments_ = tokens_ * shape_.moments();
    const bool reads = pass != Pass::states, has_kept = pass == Pass::gradients_after_states;
    decay_.prepare(chunk.decay, moments_, reads || shape_.steps > 0);
    if (!has_kept && (shape_.decays > 0 || shape_.steps > 0)) {
      resize(kept_.decayed_keys, leaves_, shape_.d_k);
      decay_.decay_to_end(rows.k, shape_.leaves_at(), kept_.decayed_keys);
    }
    if (!has_kept && shape_.steps > 0) forward_updates(chunk, rows);
    if (!reads) return;
    folds_ = pass == Pass::reads && shape_.steps == 0 && shape_.decays <= 1;
    if (!folds_) {
      resize(decayed_queries_, tokens_, shape_.d_k);
      decay_.decay_from_start(rows.q, shape_.queries_at(), decayed_queries_);
    }
    resize(query_key_, tokens_, leaves_);
    decay_.gram(rows.q, shape_.queries_at(), rows.k, shape_.leaves_at(), query_key_);
    if (shape_.steps > 0) forward_updated_reads(chunk, rows);
  }

  [[nodiscard]] const Matrix& scores() const { return shape_.steps ? scores_ : query_key_; }
  /// Row t times `query_factor(t)` is what meets older states.
  [[nodiscard]] ConstBlock queries() const {
    return folds_ ? rows_.q : ConstBlock(shape_.steps ? queries_ : decayed_queries_);
  }
  [[nodiscard]] Scalar query_factor(Index t) const {
    return folds_ ? decay_.factor_from_start(shape_.queries_at()[t]) : Scalar(1);
  }
  [[nodiscard]] ConstBlock keys() const {
    if (shape_.steps > 0) return ConstBlock(kept_.keys);
    return shape_.decays > 0 ? ConstBlock(kept_.decayed_keys) : rows_.k;
  }

  /// Before any `carry`, or its pullback, of so many states: decides whether A is worth forming.
  void prepare_carry(Index states) {
    if (pass_ == Pass::gradients_after_states) return;
    kept_.is_formed = shape_.steps > 0 && states > 1 && shape_.d_k <= moments_;
    if (!kept_.is_formed) return;
    set_zero(kept_.transition, shape_.d_k, shape_.d_k);
    for (Index i = 0; i < shape_.d_k; ++i) kept_.transition(i, i) = decay_.total(i);
    product<Into::subtract>(ConstBlock(written()).transpose(), sought(), kept_.transition);
  }

  /// to = A s, d_k x d_v, for older state n; in place where `to` is s.
  void carry(std::size_t n, const Matrix& s, Matrix& to) {
    if (kept_.is_formed) {
      resize(carried_, s.rows(), s.cols());
      product<Into::replace>(kept_.transition, s, carried_);
      to.swap(carried_);
      return;
    }
    const Matrix* const found = shape_.steps > 0 ? &find(n, s) : nullptr;
    decay_.decay_state(s, to);
    if (found != nullptr) product<Into::subtract>(ConstBlock(written()).transpose(), *found, to);
  }

  /// \name For the pullback
  /// \{

  [[nodiscard]] const SequenceShape& shape() const { return shape_; }
  [[nodiscard]] ChunkDecay<Scalar>& decay() { return decay_; }
  [[nodiscard]] Pass pass() const { return pass_; }
  [[nodiscard]] const Kept& kept() const { return kept_; }
  [[nodiscard]] Index tokens() const { return tokens_; }
  [[nodiscard]] Index leaves() const { return leaves_; }
  [[nodiscard]] Index moments() const { return moments_; }
  [[nodiscard]] const Matrix& decayed_queries() const { return decayed_queries_; }  // q D
  [[nodiscard]] const Matrix& query_key() const { return query_key_; }              // <q, k>_D
  [[nodiscard]] const Matrix& query_removal() const { return query_removal_; }      // <q, u>_D

  /// A = D - written^T sought.
  [[nodiscard]] const Matrix& written() const {
    return shape_.is_delta ? kept_.keys : kept_.removals;
  }
  [[nodiscard]] const Matrix& sought() const {
    return shape_.is_delta ? kept_.lookups : kept_.found;
  }

  /// What rank-one updates find of older state n.
  const Matrix& find(std::size_t n, const Matrix& s) {
    if (pass_ == Pass::reads) n = 0;  // nobody asks again
    if (kept_.found_states.size() <= n) kept_.found_states.resize(n + 1);
    Matrix& found = kept_.found_states[n];
    resize(found, moments_, s.cols());
    product<Into::replace>(sought(), s, found);
    return found;
  }
  /// \}

 private:
  /// What rank-one updates need, whether anything is read or not.
  void forward_updates(const Chunk<Scalar>& chunk, const Views& rows) {
    const ConstBlock& k = rows.k;
    const ConstBlock p = block_of(chunk.p).topRows(moments_);
    const Moments k_at = shape_.leaves_at(), p_at = SequenceShape::lookups_at();
    resize(kept_.lookups, moments_, shape_.d_k);
    resize(kept_.keys, leaves_, shape_.d_k);
    resize(kept_.lower, moments_, moments_);
    decay_.decay_from_start(p, p_at, kept_.lookups);
    if (shape_.is_delta) {
      decay_.gram(p, p_at, k, k_at, kept_.lower);
      invert_unit_lower(kept_.lower, kept_.inverse, scratch_);
      return product_of_transposed_pairs<Into::replace>(kept_.inverse, k_at, k_at,
                                                        kept_.decayed_keys, Block(kept_.keys));
    }
    const ConstBlock u = block_of(chunk.u).topRows(moments_);
    const Moments u_at = SequenceShape::removals_at();
    resize(kept_.removals, moments_, shape_.d_k);
    resize(kept_.lookup_key, moments_, leaves_);
    resize(kept_.found, moments_, shape_.d_k);
    resize(kept_.found_leaves, moments_, leaves_);
    decay_.decay_to_end(u, u_at, kept_.removals);
    decay_.gram(p, p_at, u, u_at, kept_.lower);
    decay_.gram(p, p_at, k, k_at, kept_.lookup_key);
    invert_unit_lower(kept_.lower, kept_.inverse, scratch_);
    product<Into::replace>(kept_.inverse, kept_.lookups, kept_.found);
    product<Into::replace>(kept_.inverse, kept_.lookup_key, kept_.found_leaves);
    assign(kept_.keys, kept_.decayed_keys);
    product<Into::subtract>(ConstBlock(kept_.found_leaves).transpose(), kept_.removals, kept_.keys);
  }

  /// What they change in scores and queries.
  void forward_updated_reads(const Chunk<Scalar>& chunk, const Views& rows) {
    const Moments q_at = shape_.queries_at();
    assign(queries_, decayed_queries_);
    if (shape_.is_delta) {
      const Moments k_at = shape_.leaves_at();
      resize(scores_, tokens_, leaves_);
      product_within_pairs<Into::replace>(query_key_, q_at, k_at, kept_.inverse, Block(scores_));
      clear_unseen(q_at, k_at, Block(scores_));
      return product_of_pairs<Into::subtract>(scores_, q_at, k_at, kept_.lookups, Block(queries_));
    }
    resize(query_removal_, tokens_, moments_);
    decay_.gram(rows.q, q_at, block_of(chunk.u).topRows(moments_), SequenceShape::removals_at(),
                query_removal_);
    assign(scores_, query_key_);
    product<Into::subtract>(query_removal_, kept_.found_leaves, scores_);
    product<Into::subtract>(query_removal_, kept_.found, queries_);
  }

  SequenceShape shape_;
  ChunkDecay<Scalar> decay_;
  Views rows_{};
  Index tokens_ = 0, leaves_ = 0, moments_ = 0;
  Pass pass_ = Pass::states;
  bool folds_ = false;  // queries are left as they are, their decay is in `query_factor`
  Kept kept_{};
  Matrix decayed_queries_{}, query_key_{};  // q D, <q, k>_D
  Matrix query_removal_{};                  // <q, u>_D
  Matrix scores_{}, queries_{};
  Matrix scratch_{}, carried_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_MAP_HPP

// ---- loglinear/chunks/hierarchy.hpp

#ifndef LOGLINEAR_CHUNKS_HIERARCHY_HPP
#define LOGLINEAR_CHUNKS_HIERARCHY_HPP

namespace loglinear::detail {

/// The levels that the chunkwise algorithm works on, a matrix each, allocated when first active;
/// or the gradient with respect to them.
template <class Scalar>
class Hierarchy {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  Hierarchy(int max_levels, Index d_k, Index d_v, std::uint64_t count = 0)
      : max_levels_(max_levels),
        d_k_(d_k),
        d_v_(d_v),
        count_(count),
        levels_(static_cast<std::size_t>(max_levels)) {}

  [[nodiscard]] int max_levels() const { return max_levels_; }
  [[nodiscard]] bool has_shape(int max_levels, Index d_k, Index d_v) const {
    return max_levels_ == max_levels && d_k_ == d_k && d_v_ == d_v;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  void set_count(std::uint64_t count) { count_ = count; }
  [[nodiscard]] ActiveLevels active() const { return {count_, max_levels_}; }
  [[nodiscard]] Bucket bucket(int level) const { return bucket_of(count_, level, max_levels_); }

  [[nodiscard]] const Matrix& level(int l) const { return levels_[static_cast<std::size_t>(l)]; }
  [[nodiscard]] Matrix& level(int l) { return levels_[static_cast<std::size_t>(l)]; }
  void set_zero(int l) { detail::set_zero(level(l), d_k_, d_v_); }
  /// Memory for a level that is about to be written.
  void allocate(int l) { resize(level(l), d_k_, d_v_); }
  /// One of the same shape before any token.
  [[nodiscard]] Hierarchy empty() const { return {max_levels_, d_k_, d_v_}; }

  /// The active levels alone, at the same count.
  [[nodiscard]] Hierarchy snapshot() const {
    Hierarchy copy(max_levels_, d_k_, d_v_);
    copy.become(*this);
    return copy;
  }
  /// Takes over the count and the active levels of another of the same shape, in the memory that
  /// this one has.
  void become(const Hierarchy& other) {
    count_ = other.count_;
    for (int l : active()) level(l) = other.level(l);
  }

  /// The level whose bucket, after `count` tokens, holds token s.
  [[nodiscard]] int holder(std::uint64_t count, std::uint64_t s) const {
    return level_of(s, count, ReadOrder::before_push, max_levels_);
  }

 private:
  int max_levels_;
  Index d_k_, d_v_;
  std::uint64_t count_;
  std::vector<Matrix> levels_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_HIERARCHY_HPP

// ---- loglinear/chunks/level_mask.hpp

#ifndef LOGLINEAR_CHUNKS_LEVEL_MASK_HPP
#define LOGLINEAR_CHUNKS_LEVEL_MASK_HPP

// Which level weight a query gives to what: to each earlier token of its own chunk, and to each
// bucket that is older than the chunk.

namespace loglinear::detail {

/// The levels as tokens of one chunk see them; `first` is the absolute position of its first.
struct LevelMask {
  ReadOrder order;
  int max_levels;
  std::uint64_t first;

  /// The level under which query t of the chunk sees the bucket that begins at token `bucket`.
  [[nodiscard]] int level(std::uint64_t bucket, Index t) const {
    return level_of(bucket, first + static_cast<std::uint64_t>(t), order, max_levels);
  }

  /// Calls `visit(level, begin, size)` once for each stretch of the chunk that query t sees under
  /// one level, the oldest first; tokens are counted from the beginning of the chunk.
  template <class Visit>
  void for_each_stretch(Index t, Visit visit) const {
    const bool is_apart = info_of(order).is_leaf_apart;
    const int shift = is_apart ? 1 : 0, last = level_weight_count(order, max_levels) - 1;
    const std::uint64_t end = first + static_cast<std::uint64_t>(t) + (sees_itself() ? 1 : 0);
    for (std::uint64_t begin = first, next = 0; begin < end; begin = next) {
      const int bit = static_cast<int>(std::bit_width(begin ^ end)) - 1;  // begin's bucket of `end`
      next = ((begin >> bit) + 1) << bit;
      if (bit + shift >= last) next = end >> (last - shift) << (last - shift);  // all that it holds
      visit((std::min)(bit + shift, last), static_cast<Index>(begin - first),
            static_cast<Index>(next - begin));
    }
    if (is_apart) visit(0, t, Index{1});
  }

  /// Whether a query's own token counts among those of its level 0.
  [[nodiscard]] bool sees_itself() const { return info_of(order).is_leaf_carried(); }
  /// Columns of the chunk that query t sees, of `leaves` a token.
  [[nodiscard]] Index seen(Index t, Index leaves) const {
    return (t + (info_of(order).reads_written ? 1 : 0)) * leaves;
  }
};

/// Calls `visit(t, level, from, to, size)` for the coefficients of row t of `scores` and of
/// `weighted` that stand under one level, `leaves` columns a token; clears what of `weighted` is
/// not seen.
template <class Scalar, class Visit>
void for_each_run_of_scores(const LevelMask& mask, Index leaves,
                            const RowMajorMatrix<Scalar>& scores, RowMajorMatrix<Scalar>& weighted,
                            Visit visit) {
  const Index columns = scores.cols();
  for (Index t = 0; t < scores.rows(); ++t) {
    Scalar* const to = weighted.data() + t * columns;
    const Scalar* const from = scores.data() + t * columns;
    mask.for_each_stretch(t, [&](int level, Index begin, Index size) {
      visit(t, level, from + begin * leaves, to + begin * leaves, size * leaves);
    });
    std::fill(to + mask.seen(t, leaves), to + columns, Scalar(0));
  }
}

/// weighted(t, s) = lambda(t, level of s) scores(t, s); 0 where s is not seen.
template <class Scalar>
void weight_scores(const LevelMask& mask, Index leaves, const RowMajorMatrix<Scalar>& scores,
                   const std::type_identity_t<ConstRowBlock<Scalar>>& lambda,
                   RowMajorMatrix<Scalar>& weighted) {
  for_each_run_of_scores(mask, leaves, scores, weighted,
                         [&](Index t, int level, const Scalar* from, Scalar* to, Index size) {
                           const Scalar weight = lambda(t, level);
                           for (Index s = 0; s < size; ++s) to[s] = weight * from[s];
                         });
}

/// The pullback of `weight_scores`: d_weighted becomes the gradient of the scores; d_lambda is
/// added to.
template <class Scalar>
void pull_back_weighted_scores(const LevelMask& mask, Index leaves,
                               const RowMajorMatrix<Scalar>& scores,
                               const std::type_identity_t<ConstRowBlock<Scalar>>& lambda,
                               RowMajorMatrix<Scalar>& d_weighted,
                               RowMajorMatrix<Scalar>& d_lambda) {
  for_each_run_of_scores(mask, leaves, scores, d_weighted,
                         [&](Index t, int level, const Scalar* from, Scalar* to, Index size) {
                           const Scalar weight = lambda(t, level);
                           Scalar sum(0);
                           for (Index s = 0; s < size; ++s) {
                             sum += to[s] * from[s];
                             to[s] *= weight;
                           }
                           d_lambda(t, level) += sum;
                         });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_LEVEL_MASK_HPP

// ---- loglinear/chunks/value_mix.hpp

#ifndef LOGLINEAR_CHUNKS_VALUE_MIX_HPP
#define LOGLINEAR_CHUNKS_VALUE_MIX_HPP

namespace loglinear::detail {

/// The values of a chunk under their weights, o_t = sum_s w(t, s) R(s+1..t) v_s, with R the decays
/// of the value columns where there are any; and what those do to everything that crosses the
/// chunk's ends. Moments are tokens here.
template <class Scalar>
class ValueMix {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;

  ValueMix(const SequenceShape& shape, Index capacity)
      : decays_(shape.decays_values),
        d_v_(shape.d_v),
        queries_at_{info_of(shape.order).reads_written ? Index{0} : Index{-1}, 1},
        leaves_at_{0, 1, shape.leaves},
        halves_(decays_ ? capacity : 0, shape.d_v),
        from_start_(decays_ ? capacity + 1 : 0, shape.d_v),
        to_end_(decays_ ? capacity : 0, shape.d_v),
        later_(decays_ ? capacity : 0, shape.d_v),
        earlier_(decays_ ? capacity * shape.leaves : 0, shape.d_v),
        d_earlier_(decays_ ? capacity * shape.leaves : 0, shape.d_v),
        earlier_transposed_(decays_ ? shape.d_v : 0, capacity * shape.leaves),
        notes_(decays_ ? shortest_stretch : 0, shape.d_v),
        running_(shape.d_v),
        sum_(shape.d_v) {}

  /// \param v  the values of the chunk
  void prepare(const Chunk<Scalar>& chunk, const ConstBlock& v) {
    tokens_ = chunk.tokens;
    if (!decays_) return;
    decay_ = block_of(chunk.value_decay).topRows(tokens_);
    const Block from_start(from_start_), to_end(to_end_);
    std::fill_n(from_start.row(0), d_v_, Scalar(1));
    for (Index t = 0; t < tokens_; ++t) {
      multiply(from_start.row(t), decay_.row(t), d_v_, from_start.row(t + 1));
    }
    std::fill_n(to_end.row(tokens_ - 1), d_v_, Scalar(1));
    for (Index t = tokens_ - 1; t > 0; --t) {
      multiply(to_end.row(t), decay_.row(t), d_v_, to_end.row(t - 1));
    }
    resize(ended_values_, v.rows(), d_v_);
    for (Index j = 0; j < v.rows(); ++j) {
      multiply(v.row(j), to_end.row(leaves_at_[j]), d_v_, Block(ended_values_).row(j));
    }
  }

  /// The values as they are at the end of the chunk: `v` itself where none decay.
  [[nodiscard]] ConstBlock ended(const ConstBlock& v) const {
    return decays_ ? ConstBlock(ended_values_) : v;
  }

  /// o_t <- R(0..t) o_t: what is read of the states from before the chunk.
  void decay_from_start(const Block& o) const {
    for (Index t = 0; decays_ && t < o.rows(); ++t) {
      multiply(o.row(t), ConstBlock(from_start_).row(queries_at_[t] + 1), d_v_, o.row(t));
    }
  }
  /// s <- s R(0..C-1).
  void carry(Matrix& s) const {
    for (Index i = 0; decays_ && i < s.rows(); ++i) {
      Scalar* const row = s.data() + i * d_v_;
      multiply(row, ConstBlock(from_start_).row(tokens_), d_v_, row);
    }
  }

  /// out += the mix under the lower triangular weights w.
  void add_mix(const ConstBlock& w, const ConstBlock& v, const Block& out) {
    if (!decays_) {
      return product_of_pairs<Into::add>(w, queries_at_, leaves_at_, v, out);
    }
    visit_halves(
        0, tokens_,
        [&](Index low, Index high) {
          const RowRange rows = rows_between(queries_at_, low, high, tokens_);
          for (Index t = rows.first; t < rows.first + rows.size; ++t) {
            for_each_earlier(queries_at_[t], low, [&](Index j, Index) {
              add_scaled_product(w(t, j), running_.data(), v.row(j), d_v_, out.row(t));
            });
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(queries_at_, middle, high, tokens_);
          const RowRange earlier = meet(v, low, middle, high);
          const Block reads = Block(later_).topRows(later.size);
          product<Into::replace>(w.block(later.first, earlier.first, later.size, earlier.size),
                                 ConstBlock(earlier_).topRows(earlier.size), reads);
          for (Index i = 0; i < later.size; ++i) {
            const Index t = later.first + i;
            add_product(reads.row(i), halves_.later(queries_at_[t]), d_v_, out.row(t));
          }
        });
  }

  /// The pullback of `add_mix`: fills d_w, at least its lower triangle, adds to d_v and to the
  /// gradient of the log decays.
  void pull_back_mix(const ConstBlock& w, const ConstBlock& v, const ConstBlock& d_out,
                     const Block& d_w, const Block& d_v, const Block& d_log) {
    if (!decays_) {
      transpose_into(v, values_transposed_);
      product_to_pairs<Into::replace>(d_out, queries_at_, values_transposed_, leaves_at_, d_w);
      product_of_transposed_pairs<Into::add>(w, queries_at_, leaves_at_, d_out, d_v);
      return;
    }
    d_w.setZero();
    visit_halves(
        0, tokens_,
        [&](Index low, Index high) {
          const RowRange rows = rows_between(queries_at_, low, high, tokens_);
          for (Index t = rows.first; t < rows.first + rows.size; ++t) {
            pull_back_read(t, low, w.row(t), v, d_out.row(t), d_w.row(t), d_v, d_log);
          }
        },
        [&](Index low, Index middle, Index high) {
          const RowRange later = rows_between(queries_at_, middle, high, tokens_);
          const RowRange earlier = meet(v, low, middle, high);
          pull_back_halves(low, middle, high, later, earlier, w, d_out, d_w, d_v, d_log);
        });
  }

  /// The pullback of `decay_from_start`, given the decayed reads.
  void pull_back_from_start(const ConstBlock& decayed, const Block& d_o, const Block& d_log) {
    if (!decays_) return;
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index t = tokens_ - 1; t >= 0; --t) {
      add_product(decayed.row(t), d_o.row(t), d_v_, sum_.data());
      if (queries_at_[t] >= 0) add_sum_to(d_log.row(queries_at_[t]));
    }
    decay_from_start(d_o);
  }
  /// The pullback of `ended`: d_v <- R d_v.
  void pull_back_to_end(const Block& d_v, const Block& d_log) {
    if (!decays_) return;
    const ConstBlock ended(ended_values_);
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index t = 1; t < tokens_; ++t) {
      for (Index j = (t - 1) * leaves_at_.rows; j < t * leaves_at_.rows; ++j) {
        add_product(ended.row(j), d_v.row(j), d_v_, sum_.data());
      }
      add_sum_to(d_log.row(t));
    }
    for (Index j = 0; j < d_v.rows(); ++j) {
      multiply(d_v.row(j), ConstBlock(to_end_).row(leaves_at_[j]), d_v_, d_v.row(j));
    }
  }
  /// The pullback of `carry`, given the state after the chunk.
  void pull_back_carry(const Matrix& carried, Matrix& d_s, const Block& d_log) {
    if (!decays_) return;
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index i = 0; i < d_s.rows(); ++i) {
      add_product(carried.data() + i * d_v_, d_s.data() + i * d_v_, d_v_, sum_.data());
    }
    for (Index t = 0; t < tokens_; ++t) add_sum_to(d_log.row(t));
    carry(d_s);
  }

 private:
  void add_sum_to(Scalar* row) const { add(row, sum_.data(), d_v_, row); }

  /// Calls `visit(j, token)` for the leaves of the tokens in [low, t], the newest first, with
  /// R(token+1..t) in `running_`.
  template <class Visit>
  void for_each_earlier(Index t, Index low, Visit visit) {
    std::fill_n(running_.data(), d_v_, Scalar(1));
    for (Index token = t; token >= low; --token) {
      for (Index j = token * leaves_at_.rows; j < (token + 1) * leaves_at_.rows; ++j) {
        visit(j, token);
      }
      multiply(running_.data(), decay_.row(token), d_v_, running_.data());
    }
  }

  /// The values of the earlier half as they are in the middle.
  RowRange meet(const ConstBlock& v, Index low, Index middle, Index high) {
    halves_.prepare(decay_, low, middle, high);
    const RowRange earlier = rows_between(leaves_at_, low, middle, v.rows());
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      multiply(v.row(row), halves_.earlier(leaves_at_[row]), d_v_, earlier_.data() + j * d_v_);
    }
    return earlier;
  }

  /// The pullback of what query t reads of the tokens from `low` on, summed directly.
  void pull_back_read(Index t, Index low, const Scalar* w, const ConstBlock& v, const Scalar* d_out,
                      Scalar* d_w, const Block& d_v, const Block& d_log) {
    const Block notes(notes_);
    notes.setZero();
    for_each_earlier(queries_at_[t], low, [&](Index j, Index moment) {
      multiply(running_.data(), d_out, d_v_, sum_.data());
      d_w[j] = dot(sum_.data(), v.row(j), d_v_);
      scale_by(w[j], sum_.data(), d_v_);
      add_sum_to(d_v.row(j));
      add_product(sum_.data(), v.row(j), d_v_, notes.row(moment - low));
    });
    std::fill_n(sum_.data(), d_v_, Scalar(0));
    for (Index moment = low + 1; moment <= queries_at_[t]; ++moment) {
      add(sum_.data(), notes.row(moment - 1 - low), d_v_, sum_.data());
      add_sum_to(d_log.row(moment));
    }
  }

  /// The pullback of what the later half reads of the earlier one.
  void pull_back_halves(Index low, Index middle, Index high, RowRange later, RowRange earlier,
                        const ConstBlock& w, const ConstBlock& d_out, const Block& d_w,
                        const Block& d_v, const Block& d_log) {
    const ConstBlock w_block = w.block(later.first, earlier.first, later.size, earlier.size);
    const ConstBlock values = ConstBlock(earlier_).topRows(earlier.size);
    const Block d_reads = Block(later_).topRows(later.size);
    const Block d_values = Block(d_earlier_).topRows(earlier.size);
    for (Index i = 0; i < later.size; ++i) {
      const Index t = later.first + i;
      multiply(d_out.row(t), halves_.later(queries_at_[t]), d_v_, d_reads.row(i));
    }
    const Block transposed = Block(earlier_transposed_).leftCols(earlier.size);
    transpose_into(values, transposed);
    product<Into::replace>(ConstBlock(d_reads), ConstBlock(transposed),
                           d_w.block(later.first, earlier.first, later.size, earlier.size));
    product<Into::replace>(w_block.transpose(), ConstBlock(d_reads), d_values);
    halves_.note_earlier(leaves_at_, earlier, low, middle, values, d_values, sum_, d_log);
    for (Index j = 0; j < earlier.size; ++j) {
      const Index row = earlier.first + j;
      add_product(d_values.row(j), halves_.earlier(leaves_at_[row]), d_v_, d_v.row(row));
    }
    resize(reads_, later.size, d_v_);
    product<Into::replace>(w_block, values, Block(reads_));
    halves_.note_later(queries_at_, later, middle, high, reads_, d_reads, sum_, d_log);
  }

  bool decays_;
  Index d_v_;
  Moments queries_at_, leaves_at_;
  Index tokens_ = 0;
  HalfDecays<Scalar> halves_;
  ConstBlock decay_{};  // of the chunk's tokens
  Matrix from_start_, to_end_, ended_values_{};
  Matrix later_, earlier_, d_earlier_, earlier_transposed_, values_transposed_{}, reads_{}, notes_;
  Vector<Scalar> running_, sum_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_VALUE_MIX_HPP

// ---- loglinear/detail/base/flush_to_zero.hpp

#ifndef LOGLINEAR_DETAIL_BASE_FLUSH_TO_ZERO_HPP
#define LOGLINEAR_DETAIL_BASE_FLUSH_TO_ZERO_HPP

// Denormal numbers are those below the smallest normal one, 1e-38 in float. Many processors take a
// hundred times as long over each of them, and a stream that fades away ends in them. So the
// library takes them for zero, operands as well as results, for as long as a call of it lasts.
//
// LOGLINEAR_KEEP_DENORMALS leaves the processor's mode alone. So does the library for scalars other
// than float and double, and on processors that are not known here.

#if !defined(LOGLINEAR_KEEP_DENORMALS) && defined(__GNUC__)
#  if defined(__SSE2_MATH__) && (defined(__x86_64__) || defined(__SSE3__))
#    define LOGLINEAR_FLUSHES_BY_MXCSR
#  elif defined(__aarch64__)
#    define LOGLINEAR_FLUSHES_BY_FPCR
#  elif defined(__arm__) && defined(__ARM_FP) && !defined(__SOFTFP__)
#    define LOGLINEAR_FLUSHES_BY_FPSCR
#  endif
#endif

namespace loglinear::detail {

/// The register of this thread that says how floating-point numbers are computed. The bits of
/// `flush` take denormal numbers for zero; those of `raised` are flags that operations raise.
struct FloatingPointControl {
#if defined(LOGLINEAR_FLUSHES_BY_MXCSR)
  static constexpr bool can_flush = true;
  using Word = unsigned;
  static constexpr Word flush = 0x8040;  // results (FTZ) and operands (DAZ)
  static constexpr Word raised = 0x3F;
  [[nodiscard]] static Word read() noexcept {
    Word word;
    __asm__ volatile("stmxcsr %0" : "=m"(word) : : "memory");
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("ldmxcsr %0" : : "m"(word) : "memory");
  }
#elif defined(LOGLINEAR_FLUSHES_BY_FPCR)
  static constexpr bool can_flush = true;
  using Word = unsigned long;
  static constexpr Word flush = 1ul << 24;  // FZ, both
  static constexpr Word raised = 0;         // elsewhere, in FPSR
  [[nodiscard]] static Word read() noexcept {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word) : : "memory");
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory");
  }
#elif defined(LOGLINEAR_FLUSHES_BY_FPSCR)
  static constexpr bool can_flush = true;
  using Word = unsigned;
  static constexpr Word flush = 1u << 24;  // FZ, both
  static constexpr Word raised = 0x9F;
  [[nodiscard]] static Word read() noexcept {
    Word word;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(word) : : "memory");
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("vmsr fpscr, %0" : : "r"(word) : "memory");
  }
#else
  static constexpr bool can_flush = false;
  using Word = unsigned;
  static constexpr Word flush = 0, raised = 0;
  [[nodiscard]] static Word read() noexcept {
    return 0;
  }
  static void write(Word) noexcept {}
#endif
  /// From now on this thread computes as the one that has read `word`; its flags are its own.
  static void follow(Word word) noexcept {
    write((word & ~raised) | (read() & raised));
  }
};

/// Whether `FlushToZero<Scalar>` does anything.
template <class Scalar>
inline constexpr bool flushes_to_zero = FloatingPointControl::can_flush &&
                                        (std::is_same_v<Scalar, float> ||
                                         std::is_same_v<Scalar, double>);

/// While it lives, this thread takes denormal numbers for zero. It leaves the mode as it found it,
/// with the exception flags that operations have raised meanwhile. One inside another costs a look
/// at the register.
///
/// A thread takes over the mode of the one that starts it and keeps it: pause while others start
/// that are not the library's.
template <class Scalar>
class FlushToZero {
  using Control = FloatingPointControl;

 public:
  FlushToZero() noexcept { resume(); }
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;
  ~FlushToZero() { pause(); }

  /// Back to the mode that it found.
  void pause() noexcept {
    if constexpr (flushes_to_zero<Scalar>) {
      if (added_ != 0) Control::write(Control::read() & ~added_);
    }
  }
  void resume() noexcept {
    if constexpr (flushes_to_zero<Scalar>) {
      const Control::Word before = Control::read();
      added_ = Control::flush & ~before;
      if (added_ != 0) Control::write(before | Control::flush);
    }
  }

 private:
  Control::Word added_ = 0;  // the bits that were not set before
};

}  // namespace loglinear::detail

#undef LOGLINEAR_FLUSHES_BY_MXCSR
#undef LOGLINEAR_FLUSHES_BY_FPCR
#undef LOGLINEAR_FLUSHES_BY_FPSCR

#endif  // LOGLINEAR_DETAIL_BASE_FLUSH_TO_ZERO_HPP

// ---- loglinear/detail/kernels/negligible.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_NEGLIGIBLE_HPP
#define LOGLINEAR_DETAIL_KERNELS_NEGLIGIBLE_HPP

// What has decayed to nothing, where denormal numbers are not taken for zero anyway.

namespace loglinear::detail {

/// Magnitudes below this are nothing: the smallest normal number over the rounding error, so that
/// what a state still says when multiplied by ordinary numbers is not denormal. Processors take a
/// hundred times as long over denormal numbers; a state that decays would end in them.
template <class Scalar>
inline constexpr Scalar negligible_magnitude =
    (std::numeric_limits<Scalar>::min)() / std::numeric_limits<Scalar>::epsilon();

/// Clears what has decayed to nothing where `FlushToZero` does nothing; dual numbers and narrow
/// ones are left as they are.
template <class Scalar>
void clear_negligible([[maybe_unused]] Scalar* m, [[maybe_unused]] Index size) {
  if constexpr (std::is_floating_point_v<Scalar> && !flushes_to_zero<Scalar>) {
    for (Index j = 0; j < size; ++j) {
      m[j] = std::abs(m[j]) < negligible_magnitude<Scalar> ? Scalar(0) : m[j];
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_NEGLIGIBLE_HPP

// ---- loglinear/chunks/chunk_step.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_STEP_HPP
#define LOGLINEAR_CHUNKS_CHUNK_STEP_HPP

// What the chunkwise algorithm does with one chunk (Guo et al., arXiv:2506.04761, section 3.3 and
// algorithm 1). With the matrices of chunk_map.hpp a chunk
//
//     reads      out = (scores . level weights) values + sum_l diag(lambda_l) queries S_l
//     advances   S_l <- A S_l for every older level, those that merge are added together, and
//                S_l += keys^T values for the stretch of the chunk that level l now holds

namespace loglinear::detail {

template <class Scalar>
class ChunkStep {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Views = typename Chunk<Scalar>::Views;
  using Pass = typename ChunkMap<Scalar>::Pass;

  /// \param capacity  the most tokens of a chunk
  /// \param weights   columns of the level weights
  ChunkStep(const SequenceShape& shape, Index capacity, Index weights)
      : shape_(shape),
        chunk_(shape, capacity, weights),
        map_(shape, capacity),
        mix_(shape, capacity) {}

  /// Takes the `tokens` tokens from `first` on.
  void load(TokenSource<Scalar>& source, Index first, Index tokens, Pass pass) {
    chunk_.tokens = tokens;
    rows_ = source.load(first, chunk_);
    map_.forward(chunk_, rows_, pass);
    mix_.prepare(chunk_, rows_.v);
    is_prepared_ = false;
  }

  /// What of `advance` does not depend on the states, for tokens after `before` others: whether it
  /// is done at its time or before changes no bit.
  void prepare_advance(int max_levels, std::uint64_t before) {
    map_.prepare_carry(active_level_count(before, max_levels));
    std::size_t n = 0;
    for_each_new_stretch(max_levels, before, [&](int, Index begin, Index size) {
      if (written_.size() == n) written_.emplace_back();
      resize(written_[n], shape_.d_k, shape_.d_v);
      product<Into::replace>(map_.keys().middleRows(begin, size).transpose(),
                             mix_.ended(rows_.v).middleRows(begin, size), written_[n++]);
    });
    is_prepared_ = true;
  }

  /// The reads of its tokens, to `chunk().out`.
  void read(const Hierarchy<Scalar>& states) {
    const Block out = Block(chunk_.out).topRows(chunk_.tokens);
    out.setZero();
    for (int l : states.active()) {
      gather_lambda(states, l, lambda_);
      product<Into::add_scaled>(map_.queries(), states.level(l), out, lambda_.data());
    }
    mix_.decay_from_start(out);
    mix_.add_mix(weighted_scores(states), rows_.v, out);
  }

  /// The states after the chunk from those before it; in place where they are the same.
  void advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& next) {
    const std::uint64_t before = states.count(), after = count_after(states);
    const ActiveLevels active = states.active();
    if (!is_prepared_) map_.prepare_carry(active_level_count(before, states.max_levels()));
    std::uint64_t filled = 0;
    const auto take = [&](int l) {
      const bool has = (filled >> l) & 1u;
      filled |= std::uint64_t{1} << l;
      return has;
    };
    std::size_t n = 0;
    for (int l : active) {
      map_.carry(n++, states.level(l), next.level(l));
      mix_.carry(next.level(l));
      clear_negligible(next.level(l).data(), next.level(l).size());
      if (states.holder(after, states.bucket(l).first) == l) take(l);
    }
    for (int l : active) {
      const int holder = states.holder(after, states.bucket(l).first);
      if (holder == l) continue;
      if (take(holder)) {
        Matrix& to = next.level(holder);
        add(to.data(), next.level(l).data(), to.size(), to.data());
      } else {
        next.level(holder).swap(next.level(l));
      }
    }
    const ConstBlock keys = map_.keys(), values = mix_.ended(rows_.v);
    std::size_t stretch = 0;
    for_each_new_stretch(states.max_levels(), before, [&](int l, Index begin, Index size) {
      if (is_prepared_) {
        Matrix &written = written_[stretch++], &to = next.level(l);
        return take(l) ? add(to.data(), written.data(), to.size(), to.data()) : to.swap(written);
      }
      const auto left = keys.middleRows(begin, size).transpose();
      const ConstBlock right = values.middleRows(begin, size);
      if (take(l)) {
        product<Into::add>(left, right, next.level(l));
      } else {
        next.allocate(l);
        product<Into::replace>(left, right, next.level(l));
      }
    });
    next.set_count(after);
  }

  [[nodiscard]] const Chunk<Scalar>& chunk() const { return chunk_; }
  [[nodiscard]] ChunkMap<Scalar>& map() { return map_; }

  /// \name For the pullback
  /// \{

  [[nodiscard]] const SequenceShape& shape() const { return shape_; }
  [[nodiscard]] const Views& rows() const { return rows_; }
  [[nodiscard]] ValueMix<Scalar>& mix() { return mix_; }

  [[nodiscard]] LevelMask mask(const Hierarchy<Scalar>& states) const {
    return {shape_.order, states.max_levels(), states.count()};
  }
  [[nodiscard]] std::uint64_t count_after(const Hierarchy<Scalar>& states) const {
    return states.count() + static_cast<std::uint64_t>(chunk_.tokens);
  }
  /// The rows of keys and values of each stretch of the chunk that a level holds after it.
  template <class Visit>
  void for_each_new_stretch(int max_levels, std::uint64_t before, Visit visit) const {
    const LevelMask after{ReadOrder::before_push, max_levels, before};
    after.for_each_stretch(chunk_.tokens, [&](int level, Index begin, Index size) {
      visit(level, begin * shape_.leaves, size * shape_.leaves);
    });
  }

  /// The scores under their level weights.
  const Matrix& weighted_scores(const Hierarchy<Scalar>& states) {
    resize(weighted_, chunk_.tokens, chunk_.tokens * shape_.leaves);
    weight_scores(mask(states), shape_.leaves, map_.scores(), rows_.lambda, weighted_);
    return weighted_;
  }
  /// lambda = what multiplies each query of the chunk where it reads level l.
  void gather_lambda(const Hierarchy<Scalar>& states, int l, Vector<Scalar>& lambda) const {
    resize(lambda, chunk_.tokens);
    for_each_weight_of(states, l, [&](Index t, int level) {
      lambda[t] = rows_.lambda(t, level) * map_.query_factor(t);
    });
  }
  /// Calls `visit(t, column of its level weights)` for each token t that reads level l of `states`.
  /// A bucket's level never falls while tokens pass, so that equal ends mean one level for all.
  template <class Visit>
  void for_each_weight_of(const Hierarchy<Scalar>& states, int l, Visit visit) const {
    const std::uint64_t bucket = states.bucket(l).first;
    const LevelMask levels = mask(states);
    const int first = levels.level(bucket, 0), last = levels.level(bucket, chunk_.tokens - 1);
    for (Index t = 0; t < chunk_.tokens; ++t) {
      visit(t, first == last ? first : levels.level(bucket, t));
    }
  }
  /// \}

 private:
  SequenceShape shape_;
  Chunk<Scalar> chunk_;
  Views rows_{};
  ChunkMap<Scalar> map_;
  ValueMix<Scalar> mix_;
  Matrix weighted_{};
  Vector<Scalar> lambda_{};
  bool is_prepared_ = false;
  std::vector<Matrix> written_{};  // keys^T values of each stretch of the chunk, if so
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_STEP_HPP

// ---- loglinear/chunks/chunk_map_pullback.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_MAP_PULLBACK_HPP
#define LOGLINEAR_CHUNKS_CHUNK_MAP_PULLBACK_HPP

namespace loglinear::detail {

/// From the gradients of the four matrices of chunk_map.hpp to those of the tokens that they are
/// made of: `start`, then `carry` for every older state, then `finish`.
template <class Scalar>
class ChunkMapPullback {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Views = typename Chunk<Scalar>::Views;
  using Pass = typename ChunkMap<Scalar>::Pass;

  /// \param map  whose matrices are those of the chunk at hand, made for gradients
  explicit ChunkMapPullback(ChunkMap<Scalar>& map)
      : map_(map), kept_(map.kept()), decay_(map.decay()), shape_(map.shape()) {}

  /// After `ChunkMap::prepare_carry`.
  void start() {
    decay_.start_pull_back();
    if (shape_.steps == 0) return;
    if (kept_.is_formed) {
      set_zero(d_transition_, shape_.d_k, shape_.d_k);
    } else {
      set_zero(d_written_transposed_, shape_.d_k, map_.moments());
      set_zero(d_sought_transposed_, shape_.d_k, map_.moments());
    }
  }

  /// d_s <- A^T d_s for older state n, s before the chunk, and what that says of A.
  void carry(std::size_t n, const Matrix& s, Matrix& d_s) {
    if (kept_.is_formed) {
      transpose_into(s, transposed_);
      product<Into::add>(d_s, transposed_, d_transition_);
      resize(carried_, s.rows(), s.cols());
      product<Into::replace>(ConstBlock(kept_.transition).transpose(), d_s, carried_);
      d_s.swap(carried_);
      return;
    }
    if (shape_.steps > 0) {
      const bool has_found = map_.pass() == Pass::gradients_after_states;
      transpose_into(has_found ? kept_.found_states[n] : map_.find(n, s), transposed_);
      product<Into::subtract>(d_s, transposed_, d_written_transposed_);
      resize(carried_, map_.moments(), s.cols());
      product<Into::replace>(map_.written(), d_s, carried_);
      transpose_into(carried_, transposed_);
      product<Into::subtract>(s, transposed_, d_sought_transposed_);
    }
    decay_.decay_state(d_s, d_s);
    for (Index i = 0; shape_.decays > 0 && i < s.rows(); ++i) {
      const Index begin = i * s.cols();
      decay_.pull_back_total(i, dot(s.data() + begin, d_s.data() + begin, s.cols()));
    }
    if (shape_.steps > 0)
      product<Into::subtract>(ConstBlock(map_.sought()).transpose(), carried_, d_s);
  }

  /// From the gradients of scores, queries and keys, which are used up, and what was noted of A to
  /// that of the chunk's q, k, u and p, which are written, and log decays, which are added to.
  void finish(const Chunk<Scalar>& chunk, const Views& rows, Matrix& d_scores, Matrix& d_queries,
              Matrix& d_keys, const typename Chunk<Scalar>::Targets& targets,
              Chunk<Scalar>& gradient) {
    const auto q_at = shape_.queries_at(), k_at = shape_.leaves_at();
    const auto p_at = SequenceShape::lookups_at(), u_at = SequenceShape::removals_at();
    const ConstBlock q = rows.q, k = rows.k;
    const Block d_q = targets.q, d_k = targets.k;
    if (shape_.steps > 0) {
      for (Index i = 0; kept_.is_formed && i < shape_.d_k; ++i) {
        decay_.pull_back_total(i, d_transition_(i, i) * decay_.total(i));
      }
      const ConstBlock p = block_of(chunk.p).topRows(map_.moments());
      const Block d_p = writable_block_of(gradient.p).topRows(map_.moments());
      resize(d_lookups_, map_.moments(), shape_.d_k);
      resize(d_lower_, map_.moments(), map_.moments());
      if (shape_.is_delta) {
        pull_back_delta(d_scores, d_queries, d_keys);
      } else {
        pull_back_removals(d_scores, d_queries, d_keys);
      }
      decay_.pull_back_from_start(kept_.lookups, p_at, d_lookups_, d_p);
      decay_.pull_back_to_end(kept_.decayed_keys, k_at, d_keys, d_k);
      decay_.pull_back_from_start(map_.decayed_queries(), q_at, d_queries, d_q);
      if (shape_.is_delta) {
        decay_.pull_back_gram(p, p_at, k, k_at, kept_.lower, d_lower_, d_p, d_k);
      } else {
        const ConstBlock u = block_of(chunk.u).topRows(map_.moments());
        const Block d_u = writable_block_of(gradient.u).topRows(map_.moments());
        decay_.pull_back_to_end(kept_.removals, u_at, d_removals_, d_u);
        decay_.pull_back_gram(p, p_at, u, u_at, kept_.lower, d_lower_, d_p, d_u);
        decay_.pull_back_gram(p, p_at, k, k_at, kept_.lookup_key, d_lookup_key_, d_p, d_k);
        decay_.pull_back_gram(q, q_at, u, u_at, map_.query_removal(), d_query_removal_, d_q, d_u);
      }
    } else {
      decay_.pull_back_to_end(map_.keys(), k_at, d_keys, d_k);
      decay_.pull_back_from_start(map_.decayed_queries(), q_at, d_queries, d_q);
    }
    decay_.pull_back_gram(q, q_at, k, k_at, map_.query_key(), d_scores, d_q, d_k);
    decay_.finish_pull_back(gradient.decay);
  }

 private:
  /// Adds what the states say of A = D - written^T sought to the gradients of the two.
  void add_carries(Matrix& d_sought, Matrix& d_written) {
    if (kept_.is_formed) {
      product<Into::subtract>(map_.written(), d_transition_, d_sought);
      transpose_into(d_transition_, transposed_);
      product<Into::subtract>(map_.sought(), transposed_, d_written);
    } else {
      transpose_into(d_sought_transposed_, transposed_);
      add(d_sought.data(), transposed_.data(), d_sought.size(), d_sought.data());
      transpose_into(d_written_transposed_, transposed_);
      add(d_written.data(), transposed_.data(), d_written.size(), d_written.data());
    }
  }

  /// Backwards through scores = G T, keys = T^T K, queries = q D - scores P and A = D - keys^T P,
  /// with T = (I + L)^-1: dL = -T^T dT T^T = -(scores^T d_scores + keys d_keys^T) T^T. On return
  /// d_scores is dG and d_keys is dK.
  void pull_back_delta(Matrix& d_scores, const Matrix& d_queries, Matrix& d_keys) {
    const Moments q_at = shape_.queries_at(), k_at = shape_.leaves_at();
    Block(d_lookups_).setZero();
    product_of_transposed_pairs<Into::subtract>(map_.scores(), q_at, k_at, d_queries,
                                                Block(d_lookups_));
    add_carries(d_lookups_, d_keys);
    transpose_into(kept_.lookups, transposed_);
    product_to_pairs<Into::subtract>(d_queries, q_at, transposed_, k_at, Block(d_scores));
    transpose_into(d_keys, transposed_);
    resize(scratch_, map_.leaves(), map_.leaves());
    product_of_transposed_pairs<Into::replace>(map_.scores(), q_at, k_at, d_scores,
                                               Block(scratch_));
    product_to_pairs<Into::add>(kept_.keys, k_at, transposed_, k_at, Block(scratch_));
    transpose_into(kept_.inverse, transposed_);
    Block(d_lower_).setZero();
    product_within_pairs<Into::subtract>(scratch_, k_at, k_at, transposed_, Block(d_lower_));
    set_zero(d_query_removal_, map_.tokens(), map_.leaves());
    product_within_pairs<Into::replace>(d_scores, q_at, k_at, transposed_, Block(d_query_removal_));
    d_scores.swap(d_query_removal_);
    resize(carried_, map_.leaves(), shape_.d_k);
    product_of_pairs<Into::replace>(kept_.inverse, k_at, k_at, d_keys, Block(carried_));
    d_keys.swap(carried_);
  }

  /// Backwards through the general form; the names are those of the equations in chunk_map.hpp.
  void pull_back_removals(const Matrix& d_scores, const Matrix& d_queries, const Matrix& d_keys) {
    set_zero(d_query_removal_, map_.tokens(), map_.moments());
    transpose_into(kept_.found, transposed_);
    product<Into::subtract>(d_queries, transposed_, d_query_removal_);
    transpose_into(kept_.found_leaves, transposed_);
    product<Into::subtract>(d_scores, transposed_, d_query_removal_);

    set_zero(d_removals_, map_.moments(), shape_.d_k);
    product<Into::subtract>(kept_.found_leaves, d_keys, d_removals_);

    set_zero(d_found_, map_.moments(), shape_.d_k);
    product<Into::subtract>(ConstBlock(map_.query_removal()).transpose(), d_queries, d_found_);
    add_carries(d_found_, d_removals_);
    product<Into::replace>(ConstBlock(kept_.inverse).transpose(), d_found_, d_lookups_);

    set_zero(d_found_leaves_, map_.moments(), map_.leaves());
    product<Into::subtract>(ConstBlock(map_.query_removal()).transpose(), d_scores,
                            d_found_leaves_);
    transpose_into(d_keys, transposed_);
    product<Into::subtract>(kept_.removals, transposed_, d_found_leaves_);
    resize(d_lookup_key_, map_.moments(), map_.leaves());
    product<Into::replace>(ConstBlock(kept_.inverse).transpose(), d_found_leaves_, d_lookup_key_);

    Block(d_lower_).setZero();
    transpose_into(kept_.found, transposed_);
    product<Into::subtract>(d_lookups_, transposed_, d_lower_);
    transpose_into(kept_.found_leaves, transposed_);
    product<Into::subtract>(d_lookup_key_, transposed_, d_lower_);
  }

  ChunkMap<Scalar>& map_;
  const typename ChunkMap<Scalar>::Kept& kept_;
  ChunkDecay<Scalar>& decay_;
  SequenceShape shape_;
  Matrix d_transition_{};                                  // where A is formed
  Matrix d_written_transposed_{}, d_sought_transposed_{};  // where it is not
  Matrix d_lookups_{}, d_removals_{}, d_lower_{}, d_query_removal_{}, d_lookup_key_{};
  Matrix d_found_{}, d_found_leaves_{};
  Matrix scratch_{}, carried_{}, transposed_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_MAP_PULLBACK_HPP

// ---- loglinear/chunks/chunk_step_pullback.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_STEP_PULLBACK_HPP
#define LOGLINEAR_CHUNKS_CHUNK_STEP_PULLBACK_HPP

namespace loglinear::detail {

/// The two halves of a chunk's step backwards, in reverse order.
template <class Scalar>
class ChunkStepPullback {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Targets = typename Chunk<Scalar>::Targets;

  /// \param step  which will have loaded, for gradients, the chunk at hand
  explicit ChunkStepPullback(ChunkStep<Scalar>& step)
      : step_(step), map_(step.map()), shape_(step.shape()) {}

  /// From the gradient of the states after the chunk and of its reads to that of `states`, those
  /// before it, in `gradient`, and of the chunk in `d_chunk` and at `targets`.
  void operator()(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                  const Targets& targets, Chunk<Scalar>& d_chunk) {
    const Index tokens = step_.chunk().tokens;
    step_.map().prepare_carry(active_level_count(states.count(), states.max_levels()));
    map_.start();
    pull_back_advance(states, gradient, targets, d_chunk);

    const auto& rows = step_.rows();
    resize(d_weighted_, tokens, tokens * shape_.leaves);
    step_.mix().pull_back_mix(step_.weighted_scores(states), rows.v, targets.out, d_weighted_,
                              targets.v, d_chunk.value_decay);
    pull_back_weighted_scores(step_.mask(states), shape_.leaves, step_.map().scores(), rows.lambda,
                              d_weighted_, d_chunk.lambda);
    pull_back_reads(states, gradient, targets.out, d_chunk);
    map_.finish(step_.chunk(), rows, d_weighted_, d_queries_, d_keys_, targets, d_chunk);
  }

 private:
  /// The whole of a matrix of that size.
  [[nodiscard]] static Block sized(Matrix& m, Index rows, Index columns) {
    resize(m, rows, columns);
    return m;
  }

  /// Writes the gradients of the keys and values as far as they are of the states after the chunk.
  void pull_back_advance(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                         const Targets& targets, Chunk<Scalar>& d_chunk) {
    const std::uint64_t before = states.count(), after = step_.count_after(states);
    const ConstBlock keys = step_.map().keys(), values = step_.mix().ended(step_.rows().v);
    const Block d_v = targets.v,
                d_keys = sized(d_keys_, step_.chunk().tokens * shape_.leaves, shape_.d_k);
    step_.for_each_new_stretch(states.max_levels(), before, [&](int l, Index begin, Index size) {
      transpose_into(gradient.level(l), transposed_);
      product<Into::replace>(values.middleRows(begin, size), transposed_,
                             d_keys.middleRows(begin, size));
      product<Into::replace>(keys.middleRows(begin, size), gradient.level(l),
                             d_v.middleRows(begin, size));
    });
    step_.mix().pull_back_to_end(d_v, d_chunk.value_decay);

    for (int l : states.active()) {
      const int holder = states.holder(after, states.bucket(l).first);
      if (holder != l) gradient.level(l) = gradient.level(holder);
    }
    gradient.set_count(before);
    std::size_t n = 0;
    for (int l : states.active()) {
      if (shape_.decays_values) {
        step_.map().carry(n, states.level(l), carried_);
        step_.mix().carry(carried_);
        step_.mix().pull_back_carry(carried_, gradient.level(l), d_chunk.value_decay);
      }
      map_.carry(n++, states.level(l), gradient.level(l));
      clear_negligible(gradient.level(l).data(), gradient.level(l).size());
    }
  }

  /// Backwards through out = sum_l diag(lambda_l) queries S_l, transposed, so that no state has to
  /// be: z = S_l d_out^T, d_queries^T += z diag(lambda_l), d_lambda_l = rows of queries . z.
  void pull_back_reads(const Hierarchy<Scalar>& states, Hierarchy<Scalar>& gradient,
                       ConstBlock d_out, Chunk<Scalar>& d_chunk) {
    const Index tokens = step_.chunk().tokens;
    const ConstBlock queries = step_.map().queries();
    if (shape_.decays_values) {
      const Block d_decayed = writable_block_of(d_chunk.out).topRows(tokens);
      for (Index t = 0; t < tokens; ++t) copy(d_out.row(t), shape_.d_v, d_decayed.row(t));
      set_zero(decayed_reads_, tokens, shape_.d_v);
      for (int l : states.active()) {
        step_.gather_lambda(states, l, lambda_);
        product<Into::add_scaled>(queries, states.level(l), decayed_reads_, lambda_.data());
      }
      step_.mix().decay_from_start(decayed_reads_);
      step_.mix().pull_back_from_start(decayed_reads_, d_decayed, d_chunk.value_decay);
      d_out = d_decayed;
    }
    set_zero(d_queries_transposed_, shape_.d_k, tokens);
    transpose_into(d_out, d_out_transposed_);
    transpose_into(queries, queries_transposed_);
    resize(products_, shape_.d_k, tokens);
    resize(lambda_out_, tokens, shape_.d_v);
    for (int l : states.active()) {
      step_.gather_lambda(states, l, lambda_);
      for (Index t = 0; t < tokens; ++t) {
        scaled_row<false>(lambda_[t], d_out.row(t), shape_.d_v,
                          lambda_out_.data() + t * shape_.d_v);
      }
      product<Into::add>(queries.transpose(), lambda_out_, gradient.level(l));
      product<Into::replace>(states.level(l), d_out_transposed_, products_);
      set_zero(d_lambda_, tokens);
      for (Index i = 0; i < shape_.d_k; ++i) {
        const Scalar* const products = products_.data() + i * tokens;
        add_product(products, queries_transposed_.data() + i * tokens, tokens, d_lambda_.data());
        add_product(products, lambda_.data(), tokens, d_queries_transposed_.data() + i * tokens);
      }
      step_.for_each_weight_of(
          states, l, [&](Index t, int level) { d_chunk.lambda(t, level) += d_lambda_[t]; });
    }
    transpose_into(d_queries_transposed_, d_queries_);
  }

  ChunkStep<Scalar>& step_;
  ChunkMapPullback<Scalar> map_;
  SequenceShape shape_;
  Matrix lambda_out_{};
  Vector<Scalar> lambda_{}, d_lambda_{};
  Matrix d_weighted_{}, d_queries_{}, d_keys_{}, carried_{}, transposed_{}, decayed_reads_{};
  Matrix d_queries_transposed_{}, d_out_transposed_{}, queries_transposed_{}, products_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_STEP_PULLBACK_HPP

// ---- loglinear/chunks/chunkwise_tape.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNKWISE_TAPE_HPP
#define LOGLINEAR_CHUNKS_CHUNKWISE_TAPE_HPP

namespace loglinear::detail {

/// What a forward pass keeps for its gradient: where chunks begin, and the states before one in
/// `interval` of them. The interval is about the number of levels, so that all states together are
/// O(T / C) matrices.
template <class Scalar>
struct ChunkwiseTape {
  int interval = 1;
  std::vector<Index> begins{};
  std::vector<Hierarchy<Scalar>> kept{};

  /// Before the first chunk of so many.
  void start(Index chunks) {
    interval = 2 + static_cast<int>(std::bit_width(static_cast<std::uint64_t>(chunks)));
    begins.clear();
    kept.clear();
  }
  void note(Index first, const Hierarchy<Scalar>& states) {
    if (begins.size() % static_cast<std::size_t>(interval) == 0) kept.push_back(states.snapshot());
    begins.push_back(first);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNKWISE_TAPE_HPP

// ---- loglinear/detail/base/magnitude.hpp

#ifndef LOGLINEAR_DETAIL_BASE_MAGNITUDE_HPP
#define LOGLINEAR_DETAIL_BASE_MAGNITUDE_HPP

// Whether numbers in memory are all finite, and how large they are: one pass on packets. Only bits
// are looked at where a number may be infinite or NaN, so that no compiler flag removes the test
// and no floating-point exception is raised.

namespace loglinear::detail {

/// Whether the passes below work on numbers of this type.
template <class Scalar>
inline constexpr bool has_passes = std::is_floating_point_v<Scalar> || is_narrow<Scalar>;

/// Where the numbers of a vector or matrix lie: `pieces` times `size` of them side by side, the
/// pieces `stride` apart.
template <class Scalar>
struct Pieces {
  const Scalar* data;
  Index pieces, size, stride;
};
template <class Derived>
inline constexpr bool has_pieces =
    (Derived::Flags & Eigen::DirectAccessBit) != 0 && Derived::InnerStrideAtCompileTime == 1;
template <class Derived>
[[nodiscard]] Pieces<typename Derived::Scalar> pieces_of(const Eigen::DenseBase<Derived>& values) {
  const Derived& m = values.derived();
  if (m.outerStride() == m.innerSize()) return {m.data(), 1, m.size(), 0};
  return {m.data(), m.outerSize(), m.innerSize(), m.outerStride()};
}

/// Whether a scalar is neither infinite nor NaN.
template <class Scalar>
[[nodiscard]] constexpr bool is_finite(const Scalar& value) {
  if constexpr (std::is_same_v<Scalar, double>) {
    constexpr std::uint64_t exponent = 0x7FF0000000000000u;
    return (std::bit_cast<std::uint64_t>(value) & exponent) != exponent;
  } else if constexpr (std::is_same_v<Scalar, float>) {
    constexpr std::uint32_t exponent = 0x7F800000u;
    return (std::bit_cast<std::uint32_t>(value) & exponent) != exponent;
  } else if constexpr (std::is_floating_point_v<Scalar>) {
    return std::isfinite(value);
  } else {
    return is_finite(to_double(value));
  }
}

/// Binary digits after the first of a number whose bits the passes below know, else 0.
template <class Scalar>
inline constexpr int mantissa_bits = std::is_same_v<Scalar, double>            ? 52
                                     : std::is_same_v<Scalar, float>           ? 23
                                     : std::is_same_v<Scalar, Eigen::half>     ? 10
                                     : std::is_same_v<Scalar, Eigen::bfloat16> ? 7
                                                                               : 0;

/// Whether there are packets of the bits of such numbers.
template <class Scalar>
inline constexpr bool has_bits =
#if defined(__GNUC__)
    mantissa_bits<Scalar> != 0 && packet_size < float >> 1;
#else
    false;
#endif

/// The bits of numbers without their signs, `lanes` numbers in a packet. Those of a larger number
/// are larger. The exponent of a number that is not finite is all ones, so that one more in its
/// last place carries into the sign bit.
template <class Scalar, Index lanes>
struct BitsOf {
  using Bits =
      std::conditional_t<sizeof(Scalar) == 8, std::uint64_t,
                         std::conditional_t<sizeof(Scalar) == 4, std::uint32_t, std::uint16_t>>;
  using Packet = typename VectorOf<Bits, static_cast<int>(lanes)>::Type;
  static constexpr auto last_place = static_cast<Bits>(Bits{1} << mantissa_bits<Scalar>);
  static constexpr auto magnitude = static_cast<Bits>((std::numeric_limits<Bits>::max)() >> 1);

  [[nodiscard]] static Packet load(const Scalar* values) {
    Packet packet;
    std::memcpy(&packet, static_cast<const void*>(values), sizeof packet);
    return packet & magnitude;
  }
  /// `carries` with those of the numbers, at least a packet of them. The last packet may overlap
  /// the one before it.
  [[nodiscard]] static Packet carries_of(const Scalar* values, Index size, Packet carries) {
    const Scalar* const last = values + size - lanes;
    carries |= load(last) + last_place;
    for (; values < last; values += lanes) carries |= load(values) + last_place;
    return carries;
  }
  /// Whether nothing has been carried into a sign bit.
  [[nodiscard]] static bool are_signs_clear(const Packet& carries) {
    std::uint64_t words[sizeof carries / sizeof(std::uint64_t)];
    std::memcpy(words, &carries, sizeof carries);
    std::uint64_t all = 0;
    for (const std::uint64_t word : words) all |= word;
    constexpr std::uint64_t of_each = ~std::uint64_t{0} / (std::numeric_limits<Bits>::max)();
    return (all & (of_each * (std::uint64_t{magnitude} + 1))) == 0;
  }
};
/// Numbers of a type that fill a register.
template <class Scalar>
inline constexpr Index full_lanes =
    packet_size<float>* Index{sizeof(float)} / Index{sizeof(Scalar)};

/// Whether all numbers are finite.
template <class Scalar>
[[nodiscard]] bool are_finite(const Scalar* values, Index size) {
  if constexpr (has_bits<Scalar>) {
    using Of = BitsOf<Scalar, full_lanes<Scalar>>;
    if (size >= full_lanes<Scalar>)
      return Of::are_signs_clear(Of::carries_of(values, size, typename Of::Packet{}));
  }
  bool finite = true;
  for (Index i = 0; i < size; ++i) finite = finite && is_finite(values[i]);
  return finite;
}
/// The same of two arrays together.
template <class Scalar>
[[nodiscard]] bool are_finite(const Scalar* a, Index size_a, const Scalar* b, Index size_b) {
  if constexpr (has_bits<Scalar>) {
    using Of = BitsOf<Scalar, full_lanes<Scalar>>;
    if ((std::min)(size_a, size_b) >= full_lanes<Scalar>) {
      return Of::are_signs_clear(
          Of::carries_of(a, size_a, Of::carries_of(b, size_b, typename Of::Packet{})));
    }
  }
  return are_finite(a, size_a) && are_finite(b, size_b);
}

template <class Scalar>
[[nodiscard]] bool are_finite(const Pieces<Scalar>& values) {
  bool finite = true;
  for (Index i = 0; i < values.pieces && finite; ++i) {
    finite = are_finite(values.data + i * values.stride, values.size);
  }
  return finite;
}

/// The largest absolute value, 0 for nothing, NaN where a number is not finite. The last packet may
/// overlap the one before it.
template <class Stored>
[[nodiscard]] auto largest_magnitude(const Stored* values, Index size) {
  using Scalar = Accumulator<Stored>;
  constexpr Index width = packet_size<Scalar>;
  constexpr Scalar nan = std::numeric_limits<Scalar>::quiet_NaN();
  if constexpr (has_bits<Scalar> && width > 1) {
    if (size >= width) {
      using Of = BitsOf<Scalar, width>;
      using Signed = std::make_signed_t<typename Of::Bits>;
      using SignedPacket = typename VectorOf<Signed, static_cast<int>(width)>::Type;
      SignedPacket largest{};
      const auto see = [&](const Stored* from) {
        const auto bits = std::bit_cast<typename Of::Packet>(load<Scalar>(from)) & Of::magnitude;
        const auto magnitude = std::bit_cast<SignedPacket>(bits);
        largest = largest < magnitude ? magnitude : largest;
      };
      const Stored* const last = values + size - width;
      see(last);
      for (; values < last; values += width) see(values);
      const auto bits = std::bit_cast<typename Of::Packet>(largest);
      if (!Of::are_signs_clear(bits + Of::last_place)) return nan;
      return Eigen::internal::predux_max(std::bit_cast<Packet<Scalar>>(largest));
    }
  }
  Scalar magnitude(0);
  for (Index i = 0; i < size; ++i) {
    const auto value = static_cast<Scalar>(values[i]);
    if (!is_finite(value)) return nan;
    magnitude = (std::max)(magnitude, std::abs(value));
  }
  return magnitude;
}

/// The sum of x^2, or of (x / scale)^2 with `Scaled`.
template <bool Scaled, class Scalar>
[[nodiscard]] Scalar sum_of_squares(const Scalar* x, Index size, const Scalar& scale) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  const auto packet = [&](Index i) {
    const P a = ei::ploadu<P>(x + i);
    return Scaled ? ei::pdiv(a, ei::pset1<P>(scale)) : a;
  };
  P even = ei::pset1<P>(Scalar(0)), odd = even;
  Index i = 0;
  for (; i + 2 * width <= size; i += 2 * width) {
    const P a = packet(i), b = packet(i + width);
    even = ei::pmadd(a, a, even);
    odd = ei::pmadd(b, b, odd);
  }
  Scalar sum = ei::predux(ei::padd(even, odd));
  for (; i < size; ++i) {
    const Scalar value = Scaled ? Scalar(x[i] / scale) : x[i];
    sum += value * value;
  }
  return sum;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_MAGNITUDE_HPP

// ---- loglinear/detail/base/checks.hpp

#ifndef LOGLINEAR_DETAIL_BASE_CHECKS_HPP
#define LOGLINEAR_DETAIL_BASE_CHECKS_HPP

// Run-time checks of arguments. Every failure leaves through `fail`, which names the argument, the
// value received and the legal range.

#if defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__
#  error "loglinear: -ffast-math removes the checks for NaN; add -fno-finite-math-only"
#endif

namespace loglinear::detail {

inline void require_positive(std::string_view argument, Index value) {
  if (value < 1) fail(argument, value, "at least 1");
}

/// The largest d_model, d_k, d_v or n_heads d_v of a layer: two of them, 64 levels and the bytes of
/// a number multiply to an Index.
inline constexpr Index largest_length = Index{1} << (sizeof(Index) < 8 ? 20 : 26);

inline void require_length(std::string_view argument, Index value) {
  require_positive(argument, value);
  if (value > largest_length) {
    fail(argument, value, "at most ", largest_length);
  }
}

inline void require_size(std::string_view argument, Index size, Index expected) {
  if (size != expected) fail(Text("the size of ", argument), size, expected);
}

/// Whether value <= limit; NaN is not.
[[nodiscard]] inline bool is_at_most(double value, double limit) {
  return is_finite(value) && value <= limit;
}

/// Whether a value is no NaN, which no comparison would like.
template <class Value>
[[nodiscard]] bool is_number(const Value& value) {
  if constexpr (std::is_integral_v<Value>) {
    return true;
  } else {
    return !std::isnan(to_double(value));
  }
}

template <class Value, class Bound>
void require_between(std::string_view argument, const Value& value, const Bound& low,
                     const Bound& high) {
  if (is_number(value) && value >= low && value <= high) return;
  fail(argument, value, "between ", low, " and ", high);
}

/// Calls `visit` with every coefficient of an expression that does not lie in memory.
template <class Derived, class Visit>
void for_each_coefficient(const Eigen::DenseBase<Derived>& values, Visit visit) {
  for (Index j = 0; j < values.cols(); ++j) {
    for (Index i = 0; i < values.rows(); ++i) visit(values.derived().coeff(i, j));
  }
}

/// Whether all coefficients of a vector or matrix are finite.
template <class Derived>
[[nodiscard]] bool all_finite(const Eigen::DenseBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    return are_finite(pieces_of(values));
  } else {
    bool finite = true;
    for_each_coefficient(values, [&](const auto& x) { finite = finite && is_finite(x); });
    return finite;
  }
}

/// The same of numbers that lie in memory.
template <class Scalar>
[[nodiscard]] bool all_finite(const Scalar* values, Index size) {
  return are_finite(values, size);
}

template <class Number>
[[nodiscard]] bool all_finite(const RowBlock<Number>& values) {
  if (values.cols() == values.outerStride()) {
    return are_finite<std::remove_const_t<Number>>(values.data(), values.rows() * values.cols());
  }
  bool finite = true;
  for (Index i = 0; i < values.rows(); ++i) {
    finite = finite && are_finite<std::remove_const_t<Number>>(values.row(i), values.cols());
  }
  return finite;
}

/// Throws for the first coefficient that is not finite, column by column. The argument's name says
/// where its place stands, "projection # of x"; else that comes last, "x[0]".
template <class Scalar>
[[gnu::cold, gnu::noinline]] void fail_not_finite(std::string_view argument, const Scalar* data,
                                                  Index rows, Index columns, Index row_stride,
                                                  Index column_stride) {
  for (Index j = 0; j < columns; ++j) {
    for (Index i = 0; i < rows; ++i) {
      const Scalar& value = data[i * row_stride + j * column_stride];
      if (is_finite(value)) continue;
      const Text place = columns > 1 ? Text(i, ", ", j) : Text(i);
      const auto end = argument.find('#');
      if (end == argument.npos) fail(Text(argument, "[", place, "]"), to_double(value), "finite");
      // Not by `substr`, whose own error would pull half of the library into small programs.
      const std::string_view before(argument.data(), end),
          after(argument.data() + end + 1, argument.size() - end - 1);
      const bool is_pair = columns > 1;
      fail(Text(before, is_pair ? "(" : "", place, is_pair ? ")" : "", after), to_double(value),
           "finite");
    }
  }
}

/// Throws unless all coefficients are finite; names the first that is not.
template <class Derived>
void require_finite(std::string_view argument, const Eigen::DenseBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    if (are_finite(pieces_of(values))) return;
    const Derived& m = values.derived();
    constexpr bool by_row = static_cast<bool>(Derived::IsRowMajor);
    fail_not_finite(argument, m.data(), m.rows(), m.cols(), by_row ? m.outerStride() : Index{1},
                    by_row ? Index{1} : m.outerStride());
  } else if (!all_finite(values)) {
    require_finite(argument, values.derived().eval());
  }
}

/// The same of numbers that lie in memory.
template <class Scalar>
void require_finite(std::string_view argument, const Scalar* values, Index size) {
  if (!are_finite(values, size)) fail_not_finite(argument, values, size, 1, 1, size);
}
/// Refuses a matrix of another shape, or with a number that is not finite.
template <class Derived>
void require_matrix(std::string_view argument, const Eigen::DenseBase<Derived>& matrix, Index rows,
                    Index columns) {
  require_size(std::string(argument) + " (rows)", matrix.rows(), rows);
  require_size(std::string(argument) + " (columns)", matrix.cols(), columns);
  require_finite(argument, matrix);
}

template <class Keys, class Values>
void require_finite_leaf(const Keys& keys, const Values& values) {
  require_finite("coefficient # of the written key", keys);
  require_finite("coefficient # of the written value", values);
}

/// Magnitudes above this are refused before they are written: two of them still add up to a finite
/// number.
template <class Scalar>
[[nodiscard]] constexpr double magnitude_limit() {
  if constexpr (std::is_same_v<Scalar, float>) {
    return static_cast<double>((std::numeric_limits<float>::max)()) / 4;
  } else if constexpr (std::is_floating_point_v<Scalar>) {
    return (std::numeric_limits<double>::max)() / 4;
  } else {
    return to_double(Eigen::NumTraits<Scalar>::highest()) / 4;
  }
}

/// The larger of two magnitudes; NaN where one of them is not finite.
[[nodiscard]] inline double larger_magnitude(double a, double b) {
  if (!is_finite(a) || !is_finite(b)) return std::numeric_limits<double>::quiet_NaN();
  return (std::max)(a, b);
}

/// The largest absolute value, as a double; 0 for nothing, NaN where a coefficient is not finite.
template <class Scalar>
[[nodiscard]] double max_abs(const Scalar* values, Index size) {
  if constexpr (has_passes<Scalar>) {
    return to_double(largest_magnitude(values, size));
  } else {
    double largest = 0;
    for (Index i = 0; i < size; ++i) {
      largest = larger_magnitude(largest, std::abs(to_double(values[i])));
    }
    return largest;
  }
}
template <class Scalar>
[[nodiscard]] double max_abs(const Pieces<Scalar>& values) {
  if (values.pieces == 1) return max_abs(values.data, values.size);
  double largest = 0;
  for (Index i = 0; i < values.pieces; ++i) {
    largest = larger_magnitude(largest, max_abs(values.data + i * values.stride, values.size));
  }
  return largest;
}
template <class Derived>
[[nodiscard]] double max_abs(const Eigen::DenseBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    return max_abs(pieces_of(values));
  } else {
    double largest = 0;
    for_each_coefficient(values, [&](const auto& x) {
      largest = larger_magnitude(largest, std::abs(to_double(x)));
    });
    return largest;
  }
}

/// The Frobenius norm of a vector or matrix, also where its square would overflow or underflow; not
/// finite where a coefficient is not. Eigen's stableNorm multiplies by 1 over the largest
/// coefficient: that of the largest numbers is denormal, and is 0 where those are flushed.
template <class Scalar>
[[nodiscard]] double stable_norm(const Pieces<Scalar>& values) {
  using std::sqrt;
  constexpr double safe = std::is_same_v<Scalar, float> ? 0x1p40 : 0x1p300;
  const double largest = max_abs(values);
  if (!is_finite(largest) || is_exactly(largest, 0.0)) return largest;
  const bool is_safe = largest < safe && largest > 1 / safe;
  const auto scale = static_cast<Scalar>(largest);
  Scalar sum(0);
  for (Index i = 0; i < values.pieces; ++i) {
    const Scalar* const piece = values.data + i * values.stride;
    sum += is_safe ? sum_of_squares<false>(piece, values.size, scale)
                   : sum_of_squares<true>(piece, values.size, scale);
  }
  return (is_safe ? 1.0 : largest) * to_double(Scalar(sqrt(sum)));
}
template <class Derived>
[[nodiscard]] double stable_norm(const Eigen::MatrixBase<Derived>& values) {
  if constexpr (has_pieces<Derived>) {
    return stable_norm(pieces_of(values));
  } else {
    return stable_norm(values.derived().eval());
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_CHECKS_HPP

// ---- loglinear/parallel/detail/loop_body.hpp

#ifndef LOGLINEAR_PARALLEL_DETAIL_LOOP_BODY_HPP
#define LOGLINEAR_PARALLEL_DETAIL_LOOP_BODY_HPP

namespace loglinear {

/// What an executor calls for each pass of a loop: a reference to a callable, two pointers that
/// copy without allocating. Must not outlive the callable.
class LoopBody {
 public:
  template <class Body>
  requires(!std::is_same_v<Body, LoopBody>) explicit LoopBody(const Body& body)
      : object_(&body),
        call_([](const void* object, Eigen::Index i) { (*static_cast<const Body*>(object))(i); }) {}
  void operator()(Eigen::Index i) const { call_(object_, i); }

 private:
  const void* object_;
  void (*call_)(const void*, Eigen::Index);
};

}  // namespace loglinear

#endif  // LOGLINEAR_PARALLEL_DETAIL_LOOP_BODY_HPP

// ---- loglinear/parallel/detail/thread_pool.hpp

#ifndef LOGLINEAR_PARALLEL_DETAIL_THREAD_POOL_HPP
#define LOGLINEAR_PARALLEL_DETAIL_THREAD_POOL_HPP

// The threads of the library. They are started when a loop first asks for them, sleep while there
// is no loop, and are joined when the program ends. No mutex and no condition variable: their
// headers would cost every program more to compile than <thread> does.

#ifdef __STDCPP_THREADS__
// <thread> uses names that are macros under windows.h.
#  pragma push_macro("min")
#  pragma push_macro("max")
#  undef min
#  undef max
#  include <thread>
#  pragma pop_macro("min")
#  pragma pop_macro("max")

#  if defined(__unix__) || defined(__APPLE__)
#    include <pthread.h>
#    define LOGLINEAR_FORKS
#  endif
#endif

namespace loglinear::detail {

/// Whether this thread runs a pass of a loop: loops within it are run by it alone.
[[nodiscard]] inline bool& is_inside_loop() {
  thread_local bool inside = false;
  return inside;
}

#ifdef __STDCPP_THREADS__

[[nodiscard]] inline int processor_count() {
  return static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 1024u));
}

/// One loop at a time. Each of P threads has a slice of the passes, always the same of the same
/// number, so that what a pass works on stays in the cache of one processor; who is done takes over
/// passes of the others.
///
/// `gate_` counts the workers that are in the loop; its highest bit says whether they may enter.
/// Everything else about the loop is written while the gate is closed and nobody is inside.
class ThreadPool {
 public:
  static constexpr int most_threads = 1024;

  ThreadPool() = default;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    is_ending_.store(true);
    announce();
    for (std::thread& worker : workers_) worker.join();
  }

  /// Calls `body(i)` for all i in [0, n) on up to `threads` threads; does nothing and returns false
  /// where another thread of the program has a loop running.
  [[nodiscard]] bool run(Index n, int threads, const LoopBody& body) {
    if (is_busy_.exchange(true, std::memory_order_acquire)) return false;
    start_workers(threads - 1);
    body_ = &body;
    mode_ = FloatingPointControl::read();
    threads_ = (std::min)(threads, static_cast<int>(workers_.size()) + 1);
    for (int t = 0; t < threads_; ++t) {
      Slice& slice = slices_[static_cast<std::size_t>(t)];
      slice.next.store(n * t / threads_, std::memory_order_relaxed);
      slice.end = n * (t + 1) / threads_;
    }
    gate_.store(open);
    announce();
    is_inside_loop() = true;
    work(0);
    is_inside_loop() = false;
    gate_.fetch_and(~open);
    for (int inside = gate_.load(); inside != 0; inside = gate_.load()) await(gate_, inside);
    is_busy_.store(false, std::memory_order_release);
    return true;
  }

 private:
  static constexpr int open = 1 << 30;
  struct alignas(64) Slice {
    std::atomic<Index> next{0};
    Index end = 0;
  };

  /// Waits until `value` is another one: some 20 microseconds awake, then asleep.
  static void await(const std::atomic<int>& value, int old) {
    for (int i = 0; i < 1000; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
#  if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#  endif
    }
    value.wait(old);
  }
  void announce() {
    loops_.fetch_add(1);
    loops_.notify_all();
  }

  /// Fewer where the system has no more threads or no memory for them; the next loop tries again.
  void start_workers(int count) {
    const auto wanted = static_cast<std::size_t>(count);
    if (workers_.size() >= wanted) return;
    static_cast<void>(caught([&] {
      if (slices_.size() <= wanted) slices_ = std::vector<Slice>(wanted + 1);
      workers_.reserve(wanted);
      while (workers_.size() < wanted) {
        workers_.emplace_back(&ThreadPool::serve, this, static_cast<int>(workers_.size()) + 1,
                              loops_.load());
      }
    }));
  }

  /// What worker number `self` does.
  void serve(int self, int seen) {
    is_inside_loop() = true;
    while (true) {
      await(loops_, seen);
      seen = loops_.load();
      if (is_ending_.load()) return;
      int inside = gate_.load();
      while ((inside & open) != 0 && !gate_.compare_exchange_weak(inside, inside + 1)) {
      }
      if ((inside & open) == 0) continue;
      if (self < threads_) {
        FloatingPointControl::follow(mode_);
        work(self);
      }
      if (gate_.fetch_sub(1) == 1) gate_.notify_all();
    }
  }

  void work(int self) {
    for (int t = 0; t < threads_; ++t) {
      Slice& slice = slices_[static_cast<std::size_t>((self + t) % threads_)];
      while (slice.next.load(std::memory_order_relaxed) < slice.end) {
        const Index i = slice.next.fetch_add(1, std::memory_order_relaxed);
        if (i < slice.end) (*body_)(i);
      }
    }
  }

  std::atomic<int> loops_{0}, gate_{0};
  std::atomic<bool> is_busy_{false}, is_ending_{false};
  const LoopBody* body_ = nullptr;
  FloatingPointControl::Word mode_{};  // of the caller: workers compute as it does
  int threads_ = 1;
  std::vector<Slice> slices_{1};
  std::vector<std::thread> workers_{};
};

/// The pool of this program, and of a process that it forks into, which has no other threads: what
/// it had of the pool stays behind.
class ProgramPool {
 public:
  /// Null once the program has ended, and where there is no memory for it.
  [[nodiscard]] static ThreadPool* get() {
    static const ProgramPool ended_with_the_program;
    ThreadPool* pool = current().load(std::memory_order_acquire);
    if (pool != nullptr || has_ended().load()) return pool;
    std::unique_ptr<ThreadPool> fresh;
    static_cast<void>(caught([&] { fresh = std::make_unique<ThreadPool>(); }));
    if (current().compare_exchange_strong(pool, fresh.get())) pool = fresh.release();
    return pool;
  }

 private:
  ProgramPool() {
#  ifdef LOGLINEAR_FORKS
    pthread_atfork(nullptr, nullptr, [] { current().store(nullptr); });
#  endif
  }
  ~ProgramPool() {
    has_ended().store(true);
    std::unique_ptr<ThreadPool> pool(current().exchange(nullptr));
    // Where a pass of a loop ends the program, its worker cannot be joined: the pool stays.
    if (is_inside_loop()) static_cast<void>(pool.release());
  }
  static std::atomic<ThreadPool*>& current() {
    static std::atomic<ThreadPool*> pool{nullptr};
    return pool;
  }
  static std::atomic<bool>& has_ended() {
    static std::atomic<bool> ended{false};
    return ended;
  }
};

/// Runs a loop on the program's threads; false where it has none to spare.
[[nodiscard]] inline bool run_on_threads(Index n, int threads, const LoopBody& body) {
  ThreadPool* const pool = ProgramPool::get();
  return pool != nullptr && pool->run(n, threads, body);
}

#else  // a system without threads

[[nodiscard]] inline int processor_count() {
  return 1;
}
struct ThreadPool {
  static constexpr int most_threads = 1024;
};
[[nodiscard]] inline bool run_on_threads(Index, int, const LoopBody&) {
  return false;
}

#endif

}  // namespace loglinear::detail

#undef LOGLINEAR_FORKS

#endif  // LOGLINEAR_PARALLEL_DETAIL_THREAD_POOL_HPP

// ---- loglinear/parallel/executor.hpp

#ifndef LOGLINEAR_PARALLEL_EXECUTOR_HPP
#define LOGLINEAR_PARALLEL_EXECUTOR_HPP

namespace loglinear {

/// Who runs the passes of a loop: a callable `parallel_for(n, body)` that calls `body(i)` once for
/// each i in [0, n), on any threads and in any order, and returns when all of these calls have
/// returned. `body` throws nothing and may be called from several threads at once; it ends with the
/// call. Results do not depend on the threads.
///
/// Results are whole whatever it does: a pass that it runs again is ignored, and the library itself
/// runs those that it has left out. So what it throws does not come back.
///
///     loglinear::set_executor([](Eigen::Index n, const loglinear::LoopBody& body) {
///       tbb::parallel_for(Eigen::Index{0}, n, body);
///     });
using Executor = std::function<void(Eigen::Index n, const LoopBody& body)>;

namespace detail {

/// The one place for threads.
struct ThreadSettings {
  std::atomic<int> threads{0};  // 0 before anybody has said
  Executor executor{};
};
[[nodiscard]] inline ThreadSettings& thread_settings() {
  static ThreadSettings settings;
  return settings;
}

}  // namespace detail

/// The most threads that a call of this library uses: heads, sequences, streams and stretches of a
/// sequence are shared out to them, and the caller's thread is one of them. What `set_thread_count`
/// has said, before that as many as there are processors for this program.
[[nodiscard]] inline int thread_count() noexcept {
  std::atomic<int>& threads = detail::thread_settings().threads;
  int now = threads.load(std::memory_order_relaxed);
  if (now == 0) {
    now = detail::processor_count();
    threads.store(now, std::memory_order_relaxed);
  }
  return now;
}

/// Sets it, for the whole program, from the next call on. Results have the same bits with any
/// number of threads; with 1 the library starts none. \throws std::invalid_argument unless 1 to
/// 1024
inline void set_thread_count(int count) {
  detail::require_between("the number of threads", count, 1, detail::ThreadPool::most_threads);
  detail::thread_settings().threads.store(count, std::memory_order_relaxed);
}

/// Replaces the library's threads by the caller's executor, for the whole program; an empty one
/// brings them back. Not while a call of the library runs on another thread. `thread_count()` then
/// says only whether the executor is asked at all, which it is from 2 on.
inline void set_executor(Executor executor) {
  detail::thread_settings().executor = std::move(executor);
}

}  // namespace loglinear

#endif  // LOGLINEAR_PARALLEL_EXECUTOR_HPP

// ---- loglinear/parallel/detail/parallel_for.hpp

#ifndef LOGLINEAR_PARALLEL_DETAIL_PARALLEL_FOR_HPP
#define LOGLINEAR_PARALLEL_DETAIL_PARALLEL_FOR_HPP

namespace loglinear::detail {

/// What the first of the passes that fail has thrown, whichever came first in time.
class FirstFailure {
 public:
  /// Whether a pass still matters.
  [[nodiscard]] bool is_after(Index i) const { return i < index_.load(std::memory_order_relaxed); }
  void note(Index i, std::exception_ptr failure) {
    while (is_taken_.test_and_set(std::memory_order_acquire)) {
    }
    if (is_after(i)) {
      index_.store(i, std::memory_order_relaxed);
      failure_.swap(failure);
    }
    is_taken_.clear(std::memory_order_release);
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic<Index> index_{(std::numeric_limits<Index>::max)()};
  std::atomic_flag is_taken_{};
  std::exception_ptr failure_{};
};

/// How many threads a loop of n passes may use; 1 within another loop.
[[nodiscard]] inline int threads_for(Index n, int most) {
  if (n <= 1 || most <= 1 || is_inside_loop()) return 1;
  return static_cast<int>((std::min)(n, static_cast<Index>((std::min)(most, thread_count()))));
}

/// Calls `body(i)` once for each i in [0, n) by an executor that is not trusted: a pass that it
/// runs again is ignored, and those that it leaves out, be it by an error of its own, run here. So
/// the loops that write what has been computed are whole, whatever it does. Returns when all passes
/// have; throws nothing.
inline void run_by_executor(const Executor& executor, Index n, const LoopBody& body) {
  const auto count = static_cast<std::size_t>(n);
  const std::unique_ptr<std::atomic_flag[]> begun(new (std::nothrow) std::atomic_flag[count]);
  if (begun == nullptr) {
    for (Index i = 0; i < n; ++i) body(i);
    return;
  }
  std::atomic<Index> ended{0};
  const auto once = [&](Index i) {
    if (i < 0 || i >= n || begun[static_cast<std::size_t>(i)].test_and_set()) return;
    bool& inside = is_inside_loop();
    const bool before = std::exchange(inside, true);
    body(i);
    inside = before;
    ended.fetch_add(1, std::memory_order_release);
  };
  static_cast<void>(caught([&] { executor(n, LoopBody(once)); }));
  for (Index i = 0; i < n; ++i) once(i);
  while (ended.load(std::memory_order_acquire) != n) {  // on threads that it has not waited for
  }
}

/// Calls `body(i)` for each i in [0, n) on up to `most` threads, then throws what the lowest i that
/// failed has thrown; those before it have all run. Throws nothing else: a loop whose passes do not
/// fail is always whole. A loop within a loop runs on its own thread. Does not allocate but to
/// start threads and for an executor. In each pass `Scalar`'s denormal numbers are zero.
template <class Scalar, class Body>
void parallel_for(Index n, int most, const Body& body) {
  const int threads = threads_for(n, most);
  if (threads <= 1) {
    const FlushToZero<Scalar> flush;
    for (Index i = 0; i < n; ++i) body(i);
    return;
  }
  FirstFailure failure;
  const auto pass = [&](Index i) {
    if (!failure.is_after(i)) return;
    const FlushToZero<Scalar> flush;
    std::exception_ptr thrown = caught([&] { body(i); });
    if (thrown) failure.note(i, std::move(thrown));
  };
  const Executor& executor = thread_settings().executor;
  if (executor) {
    run_by_executor(executor, n, LoopBody(pass));
  } else if (!run_on_threads(n, threads, LoopBody(pass))) {
    for (Index i = 0; i < n; ++i) pass(i);
  }
  failure.rethrow();
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_PARALLEL_DETAIL_PARALLEL_FOR_HPP

// ---- loglinear/chunks/chunk_windows.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP
#define LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP

// One long sequence on several threads. What a chunk is by itself (its scores, keys, transition and
// leaves) does not depend on the states, and what it reads depends on those before it alone: only
// the states go from chunk to chunk. So the chunks of a window are loaded at once, then one thread
// takes the states through them, then they read at once; and three windows are under way at a time,
//
//     loading window w + 2  |  states of window w + 1  |  reads of window w
//
// Each chunk does what it does on one thread, in the same order, so that the bits are the same.

namespace loglinear::detail {

template <class Scalar>
class ChunkWindows {
 public:
  using Pass = typename ChunkStep<Scalar>::Pass;

  /// Whether it is worth it: a source that can be asked from several threads, threads, and enough
  /// chunks for some windows. No bit depends on the answer.
  [[nodiscard]] static bool are_useful(const TokenSource<Scalar>& source, Index chunk_size) {
    return source.is_concurrent() && source.length() / chunk_size >= 4 * chunks_of_window() &&
           threads_for(chunks_of_window(), thread_count()) > 1;
  }

  ChunkWindows(TokenSource<Scalar>& source, Index chunk_size, Index weights,
               const Hierarchy<Scalar>& states)
      : source_(source), chunk_size_(chunk_size), size_(chunks_of_window()), states_(states) {
    for (Window& window : windows_) {
      for (Index i = 0; i < size_; ++i) {
        window.steps.emplace_back(source.shape(), (std::min)(chunk_size, source.length()), weights);
        window.after.push_back(states.empty());
      }
    }
    std::uint64_t count = states.count();
    for (Index first = 0; first < source.length();) {
      begins_.push_back(first);
      const auto into = static_cast<Index>(count % static_cast<std::uint64_t>(chunk_size));
      const Index tokens = (std::min)(chunk_size - into, source.length() - first);
      first += tokens;
      count += static_cast<std::uint64_t>(tokens);
    }
    begins_.push_back(source.length());
  }

  /// As `ChunkwiseRun::forward`.
  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
    const Index chunks = static_cast<Index>(begins_.size()) - 1;
    if (tape != nullptr) tape->start(source_.length() / chunk_size_ + 2);
    for (Index w = -2; w * size_ < chunks; ++w) {
      const auto in_window = [&](Index window) {
        return window < 0 ? 0 : std::clamp<Index>(chunks - window * size_, 0, size_);
      };
      const Index going = in_window(w + 1) > 0 ? 1 : 0, reading = in_window(w),
                  loading = in_window(w + 2);
      parallel_for<Scalar>(going + reading + loading, thread_count(), [&](Index n) {
        if (n < going) {
          advance(w + 1, in_window(w + 1), tape);
        } else if (n < going + reading) {
          if (reads) read(w * size_ + n - going);
        } else {
          load((w + 2) * size_ + n - going - reading, reads ? Pass::reads : Pass::states);
        }
      });
    }
    states = after(chunks - 1);
  }

 private:
  struct Window {
    std::vector<ChunkStep<Scalar>> steps{};
    std::vector<Hierarchy<Scalar>> after{};  // the states after each chunk
  };

  [[nodiscard]] static Index chunks_of_window() {
    return (std::max)(Index{3}, Index{1} + thread_count());
  }
  [[nodiscard]] ChunkStep<Scalar>& step(Index chunk) {
    return window_of(chunk).steps[static_cast<std::size_t>(chunk % size_)];
  }
  [[nodiscard]] Hierarchy<Scalar>& after(Index chunk) {
    return window_of(chunk).after[static_cast<std::size_t>(chunk % size_)];
  }
  [[nodiscard]] Window& window_of(Index chunk) {
    return windows_[static_cast<std::size_t>(chunk / size_ % 3)];
  }
  [[nodiscard]] const Hierarchy<Scalar>& before(Index chunk) {
    return chunk == 0 ? states_ : after(chunk - 1);
  }
  [[nodiscard]] Index begin(Index chunk) const { return begins_[static_cast<std::size_t>(chunk)]; }

  void load(Index chunk, Pass pass) {
    step(chunk).load(source_, begin(chunk), begin(chunk + 1) - begin(chunk), pass);
    step(chunk).prepare_advance(states_.max_levels(),
                                states_.count() + static_cast<std::uint64_t>(begin(chunk)));
  }
  void advance(Index window, Index chunks, ChunkwiseTape<Scalar>* tape) {
    for (Index chunk = window * size_; chunk < window * size_ + chunks; ++chunk) {
      if (tape != nullptr) tape->note(begin(chunk), before(chunk));
      step(chunk).advance(before(chunk), after(chunk));
    }
  }
  void read(Index chunk) {
    step(chunk).read(before(chunk));
    source_.take_out(begin(chunk), step(chunk).chunk());
  }

  TokenSource<Scalar>& source_;
  Index chunk_size_, size_;
  const Hierarchy<Scalar>& states_;  // before the tokens
  std::vector<Index> begins_{};      // of each chunk, and the end
  std::array<Window, 3> windows_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP

// ---- loglinear/detail/kernels/stepped_rows.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_STEPPED_ROWS_HPP
#define LOGLINEAR_DETAIL_KERNELS_STEPPED_ROWS_HPP

// m <- scaling m + a few outer products, and m^T c of what m is then, in one pass: a recurrence
// that writes one token and reads for the next.

namespace loglinear::detail {

/// A weighted sum of the rows of a matrix, out = sum_i weights[i] row_i.
template <class Scalar>
struct RowSum {
  const Scalar* weights;
  Scalar* out;
};

/// The part of N packets of columns, from `first` on. What the outer products have along the rows,
/// and the sums, stay in registers.
template <int N, int Terms, int Sums, class Scalar>
void stepped_rows_block(Scalar* m, Index first, Index rows, Index stride,
                        const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms,
                        const RowSum<Scalar>* sums) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P along[array_size(Terms)][array_size(N)], found[array_size(Sums)][array_size(N)];
  for (int n = 0; n < N; ++n) {
    for (int t = 0; t < Terms; ++t) along[t][n] = ei::ploadu<P>(terms[t].along + first + n * width);
    for (int s = 0; s < Sums; ++s) found[s][n] = ei::pset1<P>(Scalar(0));
  }
  Scalar* row = m + first;
  for (Index i = 0; i < rows; ++i, row += stride) {
    P coefficients[array_size(Terms)], weights[array_size(Sums)];
    const P scale = ei::pset1<P>(scaling.row(i));
    for (int t = 0; t < Terms; ++t) {
      coefficients[t] = ei::pset1<P>(Scalar(terms[t].factor * terms[t].of_row[i]));
    }
    for (int s = 0; s < Sums; ++s) weights[s] = ei::pset1<P>(sums[s].weights[i]);
    for (int n = 0; n < N; ++n) {
      P x = ei::pmul(scale, ei::ploadu<P>(row + n * width));
      for (int t = 0; t < Terms; ++t) x = ei::pmadd(coefficients[t], along[t][n], x);
      ei::pstoreu(row + n * width, x);
      for (int s = 0; s < Sums; ++s) found[s][n] = ei::pmadd(weights[s], x, found[s][n]);
    }
  }
  for (int s = 0; s < Sums; ++s) {
    for (int n = 0; n < N; ++n) ei::pstoreu(sums[s].out + first + n * width, found[s][n]);
  }
}

template <int N, int Terms, int Sums, class Scalar>
void stepped_rows_from(Scalar* m, Index first, Index rows, Index columns,
                       const Scaling<Scalar>& scaling, const OuterProduct<Scalar>* terms,
                       const RowSum<Scalar>* sums) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    stepped_rows_block<N, Terms, Sums>(m, first, rows, columns, scaling, terms, sums);
  }
  if constexpr (N > 1) {
    stepped_rows_from<N / 2, Terms, Sums>(m, first, rows, columns, scaling, terms, sums);
  } else {
    for (int s = 0; s < Sums; ++s) std::fill(sums[s].out + first, sums[s].out + columns, Scalar(0));
    for (Index i = 0; i < rows && first < columns; ++i) {
      for (Index j = first; j < columns; ++j) {
        Scalar x = scaling.row(i) * m[i * columns + j];
        for (int t = 0; t < Terms; ++t) {
          x += terms[t].factor * terms[t].of_row[i] * terms[t].along[j];
        }
        m[i * columns + j] = x;
        for (int s = 0; s < Sums; ++s) sums[s].out[j] += sums[s].weights[i] * x;
      }
    }
  }
}

/// m <- scaling m + the outer products, then the sums of its rows; columns are not scaled. No sum
/// may lie where something along the rows does.
template <int Terms, int Sums, class Scalar>
void stepped_rows(Scalar* m, Index rows, Index columns, const Scaling<Scalar>& scaling,
                  const OuterProduct<Scalar>* terms, const RowSum<Scalar>* sums) {
  constexpr int packets = widest_block<Scalar> / (2 * (std::max)(Terms, Sums));
  stepped_rows_from<packets, Terms, Sums>(m, Index{0}, rows, columns, scaling, terms, sums);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_STEPPED_ROWS_HPP

// ---- loglinear/detail/kernels/weighted_rows.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_WEIGHTED_ROWS_HPP
#define LOGLINEAR_DETAIL_KERNELS_WEIGHTED_ROWS_HPP

// m^T c of row-major matrices. This and the other kernels are the inner loops of a token, on raw
// row-major memory: on Eigen's packets, so that one text serves every instruction set and every
// scalar (a scalar without packets is its own packet of one). They never parallelise, never
// allocate and add in a fixed order.
//
// Memory is read in the order in which it lies, a whole row of a block before the next: rows that
// take turns cost hardware prefetchers half their speed.

namespace loglinear::detail {

/// A matrix to be read as `Sums` weighted sums of its rows, scale sum_i weights[i] rows[i], i <
/// count.
template <class Stored, class Scalar, std::size_t Sums = 1>
struct WeightedRows {
  const Stored* rows;
  Index count;
  std::array<const Scalar*, Sums> weights;
  Scalar scale;
};

/// out = the weighted sums of rows of all terms together, for N packets of columns from `first` on,
/// added to out if `add`. The sums, each in so many `chains`, stay in registers while all rows
/// of all terms pass by.
template <int N, int chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_block(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                         Index stride, const std::array<Scalar*, Sums>& out, bool add) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  P sums[Sums][array_size(chains)][array_size(N)];
  for (std::size_t s = 0; s < Sums; ++s) {
    for (int c = 0; c < chains; ++c) {
      for (int n = 0; n < N; ++n) sums[s][c][n] = ei::pset1<P>(Scalar(0));
    }
    if (add) load_in_order_of<Stored, N, Scalar>(out[s], sums[s][0]);
  }
  const auto add_row = [&](const auto& term, const Stored* row, Index i, int c)
      __attribute__((always_inline)) {
    for (std::size_t s = 0; s < Sums; ++s) {  // loaded for each sum: few registers are left
      const P weight = ei::pmul(ei::pset1<P>(term.scale), ei::pset1<P>(term.weights[s][i]));
      for_each_packet<Scalar, N>(row, [&](std::size_t n, const P& packet) {
        sums[s][c][n] = ei::pmadd(weight, packet, sums[s][c][n]);
      });
    }
  };
  for (int t = 0; t < count; ++t) {
    const WeightedRows<Stored, Scalar, Sums> term = terms[t];
    const Stored* row = term.rows + first;
    Index i = 0;
    for (; i + chains <= term.count; i += chains, row += chains * stride) {
      // Unrolled, or else the sums would not stay in registers.
      [&]<int... C>(std::integer_sequence<int, C...>) {
        (add_row(term, row + C * stride, i + C, C), ...);
      }
      (std::make_integer_sequence<int, chains>{});
    }
    for (; i < term.count; ++i, row += stride) add_row(term, row, i, 0);
  }
  for (std::size_t s = 0; s < Sums; ++s) {
    for (int n = 0; n < N; ++n) {
      for (int c = 1; c < chains; ++c) sums[s][0][n] = ei::padd(sums[s][0][n], sums[s][c][n]);
    }
    store_from_order_of<Stored, N, Scalar>(out[s], sums[s][0]);
  }
}

/// The columns from `first` on, which are fewer than a packet: from a packet that overlaps the one
/// before it, if there is one.
template <int Chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_rest(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                        Index columns, Index stride, const std::array<Scalar*, Sums>& out,
                        bool add) {
  constexpr Index width = packet_size<Scalar>;
  Scalar buffers[Sums][packet_length<Scalar>];
  if (columns >= width) {
    const Index begin = columns - width;
    std::array<Scalar*, Sums> to;
    for (std::size_t s = 0; s < Sums; ++s) {
      to[s] = buffers[s];
      if (add) std::copy_n(out[s] + begin, width, to[s]);
    }
    weighted_rows_block<1, Chains>(terms, count, begin, stride, to, add);
    for (std::size_t s = 0; s < Sums; ++s) {
      std::copy_n(to[s] + (first - begin), columns - first, out[s] + first);
    }
    return;
  }
  for (std::size_t s = 0; s < Sums; ++s) {
    if (!add) std::fill(out[s] + first, out[s] + columns, Scalar(0));
    for (int t = 0; t < count; ++t) {
      const auto& [m, rows, weights, scale] = terms[t];
      for (Index i = 0; i < rows; ++i) {
        const Scalar weight = scale * weights[s][i];
        const Scalar* const rest = wide_rest<Scalar>(m + i * stride, first, columns, buffers[s]);
        for (Index j = first; j < columns; ++j) out[s][j] += weight * rest[j - first];
      }
    }
  }
}

/// All columns from `first` on, N packets at a time as long as there are so many, then fewer. Fewer
/// packets than `Chains` are summed in several chains, to hide the latency of the additions.
template <int N, int Chains, class Stored, class Scalar, std::size_t Sums>
void weighted_rows_from(const WeightedRows<Stored, Scalar, Sums>* terms, int count, Index first,
                        Index columns, Index stride, const std::array<Scalar*, Sums>& out,
                        bool add) {
  constexpr int chains = N >= Chains ? 1 : Chains / N;
  constexpr Index width = packet_size<Scalar>;
  const auto at = [&](Index column) {
    std::array<Scalar*, Sums> to = out;
    for (Scalar*& sums : to) sums += column;
    return to;
  };
  for (; first + N * width <= columns; first += N * width) {
    weighted_rows_block<N, chains>(terms, count, first, stride, at(first), add);
  }
  // One pass rather than several over long rows: half a row after the other is no order of memory.
  if constexpr (N == 16 && Chains == 1) {
    const Index packets = (columns - first) / width;
    if (packets >= 10) {
      if (packets >= 14) {
        weighted_rows_block<14, 1>(terms, count, first, stride, at(first), add);
      } else if (packets >= 12) {
        weighted_rows_block<12, 1>(terms, count, first, stride, at(first), add);
      } else {
        weighted_rows_block<10, 1>(terms, count, first, stride, at(first), add);
      }
      first += packets / 2 * 2 * width;
    }
  }
  if constexpr (N > 1) {
    weighted_rows_from<N / 2, Chains>(terms, count, first, columns, stride, out, add);
  } else if (first < columns) {
    weighted_rows_rest<Chains>(terms, count, first, columns, stride, out, add);
  }
}

/// out[j] = sum over the terms of scale sum_i weights[i] rows[i][j], j < columns, added to out if
/// `Add`: `sum_l lambda_l m_l^T c_l` over matrices of one width, in one pass over each. With one
/// chain the rounding of a column depends on nothing but whether it lies in a whole packet.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows(const WeightedRows<Stored, Scalar>* terms, int count, Index columns,
                   Index stride, Scalar* out) {
  weighted_rows_from<widest_block<Scalar>, Chains, Stored, Scalar, 1>(terms, count, 0, columns,
                                                                      stride, {out}, Add);
}

/// The same of one matrix, `m^T c`.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows(const Stored* m, Index rows, Index columns, Index stride, const Scalar* c,
                   Scalar* out) {
  const WeightedRows<Stored, Scalar> term{m, rows, {c}, Scalar(1)};
  weighted_rows<Add, Chains>(&term, 1, columns, stride, out);
}

/// The same with two vectors at once, `m^T c` and `m^T d`.
template <bool Add = false, int Chains = 4, class Stored, class Scalar>
void weighted_rows_pair(const Stored* m, Index rows, Index columns, Index stride, const Scalar* c,
                        const Scalar* d, Scalar* out_c, Scalar* out_d) {
  const WeightedRows<Stored, Scalar, 2> term{m, rows, {c, d}, Scalar(1)};
  weighted_rows_from<widest_block<Scalar> / 2, Chains, Stored, Scalar, 2>(
      &term, 1, 0, columns, stride, {out_c, out_d}, Add);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_WEIGHTED_ROWS_HPP

// ---- loglinear/chunks/one_state_run.hpp

#ifndef LOGLINEAR_CHUNKS_ONE_STATE_RUN_HPP
#define LOGLINEAR_CHUNKS_ONE_STATE_RUN_HPP

// A hierarchy of one level is one state, S. Where it fits into a near cache, the recurrence takes
// less time than the products of a chunk, which cost more operations: one pass over S writes one
// moment and reads for the next,
//
//     S <- D S diag(r) - u f^T + sum_n k_n v_n^T        f = S^T p,  S^T q' of what S is then,
//
// where q' is the query as the state before the token sees it, A^T q. What the token writes itself
// is added apart, under its own level weight.

namespace loglinear::detail {

/// The tokens of one chunk after the other, for one state.
template <class Scalar>
class OneStateRun {
 public:
  /// Whether the recurrence is the faster way: as long as S lies in a near cache, which is nearer
  /// the more operations the products of a chunk need beside those of the recurrence. Measured with
  /// 16 and 32 registers of 4 to 16 floats, S of 16 x 16 to 256 x 256.
  [[nodiscard]] static bool is_faster(const SequenceShape& shape, int max_levels) {
    const bool is_plain = shape.steps == 0 && shape.decays <= 1;
    const Index kibibytes = shape.decays_values ? 4  // no pass does all at once then
                            : is_plain          ? 16
                            : shape.steps == 0  ? 32
                            : shape.is_delta    ? 48
                                                : 144;
    const bool has_registers = widest_block<Scalar> >= 16 && !is_plain && !shape.decays_values;
    const Index bytes = shape.d_k * shape.d_v * Index{sizeof(Scalar)};
    return max_levels == 1 && bytes <= kibibytes * (has_registers ? 3 : 1) * 1024;
  }

  OneStateRun(const SequenceShape& shape, Index capacity, Index weights)
      : shape_(shape),
        chunk_(shape, capacity, weights),
        query_(shape.d_k),
        old_read_(shape.d_v),
        own_read_(shape.d_v),
        found_(shape.d_v),
        next_found_(shape.d_v),
        spare_(shape.d_v),
        ones_(ones<Scalar>(shape.d_v)),
        terms_(array_size(shape.leaves + 1)) {}
  OneStateRun(const OneStateRun&) = delete;
  OneStateRun& operator=(const OneStateRun&) = delete;

  /// Takes the `tokens` tokens from `first` on, and reads them, to `chunk().out`, if `reads`.
  void step(TokenSource<Scalar>& source, Index first, Index tokens, bool reads,
            Hierarchy<Scalar>& states) {
    chunk_.tokens = tokens;
    rows_ = source.load(first, chunk_);
    if (states.count() == 0) states.set_zero(0);
    s_ = states.level(0).data();
    for (Index t = 0; t < tokens; ++t) step_token(t, states.count(), reads);
    write();
    clear_negligible(s_, shape_.d_k * shape_.d_v);
    states.set_count(states.count() + static_cast<std::uint64_t>(tokens));
  }

  [[nodiscard]] const Chunk<Scalar>& chunk() const { return chunk_; }

 private:
  void step_token(Index t, std::uint64_t before, bool reads) {
    if (reads) pull_query(t);
    const Index begin = t * shape_.moments();
    for (Index j = 0; j < shape_.moments(); ++j) {
      const bool is_first = j == 0, reads_now = reads && is_first;
      const Scalar* const r =
          is_first && shape_.decays_values ? row(chunk_.value_decay, t) : nullptr;
      std::array<RowSum<Scalar>, 2> sums;
      int count = 0;
      if (reads_now) sums[array_size(count++)] = {query_.data(), old_read_.data()};
      if (shape_.steps > 0) {
        sums[array_size(count++)] = {row(chunk_.p, begin + j), next_found_.data()};
      }
      write_and_sum(sums.data(), count);
      if (r != nullptr) {
        if (reads_written()) multiply(old_read_.data(), r, shape_.d_v, old_read_.data());
        multiply(next_found_.data(), r, shape_.d_v, next_found_.data());
      }
      std::swap(found_, next_found_);
      note(t, begin + j, r);
    }
    if (reads) put_read(t, before);
  }

  /// The query as the state before token t sees it, and what it reads of the token itself.
  void pull_query(Index t) {
    copy(rows_.q.row(t), shape_.d_k, query_.data());
    std::fill_n(own_read_.data(), shape_.d_v, Scalar(0));
    if (!reads_written()) return;
    const Scalar own = rows_.lambda(t, 0);
    const Index end = (t + 1) * shape_.moments();
    for (Index moment = end - 1; moment >= t * shape_.moments(); --moment) {
      for_each_leaf(t, moment, [&](Index leaf) {
        const Scalar score = dot(rows_.k.row(leaf), query_.data(), shape_.d_k);
        axpy<Scalar>(own * score, rows_.v.row(leaf), shape_.d_v, own_read_.data());
      });
      const Scalar along =
          shape_.steps > 0 ? dot(removal(moment), query_.data(), shape_.d_k) : Scalar(0);
      if (shape_.decays == 1) scale_by(*row(chunk_.decay, moment), query_.data(), shape_.d_k);
      if (shape_.decays > 1) {
        multiply(query_.data(), row(chunk_.decay, moment), shape_.d_k, query_.data());
      }
      if (shape_.steps > 0) axpy<Scalar>(-along, row(chunk_.p, moment), shape_.d_k, query_.data());
    }
  }
  /// The read of token t; the state before the first token of all has no weight.
  void put_read(Index t, std::uint64_t before) {
    Scalar* const out = chunk_.out.data() + t * shape_.d_v;
    copy(own_read_.data(), shape_.d_v, out);
    if (before + static_cast<std::uint64_t>(t) == 0) return;
    const LevelMask mask{shape_.order, 1, before};
    axpy<Scalar>(rows_.lambda(t, mask.level(0, t)), old_read_.data(), shape_.d_v, out);
  }

  /// What is to be written at a moment: `r` decays value columns, if it is not null.
  void note(Index t, Index moment, const Scalar* r) {
    scaling_ = {Scalar(1), nullptr, r == nullptr ? ones_.data() : r};
    if (shape_.decays == 1) scaling_.factor = *row(chunk_.decay, moment);
    if (shape_.decays > 1) scaling_.of_row = row(chunk_.decay, moment);
    count_ = 0;
    if (shape_.steps > 0) {
      terms_[array_size(count_++)] = {removal(moment), found_.data(), Scalar(-1)};
    }
    for_each_leaf(t, moment, [&](Index leaf) {
      terms_[array_size(count_++)] = {rows_.k.row(leaf), rows_.v.row(leaf), Scalar(1)};
    });
    has_note_ = true;
  }
  /// Writes what was noted.
  void write() {
    if (!has_note_) return;
    step_rows<0, true>(s_, shape_.d_k, shape_.d_v, shape_.d_v, scaling_, terms_.data(), count_);
    has_note_ = false;
  }
  /// The same, and `sums` of the rows of the state as it is then; there is room for two of them.
  void write_and_sum(RowSum<Scalar>* sums, int sum_count) {
    const Index rows = shape_.d_k, columns = shape_.d_v;
    const bool is_fused = has_note_ && sum_count > 0 && scaling_.of_column == ones_.data();
    if (is_fused && count_ == 1 && sum_count == 1) {
      stepped_rows<1, 1>(s_, rows, columns, scaling_, terms_.data(), sums);
    } else if (is_fused && count_ == 2) {
      if (sum_count == 1) sums[1] = {sums[0].weights, spare_.data()};  // as much as there may be
      stepped_rows<2, 2>(s_, rows, columns, scaling_, terms_.data(), sums);
    } else {
      write();
      for (int s = 0; s < sum_count; ++s) {
        weighted_rows(s_, rows, columns, columns, sums[s].weights, sums[s].out);
      }
    }
    has_note_ = false;
  }

  /// Calls `visit(leaf)` for the leaves that token t writes at a moment.
  template <class Visit>
  void for_each_leaf(Index t, Index moment, Visit visit) const {
    if (shape_.is_delta) return visit(moment);
    if (moment != (t + 1) * shape_.moments() - 1) return;
    for (Index n = 0; n < shape_.leaves; ++n) visit(t * shape_.leaves + n);
  }
  /// u of a moment.
  [[nodiscard]] const Scalar* removal(Index moment) const {
    return shape_.is_delta ? rows_.k.row(moment) : row(chunk_.u, moment);
  }
  [[nodiscard]] bool reads_written() const { return info_of(shape_.order).reads_written; }
  [[nodiscard]] static const Scalar* row(const RowMajorMatrix<Scalar>& m, Index i) {
    return m.data() + i * m.cols();
  }

  SequenceShape shape_;
  Chunk<Scalar> chunk_;
  typename Chunk<Scalar>::Views rows_{};
  Scalar* s_ = nullptr;
  Vector<Scalar> query_, old_read_, own_read_, found_, next_found_, spare_, ones_;
  // What is still to be written.
  Scaling<Scalar> scaling_{};
  std::vector<OuterProduct<Scalar>> terms_;
  int count_ = 0;
  bool has_note_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_ONE_STATE_RUN_HPP

// ---- loglinear/chunks/chunkwise_run.hpp

#ifndef LOGLINEAR_CHUNKS_CHUNKWISE_RUN_HPP
#define LOGLINEAR_CHUNKS_CHUNKWISE_RUN_HPP

// The chunkwise algorithm: one chunk after the other, by the steps of chunk_step.hpp; backwards,
// their pullbacks from the last to the first. Chunks are stretches of 2^c tokens between absolute
// positions that are multiples of 2^c, so that every bucket of 2^c tokens or more is a union of
// chunks.

namespace loglinear::detail {

/// Reads and writes all tokens of the source: `states` holds the older ones and then those as well.
/// With a tape it keeps what `pull_back_chunks` needs; without `reads` nothing is read.
///
/// \param chunk_size  tokens of a chunk, a power of two
/// \param weights     columns of the level weights
template <class Scalar>
void forward_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                    Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads);

/// From the gradient with respect to the reads, which the source gives, and to the final states to
/// that of everything: `gradient` holds those states' at first, those of the initial ones in the
/// end. The states between those on the tape are computed again.
template <class Scalar>
void pull_back_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                      const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient);

/// Calls `step(first, tokens)`, which takes the states over its tokens, for one chunk after the
/// other, each up to the next multiple of its size in the stream.
template <class Scalar, class Step>
void for_each_chunk(Index length, Index chunk_size, const Hierarchy<Scalar>& states,
                    ChunkwiseTape<Scalar>* tape, Step step) {
  if (tape != nullptr) tape->start(length / chunk_size + 2);
  for (Index first = 0, tokens = 0; first < length; first += tokens) {
    if (tape != nullptr) tape->note(first, states);
    const auto into = static_cast<Index>(states.count() % static_cast<std::uint64_t>(chunk_size));
    tokens = (std::min)(chunk_size - into, length - first);
    step(first, tokens);
  }
}

/// Both with what they have in common.
template <class Scalar>
class ChunkwiseRun {
 public:
  ChunkwiseRun(TokenSource<Scalar>& source, Index chunk_size, Index weights)
      : source_(source),
        chunk_size_(chunk_size),
        capacity_((std::min)(chunk_size, source.length())),
        weights_(weights),
        step_(source.shape(), capacity_, weights) {}

  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
    const Pass pass = reads ? Pass::reads : Pass::states;
    for_each_chunk(source_.length(), chunk_size_, states, tape, [&](Index first, Index tokens) {
      step_.load(source_, first, tokens, pass);
      if (reads) {
        step_.read(states);
        source_.take_out(first, step_.chunk());
      }
      step_.advance(states, states);
    });
  }

  void pull_back(const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient) {
    ChunkStepPullback<Scalar> pull_back(step_);
    Chunk<Scalar> d_chunk(source_.shape(), capacity_, weights_);
    std::vector<Hierarchy<Scalar>> before;  // each chunk between two that are on the tape
    std::vector<typename ChunkMap<Scalar>::Kept> kept;
    std::size_t end = tape.begins.size();
    for (std::size_t n = tape.kept.size(); n-- > 0;) {
      const std::size_t begin = n * static_cast<std::size_t>(tape.interval);
      if (before.size() < end - begin - 1) before.resize(end - begin - 1, gradient.empty());
      const auto before_chunk = [&](std::size_t i) -> const Hierarchy<Scalar>& {
        return i == begin ? tape.kept[n] : before[i - begin - 1];
      };
      if (kept.size() < before.size()) kept.resize(before.size());
      for (std::size_t i = begin; i + 1 < end; ++i) {
        load(tape.begins[i], before_chunk(i), Pass::states);
        step_.advance(before_chunk(i), before[i - begin]);
        step_.map().swap_kept(kept[i - begin]);
      }
      for (std::size_t i = end; i-- > begin;) {
        const bool is_kept = i + 1 < end;
        if (is_kept) step_.map().swap_kept(kept[i - begin]);
        load(tape.begins[i], before_chunk(i),
             is_kept ? Pass::gradients_after_states : Pass::gradients);
        pull_back_chunk(tape.begins[i], before_chunk(i), pull_back, gradient, d_chunk);
      }
      end = begin;
    }
  }

 private:
  using Pass = typename ChunkStep<Scalar>::Pass;

  /// The chunk that begins with token `first`, up to the next multiple of its size in the stream.
  void load(Index first, const Hierarchy<Scalar>& states, Pass pass) {
    const auto into = static_cast<Index>(states.count() % static_cast<std::uint64_t>(chunk_size_));
    step_.load(source_, first, (std::min)(chunk_size_ - into, source_.length() - first), pass);
  }

  void pull_back_chunk(Index first, const Hierarchy<Scalar>& states,
                       ChunkStepPullback<Scalar>& pull_back, Hierarchy<Scalar>& gradient,
                       Chunk<Scalar>& d_chunk) {
    d_chunk.tokens = step_.chunk().tokens;
    writable_block_of(d_chunk.lambda).setZero();
    writable_block_of(d_chunk.decay).setZero();
    writable_block_of(d_chunk.value_decay).setZero();
    pull_back(states, gradient, source_.open_gradient(first, step_.chunk(), d_chunk), d_chunk);
    source_.take_gradient(first, step_.chunk(), d_chunk);
  }

  TokenSource<Scalar>& source_;
  Index chunk_size_, capacity_, weights_;
  ChunkStep<Scalar> step_;
};

template <class Scalar>
void forward_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                    Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
  const SequenceShape shape = source.shape();
  if (OneStateRun<Scalar>::is_faster(shape, states.max_levels())) {
    OneStateRun<Scalar> one_state(shape, (std::min)(chunk_size, source.length()), weights);
    return for_each_chunk(source.length(), chunk_size, states, tape,
                          [&](Index first, Index tokens) {
                            one_state.step(source, first, tokens, reads, states);
                            if (reads) source.take_out(first, one_state.chunk());
                          });
  }
  if (ChunkWindows<Scalar>::are_useful(source, chunk_size)) {
    return ChunkWindows<Scalar>(source, chunk_size, weights, states).forward(states, tape, reads);
  }
  ChunkwiseRun<Scalar>(source, chunk_size, weights).forward(states, tape, reads);
}

template <class Scalar>
void pull_back_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                      const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient) {
  ChunkwiseRun<Scalar>(source, chunk_size, weights).pull_back(tape, gradient);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNKWISE_RUN_HPP

// ---- loglinear/chunks/instantiations.hpp

#ifndef LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP
#define LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP

// What a program that links the library of runtime/ need not compile itself: with LOGLINEAR_RUNTIME
// the chunkwise algorithm for float and double is declared here, and defined in runtime/chunks.cpp.

/// LOGLINEAR_CHUNKS(extern, double) declares the instantiations, LOGLINEAR_CHUNKS(, double) makes
/// them.
#define LOGLINEAR_CHUNKS(EXTERN, SCALAR)                                                      \
  namespace loglinear::detail {                                                               \
  EXTERN template void product_kernel(Into, const LeftOperand<SCALAR>&, Index, Index, Index,  \
                                      const SCALAR*, Index, SCALAR*, Index);                  \
  EXTERN template void forward_chunks(TokenSource<SCALAR>&, Index, Index, Hierarchy<SCALAR>&, \
                                      ChunkwiseTape<SCALAR>*, bool);                          \
  EXTERN template void pull_back_chunks(TokenSource<SCALAR>&, Index, Index,                   \
                                        const ChunkwiseTape<SCALAR>&, Hierarchy<SCALAR>&);    \
  }

#ifdef LOGLINEAR_RUNTIME
LOGLINEAR_CHUNKS(extern, float)
LOGLINEAR_CHUNKS(extern, double)
#endif

#endif  // LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP

// ---- loglinear/sequence/detail/results.hpp

#ifndef LOGLINEAR_SEQUENCE_DETAIL_RESULTS_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_RESULTS_HPP

// Finite tokens can have results that are not finite. Every form looks at what it has computed,
// while it is still in the cache, and refuses the tokens before it changes a state.

namespace loglinear::detail {

/// Throws unless all rows are finite; `first` is the number of the first one.
template <class Rows>
void require_finite_rows(std::string_view what, const Rows& rows, Index first) {
  if (all_finite(rows)) return;
  for (Index i = 0; i < rows.rows(); ++i) {
    for (Index j = 0; j < rows.cols(); ++j) {
      if (is_finite(rows(i, j))) continue;
      fail(std::string(what) + std::to_string(first + i) + ", column " + std::to_string(j) + ",",
           to_double(rows(i, j)), "finite: a result leaves the range of the scalar type");
    }
  }
}

/// The same for reads, from token `first` on.
template <class Rows>
void require_finite_reads(const Rows& reads, Index first) {
  require_finite_rows("the read of token ", reads, first);
}

/// The same for the rows of a gradient.
template <class Rows>
void require_finite_gradient(std::string_view name, const Rows& rows, Index first = 0) {
  if (all_finite(rows)) return;
  require_finite_rows("the gradient of " + std::string(name) + ", row ", rows, first);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_RESULTS_HPP

// ---- loglinear/detail/base/vector_argument.hpp

#ifndef LOGLINEAR_DETAIL_BASE_VECTOR_ARGUMENT_HPP
#define LOGLINEAR_DETAIL_BASE_VECTOR_ARGUMENT_HPP

// How a layer takes a vector: any Eigen expression, row or column, checked and copied once.

namespace loglinear::detail {

template <class Derived>
std::true_type is_eigen(const Eigen::EigenBase<Derived>*);
std::false_type is_eigen(const void*);

/// Refuses, with advice, whatever is not an Eigen vector of the right scalar.
template <class Scalar, class Argument>
constexpr void require_vector_type() {
  using Type = std::remove_cvref_t<Argument>;
  constexpr bool eigen = decltype(is_eigen(std::declval<Type*>()))::value;
  static_assert(eigen || !std::is_same_v<Scalar, double>,
                "a layer takes Eigen vectors: wrap other memory, Eigen::Map<const "
                "Eigen::VectorXd>(data, size)");
  static_assert(eigen || !std::is_same_v<Scalar, float>,
                "a layer takes Eigen vectors: wrap other memory, Eigen::Map<const "
                "Eigen::VectorXf>(data, size)");
  static_assert(eigen || std::is_same_v<Scalar, double> || std::is_same_v<Scalar, float>,
                "a layer takes Eigen vectors: wrap other memory, Eigen::Map<const "
                "Eigen::VectorX<Scalar>>(data, size)");
  if constexpr (eigen) {
    static_assert(Type::IsVectorAtCompileTime,
                  "a layer takes vectors: rows or columns whose type says so, such as m.row(i), "
                  "m.col(i) or Eigen::VectorX<Scalar>");
    static_assert(std::is_same_v<typename Type::Scalar, Scalar>,
                  "the vector must have the layer's scalar: convert it with .cast<Scalar>()");
  }
}

/// Throws unless `out` is an Eigen vector, row or column, of the right size to be written to.
template <class Scalar, class Out>
void require_output(const Eigen::MatrixBase<Out>& out, Index size) {
  require_vector_type<Scalar, Out>();
  require_size("out", out.size(), size);
}

/// into = in, an Eigen vector, row or column, of the right size.
template <class In, class Scalar>
void copy_vector(const In& in, const char* name, Vector<Scalar>& into) {
  require_vector_type<Scalar, In>();
  if (in.size() != into.size()) require_size(name, in.size(), into.size());
  if constexpr (has_pieces<In>) {
    std::copy_n(in.derived().data(), into.size(), into.data());
  } else {
    into.noalias() = as_column(in.derived().matrix());
  }
}

/// The same, and finite.
template <class In, class Scalar>
void load_vector(const In& in, const char* name, Vector<Scalar>& into) {
  const FlushToZero<Scalar> flush;
  copy_vector(in, name, into);
  require_finite(name, into);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_VECTOR_ARGUMENT_HPP

// ---- loglinear/sequence/array.hpp

#ifndef LOGLINEAR_SEQUENCE_ARRAY_HPP
#define LOGLINEAR_SEQUENCE_ARRAY_HPP

namespace loglinear {

namespace detail {

/// The stride of a SequenceArray, which tells its type from every other map: its numbers may be its
/// own.
class ArrayStride : public Eigen::OuterStride<> {
 public:
  using Eigen::OuterStride<>::OuterStride;
};
template <class Scalar>
using ArrayView = Eigen::Map<const RowMajorMatrix<Scalar>, Eigen::Unaligned, ArrayStride>;

/// Whether the numbers of an Eigen object lie elsewhere, so that they outlive it.
template <class Type>
inline constexpr bool refers_elsewhere = false;
template <class Plain, int Options, class Stride>
inline constexpr bool refers_elsewhere<Eigen::Map<Plain, Options, Stride>> =
    !std::is_same_v<Stride, ArrayStride>;
template <class Plain, int Options, class Stride>  // a Ref to const may hold a copy
inline constexpr bool refers_elsewhere<Eigen::Ref<Plain, Options, Stride>> =
    !std::is_const_v<Plain>;
template <class All, int Rows, int Columns, bool inner>
inline constexpr bool refers_elsewhere<Eigen::Block<All, Rows, Columns, inner>> =
    refers_elsewhere<std::remove_const_t<All>>;
template <class All, int Size>
inline constexpr bool refers_elsewhere<Eigen::VectorBlock<All, Size>> =
    refers_elsewhere<std::remove_const_t<All>>;

/// Whether an Eigen object may hold a copy of what it was made from, which ends with it.
template <class Type>
inline constexpr bool may_hold_a_copy = false;
template <class Plain, int Options, class Stride>
inline constexpr bool may_hold_a_copy<Eigen::Ref<const Plain, Options, Stride>> = true;
template <class All, int Rows, int Columns, bool inner>
inline constexpr bool may_hold_a_copy<Eigen::Block<All, Rows, Columns, inner>> =
    may_hold_a_copy<std::remove_const_t<All>>;
template <class All, int Size>
inline constexpr bool may_hold_a_copy<Eigen::VectorBlock<All, Size>> =
    may_hold_a_copy<std::remove_const_t<All>>;

/// Whether an Eigen object is a column in memory, of any stride.
template <class Type>
inline constexpr bool is_column_memory = [] {
  if constexpr (requires { Type::InnerStrideAtCompileTime; }) {
    return Type::ColsAtCompileTime == 1 && (Type::Flags & Eigen::DirectAccessBit) != 0;
  } else {
    return false;
  }
}();

/// Whether an argument of type In&& can be viewed where it is.
template <class In, class Type = std::remove_cvref_t<In>>
inline constexpr bool can_be_viewed = (is_row_major_memory<Type> ||
                                       is_column_memory<Type>)&&!may_hold_a_copy<Type> &&
                                      (std::is_lvalue_reference_v<In> || refers_elsewhere<Type>);

/// The rows of a matrix, or of a column, where they are.
template <class In>
[[nodiscard]] ArrayView<typename In::Scalar> rows_in_place(const In& in) {
  const Index stride = is_column_memory<In> ? in.innerStride() : in.outerStride();
  return {in.data(), in.rows(), in.cols(), ArrayStride(stride)};
}

/// A matrix, vector or expression of Eigen's.
template <class Type>
concept EigenObject = decltype(is_eigen(std::declval<std::remove_cvref_t<Type>*>()))::value;
/// Memory that is not Eigen's: std::vector, std::array, std::span.
template <class Type>
concept OtherMemory = !EigenObject<Type> && requires(const Type& memory) {
  memory.data();
  memory.size();
};

/// What a SequenceArray owns; a base of it so that it is there before the view of it.
template <class Scalar>
struct OwnedRows {
  RowMajorMatrix<Scalar> owned_{};
};

}  // namespace detail

/// One array of a sequence, a row a token: a view of the caller's numbers where they can be read as
/// they lie, and else a matrix of its own.
///
/// * A named object with contiguous rows is viewed and must outlive this one: a row-major matrix, a
///   Map, Ref or Block of such a matrix, a column of any stride.
/// * A Map is viewed also where it has no name, and so are a Ref that can be written to and a Block
///   of either.
/// * A temporary row-major matrix is moved in.
/// * A Ref to const is copied, with a name too: as the parameter of a function it may hold a copy
///   that ends with the call.
/// * Anything else is copied: column-major matrices, expressions, other strides, and a part of a
///   matrix that has no name, since the matrix itself may be a temporary. Give the part a name to
///   have it viewed, `const auto part = all.middleRows(8, 4)`.
///
/// Copies of a view are views of the same memory, copies of what is owned are its own. What has
/// been moved from is absent. An array without coefficients is absent, whatever its shape.
///
/// It is itself an Eigen expression, read-only; what is made of it, such as `in.q.row(0)`, refers
/// to it. Another array that is made of such a part copies it, unless the part has a name.
///
/// \tparam Scalar_  float, double, ...: that of everything it is made from
template <class Scalar_>
class SequenceArray : private detail::OwnedRows<Scalar_>, public detail::ArrayView<Scalar_> {
  using Owned = detail::OwnedRows<Scalar_>;
  using View = detail::ArrayView<Scalar_>;

 public:
  using Scalar = Scalar_;
  using Matrix = detail::RowMajorMatrix<Scalar>;

  /// Absent. Does not allocate.
  SequenceArray() noexcept : View(nothing()) {}

  /// Any Eigen matrix or vector of this scalar. Allocates where the table above says that it holds
  /// a copy.
  template <detail::EigenObject In>
  requires(!std::is_same_v<std::remove_cvref_t<In>, SequenceArray>) SequenceArray(In&& in)
      : SequenceArray(Views<In>(), std::forward<In>(in)) {}

  /// Refuses memory that is not of Eigen, with advice.
  template <detail::OtherMemory In>
  SequenceArray(const In&) : View(nothing()) {
    static_assert(detail::EigenObject<In>,
                  "an array of a sequence is an Eigen matrix or vector: wrap other memory, "
                  "Eigen::Map<const Eigen::VectorXd>(data, size)");
  }

  SequenceArray(const SequenceArray& other)
      : Owned(other),
        View(owns() ? detail::rows_in_place(this->owned_) : static_cast<const View&>(other)) {}
  SequenceArray(SequenceArray&& other) noexcept
      : Owned(std::move(other)), View(static_cast<const View&>(other)) {
    std::destroy_at(&other);
    std::construct_at(&other);
  }
  SequenceArray& operator=(SequenceArray other) noexcept {
    std::destroy_at(this);
    return *std::construct_at(this, std::move(other));
  }
  ~SequenceArray() = default;

  /// Whether it has no coefficients: what was not given.
  [[nodiscard]] bool is_absent() const noexcept { return this->size() == 0; }
  /// Whether the coefficients are its own.
  [[nodiscard]] bool owns() const noexcept { return this->owned_.size() > 0; }

 private:
  template <class In>
  using Views = std::bool_constant<detail::can_be_viewed<In>>;

  template <class In>
  SequenceArray(std::true_type, const In& in) : View(detail::rows_in_place(in)) {
    require_scalar<In>();
  }
  template <class In>
  SequenceArray(std::false_type, In&& in)
      : Owned{evaluated(std::forward<In>(in))}, View(detail::rows_in_place(this->owned_)) {}

  [[nodiscard]] static View nothing() noexcept { return {nullptr, 0, 0, detail::ArrayStride(0)}; }

  template <class In>
  [[nodiscard]] static Matrix evaluated(In&& in) {
    require_scalar<std::remove_cvref_t<In>>();
    if constexpr (std::is_base_of_v<Eigen::ArrayBase<std::remove_cvref_t<In>>,
                                    std::remove_cvref_t<In>>) {
      return in.matrix();
    } else {
      return Matrix(std::forward<In>(in));
    }
  }
  template <class In>
  static constexpr void require_scalar() {
    static_assert(std::is_same_v<typename In::Scalar, Scalar>,
                  "an array of a sequence must have the scalar of its SequenceInputs or span: "
                  "convert it with .cast<Scalar>()");
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_ARRAY_HPP

// ---- loglinear/sequence/detail/arrays.hpp

#ifndef LOGLINEAR_SEQUENCE_DETAIL_ARRAYS_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_ARRAYS_HPP

namespace loglinear::detail {

/// Calls `visit(name, array...)` for each of the nine arrays of a sequence, in the order of
/// `SequenceInputs`, which alone lists them: one array of each set, which has members of these
/// names (`SequenceInputs`, `SequenceGradients`, `TensorInputs`).
template <class Visit, class... Sets>
constexpr void for_each_array(Visit visit, Sets&... sets) {
  visit("q", sets.q...);
  visit("k", sets.k...);
  visit("v", sets.v...);
  visit("lambda", sets.lambda...);
  visit("g", sets.g...);
  visit("g_value", sets.g_value...);
  visit("beta", sets.beta...);
  visit("u", sets.u...);
  visit("p", sets.p...);
}

/// How many there are.
inline constexpr int array_count = [] {
  int count = 0;
  for_each_array([&](const char*) { ++count; });
  return count;
}();

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_ARRAYS_HPP

// ---- loglinear/sequence/inputs.hpp

#ifndef LOGLINEAR_SEQUENCE_INPUTS_HPP
#define LOGLINEAR_SEQUENCE_INPUTS_HPP

/// \file
/// What the sequence form computes on, in the field's names and shapes.

namespace loglinear {

namespace detail {

/// to = exp(log), coefficient by coefficient; 0 at -infinity, where Eigen's packets leave some
/// 1e-309.
template <class Log, class To>
void decays_of(const Eigen::DenseBase<Log>& log, To&& to) {
  using Scalar = typename Log::Scalar;
  constexpr Scalar lowest = -std::numeric_limits<Scalar>::infinity();
  const auto write = [&](const auto& from, auto& into) {
    into = from.exp();
    for (Index i = 0; i < from.rows(); ++i) {
      for (Index j = 0; j < from.cols(); ++j) {
        if (is_exactly<Scalar>(from(i, j), lowest)) into(i, j) = Scalar(0);
      }
    }
  };
  const Index size = log.size();
  if (log.cols() == 1 && to.outerStride() == 1) {
    // One column, which packets run down; one with gaps is gathered, so that it has the same bits.
    Vector<Scalar> gathered;
    const Scalar* from = log.derived().data();
    if (const Index stride = log.derived().outerStride(); stride != 1) {
      gathered.resize(size);
      for (Index i = 0; i < size; ++i) gathered[i] = from[i * stride];
      from = gathered.data();
    }
    Eigen::Map<Eigen::Array<Scalar, Eigen::Dynamic, 1>> into(to.data(), size);
    write(Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>>(from, size), into);
  } else {
    auto into = to.array();
    write(log.derived().array(), into);
  }
}

}  // namespace detail

// clang-format off
/// One sequence of T tokens, one head: queries, leaves, gates and level weights, a row a token.
///
///     o_t = sum_{s <= t} lambda[t][level(t, s)] q_t^T A_t A_{t-1} ... A_{s+1} C_s
///     level(t, s) = bit_width(t ^ s), tokens numbered from the stream's beginning
///
/// (Guo et al., arXiv:2506.04761, equations 4 and 5; the read order `current_apart`). What is given
/// decides the rule; an array without coefficients is absent, whatever its shape. Keys are used as
/// they are: nothing is normalised or scaled by 1/sqrt(d_k).
///
/// | rule                     | arrays besides q, k, v, lambda  | A_t                                                     | C_t                                            |
/// |--------------------------|---------------------------------|---------------------------------------------------------|------------------------------------------------|
/// | linear attention         |                                 | I                                                       | k v^T                                          |
/// | RetNet, GLA, Mamba-2     | g (T x 1)                       | e^g I                                                   | k v^T                                          |
/// | gated by key row         | g (T x d_k)                     | diag(e^g)                                               | k v^T                                          |
/// | DeltaNet                 | beta (T x 1)                    | I - b k k^T                                             | b k v^T                                        |
/// | Gated DeltaNet           | beta, g (T x 1 or T x d_k)      | (I - b k k^T) diag(e^g)                                 | b k v^T                                        |
/// | DeltaProduct, n a token  | beta (T x n), k, v (nT rows), g | H_n ... H_1 diag(e^g), H_j = I - b_j k_j k_j^T          | sum_j H_n ... H_{j+1} b_j k_j v_j^T            |
/// | diagonal plus rank one   | u, p (T x d_k), g               | diag(e^g) - u p^T                                       | k v^T                                          |
/// | decay per value column   | g_value (T x d_v), with any     | and diag(e^g_value) from the right                      |                                                |
///
/// Without beta, n rows of k and v a token are n leaves, C_t = sum_j k_j v_j^T, and m rows of u and
/// p a token are m updates one after the other, the first of them with the decay.
///
/// The names are those of flash-linear-attention (`chunk_log_linear_attn(q, k, v, g,
/// level_scales)`, where lambda is `level_scales`, and `beta` of its delta rules; `a` and `b` of
/// its DPLR operator are -p and u) and of ONNX's LinearAttention operator (`decay` is g, `beta` is
/// beta, `update_rule` is which of them are given, `scale` belongs into q). Those have batch and
/// head dimensions and T x d in between: a head of one sequence here is one block of such a tensor.
///
/// Each member is a `SequenceArray`: a view of the caller's named matrix where that is row-major with
/// contiguous rows (maps and blocks included), which must then outlive this struct, and a matrix of
/// its own otherwise. The struct is a plain value: copies are of views or deep, as each member is.
// clang-format on
template <class Scalar>
struct SequenceInputs {
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = SequenceArray<Scalar>;

  Rows q;             ///< queries, T x d_k
  Rows k;             ///< keys, T x d_k, or n rows a token
  Rows v;             ///< values, T x d_v, or n rows a token
  Rows lambda;        ///< level weights, T x levels, any finite numbers; see `levels_read`
  Rows g = {};        ///< log decays, T x 1 or T x d_k; -infinity forgets everything
  Rows g_value = {};  ///< log decays of value columns, T x d_v; likewise
  Rows beta = {};     ///< strengths of the delta rule, T x n; not together with u and p
  Rows u = {};        ///< what an update writes back, T x d_k, or m rows a token
  Rows p = {};        ///< what an update looks up, like u

  [[nodiscard]] Eigen::Index length() const { return q.rows(); }  ///< T
  [[nodiscard]] Eigen::Index d_k() const { return q.cols(); }     ///< columns of q and k
  [[nodiscard]] Eigen::Index d_v() const { return v.cols(); }     ///< columns of v
  /// Rows of k and v a token, n.
  [[nodiscard]] Eigen::Index leaves() const { return length() == 0 ? 1 : k.rows() / length(); }
  /// Rank-one updates a token: m, or n with beta.
  [[nodiscard]] Eigen::Index updates() const {
    if (!beta.is_absent()) return leaves();
    return length() == 0 || u.is_absent() ? 0 : u.rows() / length();
  }

  /// The tokens [first, first + count) alone, views of these arrays, which must outlive them.
  /// \throws std::invalid_argument unless 0 <= first, 0 <= count and first + count <= length(), or
  /// for an array whose rows are not so many a token
  [[nodiscard]] SequenceInputs slice(Eigen::Index first, Eigen::Index count) const& {
    return slice_of<false>(*this, first, count);
  }
  /// The same of a temporary; what that owns is copied.
  [[nodiscard]] SequenceInputs slice(Eigen::Index first, Eigen::Index count) const&& {
    return slice_of<true>(*this, first, count);
  }

  /// Columns of lambda that tokens [start, start + T) of a stream read with `max_levels` levels of
  /// state: 1 for the token's own leaf, and one for each level that any of them can see.
  /// \throws std::invalid_argument unless length >= 0, start + length < 2^64 and max_levels is 1 to
  /// 64
  [[nodiscard]] static int levels_read(std::uint64_t start, Eigen::Index length, int max_levels) {
    detail::require_level_count(max_levels);
    require_room(start, length);
    if (length == 0) return 0;
    const std::uint64_t last = start + static_cast<std::uint64_t>(length) - 1;
    return (std::min)(static_cast<int>(std::bit_width(last)), max_levels) + 1;
  }

  /// \throws std::invalid_argument where shapes do not fit together, lambda has too few columns for
  /// tokens from `start` on, or a number is not finite (g and g_value may be -infinity)
  void validate(std::uint64_t start, int max_levels) const {
    const detail::FlushToZero<Scalar> flush;
    require_shapes(start, max_levels);
    require_numbers(levels_read(start, length(), max_levels));
  }

  /// The part of `validate` about shapes.
  void require_shapes(std::uint64_t start, int max_levels) const {
    const Eigen::Index tokens = length();
    if (tokens == 0) return require_no_rows();
    require_room(start, tokens);
    detail::require_positive("d_k (columns of q)", d_k());
    detail::require_positive("d_v (columns of v)", d_v());
    detail::require_size("k (columns)", k.cols(), d_k());
    require_rows("k", k.rows());
    detail::require_size("v (rows)", v.rows(), k.rows());
    detail::require_size("lambda (rows)", lambda.rows(), tokens);
    const int needed = levels_read(start, tokens, max_levels);
    if (lambda.cols() < needed) {
      detail::fail("the number of level weights (columns of lambda)", lambda.cols(),
                   "at least " + std::to_string(needed) + " for tokens " + std::to_string(start) +
                       " to " + std::to_string(start + static_cast<std::uint64_t>(tokens) - 1));
    }
    if (!g.is_absent()) {
      detail::require_size("g (rows)", g.rows(), tokens);
      if (g.cols() != 1) detail::require_size("g (columns, unless 1)", g.cols(), d_k());
    }
    if (!g_value.is_absent()) {
      detail::require_size("g_value (rows)", g_value.rows(), tokens);
      detail::require_size("g_value (columns)", g_value.cols(), d_v());
    }
    if (!beta.is_absent()) {
      detail::require_size("beta (rows)", beta.rows(), tokens);
      detail::require_size("beta (columns)", beta.cols(), leaves());
      detail::require_size("u and p, with beta given,", u.size() + p.size(), 0);
    }
    if (!u.is_absent() || !p.is_absent()) {
      detail::require_size("u (columns)", u.cols(), d_k());
      detail::require_size("p (columns)", p.cols(), d_k());
      require_rows("u", u.rows());
      detail::require_size("p (rows)", p.rows(), u.rows());
    }
  }

  /// The part of `validate` about numbers; `levels` is the number of columns of lambda that are
  /// read.
  void require_numbers(int levels) const {
    detail::for_each_array(
        [&](const char* name, const Rows& rows) {
          if (&rows == &g || &rows == &g_value) return require_log_decays(name, rows);
          if (&rows == &lambda) return detail::require_finite(name, rows.leftCols(levels));
          detail::require_finite(name, rows);
        },
        *this);
  }

 private:
  static void require_room(std::uint64_t start, Eigen::Index tokens) {
    const std::uint64_t room = (std::numeric_limits<std::uint64_t>::max)() - start;
    if (tokens >= 0 && static_cast<std::uint64_t>(tokens) <= room) return;
    detail::fail(
        "the number of tokens (rows of q)", tokens,
        "at least 0 and at most " + std::to_string(room) + " after " + std::to_string(start));
  }
  void require_rows(const char* name, Eigen::Index rows) const {
    if (rows > 0 && rows % length() == 0) return;
    detail::fail(std::string("the number of rows of ") + name, rows,
                 "a multiple of the number of tokens, " + std::to_string(length()));
  }
  /// Without tokens nothing else may have any coefficients.
  void require_no_rows() const {
    detail::for_each_array(
        [](const char* name, const Rows& rows) {
          if (rows.is_absent()) return;
          detail::fail(std::string("the number of rows of ") + name, rows.rows(),
                       "0, as q has no tokens");
        },
        *this);
  }
  template <bool copies_owned>
  [[nodiscard]] static SequenceInputs slice_of(const SequenceInputs& in, Eigen::Index first,
                                               Eigen::Index count) {
    detail::require_between("the first token of the slice", first, Eigen::Index{0}, in.length());
    detail::require_between("the number of tokens of the slice", count, Eigen::Index{0},
                            in.length() - first);
    SequenceInputs slice{};
    detail::for_each_array(
        [&](const char* name, const Rows& all, Rows& to) {
          if (in.length() == 0 || all.is_absent()) {
            to = all;
            return;
          }
          in.require_rows(name, all.rows());
          const Eigen::Index each = all.rows() / in.length();
          const auto part = all.middleRows(first * each, count * each);
          if (copies_owned && all.owns()) {
            to = Matrix(part);
          } else {
            to = Rows(part);  // by its name: it is viewed
          }
        },
        in, slice);
    return slice;
  }
  static void require_log_decays(const char* name, const Rows& values) {
    if (detail::all_finite(values)) return;
    const Scalar lowest = -std::numeric_limits<Scalar>::infinity();
    for (Eigen::Index i = 0; i < values.rows(); ++i) {
      for (Eigen::Index j = 0; j < values.cols(); ++j) {
        if (detail::is_finite(values(i, j)) || detail::is_exactly<Scalar>(values(i, j), lowest))
          continue;
        detail::fail(std::string(name) + "[" + std::to_string(i) + ", " + std::to_string(j) + "]",
                     detail::to_double(values(i, j)), "finite or -infinity");
      }
    }
  }
};

/// Gradients with respect to `SequenceInputs`, of the same shapes; log decays are differentiated as
/// such. Level weights that are not read have gradient 0.
template <class Scalar>
struct SequenceGradients {
  using Matrix = detail::RowMajorMatrix<Scalar>;

  Matrix q;        ///< with respect to `SequenceInputs::q`, and so on
  Matrix k;        ///< of k
  Matrix v;        ///< of v
  Matrix lambda;   ///< of lambda
  Matrix g;        ///< of g
  Matrix g_value;  ///< of g_value
  Matrix beta;     ///< of beta
  Matrix u;        ///< of u
  Matrix p;        ///< of p
  /// With respect to the initial levels, each flattened row-major: max_levels x d_k d_v, 0 where
  /// inactive; without rows if there was no initial state.
  Matrix state;

  /// Gradients with respect to `in`, to be filled in; those of level weights are zero.
  [[nodiscard]] static SequenceGradients sized_like(const SequenceInputs<Scalar>& in) {
    SequenceGradients sized{};
    detail::for_each_array([](const char*, const auto& input,
                              Matrix& gradient) { gradient.resize(input.rows(), input.cols()); },
                           in, sized);
    sized.lambda.setZero();
    return sized;
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_INPUTS_HPP

// ---- loglinear/sequence/detail/input_source.hpp

#ifndef LOGLINEAR_SEQUENCE_DETAIL_INPUT_SOURCE_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_INPUT_SOURCE_HPP

namespace loglinear::detail {

/// Chunks of `SequenceInputs`, their reads, and their gradients. An update with strength b removes
/// the key b k, which is also the leaf's: u = b k. The first of a token finds the decayed state,
/// p = e^g k, the others p = k.
template <class Scalar>
class InputSource final : public TokenSource<Scalar> {
 public:
  using Matrix = RowMajorMatrix<Scalar>;

  /// `in` must outlive it.
  InputSource(const SequenceInputs<Scalar>& in, Index weights)
      : in_(in), weights_(weights), leaves_(in.leaves()), updates_(in.updates()) {}
  InputSource(const SequenceInputs<Scalar>&&, Index) = delete;
  InputSource(const InputSource&) = delete;
  InputSource& operator=(const InputSource&) = delete;

  /// Where reads go; nowhere before it is called.
  void read_into(const RowBlock<Scalar>& out) { out_ = out; }
  /// Where gradients come from and go.
  void differentiate(const RowsView<Scalar>& d_out, SequenceGradients<Scalar>& gradients) {
    d_out_.emplace(d_out);
    gradients_ = &gradients;
  }

  [[nodiscard]] SequenceShape shape() const override {
    return {in_.d_k(),
            in_.d_v(),
            leaves_,
            updates_,
            in_.g.size() > 0 ? in_.g.cols() : Index{0},
            in_.g_value.size() > 0,
            is_delta(),
            ReadOrder::current_apart};
  }
  [[nodiscard]] Index length() const override { return in_.length(); }
  [[nodiscard]] bool is_concurrent() const override { return true; }

  /// Checks all numbers at once, and never again.
  void require_numbers() {
    in_.require_numbers(static_cast<int>(weights_));
    is_checked_ = true;
  }

  /// Checks the numbers on the way, while they are near; all of them where one is not finite and
  /// may yet be a decay of -infinity.
  typename Chunk<Scalar>::Views load(Index first, Chunk<Scalar>& chunk) override {
    const Index tokens = chunk.tokens;
    if (!is_checked_ && !are_finite(first, tokens)) require_numbers();
    const Index rows = tokens * leaves_;
    const ConstRowBlock<Scalar> q = block_of(in_.q).middleRows(first, tokens),
                                k = block_of(in_.k).middleRows(first * leaves_, rows),
                                v = block_of(in_.v).middleRows(first * leaves_, rows),
                                lambda = block_of(in_.lambda).block(first, 0, tokens, weights_);
    const Index moments = (std::max)(updates_, Index{1});
    if (in_.g.size() > 0) {
      if (moments == 1) {
        decays_of(in_.g.middleRows(first, tokens), chunk.decay.topRows(tokens));
      } else {
        chunk.decay.topRows(tokens * moments).setOnes();
        for (Index t = 0; t < tokens; ++t) {
          decays_of(in_.g.row(first + t), chunk.decay.row(t * moments));
        }
      }
    }
    if (in_.g_value.size() > 0) {
      decays_of(in_.g_value.middleRows(first, tokens), chunk.value_decay.topRows(tokens));
    }
    if (is_delta()) {
      const Index d_k = k.cols();
      const RowBlock<Scalar> to_p(chunk.p), to_k(chunk.k);
      for (Index t = 0, row = 0; t < tokens; ++t) {
        for (Index j = 0; j < leaves_; ++j, ++row) {
          copy(k.row(row), d_k, to_p.row(row));
          scale_to(in_.beta(first + t, j), k.row(row), d_k, to_k.row(row));
        }
        decay_row(chunk, t * moments, to_p);
      }
    } else if (updates_ > 0) {
      copy_rows(block_of(in_.u).middleRows(first * updates_, tokens * updates_), chunk.u);
      copy_rows(block_of(in_.p).middleRows(first * updates_, tokens * updates_), chunk.p);
    }
    return {q, is_delta() ? block_of(chunk.k).topRows(rows) : k, v, lambda};
  }

  void take_out(Index first, const Chunk<Scalar>& chunk) override {
    if (out_.data() == nullptr) return;
    require_finite_reads(block_of(chunk.out).topRows(chunk.tokens), first);
    copy_rows(block_of(chunk.out).topRows(chunk.tokens), out_.middleRows(first, chunk.tokens));
  }

  typename Chunk<Scalar>::Targets open_gradient(Index first, const Chunk<Scalar>& chunk,
                                                Chunk<Scalar>& gradient) override {
    const Index tokens = chunk.tokens, rows = tokens * leaves_;
    const RowBlock<Scalar> q(gradients_->q), k(gradients_->k), v(gradients_->v);
    return {q.middleRows(first, tokens),
            is_delta() ? writable_block_of(gradient.k).topRows(rows)
                       : k.middleRows(first * leaves_, rows),
            v.middleRows(first * leaves_, rows), block_of(*d_out_).middleRows(first, tokens)};
  }

  void take_gradient(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) override {
    const Index tokens = chunk.tokens, moments = (std::max)(updates_, Index{1});
    if (is_delta()) pull_back_strengths(first, chunk, gradient);
    const auto put = [&](const Matrix& from, Matrix& to, Index each) {
      copy_rows(block_of(from).topRows(tokens * each),
                writable_block_of(to).middleRows(first * each, tokens * each));
    };
    auto& to = *gradients_;
    put(gradient.lambda, to.lambda, 1);
    for (Index t = 0; in_.g.size() > 0 && t < tokens; ++t) {
      copy_rows(block_of(gradient.decay).middleRows(t * moments, 1),
                writable_block_of(to.g).middleRows(first + t, 1));
    }
    if (in_.g_value.size() > 0) put(gradient.value_decay, to.g_value, 1);
    if (!is_delta() && updates_ > 0) {
      put(gradient.u, to.u, updates_);
      put(gradient.p, to.p, updates_);
    }
    require_finite_gradients(first, tokens);
  }

 private:
  /// Whether the numbers of these tokens are finite; decays of -infinity count as not.
  [[nodiscard]] bool are_finite(Index first, Index tokens) const {
    bool finite = true;
    for_each_array(
        [&](const char*, const SequenceArray<Scalar>& all) {
          const Index each = all.rows() / in_.length();
          const Index columns = &all == &in_.lambda ? weights_ : all.cols();
          finite =
              finite && all_finite(block_of(all).block(first * each, 0, tokens * each, columns));
        },
        in_);
    return finite;
  }

  void require_finite_gradients(Index first, Index tokens) const {
    for_each_array(
        [&](const char* name, const Matrix& all) {
          const Index each = all.rows() / in_.length();
          require_finite_gradient(name, block_of(all).middleRows(first * each, tokens * each),
                                  first * each);
        },
        *gradients_);
  }

  [[nodiscard]] bool is_delta() const { return in_.beta.size() > 0; }

  /// Row `moment` of `rows` through its own decay.
  void decay_row(const Chunk<Scalar>& chunk, Index moment, const RowBlock<Scalar>& rows) const {
    if (in_.g.size() == 0) return;
    Scalar* const row = rows.row(moment);
    const Scalar* const decay = block_of(chunk.decay).row(moment);
    if (in_.g.cols() == 1) {
      scale_by(*decay, row, rows.cols());
    } else {
      multiply(row, decay, rows.cols(), row);
    }
  }

  /// From b k and p = e^g k to k, b and g.
  void pull_back_strengths(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) {
    const Index d_k = in_.d_k();
    const ConstRowBlock<Scalar> k = block_of(in_.k), p = block_of(chunk.p), d_keys(gradient.k);
    const RowBlock<Scalar> d_p(gradient.p), d_decay(gradient.decay), d_k_rows(gradients_->k);
    for (Index t = 0; t < chunk.tokens; ++t) {
      const Index moment = t * leaves_;
      if (in_.g.cols() == 1 && in_.g.size() > 0) {
        *d_decay.row(moment) += dot(d_p.row(moment), p.row(moment), d_k);
      } else if (in_.g.size() > 0) {
        add_product(d_p.row(moment), p.row(moment), d_k, d_decay.row(moment));
      }
      decay_row(chunk, moment, d_p);
      for (Index j = 0; j < leaves_; ++j) {
        const Scalar* const d_key = d_keys.row(moment + j);
        const Index row = first * leaves_ + moment + j;
        gradients_->beta(first + t, j) = dot(d_key, k.row(row), d_k);
        copy(d_p.row(moment + j), d_k, d_k_rows.row(row));
        axpy(in_.beta(first + t, j), d_key, d_k, d_k_rows.row(row));
      }
    }
  }

  const SequenceInputs<Scalar>& in_;
  Index weights_, leaves_, updates_;
  std::atomic<bool> is_checked_ = false;
  RowBlock<Scalar> out_{};
  std::optional<RowsView<Scalar>> d_out_{};
  SequenceGradients<Scalar>* gradients_ = nullptr;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_INPUT_SOURCE_HPP

// ---- loglinear/detail/base/parts.hpp

#ifndef LOGLINEAR_DETAIL_BASE_PARTS_HPP
#define LOGLINEAR_DETAIL_BASE_PARTS_HPP

// The way into a class for what stores an object and brings it back, see checkpoint.hpp. A class
// names its parts in one static member:
//
//     template <class Self, class Visit>
//     static void visit(Self& self, Visit&& part) {
//       part("count", self.count_);               // numbers
//       part("values", self.values_.head(n));     // Eigen vectors, matrices and views of them
//       part("inside", self.inside_);             // objects that have parts; "" adds no name
//     }
//
// everything on which the object's future depends, and nothing else. A const Self is read. Any
// other is written to, part by part in this order; therefore numbers stand before the parts whose
// sizes depend on them and are checked in between, and in the end `visit` checks the class
// invariants. It throws std::invalid_argument, and the object is then good for nothing: it should
// be a copy.

namespace loglinear::detail {

/// A friend of each such class.
struct Parts {
  template <class Object, class... Arguments>
  static void visit(Object& object, Arguments&&... arguments) {
    std::remove_const_t<Object>::visit(object, std::forward<Arguments>(arguments)...);
  }
};

/// Whether `visit` writes to the parts.
template <class Self>
inline constexpr bool is_written = !std::is_const_v<Self>;

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_PARTS_HPP

// ---- loglinear/stream/detail/admitted.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP
#define LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP

// How large states may become. A running bound of the norm of everything grows with each token;
// only where it passes the limit are the levels measured.

namespace loglinear::detail {

/// What levels are beside their coefficients.
struct LevelsAccount {
  std::uint64_t size = 0;  // tokens
  double magnitude = 0;    // the running bound of the norm of all levels and leaves together
};

/// A token that may be written, as `admit` found it: its write demands this.
struct Admitted {
  double magnitude = 0;  // the running bound after the write
  double growth = 1;     // by which the token's transition can grow a norm
};

/// Throws where what grows norms by at most `growth`, and then a leaf of magnitude `leaf`, would
/// take the running bound past the limit, and what `measure(exactly)` measures, roughly and then
/// exactly, does, too.
template <class Stored, class Measure>
[[nodiscard]] Admitted admit(double bound, double growth, double leaf, Measure measure) {
  const double limit = magnitude_limit<Stored>();
  double magnitude = bound * growth + leaf;
  for (const bool exactly : {false, true}) {
    if (is_at_most(magnitude, limit)) return {magnitude, growth};
    magnitude = measure(exactly) * growth + leaf;
  }
  if (!is_at_most(magnitude, limit)) {
    fail("the magnitude of the state after this token", magnitude,
         "within the range of the scalar type");
  }
  return {magnitude, growth};
}

/// A bound of the Frobenius norm of `keys values^T`.
template <class Keys, class Values>
[[nodiscard]] double leaf_magnitude(const Keys& keys, const Values& values) {
  return static_cast<double>(keys.cols()) *
         std::sqrt(static_cast<double>(keys.rows()) * static_cast<double>(values.rows())) *
         max_abs(keys) * max_abs(values);
}

/// The Frobenius norm of numbers that lie in memory.
template <class Stored>
[[nodiscard]] double norm_of(const Stored* m, Index size) {
  using Scalar = Accumulator<Stored>;
  if constexpr (is_narrow<Stored>) {
    constexpr Index piece = 4 * column_block;
    std::array<Scalar, piece> wide;
    double norm = 0;
    for (Index first = 0; first < size; first += piece) {
      const Index length = (std::min)(piece, size - first);
      convert(m + first, length, wide.data());
      norm = std::hypot(norm, norm_of(wide.data(), length));
    }
    return norm;
  } else {
    return stable_norm(Pieces<Scalar>{m, 1, size, 0});
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_ADMITTED_HPP

// ---- loglinear/stream/detail/carry.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_CARRY_HPP
#define LOGLINEAR_STREAM_DETAIL_CARRY_HPP

// The binary-counter carry that merges buckets, in one pass over the memory of their levels.

namespace loglinear::detail {

/// to[j] += from[j] for `size` contiguous numbers.
template <class Stored, class To>
void add_to(const Stored* from, Index size, To* to) {
  using Scalar = Accumulator<To>;
  constexpr Index width = packet_size<Scalar>;
  Index j = 0;
  for (; j + width <= size; j += width) {
    store<Scalar>(to + j, Eigen::internal::padd(load<Scalar>(to + j), load<Scalar>(from + j)));
  }
  if (j == size) return;
  Scalar buffer[packet_length<Scalar>];
  const Scalar* const rest = wide_rest<Scalar>(from, j, size, buffer);
  for (Index i = 0; i < size - j; ++i) {
    to[j + i] = static_cast<To>(static_cast<Scalar>(to[j + i]) + rest[i]);
  }
}
/// The same, and from[j] = 0.
template <class Stored, class To>
void move_into(Stored* from, Index size, To* to) {
  add_to(from, size, to);
  std::fill(from, from + size, Stored(0));
}

/// One carry: matrix `landed` of the `landed + 1` contiguous ones at `levels` becomes the sum of
/// the bucket `sum_n key(., n) value_n^T` of `count` leaves, of itself if `keeps`, and of all those
/// below it, which become zero. `value_n` begins at `values + n * columns`. One pass over the
/// memory: a row of the target stays in the nearest cache, and is rounded once if it is narrow.
template <class Stored, class KeyAt, class Scalar>
void carry(Stored* levels, int landed, bool keeps, Index rows, Index columns, Index count,
           KeyAt key, const Scalar* values) {
  constexpr Index piece = 4 * column_block;
  const Index size = rows * columns;
  std::array<Scalar, column_block> keys;
  [[maybe_unused]] std::array<Scalar, is_narrow<Stored> ? piece : 1> wide;
  for (Index i = 0; i < rows; ++i) {
    for (Index first = 0; first < columns; first += piece) {
      const Index length = (std::min)(piece, columns - first);
      Stored* const lowest = levels + i * columns + first;
      Stored* const target = lowest + landed * size;
      Scalar* sums;
      if constexpr (is_narrow<Stored>) {
        sums = wide.data();
        if (keeps) convert(target, length, sums);
      } else {
        sums = target;
      }
      bool adds = keeps;
      for (Index begin = 0; begin < count; begin += column_block) {
        const Index width = (std::min<Index>)(column_block, count - begin);
        for (Index n = 0; n < width; ++n) keys[static_cast<std::size_t>(n)] = key(i, begin + n);
        const Scalar* const block = values + begin * columns + first;
        if (width == 1) {
          adds ? scaled_row<true>(keys[0], block, length, sums)
               : scaled_row<false>(keys[0], block, length, sums);
        } else if (adds) {
          weighted_rows<true>(block, width, length, columns, keys.data(), sums);
        } else {
          weighted_rows<false>(block, width, length, columns, keys.data(), sums);
        }
        adds = true;
      }
      for (Stored* merged = lowest; merged < target; merged += size) {
        move_into(merged, length, sums);
      }
      if constexpr (is_narrow<Stored>) convert(sums, length, target);
    }
  }
}

/// The same for a bucket that has been added up; `size` numbers in each matrix.
template <class Stored, class Scalar>
void carry(Stored* levels, int landed, bool keeps, Index size, const Scalar* bucket) {
  constexpr Index width = packet_size<Scalar>;
  Stored* const target = levels + landed * size;
  const auto add_from = [&](Index j, auto sum, auto number) {
    if (keeps) sum = Eigen::internal::padd(sum, number(target + j));
    for (const Stored* merged = levels; merged < target; merged += size) {
      sum = Eigen::internal::padd(sum, number(merged + j));
    }
    return sum;
  };
  Index j = 0;
  for (; j + width <= size; j += width) {
    store<Scalar>(target + j, add_from(j, load<Scalar>(bucket + j),
                                       [](const Stored* from) { return load<Scalar>(from); }));
  }
  for (; j < size; ++j) {
    target[j] = static_cast<Stored>(
        add_from(j, bucket[j], [](const Stored* from) { return static_cast<Scalar>(*from); }));
  }
  std::fill(levels, target, Stored(0));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_CARRY_HPP

// ---- loglinear/stream/detail/fields.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_FIELDS_HPP
#define LOGLINEAR_STREAM_DETAIL_FIELDS_HPP

// What the values of a stream are made of, listed once each. Copies, snapshots, checkpoints and
// casts all go through that list:
//
//     template <class Use, class... Self>
//     static void fields(Use use, Self&... self) {
//       use("updates", count_field(self.count_, self.most())...);     // a count and its bound
//       use("u", rows_field(self.u_, self.count_)...);                // the first rows of memory
//       use("growth", self.growth_...);                               // numbers, and other values
//     }
//     template <class Self>
//     static auto fixed(Self& self) { return std::tie(self.scores_); }  // the rest
//
// for one object, or for two of equal shape side by side, to assign one to the other. A count
// stands before what it counts. `fixed` is what the constructor settles, and scratch memory;
// tests/unit/stream_fields.cpp fails where a member is in neither list.

namespace loglinear::detail {

/// A count from 0 to `most`.
template <class Count>
struct CountField {
  Count& count;
  Index most;
};
template <class Count>
[[nodiscard]] CountField<Count> count_field(Count& count, Index most) {
  return {count, most};
}

/// The first `rows` rows of a row-major matrix, or numbers of a vector.
template <class Numbers>
struct RowsField {
  using Scalar = typename Numbers::Scalar;
  using Owned = std::remove_const_t<Numbers>;

  Numbers& numbers;
  Index rows;

  [[nodiscard]] Index size() const { return rows * numbers.cols(); }
  /// For checkpoints.
  [[nodiscard]] auto view() const {
    using Plain = std::conditional_t<std::is_const_v<Numbers>, const Owned, Owned>;
    return Eigen::Map<Plain>(numbers.data(), rows, numbers.cols());
  }
};
template <class Numbers>
[[nodiscard]] RowsField<Numbers> rows_field(Numbers& numbers, Index rows) {
  static_assert(Numbers::IsRowMajor || Numbers::ColsAtCompileTime == 1);
  return {numbers, rows};
}

/// Several values of a kind, those from the second on: the first one is always as it was made.
template <class Values>
struct LaterField {
  Values& values;
};
template <class Values>
[[nodiscard]] LaterField<Values> later_field(Values& values) {
  return {values};
}

/// to = from, converted where the scalars differ. Memory that counts must fit into what there is.
struct AssignField {
  template <class To, class From>
  void operator()(const char*, CountField<To> to, CountField<From> from) const {
    to.count = from.count;
  }
  template <class To, class From>
  void operator()(const char*, RowsField<To> to, RowsField<From> from) const {
    using Scalar = typename RowsField<To>::Scalar;
    if constexpr (std::is_same_v<Scalar, typename RowsField<From>::Scalar>) {
      std::copy_n(from.numbers.data(), from.size(), to.numbers.data());
    } else {
      std::transform(from.numbers.data(), from.numbers.data() + from.size(), to.numbers.data(),
                     [](const auto& number) { return static_cast<Scalar>(number); });
    }
  }
  template <class To, class From>
  void operator()(const char*, LaterField<To> to, LaterField<From> from) const {
    for (std::size_t i = 1; i < to.values.size(); ++i) to.values[i].assign(from.values[i]);
  }
  template <class To, class From>
  void operator()(const char*, To& to, const From& from) const {
    if constexpr (requires { to.assign(from); }) {
      to.assign(from);
    } else {
      to = static_cast<To>(from);
    }
  }
};

/// For checkpoints: each field is a part, under its name.
template <class Visit>
struct VisitField {
  Visit& part;

  template <class Count>
  void operator()(const char* name, CountField<Count> field) const {
    std::int64_t count = field.count;  // the same in a file whatever Index is
    part(name, count);
    require_between(name, count, std::int64_t{0}, static_cast<std::int64_t>(field.most));
    if constexpr (is_written<Count>) field.count = static_cast<Count>(count);
  }
  template <class Numbers>
  void operator()(const char* name, RowsField<Numbers> field) const {
    part(name, field.view());
  }
  template <class Values>
  void operator()(const char* name, LaterField<Values> field) const {
    for (std::size_t i = 1; i < field.values.size(); ++i) {
      part(name + std::to_string(i), field.values[i]);
    }
  }
  template <class Value>
  void operator()(const char* name, Value& value) const {
    part(name, value);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_FIELDS_HPP

// ---- loglinear/stream/detail/level_storage.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_STORAGE_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_STORAGE_HPP

namespace loglinear::detail {

/// The memory of levels: `max_levels` matrices of `d_k x d_v`, row-major, one after the other; with
/// a fixed shape of up to 16 KiB inside the object, else allocated once, by the constructor.
template <class Scalar_, int KeyDim, int ValueDim, int MaxLevels>
class LevelStorage {
 public:
  using Scalar = Scalar_;

  static constexpr bool has_fixed_shape =
      KeyDim != Eigen::Dynamic && ValueDim != Eigen::Dynamic && MaxLevels != Eigen::Dynamic;
  static constexpr Index fixed_coefficients =
      has_fixed_shape ? Index{KeyDim} * Index{ValueDim} * Index{MaxLevels} : 0;
  static constexpr bool is_inline =
      has_fixed_shape &&
      fixed_coefficients * static_cast<Index>(sizeof(Scalar)) <= Index{16 * 1024};

  using Matrix = Eigen::Matrix<Scalar, KeyDim, ValueDim,
                               ValueDim == 1 && KeyDim != 1 ? Eigen::ColMajor : Eigen::RowMajor>;
  using ConstLevel = Eigen::Map<const Matrix>;
  using Level = Eigen::Map<Matrix>;
  using ConstFlat = Eigen::Map<const Vector<Scalar>>;

  LevelStorage(int max_levels, Index d_k, Index d_v) {
    require_between("max_levels", max_levels, 1, max_level_limit);
    require_length("d_k", d_k);
    require_length("d_v", d_v);
    constexpr Index most = (std::numeric_limits<Index>::max)() / Index{sizeof(Scalar)};
    require_between("d_v", d_v, Index{1}, most / max_levels / d_k);
    if constexpr (MaxLevels != Eigen::Dynamic) require_size("max_levels", max_levels, MaxLevels);
    if constexpr (KeyDim != Eigen::Dynamic) require_size("d_k", d_k, KeyDim);
    if constexpr (ValueDim != Eigen::Dynamic) require_size("d_v", d_v, ValueDim);
    max_levels_ = max_levels;
    d_k_ = d_k;
    d_v_ = d_v;
    coefficients_.resize(Index{max_levels} * d_k * d_v);
    std::fill_n(coefficients_.data(), coefficients_.size(), Scalar(0));
  }
  LevelStorage(const LevelStorage&) = default;
  LevelStorage(LevelStorage&&) = default;
  /// Where it throws nothing is changed; does not allocate for as many coefficients.
  LevelStorage& operator=(const LevelStorage& other) {
    if (size() != other.size()) {  // Eigen's own assignment frees before it allocates
      Coefficients coefficients(other.coefficients_);
      coefficients_ = std::move(coefficients);
    }
    fixed(*this) = fixed(other);
    assign(other);
    return *this;
  }
  LevelStorage& operator=(LevelStorage&&) = default;

  [[nodiscard]] int max_levels() const noexcept { return static_cast<int>(max_levels_); }
  [[nodiscard]] Index d_k() const noexcept { return d_k_; }
  [[nodiscard]] Index d_v() const noexcept { return d_v_; }
  /// Coefficients of one level, and of all.
  [[nodiscard]] Index level_size() const noexcept { return d_k_ * d_v_; }
  [[nodiscard]] Index size() const noexcept { return coefficients_.size(); }

  [[nodiscard]] const Scalar* data(int l) const { return coefficients_.data() + l * level_size(); }
  [[nodiscard]] Scalar* data(int l) { return coefficients_.data() + l * level_size(); }
  [[nodiscard]] ConstLevel level(int l) const { return ConstLevel(data(l), d_k_, d_v_); }
  [[nodiscard]] Level level(int l) { return Level(data(l), d_k_, d_v_); }
  [[nodiscard]] ConstFlat flat() const noexcept { return ConstFlat(data(0), size()); }

  void clear(int l) noexcept { std::fill_n(data(l), level_size(), Scalar(0)); }
  void clear() noexcept { std::fill_n(data(0), size(), Scalar(0)); }

  /// Becomes what another one of the same shape is, in this scalar.
  template <class Other>
  void assign(const LevelStorage<Other, KeyDim, ValueDim, MaxLevels>& other) noexcept {
    if constexpr (std::is_same_v<Accumulator<Scalar>, Accumulator<Other>>) {
      convert(other.data(0), size(), data(0));
    } else {
      fields(AssignField{}, *this, other);
    }
  }
  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("coefficients", rows_field(self.coefficients_, self.size())...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.d_k_, self.d_v_, self.max_levels_);
  }

  [[nodiscard]] bool operator==(const LevelStorage& other) const {
    return fixed(*this) == fixed(other) && coefficients_ == other.coefficients_;
  }

 private:
  template <class, int, int, int>
  friend class LevelStorage;
  using Coefficients =
      Vector<Scalar, is_inline ? static_cast<int>(fixed_coefficients) : Eigen::Dynamic>;

  Coefficients coefficients_{};
  Index d_k_ = 0, d_v_ = 0, max_levels_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_STORAGE_HPP

// ---- loglinear/stream/detail/levels.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_HPP

// The levels of a LogLinearState with all that a layer does to them, hence many members. Nothing
// here looks at its arguments but the constructor, `admit`, `add`, `replace` and `cast`, which
// throw before anything has changed: the rest is checked in log_linear_state.hpp or by the layer.

namespace loglinear::detail {

template <class Scalar_, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
class Levels {
 public:
  using Scalar = Scalar_;
  using Accumulator = detail::Accumulator<Scalar>;
  using Storage = LevelStorage<Scalar, KeyDim, ValueDim, MaxLevels>;
  using Matrix = typename Storage::Matrix;

  /// None active. Throws where a size is out of its range.
  Levels(int max_levels, Index d_k, Index d_v) : storage_(max_levels, d_k, d_v) {}

  [[nodiscard]] int max_levels() const noexcept { return storage_.max_levels(); }
  [[nodiscard]] Index d_k() const noexcept { return storage_.d_k(); }
  [[nodiscard]] Index d_v() const noexcept { return storage_.d_v(); }
  [[nodiscard]] Index level_size() const noexcept { return storage_.level_size(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return account_.size; }
  [[nodiscard]] ActiveLevels active_levels() const noexcept { return {size(), max_levels()}; }
  /// The running bound of the Frobenius norm of all levels and leaves together.
  [[nodiscard]] double magnitude() const noexcept { return account_.magnitude; }
  [[nodiscard]] const LevelsAccount& account() const noexcept { return account_; }
  [[nodiscard]] const Storage& storage() const noexcept { return storage_; }
  [[nodiscard]] auto level(int l) const { return storage_.level(l); }
  [[nodiscard]] auto level(int l) { return storage_.level(l); }
  /// The coefficients of one level, row-major.
  [[nodiscard]] const Scalar* data(int l) const { return storage_.data(l); }
  [[nodiscard]] Scalar* data(int l) { return storage_.data(l); }

  /// The sum of the levels' Frobenius norms; and a bound of it that takes less time.
  [[nodiscard]] double norm() const {
    double sum = 0;
    for (int l : active_levels()) sum += norm_of(data(l), level_size());
    return sum;
  }
  [[nodiscard]] double norm_bound() const {
    double sum = 0;
    for (int l : active_levels()) sum += max_abs(data(l), level_size());
    return sum * std::sqrt(static_cast<double>(level_size()));
  }
  /// Throws where the leaf `keys values^T`, after a transition that grows norms by at most
  /// `growth`, would not be finite or be too large. `measure(exactly)` bounds the magnitude of
  /// everything before that, what is deferred included, in two ways.
  template <class Keys, class Values, class Measure>
  [[nodiscard]] Admitted admit(double growth, const Keys& keys, const Values& values,
                               Measure measure) const {
    if (size() == UINT64_MAX) fail("size", size(), "below 2^64 - 1 before a push");
    const double leaf = leaf_magnitude(keys, values);
    if (!is_finite(leaf)) require_finite_leaf(keys, values);
    return detail::admit<Scalar>(magnitude(), growth, leaf, measure);
  }
  /// The same where nothing is deferred.
  template <class Keys, class Values>
  [[nodiscard]] Admitted admit(double growth, const Keys& keys, const Values& values) const {
    return admit(growth, keys, values, own_measure());
  }
  /// The same for a transition, and a leaf or another state of magnitude `leaf`.
  [[nodiscard]] Admitted admit(double growth, double leaf) const {
    return detail::admit<Scalar>(magnitude(), growth, leaf, own_measure());
  }

  /// Undergoes `transition`, then pushes the leaf `keys values^T`.
  template <class Kind, class Keys, class Values>
  void write(const Kind& transition, const Keys& keys, const Values& values,
             const Admitted& admitted) {
    undergo(transition);
    push(keys, values, admitted);
  }
  /// The leaf alone.
  template <class Keys, class Values>
  void push(const Keys& keys, const Values& values, const Admitted& admitted) {
    if constexpr (Values::ColsAtCompileTime != 1) {
      if (values.outerStride() != d_v()) {
        return push(keys, detail::Matrix<Accumulator>(values), admitted);
      }
    }
    carry_bucket(
        0, keys.cols(), [&](Index i, Index n) { return keys.coeff(i, n); }, values.data());
    account_.magnitude = admitted.magnitude;
  }
  /// Every level undergoes `transition`; a push follows, or `defer`.
  template <class Kind>
  void undergo(const Kind& transition) {
    // Allocated before anything changes.
    [[maybe_unused]] RowMajorMatrix<Accumulator> wide(is_narrow<Scalar> ? d_k() : 0,
                                                      is_narrow<Scalar> ? d_v() : 0);
    for (int l : active_levels()) {
      if constexpr (is_narrow<Scalar>) {
        convert(data(l), wide.size(), wide.data());
        transition.left(wide);
        transition.right(wide);
        convert(wide.data(), wide.size(), data(l));
      } else {
        auto one = level(l);
        transition.left(one);
        transition.right(one);
      }
    }
  }
  /// One level undergoes a `product` of transitions.
  template <class Product>
  void undergo(int l, const Product& product, Accumulator* scratch) {
    product.apply(data(l), d_k(), d_v(), scratch);
  }
  /// Takes note of what a leaf or a transition makes of the magnitude; and of a token written.
  void defer(double magnitude) noexcept { account_.magnitude = magnitude; }
  void count(double magnitude) noexcept { account_ = {account_.size + 1, magnitude}; }

  /// Adds level `from` to level `to` and clears it, as part of a carry that will merge both.
  void merge(int from, int to) { move_into(data(from), level_size(), data(to)); }
  /// The carry of the bucket `sum_n key(., n) value_n^T` of 2^l tokens, which begins at level l;
  /// `size()` must be a multiple of 2^l, and `value_n` begins at `values + n d_v`.
  template <class KeyAt>
  void carry_bucket(int l, Index count, KeyAt key, const Accumulator* values) {
    const int landed = landing(l);
    carry(data(l), landed - l, keeps_target(landed), d_k(), d_v(), count, key, values);
    account_.size += std::uint64_t{1} << l;
  }
  /// The same of a bucket that has been added up, row-major.
  void carry_bucket(int l, const Accumulator* bucket) {
    const int landed = landing(l);
    carry(data(l), landed - l, keeps_target(landed), level_size(), bucket);
    account_.size += std::uint64_t{1} << l;
  }

  void reset() noexcept {
    storage_.clear();
    account_ = {};
  }
  /// As `LogLinearState::advance_to`.
  void advance_to(std::uint64_t count) {
    const int levels = max_levels(), last = levels - 1;
    const std::uint64_t carries = (count >> last) - (size() >> last);  // into the last level
    if (is_active_level(size(), last, levels)) scale(last, kept_fraction(Overflow, carries));
    for (int l = last - 1; l >= 0; --l) {
      if (!is_active_level(size(), l, levels)) continue;
      const std::uint64_t first = bucket_of(size(), l, levels).first;
      const int to = level_of(first, count, ReadOrder::before_push, levels);
      if (to == l) continue;
      if (to == last) scale(l, kept_fraction(Overflow, carries - 1));
      merge(l, to);
    }
    account_.size = count;
  }
  /// Adds levels of the same shape and count, unless the sum could overflow.
  void add(const Levels& later) {
    const bool fits = is_at_most(magnitude() + later.magnitude(), magnitude_limit<Scalar>());
    account_.magnitude = admit(1, fits ? later.magnitude() : later.norm()).magnitude;
    add_to(later.data(0), storage_.size(), data(0));
  }

  /// Replaces everything: `level_at(l)` is the matrix of each level active after `size` tokens.
  template <class LevelAt>
  void replace(std::uint64_t size, LevelAt level_at) {
    double magnitude = 0;
    for (int l : ActiveLevels(size, max_levels())) {
      require_size("a level after these tokens (rows)", level_at(l).rows(), d_k());
      require_size("a level after these tokens (columns)", level_at(l).cols(), d_v());
      require_finite("coefficient # of the state after these tokens", level_at(l));
      magnitude += stable_norm(level_at(l));
    }
    if (!is_at_most(magnitude, magnitude_limit<Scalar>())) {
      fail("the magnitude of the state after these tokens", magnitude,
           "within the range of the scalar type");
    }
    for (int l : active_levels()) storage_.clear(l);
    for (int l : ActiveLevels(size, max_levels())) {
      auto&& from = level_at(l);
      using From = std::remove_cvref_t<decltype(from)>;
      if constexpr (std::is_same_v<From, RowMajorMatrix<Accumulator>>) {
        convert(from.data(), from.size(), level(l).data());
      } else {
        level(l) = from.template cast<Scalar>();
      }
    }
    account_ = {size, magnitude};
  }
  /// Becomes a copy of levels of the same shape, in the memory that there is.
  void copy(const Levels& other) noexcept { assign(other); }
  /// The same, in this scalar.
  template <class Other>
  void assign(const Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow>& other) noexcept {
    fields(AssignField{}, *this, other);
  }
  /// Becomes what it was: `active` holds the levels that were active, lowest first.
  void restore(const LevelsAccount& account, const Scalar* active) noexcept {
    const std::uint64_t kept = active_mask(account.size, max_levels());
    for (int l : active_levels()) {
      if (((kept >> l) & 1) == 0) storage_.clear(l);
    }
    account_ = account;
    for (int l : active_levels()) {
      std::copy_n(active, level_size(), data(l));
      active += level_size();
    }
  }

  template <class Other>
  [[nodiscard]] Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow> cast() const {
    const double largest = max_abs(data(0), storage_.size());
    if (largest > magnitude_limit<Other>()) {
      fail("the largest coefficient", largest, "within the range of the scalar converted to");
    }
    Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow> other(max_levels(), d_k(), d_v());
    other.assign(*this);
    return other;
  }

  [[nodiscard]] bool operator==(const Levels& other) const {
    return size() == other.size() && storage_ == other.storage_;
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("account", self.account_...);
    use("storage", self.storage_...);
  }
  template <class Self>
  static auto fixed(Self&) {
    return std::tie();
  }
  /// For checkpoints: the active levels alone. An owner that defers something passes a function
  /// that measures the norm of everything, once the levels are in place.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    visit(self, part, [&] { return self.norm(); });
  }
  template <class Self, class Visit, class Measure>
  static void visit(Self& self, Visit&& part, [[maybe_unused]] Measure measure) {
    if constexpr (is_written<Self>) self.reset();
    const double limit = magnitude_limit<Scalar>();
    double magnitude = (std::min)(self.magnitude(), limit);
    part("size", self.account_.size);
    part("magnitude", magnitude);
    for (int l : self.active_levels()) part("level" + std::to_string(l), self.level(l));
    if constexpr (is_written<Self>) {
      require_between("magnitude", magnitude, 0.0, limit);
      require_between("the magnitude of the levels", self.norm(), 0.0, limit);
      const double measured = measure();
      require_between("the magnitude of all tokens", measured, 0.0, limit);
      // A bound may have lost to rounding, of which the limit leaves a factor of 4; never more.
      self.account_.magnitude = measured > 2 * magnitude ? measured : magnitude;
    }
  }

 private:
  template <class, int, int, int, LastLevel>
  friend class Levels;

  [[nodiscard]] auto own_measure() const {
    return [this](bool exactly) { return exactly ? norm() : norm_bound(); };
  }
  /// Where a carry that begins at level l ends.
  [[nodiscard]] int landing(int l) const { return l + landed_level(size() >> l, max_levels() - l); }
  /// Whether a carry adds to what its target holds; that can only be the last level.
  [[nodiscard]] bool keeps_target(int landed) {
    if (!is_active_level(size(), landed, max_levels())) return false;
    if constexpr (Overflow == LastLevel::halve) scale(landed, 0.5);
    return Overflow != LastLevel::forget;
  }
  void scale(int l, double factor) {
    if (is_exactly(factor, 1.0)) return;
    const auto wide = static_cast<Accumulator>(factor);
    detail::scale<Scalar, Accumulator>(
        data(l), 1, level_size(), level_size(), [&](Index) { return wide; }, nullptr);
  }

  Storage storage_;
  LevelsAccount account_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_HPP

// ---- loglinear/stream/detail/levels_of.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP

namespace loglinear::detail {

/// The way to the levels of a LogLinearState, for what the library itself does with them.
struct LevelsOf {
  template <class State>
  [[nodiscard]] static auto& get(State& state) noexcept {
    return state.levels_;
  }
};
template <class State>
[[nodiscard]] auto& levels_of(State& state) noexcept {
  return LevelsOf::get(state);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_OF_HPP

// ---- loglinear/detail/kernels/dotted_rows.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_DOTTED_ROWS_HPP
#define LOGLINEAR_DETAIL_KERNELS_DOTTED_ROWS_HPP

// m d of several row-major matrices, and what each has to do with a vector: the pullback of a read.

namespace loglinear::detail {

/// A matrix to be multiplied by a vector: row i counts weights[i] times in the sum over all terms,
/// and duals[i] times in what is found of this term.
template <class Stored, class Scalar>
struct DottedRows {
  const Stored* rows;
  const Scalar* vector;
  const Scalar* weights;
  const Scalar* duals;
  Scalar found;
};

/// The part of N packets of columns, from `first` on.
template <int N, class Stored, class Scalar>
void dotted_rows_block(DottedRows<Stored, Scalar>* terms, int count, Index first, Index rows,
                       Index stride, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index band = 8;  // rows of all terms before their sums are added up across
  const P zero = ei::pset1<P>(Scalar(0));
  // With a constant height the loops unroll, and sums and `along` stay in registers; the latter in
  // two chains.
  const auto add_band = [&](Index top, auto height) {
    P sums[band];
    std::fill(sums, sums + band, zero);
    for (int term = 0; term < count; ++term) {
      auto& [m, vector, weights, duals, found] = terms[term];
      P d[array_size(N)], along[2] = {zero, zero};
      load_in_order_of<Stored, N, Scalar>(vector + first, d);
      const Stored* row = m + top * stride + first;
      for (Index i = 0; i < height; ++i, row += stride) {
        P dot = zero;
        for_each_packet<Scalar, N>(row, [&](std::size_t n, const P& packet) {
          dot = n == 0 ? ei::pmul(packet, d[0]) : ei::pmadd(packet, d[n], dot);
        });
        sums[i] = ei::pmadd(ei::pset1<P>(weights[top + i]), dot, sums[i]);
        along[i % 2] = ei::pmadd(ei::pset1<P>(duals[top + i]), dot, along[i % 2]);
      }
      found += ei::predux(ei::padd(along[0], along[1]));
    }
    for (Index i = 0; i < height; ++i) out[top + i] += ei::predux(sums[i]);
  };
  Index top = 0;
  for (; top + band <= rows; top += band) add_band(top, std::integral_constant<Index, band>{});
  if (top < rows) add_band(top, rows - top);
}

template <int N, class Stored, class Scalar>
void dotted_rows_from(DottedRows<Stored, Scalar>* terms, int count, Index first, Index rows,
                      Index columns, Index stride, Scalar* out) {
  constexpr Index width = packet_size<Scalar>;
  for (; first + N * width <= columns; first += N * width) {
    dotted_rows_block<N>(terms, count, first, rows, stride, out);
  }
  if constexpr (N > 1) {
    dotted_rows_from<N / 2>(terms, count, first, rows, columns, stride, out);
  } else {
    Scalar buffer[packet_length<Scalar>];
    for (int term = 0; term < count && first < columns; ++term) {
      auto& [m, vector, weights, duals, found] = terms[term];
      for (Index i = 0; i < rows; ++i) {
        Scalar dot(0);
        const Scalar* const rest = wide_rest<Scalar>(m + i * stride, first, columns, buffer);
        for (Index j = first; j < columns; ++j) dot += rest[j - first] * vector[j];
        out[i] += weights[i] * dot;
        found += duals[i] * dot;
      }
    }
  }
}

/// out[i] += sum over the terms of weights[i] (rows[i] . vector), and for each term found += sum_i
/// duals[i] (rows[i] . vector): `sum_l diag(w_l) m_l d_l` and `q_l^T m_l d_l` in one pass.
template <class Stored, class Scalar>
void dotted_rows(DottedRows<Stored, Scalar>* terms, int count, Index rows, Index columns,
                 Index stride, Scalar* out) {
  dotted_rows_from<8>(terms, count, Index{0}, rows, columns, stride, out);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_DOTTED_ROWS_HPP

// ---- loglinear/stream/detail/plain_reads.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_PLAIN_READS_HPP
#define LOGLINEAR_STREAM_DETAIL_PLAIN_READS_HPP

namespace loglinear::detail {

/// Whether a read is finite whatever the levels are in detail.
template <class Levels, class Scalar>
[[nodiscard]] bool reads_finite(const Levels& levels, const Scalar* query, const Scalar* weights,
                                Index weight_count) {
  const double sum = max_abs(weights, weight_count) * max_abs(query, levels.d_k()) *
                     std::sqrt(static_cast<double>(levels.d_k()));
  return is_at_most(sum * (std::max)(1.0, levels.magnitude()), magnitude_limit<Scalar>());
}

/// The read of numbers so large that it may not be finite: throws before anything is written.
template <class Levels, class Scalar, class Out>
void read_large(const Levels& levels, const Scalar* query, const Scalar* weights, Out&& out) {
  const auto coefficient = [&](Index j) {
    Scalar sum(0);
    for (int l : levels.active_levels()) {
      Scalar of_level(0);
      for (Index i = 0; i < levels.d_k(); ++i) {
        of_level += static_cast<Scalar>(levels.data(l)[i * levels.d_v() + j]) * query[i];
      }
      sum += weights[l] * of_level;
    }
    return sum;
  };
  for (Index j = 0; j < levels.d_v(); ++j) {
    if (is_finite(coefficient(j))) continue;
    fail(Text("the read [", j, "]"), to_double(coefficient(j)),
         "finite: a result leaves the range of the scalar type");
  }
  for (Index j = 0; j < levels.d_v(); ++j) out[j] = coefficient(j);
}

/// out = sum_l weights[l] S_l^T query over the active levels, for any vector `out`. Throws where
/// that is not finite; `out` is as it was then.
template <class Levels, class Scalar, class Out>
void read_levels(const Levels& levels, const Scalar* query, const Scalar* weights, Out&& out) {
  if (!reads_finite(levels, query, weights, levels.max_levels())) {
    return read_large(levels, query, weights, out);
  }
  constexpr Index piece = 4 * column_block;
  std::array<WeightedRows<typename Levels::Scalar, Scalar>, max_level_limit> terms;
  std::array<Scalar, piece> sums;
  const Index d_v = levels.d_v();
  for (Index first = 0; first < d_v; first += piece) {
    const Index length = (std::min)(piece, d_v - first);
    std::size_t count = 0;
    for (int l : levels.active_levels()) {
      terms[count++] = {levels.data(l) + first, levels.d_k(), {query}, weights[l]};
    }
    weighted_rows(terms.data(), static_cast<int>(count), length, d_v, sums.data());
    for (Index j = 0; j < length; ++j) out[first + j] = sums[static_cast<std::size_t>(j)];
  }
}

/// reads(l, j) = column j of S_l^T query for every active level, 0 for the others, for any matrix
/// `reads`. Throws where one is not finite; `reads` is as it was then.
template <class Levels, class Scalar, class Out>
void read_levels_apart(const Levels& levels, const Scalar* query, Out&& reads) {
  constexpr Index piece = 4 * column_block;
  std::array<Scalar, piece> sums;
  const Index d_v = levels.d_v();
  const auto for_each_piece = [&](auto use) {
    for (int l : levels.active_levels()) {
      for (Index first = 0; first < d_v; first += piece) {
        const Index length = (std::min)(piece, d_v - first);
        weighted_rows(levels.data(l) + first, levels.d_k(), length, d_v, query, sums.data());
        use(l, first, length);
      }
    }
  };
  const Scalar one(1);
  if (!reads_finite(levels, query, &one, 1)) {
    for_each_piece([&](int l, Index, Index length) {
      if (all_finite(sums.data(), length)) return;
      require_finite(Text("the read of level ", l), sums.data(), length);
    });
  }
  reads.setZero();
  for_each_piece([&](int l, Index first, Index length) {
    for (Index j = 0; j < length; ++j) reads(l, first + j) = sums[static_cast<std::size_t>(j)];
  });
}

/// d_query = sum_l S_l d_l over the active levels, where d_l is row l of `d_reads`. Throws where
/// that is not finite; `d_query` is as it was then.
template <class Levels, class Scalar, class Out>
void pull_back_levels_apart(const Levels& levels, const Scalar* d_reads, Index stride,
                            Out&& d_query) {
  constexpr Index piece = 4 * column_block;
  std::array<Scalar, piece> sums, ones;
  std::fill_n(ones.data(), piece, Scalar(1));
  std::array<DottedRows<typename Levels::Scalar, Scalar>, max_level_limit> terms;
  const Index d_v = levels.d_v();
  const auto for_each_piece = [&](auto use) {
    for (Index first = 0; first < levels.d_k(); first += piece) {
      const Index length = (std::min)(piece, levels.d_k() - first);
      std::size_t count = 0;
      for (int l : levels.active_levels()) {
        terms[count++] = {levels.data(l) + first * d_v, d_reads + l * stride, ones.data(),
                          ones.data(), Scalar(0)};
      }
      std::fill_n(sums.data(), length, Scalar(0));
      dotted_rows(terms.data(), static_cast<int>(count), length, d_v, d_v, sums.data());
      use(first, length);
    }
  };
  double largest = 0;
  for (int l : levels.active_levels()) {
    largest = (std::max)(largest, max_abs(d_reads + l * stride, d_v));
  }
  const double bound = largest * std::sqrt(static_cast<double>(d_v));
  if (!is_at_most(bound * (std::max)(1.0, levels.magnitude()), magnitude_limit<Scalar>())) {
    for_each_piece([&](Index, Index length) { require_finite("d_q", sums.data(), length); });
  }
  for_each_piece([&](Index first, Index length) {
    for (Index i = 0; i < length; ++i) d_query[first + i] = sums[static_cast<std::size_t>(i)];
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_PLAIN_READS_HPP

// ---- loglinear/stream/detail/state_arguments.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_STATE_ARGUMENTS_HPP
#define LOGLINEAR_STREAM_DETAIL_STATE_ARGUMENTS_HPP

// How a LogLinearState takes keys, values and queries: any Eigen expression, row or column, checked
// once, and copied where it is not contiguous or part of the state itself.

namespace loglinear::detail {

/// Calls `use` with `m` as a finite matrix of `rows` rows that is stored outside `own`.
/// \tparam Dim  `rows` where that is known at compile time
template <class Scalar, int Dim, class Derived, class Own, class Use>
void with_columns(const Eigen::MatrixBase<Derived>& m, Index rows, const char* name, const Own& own,
                  Use use) {
  static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                "the argument must have the state's scalar, or float where that is narrower: "
                "convert it with .cast<Scalar>()");
  if constexpr (Derived::RowsAtCompileTime == 1 && Derived::ColsAtCompileTime != 1) {
    if (rows != 1 || m.cols() == 1) {
      return with_columns<Scalar, Dim>(m.transpose(), rows, name, own, use);
    }
  }
  require_size(name, m.rows(), rows);
  constexpr bool is_vector = Derived::ColsAtCompileTime == 1;
  // A vector of the state's own size where that is known, so that nothing can allocate.
  constexpr int given = Derived::RowsAtCompileTime;
  constexpr bool is_own = is_vector && (given == Eigen::Dynamic || given == Dim);
  using Plain = Eigen::Matrix<Scalar, is_own ? Dim : Eigen::Dynamic, is_vector ? 1 : Eigen::Dynamic,
                              Eigen::ColMajor>;
  const Eigen::Ref<const Plain> stored(m.derived());
  require_finite(name, stored);
  const void* const begin = own.data();
  const void* const end = own.data() + own.size();
  const void* const argument = stored.data();
  const bool is_ours = std::less_equal<>{}(begin, argument) && std::less<>{}(argument, end);
  if (is_ours) {
    use(Plain(stored));
  } else {
    use(stored);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STATE_ARGUMENTS_HPP

// ---- loglinear/transitions/decays.hpp

#ifndef LOGLINEAR_TRANSITIONS_DECAYS_HPP
#define LOGLINEAR_TRANSITIONS_DECAYS_HPP

/// \file
/// The diagonal kinds of transition: none, one decay, a decay per key row, a decay per value
/// column. The interface they share is documented in transition.hpp.

namespace loglinear {

/// `S <- S`: nothing happens to older states.
template <class Scalar_>
struct Identity {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;

  Identity(Eigen::Index /*key_rows*/, Eigen::Index /*d_v*/) {}

  [[nodiscard]] bool fits(Eigen::Index, Eigen::Index) const { return true; }
  void left(auto&& /*m*/) const {}
  void left_transposed(auto&& /*q*/) const {}
  void right(auto&& /*m*/) const {}
  void pullback(const auto&, const auto&, const auto&, const auto&, Identity&) const {}
  void reset() {}
  void follow(const Identity&) {}
  void visit_steps(auto& /*steps*/, auto&... /*gradient*/) const {}
  [[nodiscard]] Scalar factor() const { return Scalar(1); }
  [[nodiscard]] Scalar row_factor(Eigen::Index) const { return Scalar(1); }
  [[nodiscard]] const Scalar* row_factors() const { return nullptr; }
  [[nodiscard]] const Scalar* column_factors() const { return nullptr; }
  [[nodiscard]] double norm_bound() const { return 1; }
  [[nodiscard]] bool all_finite() const { return true; }
};

/// `S <- a S`: one decay for the whole state.
template <class Scalar_>
struct ScalarDecay {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;

  ScalarDecay(Eigen::Index /*key_rows*/, Eigen::Index /*d_v*/) {}

  Scalar decay{1};  ///< a

  [[nodiscard]] bool fits(Eigen::Index, Eigen::Index) const { return true; }
  void left(auto&& m) const {
    using M = std::remove_cvref_t<decltype(m)>;
    if (detail::is_exactly(decay, Scalar(1))) return;
    if constexpr (detail::has_pieces<M>) {
      for (Eigen::Index i = 0; i < m.outerSize(); ++i) {
        detail::scale_by(decay, m.data() + i * m.outerStride(), m.innerSize());
      }
    } else {
      m *= decay;
    }
  }
  void left_transposed(auto&& q) const { detail::scale_by(decay, q.data(), q.size()); }
  void right(auto&& /*m*/) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&,
                ScalarDecay& gradient) const {
    gradient.decay = detail::dot<Scalar>(q.data(), s.data(), q.size());
  }
  void reset() { decay = Scalar(1); }
  void follow(const ScalarDecay& later) {
    decay *= later.decay;
    detail::clear_negligible(&decay, 1);
  }
  void visit_steps(auto& steps, auto&... gradient) const { steps.decay(decay, gradient.decay...); }
  [[nodiscard]] Scalar factor() const { return decay; }
  [[nodiscard]] Scalar row_factor(Eigen::Index) const { return decay; }
  [[nodiscard]] const Scalar* row_factors() const { return nullptr; }
  [[nodiscard]] const Scalar* column_factors() const { return nullptr; }
  [[nodiscard]] double norm_bound() const { return std::abs(detail::to_double(decay)); }
  [[nodiscard]] bool all_finite() const { return detail::is_finite(decay); }
};

/// `S <- diag(w) S`: one decay for each key row.
template <class Scalar_>
struct KeyDecay {
  using Scalar = Scalar_;
  static constexpr bool scales_values = false;

  KeyDecay(Eigen::Index key_rows, Eigen::Index /*d_v*/) : decay(detail::ones<Scalar>(key_rows)) {}

  detail::Vector<Scalar> decay;  ///< w, length key_rows

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index) const {
    return decay.size() == key_rows;
  }
  void left(auto&& m) const {
    if constexpr (detail::is_row_major_memory<decltype(m)>) {
      detail::scale<Scalar, Scalar>(
          m.data(), m.rows(), m.cols(), m.outerStride(), [&](Eigen::Index i) { return decay[i]; },
          nullptr);
    } else if constexpr (detail::is_column_major_memory<decltype(m)>) {
      detail::scale<Scalar, Scalar>(
          m.data(), m.cols(), m.rows(), m.outerStride(), [](Eigen::Index) { return Scalar(1); },
          decay.data());
    } else {
      for (Eigen::Index i = 0; i < decay.size(); ++i) m.row(i) *= decay[i];
    }
  }
  void left_transposed(auto&& q) const {
    detail::multiply<Scalar>(q.data(), decay.data(), decay.size(), q.data());
  }
  void right(auto&& /*m*/) const {}
  void pullback(const auto& q, const auto& s, const auto&, const auto&, KeyDecay& gradient) const {
    detail::multiply<Scalar>(q.data(), s.data(), decay.size(), gradient.decay.data());
  }
  void reset() { std::fill_n(decay.data(), decay.size(), Scalar(1)); }
  void follow(const KeyDecay& later) {
    detail::multiply(decay.data(), later.decay.data(), decay.size(), decay.data());
    detail::clear_negligible(decay.data(), decay.size());
  }
  void visit_steps(auto& steps, auto&... gradient) const {
    steps.decay_rows(decay.data(), gradient.decay.data()...);
  }
  [[nodiscard]] Scalar row_factor(Eigen::Index i) const { return decay[i]; }
  [[nodiscard]] const Scalar* row_factors() const { return decay.data(); }
  [[nodiscard]] const Scalar* column_factors() const { return nullptr; }
  [[nodiscard]] double norm_bound() const { return detail::max_abs(decay); }
  [[nodiscard]] bool all_finite() const { return detail::all_finite(decay); }
};

/// `S <- S diag(w)`: one decay for each value column.
template <class Scalar_>
struct ValueDecay {
  using Scalar = Scalar_;
  static constexpr bool scales_values = true;

  ValueDecay(Eigen::Index /*key_rows*/, Eigen::Index d_v) : decay(detail::ones<Scalar>(d_v)) {}

  detail::Vector<Scalar> decay;  ///< w, length d_v

  [[nodiscard]] bool fits(Eigen::Index, Eigen::Index d_v) const { return decay.size() == d_v; }
  void left(auto&& /*m*/) const {}
  void left_transposed(auto&& /*q*/) const {}
  void right(auto&& m) const {
    if constexpr (detail::is_row_major_memory<decltype(m)>) {
      detail::scale<Scalar, Scalar>(
          m.data(), m.rows(), m.cols(), m.outerStride(), [](Eigen::Index) { return Scalar(1); },
          decay.data());
    } else {
      for (Eigen::Index i = 0; i < m.rows(); ++i) {
        m.row(i).array() *= decay.transpose().array();
      }
    }
  }
  void pullback(const auto&, const auto&, const auto& z, const auto& d,
                ValueDecay& gradient) const {
    detail::multiply<Scalar>(z.data(), d.data(), decay.size(), gradient.decay.data());
  }
  void reset() { std::fill_n(decay.data(), decay.size(), Scalar(1)); }
  void follow(const ValueDecay& later) {
    detail::multiply(decay.data(), later.decay.data(), decay.size(), decay.data());
    detail::clear_negligible(decay.data(), decay.size());
  }
  void visit_steps(auto& steps, auto&... gradient) const {
    steps.decay_values(decay.data(), gradient.decay.data()...);
  }
  [[nodiscard]] Scalar row_factor(Eigen::Index) const { return Scalar(1); }
  [[nodiscard]] const Scalar* column_factors() const { return decay.data(); }
  [[nodiscard]] double norm_bound() const { return detail::max_abs(decay); }
  [[nodiscard]] bool all_finite() const { return detail::all_finite(decay); }
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_DECAYS_HPP

// ---- loglinear/transitions/steps.hpp

#ifndef LOGLINEAR_TRANSITIONS_STEPS_HPP
#define LOGLINEAR_TRANSITIONS_STEPS_HPP

/// \file
/// How a kind of transition says what it is made of: a list of steps, in the order in which older
/// states undergo them.
///
/// | step                     | what a state S of key_rows x d_v undergoes                    |
/// |--------------------------|---------------------------------------------------------------|
/// | `steps.decay(a)`         | `S <- a S`, a number                                          |
/// | `steps.decay_rows(w)`    | `S <- diag(w) S`, key_rows numbers                            |
/// | `steps.decay_values(r)`  | `S <- S diag(r)`, d_v numbers                                 |
/// | `steps.look_up(p)`       | nothing yet: `f = S^T p` of the state as it is now            |
/// | `steps.write_back(u)`    | `S <- S - u f^T` with the f looked up last; key_rows numbers  |
///
/// Vectors are pointers to that many numbers. Every `look_up` has its `write_back`, with nothing
/// but decays in between. A kind has the member
///
///     void visit_steps(auto& steps, auto&... gradient) const {
///       steps.look_up(p.data(), gradient.p.data()...);
///       steps.decay(a, gradient.a...);
///       steps.write_back(u.data(), gradient.u.data()...);
///     }
///
/// which is `S <- a S - u p^T S`. It is called without a gradient, and with one transition of the
/// same type, to which each step then writes the derivative with respect to its own argument: where
/// a member is not itself an argument, the kind computes its derivative from those, after the step.
/// The derivative with respect to a decay of 0 is taken to be 0. Which steps there are must not
/// depend on the members.
///
/// From the steps follow whole spans of tokens by the chunkwise algorithm and their gradients
/// (`forward_span`, `span_gradient`), and products of few transitions as a diagonal minus a
/// matrix of low rank.

namespace loglinear {

/// How many steps of which sort a transition has.
struct StepCounts {
  Eigen::Index updates = 0;    ///< look-ups and write-backs
  bool decays = false;         ///< whether key rows decay
  bool decays_by_row = false;  ///< each at its own rate
  bool decays_values = false;  ///< whether value columns decay

  /// \name The steps, which are counted
  /// \{
  void decay(const auto& /*a*/, auto&... /*gradient*/) { decays = true; }
  void decay_rows(const auto* /*w*/, auto*... /*gradient*/) { decays = decays_by_row = true; }
  void decay_values(const auto* /*r*/, auto*... /*gradient*/) { decays_values = true; }
  void look_up(const auto* /*p*/, auto*... /*gradient*/) {}
  void write_back(const auto* /*u*/, auto*... /*gradient*/) { ++updates; }
  /// \}
};

/// Whether a kind of transition says what it is made of; see the top of transitions/steps.hpp.
template <class Kind>
concept HasSteps = requires(const Kind& kind, Kind& gradient, StepCounts& steps) {
  kind.visit_steps(steps);
  kind.visit_steps(steps, gradient);
};

/// The steps of a kind for states of key_rows x d_v. Makes a transition, which may allocate.
template <HasSteps Kind>
[[nodiscard]] StepCounts step_counts(Eigen::Index key_rows, Eigen::Index d_v) {
  StepCounts counts;
  Kind(key_rows, d_v).visit_steps(counts);
  return counts;
}

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_STEPS_HPP

// ---- loglinear/transitions/product.hpp

#ifndef LOGLINEAR_TRANSITIONS_PRODUCT_HPP
#define LOGLINEAR_TRANSITIONS_PRODUCT_HPP

/// \file
/// Several transitions at one token, one after the other.

namespace loglinear {

/// `S <- L_n (... L_1 S diag(r_1) ...) diag(r_n)`: the factors act in the order of the template
/// arguments, the first one first.
template <class... Factors>
struct TransitionProduct {
  static_assert(sizeof...(Factors) > 0, "a product of transitions needs at least one factor");
  static constexpr std::size_t count = sizeof...(Factors);  ///< number of factors
  using Scalar = typename std::tuple_element_t<0, std::tuple<Factors...>>::Scalar;
  static constexpr bool scales_values = (Factors::scales_values || ...);

  TransitionProduct(Eigen::Index key_rows, Eigen::Index d_v)
      : factors(Factors(key_rows, d_v)...),
        queries_(key_rows, static_cast<Eigen::Index>(count)),
        cotangents_(d_v, static_cast<Eigen::Index>(count)),
        s_(key_rows),
        z_(d_v) {}

  std::tuple<Factors...> factors;  ///< L_1 ... L_n

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index d_v) const {
    return std::apply([&](const auto&... factor) { return (factor.fits(key_rows, d_v) && ...); },
                      factors);
  }
  void left(auto&& m) const {
    std::apply([&](const auto&... factor) { (factor.left(m), ...); }, factors);
  }
  void left_transposed(auto&& q) const {
    backwards([&](const auto& factor, auto) { factor.left_transposed(q); });
  }
  void right(auto&& m) const {
    std::apply([&](const auto&... factor) { (factor.right(m), ...); }, factors);
  }

  /// Each factor sees the query and cotangent as they come back through the later factors, and s
  /// and z as they come forward through the earlier ones. `gradient` lends its scratch memory.
  void pullback(const auto& q, const auto& s, const auto& z, const auto& d,
                TransitionProduct& gradient) const {
    gradient.s_ = q;
    gradient.z_ = d;
    backwards([&](const auto& factor, auto j) {
      gradient.queries_.col(j) = gradient.s_;
      gradient.cotangents_.col(j) = gradient.z_;
      factor.left_transposed(gradient.s_);
      factor.right(gradient.z_.transpose());
    });
    gradient.s_ = s;
    gradient.z_ = z;
    forwards([&](const auto& factor, auto j) {
      factor.pullback(gradient.queries_.col(j), gradient.s_, gradient.z_,
                      gradient.cotangents_.col(j), std::get<j>(gradient.factors));
      factor.left(gradient.s_);
      factor.right(gradient.z_.transpose());
    });
  }

  void visit_steps(auto& steps) const requires(HasSteps<Factors>&&...) {
    std::apply([&](const auto&... factor) { (factor.visit_steps(steps), ...); }, factors);
  }
  void visit_steps(auto& steps, TransitionProduct& gradient) const
      requires(HasSteps<Factors>&&...) {
    forwards([&](const auto& factor, auto j) {
      factor.visit_steps(steps, std::get<j>(gradient.factors));
    });
  }

  /// Bounds what each factor leaves to the next, too: a later one may shrink it again.
  [[nodiscard]] double norm_bound() const {
    return std::apply(
        [](const auto&... factor) { return ((std::max)(1.0, factor.norm_bound()) * ...); },
        factors);
  }
  [[nodiscard]] bool all_finite() const {
    return std::apply([](const auto&... factor) { return (factor.all_finite() && ...); }, factors);
  }

 private:
  template <class Visit>
  void forwards(Visit visit) const {
    [&]<std::size_t... J>(std::index_sequence<J...>) {
      (visit(std::get<J>(factors), std::integral_constant<std::size_t, J>{}), ...);
    }
    (std::make_index_sequence<count>{});
  }
  template <class Visit>
  void backwards(Visit visit) const {
    [&]<std::size_t... J>(std::index_sequence<J...>) {
      (visit(std::get<count - 1 - J>(factors),
             std::integral_constant<std::size_t, count - 1 - J>{}),
       ...);
    }
    (std::make_index_sequence<count>{});
  }

  detail::Matrix<Scalar> queries_, cotangents_;
  detail::Vector<Scalar> s_, z_;
};

namespace detail {

template <class First, class Factor, class Sequence>
struct RepeatedProductOf;
template <class First, class Factor, std::size_t... J>
struct RepeatedProductOf<First, Factor, std::index_sequence<J...>> {
  template <std::size_t>
  using Each = Factor;
  using Type = TransitionProduct<First, Each<J>...>;
};

}  // namespace detail

/// The product of `First` and then `count` times `Factor`.
template <class First, class Factor, std::size_t count>
using RepeatedProduct =
    typename detail::RepeatedProductOf<First, Factor, std::make_index_sequence<count>>::Type;

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_PRODUCT_HPP

// ---- loglinear/transitions/rank_one_update.hpp

#ifndef LOGLINEAR_TRANSITIONS_RANK_ONE_UPDATE_HPP
#define LOGLINEAR_TRANSITIONS_RANK_ONE_UPDATE_HPP

/// \file
/// The transition of the delta rules: a diagonal minus a matrix of rank one.

namespace loglinear {

/// Whether a diagonal kind can be the D of a `RankOneUpdate`: the requirements `row_factor(i)` and
/// `row_factors()`; see `Transition`.
template <class Kind>
concept HasRowFactors = requires(const Kind& kind, Eigen::Index i) {
  { kind.row_factor(i) } -> std::convertible_to<typename Kind::Scalar>;
  { kind.row_factors() } -> std::convertible_to<const typename Kind::Scalar*>;
};

/// `S <- (D - u p^T) S`, with D a diagonal of key rows: `Identity`, `ScalarDecay`,
/// `KeyDecay`, or a kind of your own that `HasRowFactors`.
///
/// The gated delta rule `a (I - b k k^T)` is `D = a`, `u = a b k`, `p = k`. RWKV-7 is `D =
/// diag(w)`, `u = a*kappa` with `p = kappa` (the paper's) or `p = w*kappa` (decay first).
template <class Diagonal>
struct RankOneUpdate {
  static_assert(HasRowFactors<Diagonal>,
                "the D of a RankOneUpdate is a diagonal kind with row_factor(i) and row_factors(): "
                "one of Identity, ScalarDecay and KeyDecay, or give your own kind both members");
  using Scalar = typename Diagonal::Scalar;
  static constexpr bool scales_values = false;

  RankOneUpdate(Eigen::Index key_rows, Eigen::Index d_v)
      : diagonal(key_rows, d_v),
        u(detail::zeros<Scalar>(key_rows)),
        p(detail::zeros<Scalar>(key_rows)) {}

  Diagonal diagonal;         ///< D
  detail::Vector<Scalar> u;  ///< what is written back, length key_rows
  detail::Vector<Scalar> p;  ///< what is looked up, length key_rows

  [[nodiscard]] bool fits(Eigen::Index key_rows, Eigen::Index d_v) const {
    return u.size() == key_rows && p.size() == key_rows && diagonal.fits(key_rows, d_v);
  }

  /// m <- D m - u (p^T m), a block of columns at a time so that p^T m fits on the stack.
  void left(auto&& m) const {
    const Eigen::Index n = u.size();
    for (Eigen::Index first = 0; first < m.cols(); first += found_block) {
      const Eigen::Index width = (std::min<Eigen::Index>)(found_block, m.cols() - first);
      Scalar found[found_block];
      if constexpr (detail::is_row_major_memory<decltype(m)>) {
        Scalar* const block = m.data() + first;
        detail::weighted_rows(block, n, width, m.outerStride(), p.data(), found);
        const detail::OuterProduct<Scalar> written{u.data(), found, Scalar(-1)};
        detail::step_rows_from<8, 1, false>(block, Eigen::Index{0}, n, width, m.outerStride(),
                                            scaling(), &written, 1);
      } else if constexpr (detail::is_column_major_memory<decltype(m)>) {
        Scalar* const block = m.data() + first * m.outerStride();
        for (Eigen::Index j = 0; j < width; ++j) {
          found[j] = detail::dot<Scalar>(p.data(), block + j * m.outerStride(), n);
        }
        update_columns(block, width, m.outerStride(), found);
      } else {
        auto block = m.middleCols(first, width);
        Eigen::Map<detail::Vector<Scalar>> sums(found, width);
        sums.setZero();
        for (Eigen::Index i = 0; i < n; ++i) sums += p[i] * block.row(i).transpose();
        diagonal.left(block);
        for (Eigen::Index i = 0; i < n; ++i) block.row(i) -= u[i] * sums.transpose();
      }
    }
  }

  /// m <- D m - u found^T where `found` = p^T m is known already; m is column-major in memory.
  void left(auto&& m, const Scalar* found) const {
    update_columns(m.data(), m.cols(), m.outerStride(), found);
  }

  /// q <- D q - p (u^T q)
  void left_transposed(auto&& q) const {
    const Scalar along = detail::dot<Scalar>(u.data(), q.data(), u.size());
    diagonal.left_transposed(q);
    detail::axpy<Scalar>(-along, p.data(), p.size(), q.data());
  }

  void right(auto&& /*m*/) const {}

  void pullback(const auto& q, const auto& s, const auto& z, const auto& d,
                RankOneUpdate& gradient) const {
    diagonal.pullback(q, s, z, d, gradient.diagonal);
    const Eigen::Index n = u.size();
    detail::scale_to<Scalar>(-detail::dot<Scalar>(p.data(), s.data(), n), q.data(), n,
                             gradient.u.data());
    detail::scale_to<Scalar>(-detail::dot<Scalar>(u.data(), q.data(), n), s.data(), n,
                             gradient.p.data());
  }

  void visit_steps(auto& steps, auto&... gradient) const requires HasSteps<Diagonal> {
    steps.look_up(p.data(), gradient.p.data()...);
    diagonal.visit_steps(steps, gradient.diagonal...);
    steps.write_back(u.data(), gradient.u.data()...);
  }

  /// Where D is one number a, with u = c p + w, w orthogonal to p: `max(|a|, |a - u.p|) + |w| |p|`,
  /// which is 1 for a delta rule; else `|D| + |u| |p|`. Bounds p^T m too, which `left` computes on
  /// the way: it can overflow where u is tiny and p is not.
  [[nodiscard]] double norm_bound() const {
    const auto product = [&](const auto& x, const auto& y) {
      return detail::to_double(detail::dot<Scalar>(x.data(), y.data(), x.size()));
    };
    const double uu = product(u, u), pp = product(p, p);
    if constexpr (requires { diagonal.factor(); }) {
      if (detail::is_at_most(uu, 2) && detail::is_at_most(pp, 2) && pp > 1e-6) {
        const double a = detail::to_double(diagonal.factor()), up = product(u, p);
        const double across = (std::max)(0.0, uu * pp - up * up);
        return (std::max)(std::abs(a), std::abs(a - up)) + std::sqrt(across);
      }
    }
    return diagonal.norm_bound() + (std::max)(1.0, detail::stable_norm(u)) * detail::stable_norm(p);
  }
  /// D, as the kernels take it.
  [[nodiscard]] detail::Scaling<Scalar> scaling() const {
    const Scalar* const of_row = diagonal.row_factors();
    return {of_row == nullptr ? diagonal.row_factor(0) : Scalar(1), of_row, nullptr};
  }
  [[nodiscard]] bool all_finite() const {
    return diagonal.all_finite() && detail::all_finite(u) && detail::all_finite(p);
  }

 private:
  /// Columns whose p^T m lies on the stack at a time.
  static constexpr int found_block = 4 * detail::column_block;

  /// Columns in memory become D m - u found^T.
  void update_columns(Scalar* m, Eigen::Index columns, Eigen::Index stride,
                      const Scalar* found) const {
    const auto [factor, of_row, of_column] = scaling();
    detail::update_rows(m, columns, u.size(), stride, factor, of_row, u.data(), found);
  }
};

namespace detail {

template <class Kind>
inline constexpr bool is_rank_one_update = false;
template <class Diagonal>
inline constexpr bool is_rank_one_update<RankOneUpdate<Diagonal>> = true;

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_RANK_ONE_UPDATE_HPP

// ---- loglinear/transitions/transition.hpp

#ifndef LOGLINEAR_TRANSITIONS_TRANSITION_HPP
#define LOGLINEAR_TRANSITIONS_TRANSITION_HPP

/// \file
/// What an inner rule does to every older state at a token: a linear map `S <- L S diag(r)` shared
/// by all levels. Being linear it commutes with the merging of buckets, which is why a hierarchy
/// can undergo it level by level (arXiv:2506.04761, section 3: the mask `M^S (.) M^H`).
///
/// There are few kinds, and all algorithms are written once for all of them, and for those that a
/// user adds:
///
/// | kind                       | L                                     | r |
/// |----------------------------|---------------------------------------|---|
/// | `Identity`                 | I                                     | 1 |
/// | `ScalarDecay`              | a I                                   | 1 |
/// | `KeyDecay`                 | diag(w)                               | 1 |
/// | `ValueDecay`               | I                                     | w |
/// | `RankOneUpdate<Diagonal>`  | D - u p^T, D one of the first three   | 1 |
/// | `TransitionProduct<...>`   | L_n ... L_2 L_1                       | . |
///
/// docs/rules.md says which rules use them.
///
/// A rule fills the kind's public members; they are also what its gradient is written to, so that
/// the cotangent of a transition is a transition of the same type.

namespace loglinear {

/// What a kind of transition supplies, for matrices `m` with `key_rows` rows, queries `q` and `s`
/// of that length, reads `z` and `d` of length `d_v`:
///
/// * `Kind(key_rows, d_v)`: allocates its members once;
/// * `fits(key_rows, d_v)`: whether its members have the sizes that such a state needs;
/// * `left(m)`: m <- L m, in place; m may be a vector;
/// * `left_transposed(q)`: q <- L^T q, in place;
/// * `right(m)`: m <- m diag(r), in place; a read z is passed as the row z^T;
/// * `norm_bound()`: an upper bound, as a double, of the factor by which a Frobenius norm can grow,
///   that of every intermediate result of `left` and `right` included;
/// * `all_finite()`: whether every member is a finite number;
/// * `pullback(q, s, z, d, gradient)`: writes into `gradient`, a transition of the same type, the
///   derivative of `q^T L s + d . (r z)` with respect to every member.
///
/// And where it can:
///
/// * `visit_steps(steps)` and `visit_steps(steps, gradient)`: what it is made of, see
///   transitions/steps.hpp. Without it, spans of tokens are read token by token and have no
///   gradient (`HasSteps`);
/// * `scales_values`, a static constexpr bool: false where r is always 1. Without it, it may not
/// be;
/// * where L is diagonal and products are of the same kind, `follow(later)`: this <- later * this,
///   `reset()`: this <- I, `row_factor(i)`: coefficient i of L, and `column_factors()`: a pointer
///   to those of r, or null for ones. Layers then keep such a product where a dense one would stand
///   (`HasOwnProducts`);
/// * `factor()`, where moreover L is a multiple of I and r is 1: that multiple;
/// * `row_factors()`, where it is to be the D of a `RankOneUpdate`, beside `row_factor(i)`: a
/// pointer
///   to the coefficients of L, or null where all are `row_factor(0)` (`HasRowFactors`).
///
/// None of them allocates or throws, but for the constructor.
template <class Kind, class Scalar>
concept Transition = std::constructible_from<Kind, Eigen::Index, Eigen::Index> &&
    requires(const Kind& kind, Kind& gradient, detail::Matrix<Scalar>& m, detail::Vector<Scalar>& q,
             const detail::Vector<Scalar>& s) {
  kind.left(m);
  kind.left_transposed(q);
  kind.right(m);
  kind.pullback(s, s, s, s, gradient);
  { kind.fits(s.size(), s.size()) } -> std::convertible_to<bool>;
  { kind.norm_bound() } -> std::convertible_to<double>;
  { kind.all_finite() } -> std::convertible_to<bool>;
};

/// Whether products of the kind are of the kind: the requirements `follow(later)`, `reset()`,
/// `row_factor(i)` and `column_factors()`.
template <class Kind>
concept HasOwnProducts = requires(Kind& product, const Kind& later, Eigen::Index i) {
  product.follow(later);
  product.reset();
  { later.row_factor(i) } -> std::convertible_to<typename Kind::Scalar>;
  { later.column_factors() } -> std::convertible_to<const typename Kind::Scalar*>;
};

static_assert(Transition<Identity<double>, double>);
static_assert(Transition<ScalarDecay<double>, double>);
static_assert(Transition<KeyDecay<double>, double>);
static_assert(Transition<ValueDecay<double>, double>);
static_assert(Transition<RankOneUpdate<ScalarDecay<double>>, double>);
static_assert(Transition<TransitionProduct<KeyDecay<double>, ValueDecay<double>>, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_TRANSITION_HPP

// ---- loglinear/stream/log_linear_state.hpp

#ifndef LOGLINEAR_STREAM_LOG_LINEAR_STATE_HPP
#define LOGLINEAR_STREAM_LOG_LINEAR_STATE_HPP

namespace loglinear {

/// The hierarchy of log-linear attention: one `d_k x d_v` matrix for each power-of-two bucket of
/// the past, in a shape that never changes with the stream.
///
/// After n pushes without overflow level l holds the sum of 2^l consecutive leaves iff bit l of n
/// is set (Guo et al., arXiv:2506.04761, section 2); a carry beyond the last level is added into
/// the last level, which then holds `2^(M-1) floor(n / 2^(M-1))` tokens. Nothing is ever lost, only
/// resolution: `max_levels = floor(log2 T) + 1` covers T tokens without overflow.
///
/// Class invariant: `size()` says which levels are active, inactive levels are zero, every
/// coefficient is finite. A plain value: copyable, movable, comparable, safe for concurrent const
/// readers. Storage is contiguous, `max_levels x d_k x d_v`, row-major. It is allocated once, by
/// the constructor; with all three sizes fixed at compile time and up to 16 KiB it lies inside the
/// object and the heap is never used.
///
/// With a narrow scalar, Eigen::bfloat16 or Eigen::half, the levels are stored narrow and
/// everything is computed in float: arguments and results are float, and a coefficient is rounded
/// once for each operation that rewrites its level. A level in bfloat16 cannot decay by 0.999,
/// which is rounded away at each token: use a layer, which keeps such factors apart, and let no
/// stream `undergo` them one by one. Half numbers end at 65504, and what would take the sum of the
/// levels' Frobenius norms above a quarter of that is refused, in mid-stream: equal leaves of unit
/// vectors after 16,376 of them, of vectors of 64 coefficients of size 1 after 255. bfloat16 has
/// the range of float. Numbers below std::numeric_limits<Scalar>::min() count as zero, see
/// docs/numerics.md. It has many members, since a user's own algorithm may look into every level.
///
/// \tparam Scalar_    float, double, long double, a narrow scalar or a number type with
///                    Eigen::NumTraits
/// \tparam KeyDim     d_k at compile time, or Eigen::Dynamic
/// \tparam ValueDim   d_v at compile time, or Eigen::Dynamic
/// \tparam MaxLevels  max_levels at compile time (1 to 64), or Eigen::Dynamic
/// \tparam Overflow   what the last level does when it is full, see `LastLevel`; sequence forms
///                    take states that fold
template <class Scalar_, int KeyDim = Eigen::Dynamic, int ValueDim = Eigen::Dynamic,
          int MaxLevels = Eigen::Dynamic, LastLevel Overflow = LastLevel::fold>
class LogLinearState {
  static_assert(!Eigen::NumTraits<Scalar_>::IsInteger,
                "LogLinearState needs a floating-point scalar: decays and level weights are "
                "fractions; use float or double");
  static_assert(MaxLevels == Eigen::Dynamic || (MaxLevels >= 1 && MaxLevels <= max_level_limit),
                "MaxLevels must be between 1 and 64, or Eigen::Dynamic");
  static_assert((KeyDim == Eigen::Dynamic || KeyDim >= 1) &&
                    (ValueDim == Eigen::Dynamic || ValueDim >= 1),
                "KeyDim and ValueDim must be at least 1, or Eigen::Dynamic");
  using Levels = detail::Levels<Scalar_, KeyDim, ValueDim, MaxLevels, Overflow>;
  using Storage = typename Levels::Storage;
  using Flush = detail::FlushToZero<detail::Accumulator<Scalar_>>;

 public:
  /// What the last level does when it is full.
  static constexpr LastLevel overflow = Overflow;
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  /// What arguments and results are made of: float where Scalar is narrower, else Scalar.
  using Accumulator = detail::Accumulator<Scalar>;
  using Vector = detail::Vector<Scalar>;  ///< a copy of all levels, one after the other

  /// Whether all three sizes are fixed at compile time.
  static constexpr bool has_fixed_shape = Storage::has_fixed_shape;
  /// Coefficients of all levels if they are, else 0.
  static constexpr Index fixed_coefficients = Storage::fixed_coefficients;
  /// Whether the levels lie inside the object: a fixed shape of up to 16 KiB.
  static constexpr bool is_inline = Storage::is_inline;

  /// One level, row-major.
  using LevelMatrix = typename Levels::Matrix;
  /// A read-only view of one level; valid as long as the state is neither moved nor destroyed.
  using ConstLevel = typename Storage::ConstLevel;
  /// A read-only view of the whole storage.
  using ConstFlat = typename Storage::ConstFlat;

  /// An empty hierarchy of the compile-time shape.
  LogLinearState() requires has_fixed_shape : LogLinearState(MaxLevels, KeyDim, ValueDim) {}

  /// An empty hierarchy.
  /// \param max_levels  number of levels, 1 to 64
  /// \param d_k         rows of a level, 1 to 2^26
  /// \param d_v         columns of a level, 1 to 2^26
  /// \throws std::invalid_argument out of these ranges, or where a size fixed at compile time
  /// differs
  LogLinearState(int max_levels, Index d_k, Index d_v) : levels_(max_levels, d_k, d_v) {}

  /// \name Copies and moves
  /// Assignment does not allocate between states of as many coefficients; where it throws
  /// std::bad_alloc nothing is changed. A state that has been moved from is to be assigned to or
  /// destroyed, nothing else.
  /// \{
  LogLinearState(const LogLinearState&) = default;             ///< allocates, unless `is_inline`
  LogLinearState(LogLinearState&&) = default;                  ///< does not allocate
  LogLinearState& operator=(const LogLinearState&) = default;  ///< a copy
  LogLinearState& operator=(LogLinearState&&) = default;       ///< does not allocate
  /// \}

  [[nodiscard]] int max_levels() const noexcept {
    return levels_.max_levels();
  }                                                                   ///< number of levels M
  [[nodiscard]] Index d_k() const noexcept { return levels_.d_k(); }  ///< rows of a level
  [[nodiscard]] Index d_v() const noexcept { return levels_.d_v(); }  ///< columns of a level
  /// Tokens pushed since construction or `reset`.
  [[nodiscard]] std::uint64_t size() const noexcept { return levels_.size(); }
  /// Number of levels that hold a bucket: the set bits of `size()` while nothing overflows.
  [[nodiscard]] int active_level_count() const noexcept {
    return loglinear::active_level_count(size(), max_levels());
  }
  /// Whether `level` holds a bucket. \throws std::invalid_argument unless 0 <= level < max_levels
  [[nodiscard]] bool is_active(int level) const {
    detail::require_between("level", level, 0, max_levels() - 1);
    return is_active_level(size(), level, max_levels());
  }
  /// The active levels, newest first, for range-for.
  [[nodiscard]] ActiveLevels active_levels() const noexcept { return levels_.active_levels(); }

  /// The matrix of one level, zero where inactive; a view, nothing is copied.
  /// \throws std::invalid_argument unless 0 <= level < max_levels
  [[nodiscard]] ConstLevel level(int level) const& {
    detail::require_between("level", level, 0, max_levels() - 1);
    return levels_.level(level);
  }
  /// The same of a temporary: a copy.
  [[nodiscard]] LevelMatrix level(int level) const&& { return this->level(level); }
  /// All levels one after the other, row-major, length `max_levels * d_k * d_v`; a view.
  [[nodiscard]] ConstFlat flat_state() const& noexcept { return levels_.storage().flat(); }
  /// The same of a temporary: a copy.
  [[nodiscard]] Vector flat_state() const&& { return levels_.storage().flat(); }

  /// Empties all levels and sets `size()` to 0. Does not allocate.
  void reset() noexcept { levels_.reset(); }

  /// Jumps to a later count, as if `count - size()` zero leaves had been pushed and no transition
  /// undergone: each bucket falls whole into the level that holds its tokens then. What the last
  /// level keeps of those it held is up to `LastLevel`. An empty state jumps to the beginning of a
  /// part of a stream that is computed apart; see `add`. \throws std::invalid_argument unless
  /// count >= size(); nothing is changed then. O(active levels x d_k x d_v) whatever the count.
  /// Does not allocate
  void advance_to(std::uint64_t count) {
    const Flush flush;
    if (count < size()) detail::fail("the count to advance to", count, "at least size()");
    levels_.advance_to(count);
  }

  /// Adds a state of the same count, level by level: the state of a stream from those of two parts
  /// of its leaves. So the states of consecutive parts that were computed apart make that of the
  /// whole: the later part begins by `advance_to(n)` on an empty state, n being the tokens before
  /// it; then
  ///
  ///     earlier.undergo(product);  // of all transitions of the later part, if there are any
  ///     earlier.advance_to(later.size());
  ///     earlier.add(later);
  ///
  /// is exact, for every pair of counts. \throws std::invalid_argument for another shape or count,
  /// or where the sum could overflow; nothing is changed then. Does not allocate
  void add(const LogLinearState& later) {
    const Flush flush;
    detail::require_size("max_levels of the state to add", later.max_levels(), max_levels());
    detail::require_size("d_k of the state to add", later.d_k(), d_k());
    detail::require_size("d_v of the state to add", later.d_v(), d_v());
    if (later.size() != size()) {
      detail::fail("size() of the state to add", later.size(), size());
    }
    levels_.add(later.levels_);
  }

  /// Appends the leaf `k v^T`: a binary-counter carry merges all active levels below the landed one
  /// into it, in one pass, and clears them.
  ///
  /// \param k  length d_k, or `d_k x n` for the leaf `k v^T = sum_j k_j v_j^T`
  /// \param v  length d_v, or `d_v x n`
  ///
  /// Rows are accepted where columns are; an argument may be part of this state. \throws
  /// std::invalid_argument for a wrong size, a coefficient that is not finite, a leaf so large that
  /// the state could overflow, or when 2^64 - 1 tokens are in; nothing is changed then. Costs one
  /// pass over the merged levels, O(d_k d_v) amortised. Does not allocate, except to copy an
  /// argument that is not contiguous in memory.
  template <class Key, class Value>
  void push_leaf(const Eigen::MatrixBase<Key>& k, const Eigen::MatrixBase<Value>& v) {
    const Flush flush;
    with_columns<KeyDim>(k, d_k(), "k", [&](const auto& keys) {
      with_columns<ValueDim>(v, d_v(), "v", [&](const auto& values) {
        detail::require_positive("the number of keys (columns of k)", keys.cols());
        detail::require_size("the number of values (columns of v)", values.cols(), keys.cols());
        levels_.push(keys, values, levels_.admit(1, keys, values));
      });
    });
  }

  /// Lets every level undergo `S <- L S diag(r)`. \throws std::invalid_argument if the transition
  /// has another shape or is not finite or the state could overflow; nothing is changed then. Does
  /// not allocate, unless the scalar is narrow.
  template <Transition<detail::Accumulator<Scalar_>> Kind>
  void undergo(const Kind& transition) {
    const Flush flush;
    if (!transition.fits(d_k(), d_v())) {
      detail::fail("transition", "of another shape", "made for this state's d_k and d_v");
    }
    if (!transition.all_finite()) detail::fail("transition", "not finite", "finite");
    const detail::Admitted admitted = levels_.admit(transition.norm_bound(), 0);
    levels_.undergo(transition);
    levels_.defer(admitted.magnitude);
  }

  /// The weighted read `out = sum_l lambda_l S_l^T q` over the active levels, in the order
  /// `before_push`.
  ///
  /// \param q        length d_k
  /// \param lambdas  length max_levels; weights of inactive levels are not read
  /// \param out      length d_v, overwritten; must not overlap q or lambdas
  ///
  /// \throws std::invalid_argument for a wrong size, a coefficient of q or lambdas that is not
  /// finite, or where the read would not be finite; `out` is as it was then. O(active levels x d_k
  /// x d_v). Does not allocate, except to copy an argument that is not contiguous in memory.
  template <class Query, class Lambdas, class Out>
  void query_mixed(const Eigen::MatrixBase<Query>& q, const Eigen::MatrixBase<Lambdas>& lambdas,
                   Eigen::MatrixBase<Out> const& out) const {
    const Flush flush;
    static_assert(Query::IsVectorAtCompileTime && Lambdas::IsVectorAtCompileTime &&
                      Out::IsVectorAtCompileTime,
                  "query_mixed takes vectors: rows or columns whose type says so");
    detail::require_size("q", q.size(), d_k());
    detail::require_size("lambdas", lambdas.size(), max_levels());
    detail::require_size("out", out.size(), d_v());
    const Eigen::Matrix<Accumulator, Eigen::Dynamic, 1, Eigen::ColMajor, max_level_limit, 1>
        weights = detail::as_column(lambdas);
    detail::require_finite("lambdas", weights);
    with_columns<KeyDim>(detail::as_column(q), d_k(), "q", [&](const auto& query) {
      detail::read_levels(levels_, query.data(), weights.data(), detail::as_writable_column(out));
    });
  }

  /// The same stream position and levels in another scalar, coefficient by coefficient. \throws
  /// std::invalid_argument if a coefficient is out of the other scalar's range.
  template <class Other>
  [[nodiscard]] LogLinearState<Other, KeyDim, ValueDim, MaxLevels, Overflow> cast() const {
    const detail::FlushToZero<detail::Accumulator<Other>> flush;
    return LogLinearState<Other, KeyDim, ValueDim, MaxLevels, Overflow>(
        levels_.template cast<Other>());
  }

  /// Replaces the stream position and all levels: `level_at(l)` is the matrix of each level that is
  /// active after `size` tokens, and may be part of this state. \throws std::invalid_argument where
  /// one of them is not d_k x d_v, not finite or too large; nothing is changed then. Allocates,
  /// unless `is_inline`
  template <class LevelAt>
  void replace(std::uint64_t size, LevelAt level_at) {
    const Flush flush;
    Levels levels(max_levels(), d_k(), d_v());
    levels.replace(size, level_at);
    levels_ = std::move(levels);
  }

  /// Whether shape, size and every coefficient are equal.
  [[nodiscard]] bool operator==(const LogLinearState&) const = default;

 private:
  template <class, int, int, int, LastLevel>
  friend class LogLinearState;
  friend struct detail::Parts;
  friend struct detail::LevelsOf;

  explicit LogLinearState(Levels levels) : levels_(std::move(levels)) {}

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    detail::Parts::visit(self.levels_, part);
  }

  template <int Dim, class Derived, class Use>
  void with_columns(const Eigen::MatrixBase<Derived>& m, Index rows, const char* name,
                    Use use) const {
    detail::with_columns<Accumulator, Dim>(m, rows, name, levels_.storage().flat(), use);
  }

  Levels levels_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_LOG_LINEAR_STATE_HPP

// ---- loglinear/sequence/chunkwise.hpp

#ifndef LOGLINEAR_SEQUENCE_CHUNKWISE_HPP
#define LOGLINEAR_SEQUENCE_CHUNKWISE_HPP

namespace loglinear {

/// How the chunkwise form cuts a sequence.
struct ChunkwiseOptions {
  /// Tokens of a chunk, at least 1; rounded down to a power of two. Chunks lie between absolute
  /// positions that are multiples of it, so that the first and the last may be shorter.
  Eigen::Index chunk_size = 64;
};

namespace detail {

inline Index chunk_size_of(const ChunkwiseOptions& options) {
  require_positive("chunk_size", options.chunk_size);
  return static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(options.chunk_size)));
}

/// The levels of a state, or of a layer, as a sequence form has them.
template <class State>
auto hierarchy_of(const State& state) {
  using Scalar = typename State::Accumulator;
  Hierarchy<Scalar> levels(state.max_levels(), state.d_k(), state.d_v(), state.size());
  for (int l : state.active_levels()) {
    levels.allocate(l);
    convert(state.level(l).data(), state.d_k() * state.d_v(), levels.level(l).data());
  }
  return levels;
}

template <class Scalar>
void require_shapes(const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& state) {
  if (in.length() > 0) {
    require_size("q (columns, d_k of the state)", in.d_k(), state.d_k());
    require_size("v (columns, d_v of the state)", in.d_v(), state.d_v());
  }
  in.require_shapes(state.size(), state.max_levels());
}

/// The reads, T x d_v, to where `out` is.
template <class Scalar>
void run_chunkwise(const SequenceInputs<Scalar>& in, Hierarchy<Scalar>& states, Index chunk_size,
                   ChunkwiseTape<Scalar>* tape, const RowBlock<Scalar>& out) {
  const Index weights = in.levels_read(states.count(), in.length(), states.max_levels());
  InputSource<Scalar> source(in, weights);
  source.read_into(out);
  forward_chunks<Scalar>(source, chunk_size, weights, states, tape, true);
}
template <class Scalar>
RowMajorMatrix<Scalar> run_chunkwise(const SequenceInputs<Scalar>& in, Hierarchy<Scalar>& states,
                                     Index chunk_size, ChunkwiseTape<Scalar>* tape = nullptr) {
  RowMajorMatrix<Scalar> out(in.length(), in.d_v());
  if (in.length() > 0) run_chunkwise(in, states, chunk_size, tape, RowBlock<Scalar>(out));
  return out;
}

}  // namespace detail

/// What `chunkwise` keeps of a sequence so that `chunkwise_gradient` need not compute its states
/// again: the states before one in about log T chunks, O(T / C d_k d_v) together.
template <class Scalar>
struct SequenceTape {
  Eigen::Index chunk_size = 0;  ///< tokens of a chunk
  Eigen::Index length = 0;      ///< T
  std::uint64_t start = 0;      ///< tokens before the first
  int max_levels = 0;           ///< of the state
  Eigen::Index d_k = 0;         ///< columns of q and k
  Eigen::Index d_v = 0;         ///< columns of v
  bool has_state = true;        ///< whether there was a state, which may be differentiated

  detail::ChunkwiseTape<Scalar> states{};  ///< for `chunkwise_gradient`
};

namespace detail {

template <class Scalar>
SequenceTape<Scalar> tape_of(const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& state,
                             Index chunk_size) {
  return {chunk_size, in.length(), state.size(), state.max_levels(), state.d_k(), state.d_v()};
}
/// From an empty state of as many levels as there can be, which nobody will ask for.
template <class Scalar>
SequenceTape<Scalar> tape_of(const SequenceInputs<Scalar>& in, Index chunk_size) {
  return {chunk_size, in.length(), 0, max_level_limit, in.d_k(), in.d_v(), false};
}

}  // namespace detail

/// The sequence form by matrix products within and between chunks (arXiv:2506.04761, section 3.3),
/// in O(T log T).
///
/// Gives the numbers of `dense` and `recurrent` to rounding, for every combination of inputs. A
/// prompt in pieces of any sizes, or token by token, gives those of one pass. Numbers below
/// std::numeric_limits<Scalar>::min() count as zero, see docs/numerics.md.
///
/// \param in       the tokens
/// \param state    the state before them, and in the end the one after the last push
/// \param options  the size of chunks
/// \param tape     takes what a gradient needs, if given
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `SequenceInputs::validate`, for a chunk size below 1, or where
/// the state would overflow or a read would not be finite; nothing is changed then
///
/// For chunks of C tokens `O(C (d_k + d_v) + log(T / C) d_k d_v)` operations a token; memory beyond
/// inputs and outputs is O(C^2 + C d + levels d_k d_v), allocated at every call. A long sequence is
/// shared out to `thread_count()` threads, with the same bits on any number of them: some three
/// chunks a thread are then under way, each with the states before it.
template <class Scalar>
typename SequenceInputs<Scalar>::Matrix chunkwise(const SequenceInputs<Scalar>& in,
                                                  LogLinearState<Scalar>& state,
                                                  const ChunkwiseOptions& options = {},
                                                  SequenceTape<Scalar>* tape = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  detail::require_shapes(in, state);
  detail::Hierarchy<Scalar> states = detail::hierarchy_of(state);
  SequenceTape<Scalar> kept = detail::tape_of(in, state, chunk_size);
  detail::RowMajorMatrix<Scalar> out =
      detail::run_chunkwise(in, states, chunk_size, tape == nullptr ? nullptr : &kept.states);
  if (in.length() > 0) {
    detail::levels_of(state).replace(
        states.count(), [&](int l) -> const auto& { return states.level(l); });
  }
  if (tape != nullptr) *tape = std::move(kept);
  return out;
}

/// Sequence forms fold what overflows into the last level; another kind of state is refused.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
requires(Overflow != LastLevel::fold) void chunkwise(
    const SequenceInputs<Scalar>&, LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>&,
    const ChunkwiseOptions& = {}) {
  static_assert(Overflow == LastLevel::fold,
                "whole sequences need a state whose last level folds: LastLevel::fold; push the "
                "leaves of a state whose last level forgets or halves one by one");
}

/// The same from an empty state of as many levels as the sequence needs, which is not returned.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix chunkwise(
    const SequenceInputs<Scalar>& in, const ChunkwiseOptions& options = {},
    SequenceTape<Scalar>* tape = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  in.require_shapes(0, max_level_limit);
  detail::Hierarchy<Scalar> states(max_level_limit, in.d_k(), in.d_v());
  SequenceTape<Scalar> kept = detail::tape_of(in, chunk_size);
  detail::RowMajorMatrix<Scalar> out =
      detail::run_chunkwise(in, states, chunk_size, tape == nullptr ? nullptr : &kept.states);
  if (tape != nullptr) *tape = std::move(kept);
  return out;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_CHUNKWISE_HPP

// ---- loglinear/batch/batch_inputs.hpp

#ifndef LOGLINEAR_BATCH_BATCH_INPUTS_HPP
#define LOGLINEAR_BATCH_BATCH_INPUTS_HPP

namespace loglinear {

/// Sequences of T tokens, B of them with H heads each, as plain arrays: `SequenceInputs` of every
/// head under the same names, whose table says which arrays make which rule. Sizes are [B, rows,
/// heads, columns] in any layout and of any strides; what is absent is left out.
///
/// H is the largest number of heads of any array, and a divisor of it may be given: head h then
/// uses head `h / (H / heads)` of that array, as grouped queries do (fewer key heads than query
/// heads) and gated delta nets (more value heads than key heads). Its gradient is summed over the
/// heads that use it.
///
/// With `cu_seqlens` B is 1, and the tokens are those of several sequences one after the other, as
/// flash-linear-attention packs them: sequence n is the tokens [cu_seqlens[n], cu_seqlens[n + 1]).
///
/// Each array is read where it lies; a head is copied once where its columns are not contiguous,
/// where its tokens share memory or run backwards, and for a beta of several strengths a token.
template <class Scalar>
struct BatchInputs {
  using Array = HeadArray<const Scalar>;

  Array q;             ///< queries, [B, T, heads, d_k]
  Array k;             ///< keys, [B, n T, heads, d_k]: n of a token, then those of the next
  Array v;             ///< values, [B, n T, heads, d_v]
  Array lambda = {};   ///< level weights, [B, T, heads, levels]; absent for one state
  Array g = {};        ///< log decays, [B, T, heads, 1] or, by key row, [B, T, heads, d_k]
  Array g_value = {};  ///< log decays of value columns, [B, T, heads, d_v]
  Array beta = {};     ///< strengths of the delta rule, [B, n T, heads, 1]; not with u and p
  Array u = {};        ///< what an update writes back, [B, m T, heads, d_k], m a token
  Array p = {};        ///< what an update looks up, like u
  std::vector<Eigen::Index> cu_seqlens = {};  ///< 0, ..., T, not decreasing; empty: not packed
};

/// Where gradients go, of the shapes of `BatchInputs`; those that are absent are not wanted.
template <class Scalar>
struct BatchGradients {
  using Array = HeadArray<Scalar>;

  Array q = {};        ///< with respect to `BatchInputs::q`, and so on
  Array k = {};        ///< of k
  Array v = {};        ///< of v
  Array lambda = {};   ///< of lambda
  Array g = {};        ///< of g
  Array g_value = {};  ///< of g_value
  Array beta = {};     ///< of beta
  Array u = {};        ///< of u
  Array p = {};        ///< of p
};

/// The states of all heads, those of the first sequence before those of the second: that of
/// sequence n and head h is number `n H + h`. What flash-linear-attention has as `initial_state`
/// and `final_state`.
template <class Scalar>
using BatchStates = std::vector<LogLinearState<Scalar>>;

/// What `chunkwise` keeps of each head for `chunkwise_gradient`.
template <class Scalar>
struct BatchTape {
  std::vector<SequenceTape<Scalar>> heads{};  ///< in the order of `BatchStates`
};

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_INPUTS_HPP

// ---- loglinear/sequence/chunkwise_gradient.hpp

#ifndef LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP
#define LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP

namespace loglinear {

namespace detail {

/// Throws unless the states of a tape, whose members anybody can write to, are those before the
/// chunks that it speaks of.
template <class Scalar>
void require_whole(const SequenceTape<Scalar>& tape) {
  require_level_count(tape.max_levels);
  require_positive("chunk_size of the tape", tape.chunk_size);
  const ChunkwiseTape<Scalar>& states = tape.states;
  const auto interval = static_cast<std::size_t>((std::max)(states.interval, 1));
  const std::size_t chunks = states.begins.size();
  bool fits = states.interval > 0 && states.kept.size() == (chunks + interval - 1) / interval &&
              std::has_single_bit(static_cast<std::uint64_t>(tape.chunk_size));
  Index first = 0;
  for (std::size_t n = 0; fits && n < chunks; ++n) {
    const std::uint64_t count = tape.start + static_cast<std::uint64_t>(first);
    fits = first < tape.length && states.begins[n] == first;
    if (n % interval == 0) {
      const Hierarchy<Scalar>& before = states.kept[n / interval];
      fits =
          fits && before.count() == count && before.has_shape(tape.max_levels, tape.d_k, tape.d_v);
    }
    const auto into = static_cast<Index>(count % static_cast<std::uint64_t>(tape.chunk_size));
    first += (std::min)(tape.chunk_size - into, tape.length - first);
  }
  if (!fits || first != tape.length) {
    fail("the tape", "changed or of other tokens", "as `chunkwise` left it");
  }
}

}  // namespace detail

/// The gradient of `sum(d_out * out)`, the reads of a sequence under any cotangent, with respect to
/// every input, chunk by chunk from the last to the first.
///
/// \param in       the tokens that `chunkwise` was given
/// \param tape     what it kept
/// \param d_out    the gradient of a loss with respect to the reads, T x d_v
/// \param d_final  the gradient of the loss with respect to the state after the tokens, each level
///                 flattened row-major, max_levels x d_k d_v; without rows for zero. With
///                 `SequenceGradients::state` of the tokens that follow, a long sequence can be
///                 differentiated in pieces. Only with a tape of a pass that had a state.
/// \return the gradients, log decays being differentiated as such; with a log decay of -infinity
///         that gradient is 0
/// \throws std::invalid_argument for inputs of another shape than the tape's or a tape that has
/// been changed, for a d_out or
/// d_final of another shape or that is not finite, or where a gradient would not be finite
///
/// About two and a half times the products of `chunkwise`. States between those on the tape are
/// computed again: memory O(T d + T / C d_k d_v) altogether.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const SequenceTape<Scalar>& tape,
    const typename SequenceInputs<Scalar>::Rows& d_out,
    const typename SequenceInputs<Scalar>::Rows& d_final = {}) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index size = tape.has_state ? tape.d_k * tape.d_v : 0;
  detail::require_size("the sequence (tokens)", in.length(), tape.length);
  in.require_shapes(tape.start, tape.max_levels);
  detail::require_size("d_out (rows)", d_out.rows(), in.length());
  if (in.length() > 0) {
    detail::require_size("q (columns)", in.d_k(), tape.d_k);
    detail::require_size("v (columns)", in.d_v(), tape.d_v);
    detail::require_size("d_out (columns)", d_out.cols(), in.d_v());
  }
  detail::require_whole(tape);
  detail::require_finite("d_out", d_out);
  if (d_final.size() > 0) {
    detail::require_size("d_final (rows)", d_final.rows(), tape.has_state ? tape.max_levels : 0);
    detail::require_size("d_final (columns)", d_final.cols(), size);
    detail::require_finite("d_final", d_final);
  }
  auto gradients = SequenceGradients<Scalar>::sized_like(in);
  if (tape.has_state) gradients.state.setZero(tape.max_levels, size);
  detail::Hierarchy<Scalar> d_states(tape.max_levels, tape.d_k, tape.d_v,
                                     tape.start + static_cast<std::uint64_t>(in.length()));
  for (int l : d_states.active()) {
    d_states.set_zero(l);
    if (d_final.size() > 0) d_states.level(l).template reshaped<Eigen::RowMajor>() = d_final.row(l);
  }
  if (in.length() > 0) {
    const auto weights = in.levels_read(tape.start, in.length(), tape.max_levels);
    detail::InputSource<Scalar> source(in, weights);
    source.require_numbers();
    source.differentiate(detail::view_of(d_out), gradients);
    detail::pull_back_chunks<Scalar>(source, tape.chunk_size, weights, tape.states, d_states);
  }
  for (int l : d_states.active()) {  // none without a state
    gradients.state.row(l) = d_states.level(l).template reshaped<Eigen::RowMajor>();
  }
  detail::require_finite_gradient("the state", gradients.state);
  return gradients;
}

namespace detail {

/// Notes the states of a sequence without reading them.
template <class Scalar>
void run_states(const SequenceInputs<Scalar>& in, Hierarchy<Scalar> states,
                SequenceTape<Scalar>& tape) {
  if (in.length() == 0) return;
  const auto weights = in.levels_read(states.count(), in.length(), states.max_levels());
  InputSource<Scalar> source(in, weights);
  forward_chunks<Scalar>(source, tape.chunk_size, weights, states, &tape.states, false);
}

}  // namespace detail

/// The same without a tape: computes the states first, not the reads.
///
/// \param initial  the state before the tokens
/// \param options  the size of chunks
/// \throws std::invalid_argument as `chunkwise`
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& initial,
    const typename SequenceInputs<Scalar>::Rows& d_out, const ChunkwiseOptions& options = {},
    const typename SequenceInputs<Scalar>::Rows& d_final = {}) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  detail::require_shapes(in, initial);
  SequenceTape<Scalar> tape = detail::tape_of(in, initial, chunk_size);
  detail::run_states(in, detail::hierarchy_of(initial), tape);
  return chunkwise_gradient(in, tape, d_out, d_final);
}

/// The same from an empty state of as many levels as the sequence needs.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const typename SequenceInputs<Scalar>::Rows& d_out,
    const ChunkwiseOptions& options = {}) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  in.require_shapes(0, max_level_limit);
  SequenceTape<Scalar> tape = detail::tape_of(in, chunk_size);
  detail::run_states(in, {tape.max_levels, tape.d_k, tape.d_v}, tape);
  return chunkwise_gradient(in, tape, d_out);
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP

// ---- loglinear/sequence/packed.hpp

#ifndef LOGLINEAR_SEQUENCE_PACKED_HPP
#define LOGLINEAR_SEQUENCE_PACKED_HPP

namespace loglinear {

namespace detail {

/// Throws unless `cu_seqlens` cuts `length` tokens into `count` sequences.
inline void require_cuts(const std::vector<Index>& cu_seqlens, Index length, std::size_t count) {
  require_size("cu_seqlens", static_cast<Index>(cu_seqlens.size()), static_cast<Index>(count) + 1);
  if (cu_seqlens.front() != 0) fail("cu_seqlens[0]", cu_seqlens.front(), "0");
  for (std::size_t n = 1; n < cu_seqlens.size(); ++n) {
    require_between("cu_seqlens[" + std::to_string(n) + "]", cu_seqlens[n], cu_seqlens[n - 1],
                    length);
  }
  if (cu_seqlens.back() != length) {
    fail("the last of cu_seqlens", cu_seqlens.back(),
         std::to_string(length) + ", the number of tokens");
  }
}

/// Throws unless all states have the same d_k and d_v; a sequence without tokens says nothing of
/// them.
template <class Scalar>
void require_same_shape(const std::vector<LogLinearState<Scalar>>& states) {
  for (std::size_t n = 1; n < states.size(); ++n) {
    const auto require_equal = [&](const char* what, Index size, Index first) {
      if (size == first) return;
      fail(std::string(what) + " of state " + std::to_string(n), size,
           "that of state 0, " + std::to_string(first));
    };
    require_equal("d_k", states[n].d_k(), states[0].d_k());
    require_equal("d_v", states[n].d_v(), states[0].d_v());
  }
}

}  // namespace detail

/// Several sequences of different lengths, packed one after the other into one set of inputs, as
/// flash-linear-attention packs them; each has a state of its own.
///
/// \param in          the tokens of all sequences
/// \param cu_seqlens  where they begin, and the end: 0, ..., T, not decreasing; sequence n is the
///                    tokens [cu_seqlens[n], cu_seqlens[n + 1])
/// \param states      the state before each sequence, and in the end those after them
/// \param options     the size of chunks
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `chunkwise` for any of the sequences, for other cuts than that,
/// or unless there is one state for each, all of the same d_k and d_v; nothing is changed then
template <class Scalar>
typename SequenceInputs<Scalar>::Matrix chunkwise(const SequenceInputs<Scalar>& in,
                                                  const std::vector<Eigen::Index>& cu_seqlens,
                                                  std::vector<LogLinearState<Scalar>>& states,
                                                  const ChunkwiseOptions& options = {}) {
  const detail::FlushToZero<Scalar> flush;
  detail::require_cuts(cu_seqlens, in.length(), states.size());
  detail::require_same_shape(states);
  std::vector<LogLinearState<Scalar>> after = states;
  detail::RowMajorMatrix<Scalar> out(in.length(), in.d_v());
  for (std::size_t n = 0; n < states.size(); ++n) {
    const Eigen::Index first = cu_seqlens[n], count = cu_seqlens[n + 1] - first;
    out.middleRows(first, count) = chunkwise(in.slice(first, count), after[n], options);
  }
  states = std::move(after);
  return out;
}

/// The gradient of `sum(d_out * out)` of packed sequences; see both functions above.
///
/// \param initial  the state before each sequence
/// \return the gradients; `state` holds those of all initial states, one below the other
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const std::vector<Eigen::Index>& cu_seqlens,
    const std::vector<LogLinearState<Scalar>>& initial,
    const typename SequenceInputs<Scalar>::Rows& d_out, const ChunkwiseOptions& options = {}) {
  const detail::FlushToZero<Scalar> flush;
  detail::require_cuts(cu_seqlens, in.length(), initial.size());
  detail::require_same_shape(initial);
  detail::require_size("d_out (rows)", d_out.rows(), in.length());
  auto all = SequenceGradients<Scalar>::sized_like(in);
  using Matrix = detail::RowMajorMatrix<Scalar>;
  std::vector<Matrix> states;
  Eigen::Index state_rows = 0;
  for (std::size_t n = 0; n < initial.size(); ++n) {
    const Eigen::Index first = cu_seqlens[n], count = cu_seqlens[n + 1] - first;
    const auto d_part = d_out.middleRows(first, count);  // by name: it is not copied
    SequenceGradients<Scalar> part =
        chunkwise_gradient(in.slice(first, count), initial[n], d_part, options);
    detail::for_each_array(
        [&](const char*, Matrix& into, const Matrix& from) {
          if (count == 0 || from.size() == 0) return;
          const Eigen::Index each = from.rows() / count;
          into.middleRows(first * each, count * each) = from;
        },
        all, part);
    state_rows += part.state.rows();
    states.push_back(std::move(part.state));
  }
  if (!states.empty()) all.state.resize(state_rows, states.front().cols());
  state_rows = 0;
  for (const auto& state : states) {
    all.state.middleRows(state_rows, state.rows()) = state;
    state_rows += state.rows();
  }
  return all;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_PACKED_HPP

// ---- loglinear/batch/detail/batch_checks.hpp

#ifndef LOGLINEAR_BATCH_DETAIL_BATCH_CHECKS_HPP
#define LOGLINEAR_BATCH_DETAIL_BATCH_CHECKS_HPP

// What is refused before any work: arrays whose sizes, strides or cuts do not fit together.

namespace loglinear::detail {

/// The sizes that all arrays of a batch have in common.
struct BatchShape {
  Index batch = 0, tokens = 0, heads = 0, d_k = 0, d_v = 0;
  Index leaves = 1, updates = 0;  // rows a token of k and v, and of u and p
  Index sequences = 0;
  bool is_packed = false;
};

/// Throws unless every place of an array, and how many numbers there are, is an Index in bytes.
template <class Number>
void require_memory(const std::string& name, const HeadArray<Number>& array) {
  const char* const dimensions[] = {"batch", "rows", "heads", "columns"};
  for (std::size_t i = 0; i < 4; ++i) {
    if (array.sizes()[i] >= 0) continue;
    fail("the size of " + name + " (" + dimensions[i] + ")", array.sizes()[i], "at least 0");
  }
  constexpr Index most = (std::numeric_limits<Index>::max)() / Index{4 * sizeof(Number)};
  Index product = 1;
  for (std::size_t i = 0; i < 4; ++i) {
    const Index size = (std::max)(Index{1}, array.sizes()[i]), stride = array.strides()[i];
    if (size > most / product) {
      fail("the size of " + name + " (" + dimensions[i] + ")", size, "at most ", most / product,
           " with the other sizes that it has");
    }
    product *= size;
    const Index furthest = most / (std::max)(Index{1}, size - 1);
    if (size == 1 || (stride >= -furthest && stride <= furthest)) continue;
    fail("the stride of " + name + " (" + dimensions[i] + ")", stride, "between ", -furthest,
         " and ", furthest);
  }
  if (array.size() > 0 && array.data() == nullptr) {
    fail("the pointer of " + name, "null", "to its numbers");
  }
}

/// Throws unless no two numbers of an array that is written to share memory; after
/// `require_memory`.
template <class Scalar>
void require_writable(const std::string& name, const HeadArray<Scalar>& array) {
  if (array.size() == 0) return;
  std::array<std::pair<Index, Index>, 4> steps;  // by how far, and how often
  for (std::size_t i = 0; i < 4; ++i) steps[i] = {array.strides()[i], array.sizes()[i]};
  std::sort(steps.begin(), steps.end());
  Index reach = 1;
  for (const auto& [stride, size] : steps) {
    if (size <= 1) continue;
    if (stride < reach) {
      fail("a stride of " + name, stride, "such that no two numbers share memory, at least ",
           reach);
    }
    reach = stride * (size - 1) + reach;
  }
}

template <class Number>
void require_sizes(const std::string& name, const HeadArray<Number>& array, const BatchShape& shape,
                   Index rows, Index columns) {
  require_memory(name, array);
  require_size(name + " (batch)", array.batch(), shape.batch);
  require_size(name + " (rows)", array.rows(), rows);
  require_size(name + " (columns)", array.columns(), columns);
  if (array.heads() == shape.heads) return;
  if (array.heads() > 0 && shape.heads % array.heads() == 0) return;
  fail(name + " (heads)", array.heads(),
       "a divisor of " + std::to_string(shape.heads) + ", the largest number of heads of an array");
}

/// Rows a token.
template <class Number>
[[nodiscard]] Index rows_a_token(const std::string& name, const HeadArray<Number>& array,
                                 Index tokens) {
  if (tokens == 0) return 1;
  if (array.rows() > 0 && array.rows() % tokens == 0) return array.rows() / tokens;
  fail(name + " (rows)", array.rows(),
       "a multiple of the number of tokens, " + std::to_string(tokens));
}

/// Throws unless everything fits together; says what they have in common.
template <class Scalar>
[[nodiscard]] BatchShape checked_shape(const BatchInputs<Scalar>& in) {
  BatchShape shape;
  for_each_array(
      [&](const char* name, const HeadArray<const Scalar>& array) {
        require_memory(name, array);
        if (!array.is_absent()) shape.heads = (std::max)(shape.heads, array.heads());
      },
      in);
  shape.batch = in.q.batch();
  shape.tokens = in.q.rows();
  if (shape.batch == 0 || shape.tokens == 0) {
    shape.heads = (std::max)({in.q.heads(), in.k.heads(), in.v.heads()});
  }
  if (shape.heads > 0) {
    require_length("d_k (columns of q)", in.q.columns());
    require_length("d_v (columns of v)", in.v.columns());
  }
  shape.d_k = in.q.columns();
  shape.d_v = in.v.columns();
  shape.leaves = rows_a_token("k", in.k, shape.tokens);
  require_sizes("q", in.q, shape, shape.tokens, shape.d_k);
  require_sizes("k", in.k, shape, shape.tokens * shape.leaves, shape.d_k);
  require_sizes("v", in.v, shape, shape.tokens * shape.leaves, shape.d_v);
  if (!in.lambda.is_absent()) {
    require_sizes("lambda", in.lambda, shape, shape.tokens, in.lambda.columns());
  }
  if (!in.g.is_absent()) {
    require_sizes("g", in.g, shape, shape.tokens, in.g.columns() == 1 ? 1 : shape.d_k);
  }
  if (!in.g_value.is_absent()) require_sizes("g_value", in.g_value, shape, shape.tokens, shape.d_v);
  if (!in.beta.is_absent()) {
    require_sizes("beta", in.beta, shape, shape.tokens * shape.leaves, 1);
    require_size("u and p, with beta given,", in.u.size() + in.p.size(), 0);
  }
  if (!in.u.is_absent() || !in.p.is_absent()) {
    shape.updates = rows_a_token("u", in.u, shape.tokens);
    require_sizes("u", in.u, shape, shape.tokens * shape.updates, shape.d_k);
    require_sizes("p", in.p, shape, shape.tokens * shape.updates, shape.d_k);
  }
  shape.is_packed = !in.cu_seqlens.empty();
  shape.sequences = shape.batch;
  if (shape.is_packed) {
    require_size("the batch, with cu_seqlens given,", shape.batch, 1);
    shape.sequences = static_cast<Index>(in.cu_seqlens.size()) - 1;
    require_cuts(in.cu_seqlens, shape.tokens, in.cu_seqlens.size() - 1);
  }
  return shape;
}

/// Throws unless `out` can take the reads of all heads.
template <class Scalar>
void require_reads(const std::string& name, const HeadArray<Scalar>& out, const BatchShape& shape) {
  require_sizes(name, out, shape, shape.tokens, shape.d_v);
  require_size(name + " (heads)", out.heads(), shape.heads);
}

/// Throws unless there is a state for each head, all of the heads' shape, and level weights for
/// what the tokens see of it.
template <class Scalar>
void require_states(const BatchStates<Scalar>& states, const BatchInputs<Scalar>& in,
                    const BatchShape& shape) {
  require_size("the number of states", static_cast<Index>(states.size()),
               shape.sequences * shape.heads);
  for (std::size_t n = 0; n < states.size(); ++n) {
    const std::string which = " of state " + std::to_string(n);
    require_size("d_k" + which, states[n].d_k(), shape.d_k);
    require_size("d_v" + which, states[n].d_v(), shape.d_v);
    if (in.lambda.is_absent() && shape.tokens > 0) {
      require_size("max_levels" + which + ", without lambda,", states[n].max_levels(), 1);
    }
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_BATCH_CHECKS_HPP

// ---- loglinear/batch/detail/batch_heads.hpp

#ifndef LOGLINEAR_BATCH_DETAIL_BATCH_HEADS_HPP
#define LOGLINEAR_BATCH_DETAIL_BATCH_HEADS_HPP

// Every head of a batch as a sequence of its own, where its numbers lie.

namespace loglinear::detail {

/// Rows [first, first + count) of a head of an array, head numbers counted in `heads`.
struct HeadRows {
  Index batch = 0, head = 0, heads = 1, first = 0, count = 0;

  template <class Number>
  [[nodiscard]] Number* row(const HeadArray<Number>& array, Index i) const {
    return array.row(batch, first + i, head / (heads / array.heads()));
  }
};

/// Whether Eigen can have these rows where they are.
template <class Number>
[[nodiscard]] bool has_rows(const HeadArray<Number>& array) {
  return (array.columns() <= 1 || array.strides()[3] == 1) &&
         (array.rows() <= 1 || array.strides()[1] > 0);
}

/// The rows as a sequence has them, `each` of them side by side; a view where that can be.
template <class Scalar>
[[nodiscard]] SequenceArray<Scalar> sequence_rows(const HeadArray<const Scalar>& array,
                                                  const HeadRows& at, Index each = 1) {
  if (array.is_absent() || at.count == 0) return {};
  const Index columns = array.columns(), stride = array.strides()[1];
  if (each == 1 && has_rows(array)) {
    return RowsView<Scalar>(at.row(array, 0), at.count, columns,
                            Eigen::OuterStride<>(array.rows() > 1 ? stride : columns));
  }
  RowMajorMatrix<Scalar> copy(at.count / each, each * columns);
  for (Index i = 0, n = 0; i < at.count; ++i) {
    const Scalar* const row = at.row(array, i);
    for (Index j = 0; j < columns; ++j) copy.data()[n++] = row[j * array.strides()[3]];
  }
  return copy;
}

/// Writes the rows of a head, as a sequence has them.
template <class Scalar>
void put_rows(const RowMajorMatrix<Scalar>& from, const HeadArray<Scalar>& array,
              const HeadRows& at) {
  const Index columns = array.columns(), stride = array.strides()[3];
  for (Index i = 0; i < at.count; ++i) {
    Scalar* const row = at.row(array, i);
    for (Index j = 0; j < columns; ++j) row[j * stride] = from.data()[i * columns + j];
  }
}

/// Whether the views of all heads are made at once or when they are asked for.
enum class Views { at_once, on_demand };

/// All heads, those of the first sequence first.
template <class Scalar>
class BatchHeads {
 public:
  /// `in` must outlive it. \throws std::invalid_argument where arrays do not fit together
  explicit BatchHeads(const BatchInputs<Scalar>& in, Views views = Views::at_once)
      : in_(in), shape_(checked_shape(in)) {
    if (in.lambda.is_absent()) ones_.setOnes(shape_.tokens, 2);
    for (Index n = 0; views == Views::at_once && n < count(); ++n) heads_.push_back(sequence(n));
  }
  BatchHeads(const BatchHeads&) = delete;
  BatchHeads& operator=(const BatchHeads&) = delete;

  [[nodiscard]] const BatchShape& shape() const { return shape_; }
  [[nodiscard]] Index count() const { return shape_.sequences * shape_.heads; }
  [[nodiscard]] bool has_levels() const { return !in_.lambda.is_absent(); }
  [[nodiscard]] const SequenceInputs<Scalar>& operator[](Index n) const {
    return heads_[static_cast<std::size_t>(n)];
  }
  /// The same, made anew.
  [[nodiscard]] SequenceInputs<Scalar> sequence(Index n) const {
    SequenceInputs<Scalar> head{};
    for_each_array(
        [&](const char*, const HeadArray<const Scalar>& array, SequenceArray<Scalar>& to) {
          if (array.is_absent()) return;
          const Index each = array.rows() / shape_.tokens;
          to = sequence_rows<Scalar>(array, rows(n, each), &array == &in_.beta ? each : 1);
        },
        in_, head);
    if (!has_levels()) head.lambda = view_of(ones_.topRows(rows(n).count));
    return head;
  }
  /// Where head number n has its rows in an array of `each` rows a token.
  [[nodiscard]] HeadRows rows(Index n, Index each = 1) const {
    const Index sequence = n / shape_.heads, head = n % shape_.heads;
    if (!shape_.is_packed) return {sequence, head, shape_.heads, 0, shape_.tokens * each};
    const auto at = static_cast<std::size_t>(sequence);
    const Index first = in_.cu_seqlens[at], end = in_.cu_seqlens[at + 1];
    return {0, head, shape_.heads, first * each, (end - first) * each};
  }
  /// Throws where a head's level weights are too few, or a number is not finite; `start(n)` and
  /// `max_levels(n)` are those of its state.
  template <class Start, class MaxLevels>
  void validate(Start start, MaxLevels max_levels) const {
    for_each([&](Index n) { (*this)[n].validate(start(n), max_levels(n)); });
  }
  /// Whether each head does better on all threads than all heads on a thread each.
  [[nodiscard]] bool are_few_and_long() const {
    return count() < thread_count() && shape_.tokens >= 4096;
  }
  /// Calls `work(n)` for all heads, on at most so many threads; an error names its head.
  template <class Work>
  void for_each(Work work, int most_threads = thread_count()) const {
    parallel_for<Scalar>(count(), most_threads, [&](Index n) {
      handling<std::invalid_argument>([&] { work(n); },
                                      [&](const std::invalid_argument& error) {
                                        raise(std::invalid_argument(error.what() + name(n)));
                                      });
    });
  }

 private:
  [[nodiscard]] std::string name(Index n) const {
    return (shape_.is_packed ? " (sequence " : " (batch ") + std::to_string(n / shape_.heads) +
           ", head " + std::to_string(n % shape_.heads) + ")";
  }
  const BatchInputs<Scalar>& in_;
  BatchShape shape_;
  RowMajorMatrix<Scalar> ones_{};  // level weights of one state
  std::vector<SequenceInputs<Scalar>> heads_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_BATCH_HEADS_HPP

// ---- loglinear/batch/batch_chunkwise.hpp

#ifndef LOGLINEAR_BATCH_BATCH_CHUNKWISE_HPP
#define LOGLINEAR_BATCH_BATCH_CHUNKWISE_HPP

namespace loglinear {

namespace detail {

/// The levels of a state for those who have none: as many as there can be, or one without lambda.
template <class Scalar>
[[nodiscard]] int levels_without_state(const BatchHeads<Scalar>& heads) {
  return heads.has_levels() ? max_level_limit : 1;
}

/// The reads of one head and the levels after them.
template <class Scalar>
[[nodiscard]] Hierarchy<Scalar> read_head(const SequenceInputs<Scalar>& in,
                                          Hierarchy<Scalar> levels, SequenceTape<Scalar> tape,
                                          SequenceTape<Scalar>* kept, const HeadRows& rows,
                                          const HeadArray<Scalar>& out) {
  const Index chunk_size = tape.chunk_size;
  ChunkwiseTape<Scalar>* const states = kept == nullptr ? nullptr : &tape.states;
  if (rows.count > 0 && has_rows(out)) {
    const Index stride = out.rows() > 1 ? out.strides()[1] : out.columns();
    run_chunkwise(in, levels, chunk_size, states,
                  RowBlock<Scalar>(rows.row(out, 0), rows.count, out.columns(), stride));
  } else {
    put_rows(run_chunkwise(in, levels, chunk_size, states), out, rows);
  }
  if (kept != nullptr) *kept = std::move(tape);
  return levels;
}

}  // namespace detail

/// The reads of `SequenceInputs` for every head of a batch, from the given states, by the chunkwise
/// form: those that `chunkwise` of each head gives, to the bit, for all layouts and strides and any
/// number of threads.
///
/// \param in       the arrays; none is changed
/// \param out      where reads go, [B, T, H, d_v]; must not overlap any input
/// \param states   the state before each sequence and head, and in the end those after them
/// \param options  the size of chunks
/// \param tape     takes what a gradient needs, if given
/// \throws std::invalid_argument for sizes, strides or cuts that do not fit together and for
/// numbers that are not finite (g and g_value may be -infinity), before anything is changed; the
/// message names the array, and the head. Where a result would leave the range of the scalar type,
/// states and tape are unchanged, and `out` may hold some of the reads
///
/// Costs what `chunkwise` does for each head, shared out to `thread_count()` threads by sequences
/// and heads, or by stretches where heads are few, and one look at all numbers. Reads go straight
/// to `out`.
template <class Scalar>
void chunkwise(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               BatchStates<Scalar>& states, const ChunkwiseOptions& options = {},
               BatchTape<Scalar>* tape = nullptr) {
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_reads("out", out, heads.shape());
  detail::require_writable("out", out);
  detail::require_states(states, in, heads.shape());
  const auto state = [&](Eigen::Index n) -> LogLinearState<Scalar>& {
    return states[static_cast<std::size_t>(n)];
  };
  heads.validate([&](Eigen::Index n) { return state(n).size(); },
                 [&](Eigen::Index n) { return state(n).max_levels(); });
  BatchStates<Scalar> after(states);
  BatchTape<Scalar> kept;
  if (tape != nullptr) kept.heads.resize(states.size());
  heads.for_each(
      [&](Eigen::Index n) {
        const auto at = static_cast<std::size_t>(n);
        const auto levels =
            detail::read_head(heads[n], detail::hierarchy_of(state(n)),
                              detail::tape_of(heads[n], state(n), chunk_size),
                              tape == nullptr ? nullptr : &kept.heads[at], heads.rows(n), out);
        detail::levels_of(after[at]).replace(
            levels.count(), [&](int l) -> const auto& { return levels.level(l); });
      },
      heads.are_few_and_long() ? 1 : thread_count());
  states.swap(after);
  if (tape != nullptr) *tape = std::move(kept);
}

/// The same from empty states of as many levels as the sequences need, which are not returned.
template <class Scalar>
void chunkwise(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               const ChunkwiseOptions& options = {}, BatchTape<Scalar>* tape = nullptr) {
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_reads("out", out, heads.shape());
  detail::require_writable("out", out);
  const int max_levels = detail::levels_without_state(heads);
  heads.validate([](Eigen::Index) { return std::uint64_t{0}; },
                 [&](Eigen::Index) { return max_levels; });
  BatchTape<Scalar> kept;
  if (tape != nullptr) kept.heads.resize(static_cast<std::size_t>(heads.count()));
  heads.for_each(
      [&](Eigen::Index n) {
        SequenceTape<Scalar> of_head = detail::tape_of(heads[n], chunk_size);
        of_head.max_levels = max_levels;
        static_cast<void>(detail::read_head(
            heads[n], {max_levels, heads.shape().d_k, heads.shape().d_v}, std::move(of_head),
            tape == nullptr ? nullptr : &kept.heads[static_cast<std::size_t>(n)], heads.rows(n),
            out));
      },
      heads.are_few_and_long() ? 1 : thread_count());
  if (tape != nullptr) *tape = std::move(kept);
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_CHUNKWISE_HPP

// ---- loglinear/batch/batch_gradient.hpp

#ifndef LOGLINEAR_BATCH_BATCH_GRADIENT_HPP
#define LOGLINEAR_BATCH_BATCH_GRADIENT_HPP

namespace loglinear {

namespace detail {

/// Each array's gradient, to go with `for_each_array`.
template <class Scalar>
struct GradientMembers {
  using Gradients = SequenceGradients<Scalar>;
  using Member = typename Gradients::Matrix Gradients::*;
  Member q = &Gradients::q, k = &Gradients::k, v = &Gradients::v, lambda = &Gradients::lambda,
         g = &Gradients::g, g_value = &Gradients::g_value, beta = &Gradients::beta,
         u = &Gradients::u, p = &Gradients::p;
};

/// Throws unless a head's gradient with respect to its state after the tokens is one.
template <class Scalar>
void require_final(const RowMajorMatrix<Scalar>& d_final, const SequenceTape<Scalar>& tape) {
  if (d_final.size() == 0) return;
  require_matrix("d_states", d_final, tape.has_state ? tape.max_levels : 0, tape.d_k * tape.d_v);
}

/// Throws where two gradients begin at the same number; both are there.
template <class Scalar>
void require_apart(const BatchGradients<Scalar>& gradients) {
  for_each_array(
      [&](const char* name, const HeadArray<Scalar>& one) {
        for_each_array(
            [&](const char* other_name, const HeadArray<Scalar>& other) {
              if (&one == &other || one.is_absent() || other.is_absent()) return;
              if (one.data() != other.data()) return;
              fail(std::string("the memory of the gradient of ") + other_name,
                   std::string("that of ") + name, "its own");
            },
            gradients);
      },
      gradients);
}

}  // namespace detail

/// The gradients of `sum(d_out * out)` with respect to every array and the initial states, as
/// `chunkwise_gradient` gives them for each head, to the bit. What several heads share has the sum
/// of theirs, taken in the order of the heads.
///
/// \param in         the arrays that `chunkwise` was given
/// \param tape       what it kept
/// \param d_out      the gradient with respect to the reads, [B, T, H, d_v]
/// \param gradients  where the gradients go; those that are absent are not written. They must not
///                   overlap each other nor anything that is read; two that begin at the same
///                   number are refused
/// \param d_states   if given: those with respect to the states after the tokens, of each head
///                   max_levels x d_k d_v, without rows for zero, or none at all; in the end those
///                   with respect to the states before them
/// \throws std::invalid_argument as `chunkwise` and for arrays that do not fit the tape, before
/// anything is changed; for a gradient or a sum of gradients that would not be finite, and nothing
/// is changed then
///
/// About two and a half times `chunkwise`. All gradients are computed before the first is written:
/// memory for as many numbers again.
template <class Scalar>
void chunkwise_gradient(const BatchInputs<Scalar>& in, const BatchTape<Scalar>& tape,
                        const HeadArray<const std::type_identity_t<Scalar>>& d_out,
                        const BatchGradients<Scalar>& gradients,
                        std::vector<detail::RowMajorMatrix<Scalar>>* d_states = nullptr) {
  using Eigen::Index;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  const detail::BatchHeads<Scalar> heads(in);
  const auto count = static_cast<std::size_t>(heads.count());
  detail::require_reads("d_out", d_out, heads.shape());
  detail::require_size("the heads of the tape", static_cast<Index>(tape.heads.size()),
                       heads.count());
  if (d_states != nullptr && !d_states->empty()) {
    detail::require_size("d_states", static_cast<Index>(d_states->size()), heads.count());
  }
  detail::for_each_array(
      [&](const char* name, const HeadArray<const Scalar>& array, const HeadArray<Scalar>& to) {
        if (to.is_absent()) return;
        const std::string what = std::string("the gradient of ") + name;
        detail::require_sizes(what, to, heads.shape(), array.rows(), array.columns());
        detail::require_size(what + " (heads)", to.heads(), array.heads());
        detail::require_writable(what, to);
      },
      in, gradients);
  detail::require_apart(gradients);

  std::vector<SequenceGradients<Scalar>> all(count);
  std::vector<Matrix> initial(count);
  heads.for_each([&](Index n) {
    const auto at = static_cast<std::size_t>(n);
    const Matrix none;
    const auto& d_final = d_states == nullptr || d_states->empty() ? none : (*d_states)[at];
    detail::require_final(d_final, tape.heads[at]);
    all[at] = chunkwise_gradient<Scalar>(
        heads[n], tape.heads[at], detail::sequence_rows<Scalar>(d_out, heads.rows(n)), d_final);
  });
  const detail::GradientMembers<Scalar> members{};
  const auto for_each_wanted = [&](auto use) {
    detail::for_each_array(
        [&](const char* name, const HeadArray<const Scalar>& array, const HeadArray<Scalar>& to,
            Matrix SequenceGradients<Scalar>::*member) {
          if (to.is_absent()) return;
          const Index shared = heads.shape().heads / array.heads();
          heads.for_each([&](Index n) {
            if (n % shared == 0) use(name, n, shared, to, member);
          });
        },
        in, gradients, members);
  };
  for_each_wanted([&](const char* name, Index n, Index shared, const auto&, auto member) {
    Matrix& sum = all[static_cast<std::size_t>(n)].*member;
    for (Index h = 1; h < shared; ++h) {
      const Matrix& other = all[static_cast<std::size_t>(n + h)].*member;
      detail::add(sum.data(), other.data(), sum.size(), sum.data());
    }
    if (shared > 1) detail::require_finite_gradient(name, sum);
  });
  for_each_wanted([&](const char*, Index n, Index, const HeadArray<Scalar>& to, auto member) {
    const Index each = to.rows() / heads.shape().tokens;
    detail::put_rows(all[static_cast<std::size_t>(n)].*member, to, heads.rows(n, each));
  });
  if (d_states == nullptr) return;
  for (std::size_t n = 0; n < count; ++n) initial[n] = std::move(all[n].state);
  *d_states = std::move(initial);
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_GRADIENT_HPP

// ---- loglinear/stream/detail/levels_moment.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_MOMENT_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_MOMENT_HPP

namespace loglinear::detail {

/// What levels hold at a moment: the active ones, and nothing of the others.
template <class Scalar>
class LevelsMoment {
 public:
  [[nodiscard]] std::uint64_t size() const noexcept { return account_.size; }
  [[nodiscard]] std::size_t byte_count() const noexcept { return active_.size() * sizeof(Scalar); }

  /// Makes room for what `levels` hold now; what is held stays.
  template <class Levels>
  void reserve(const Levels& levels) {
    active_.reserve(static_cast<std::size_t>(
        active_level_count(levels.size(), levels.max_levels()) * levels.d_k() * levels.d_v()));
  }
  /// Allocates where there is no room.
  template <class Levels>
  void take(const Levels& levels) {
    reserve(levels);
    account_ = levels.account();
    active_.clear();
    for (int l : levels.active_levels()) {
      active_.insert(active_.end(), levels.data(l), levels.data(l) + levels.d_k() * levels.d_v());
    }
  }
  /// Levels of the same shape become what those were that were taken.
  template <class Levels>
  void restore(Levels& levels) const noexcept {
    levels.restore(account_, active_.data());
  }

  /// See fields.hpp.
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.account_, self.active_);
  }

 private:
  LevelsAccount account_{};
  std::vector<Scalar> active_{};  // lowest first
};

/// Puts levels back as they were, unless it is told to keep what has become of them. Allocates.
template <class Levels>
class LevelsRollback {
 public:
  explicit LevelsRollback(Levels& levels) : levels_(levels) { before_.take(levels); }
  LevelsRollback(const LevelsRollback&) = delete;
  LevelsRollback& operator=(const LevelsRollback&) = delete;
  ~LevelsRollback() {
    if (!keeps_) before_.restore(levels_);
  }
  void keep() noexcept { keeps_ = true; }

 private:
  Levels& levels_;
  LevelsMoment<typename Levels::Scalar> before_{};
  bool keeps_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_MOMENT_HPP

// ---- loglinear/sequence/recurrent.hpp

#ifndef LOGLINEAR_SEQUENCE_RECURRENT_HPP
#define LOGLINEAR_SEQUENCE_RECURRENT_HPP

namespace loglinear {

namespace detail {

/// The transition of token t of a sequence, as a state undergoes it.
template <class Scalar>
class SequenceTransition {
 public:
  /// `in` must outlive it.
  explicit SequenceTransition(const SequenceInputs<Scalar>& in) : in_(in) {}
  explicit SequenceTransition(const SequenceInputs<Scalar>&&) = delete;
  void move_to(Index t) { t_ = t; }

  /// m <- L m
  template <class Level>
  void left(Level& m) const {
    const Index updates = in_.updates();
    if (in_.beta.size() > 0) {
      decay(m);
      for (Index j = 0; j < updates; ++j) {
        const Row key = in_.k.row(t_ * updates + j);
        const Row found = in_.beta(t_, j) * key * m;
        m -= key.transpose() * found;
      }
      return;
    }
    for (Index j = 0; j < updates; ++j) {
      const Row found = in_.p.row(t_ * updates + j) * m;
      if (j == 0) decay(m);
      m -= in_.u.row(t_ * updates + j).transpose() * found;
    }
    if (updates == 0) decay(m);
  }
  /// q <- L^T q, as a row.
  template <class Query>
  void left_transposed(Query& q) const {
    const Index updates = in_.updates();
    const bool is_delta = in_.beta.size() > 0;
    if (updates == 0) decay_row(q);
    for (Index j = updates; j-- > 0;) {
      const Row u = is_delta ? Row(in_.beta(t_, j) * in_.k.row(t_ * updates + j))
                             : Row(in_.u.row(t_ * updates + j));
      const Scalar found = q.row(0).dot(u);
      if (j == 0 && !is_delta) decay_row(q);
      q.row(0) -= found * (is_delta ? in_.k : in_.p).row(t_ * updates + j);
      if (j == 0 && is_delta) decay_row(q);
    }
  }
  /// m <- m diag(r)
  template <class Level>
  void right(Level& m) const {
    if (in_.g_value.size() == 0) return;
    Row decay;
    detail::decays_of(in_.g_value.row(t_), decay);
    for (Index i = 0; i < m.rows(); ++i) m.row(i).array() *= decay.array();
  }
  /// What `right` and `left` can grow a norm by, intermediate results included.
  [[nodiscard]] double norm_bound() const {
    const Index updates = in_.updates();
    double bound = 1;
    if (in_.g.size() > 0) bound = (std::max)(bound, std::exp(to_double(in_.g.row(t_).maxCoeff())));
    for (Index j = 0; j < updates; ++j) {
      const bool is_delta = in_.beta.size() > 0;
      const Row u = is_delta ? Row(in_.beta(t_, j) * in_.k.row(t_ * updates + j))
                             : Row(in_.u.row(t_ * updates + j));
      const double looked_up = stable_norm((is_delta ? in_.k : in_.p).row(t_ * updates + j));
      bound *= 1 + (std::max)(1.0, stable_norm(u)) * looked_up;
    }
    if (in_.g_value.size() > 0) {
      bound *= (std::max)(1.0, std::exp(to_double(in_.g_value.row(t_).maxCoeff())));
    }
    return bound;
  }

 private:
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

  template <class Query>
  void decay_row(Query& q) const {
    if (in_.g.size() == 0) return;
    for (Index i = 0; i < q.cols(); ++i) {
      q(0, i) *= std::exp(in_.g(t_, in_.g.cols() == 1 ? 0 : i));
    }
  }
  template <class Level>
  void decay(Level& m) const {
    if (in_.g.size() == 0) return;
    for (Index i = 0; i < m.rows(); ++i) {
      m.row(i) *= std::exp(in_.g(t_, in_.g.cols() == 1 ? 0 : i));
    }
  }

  const SequenceInputs<Scalar>& in_;
  Index t_ = 0;
};

/// The leaf of token t: beta_j k_j after the later updates of its own token, and v_j, in columns.
template <class Scalar>
void leaves_of(const SequenceInputs<Scalar>& in, Index t, Matrix<Scalar>& keys,
               Matrix<Scalar>& values) {
  const Index leaves = in.leaves();
  keys = in.k.middleRows(t * leaves, leaves).transpose();
  values = in.v.middleRows(t * leaves, leaves).transpose();
  for (Index j = 0; in.beta.size() > 0 && j < leaves; ++j) {
    for (Index i = 0; i < j; ++i) {  // earlier leaves undergo update j
      const Scalar found = keys.col(i).dot(in.k.row(t * leaves + j));
      keys.col(i) -= (in.beta(t, j) * found) * in.k.row(t * leaves + j).transpose();
    }
    keys.col(j) *= in.beta(t, j);
  }
}

}  // namespace detail

/// The sequence form one token after the other through the hierarchy: every level undergoes the
/// token's transition and is read, then the leaf is pushed (arXiv:2506.04761, section 3.1).
///
/// \param in     the tokens
/// \param state  the state before them, and in the end the one after the last push
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `SequenceInputs::validate`, or where the state would overflow
/// or a read would not be finite; nothing is changed then
///
/// O(T levels d_k d_v); allocates, a copy of the active levels among the rest.
template <class Scalar>
typename SequenceInputs<Scalar>::Matrix recurrent(const SequenceInputs<Scalar>& in,
                                                  LogLinearState<Scalar>& state) {
  using Eigen::Index;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  const detail::FlushToZero<Scalar> flush;
  if (in.length() > 0) {
    detail::require_size("q (columns, d_k of the state)", in.d_k(), state.d_k());
    detail::require_size("v (columns, d_v of the state)", in.d_v(), state.d_v());
  }
  in.validate(state.size(), state.max_levels());
  const Index leaves = in.leaves();
  detail::RowMajorMatrix<Scalar> out(in.length(), state.d_v());
  detail::SequenceTransition<Scalar> transition(in);
  detail::Matrix<Scalar> keys(state.d_k(), leaves), values(state.d_v(), leaves);
  auto& levels = detail::levels_of(state);
  detail::LevelsRollback rollback(levels);
  for (Index t = 0; t < in.length(); ++t) {
    transition.move_to(t);
    detail::leaves_of(in, t, keys, values);
    const detail::Admitted admitted = levels.admit(transition.norm_bound(), keys, values);
    levels.undergo(transition);
    const Row query = in.q.row(t);
    out.row(t) = (in.lambda(t, 0) * (query * keys)) * values.transpose();
    for (int l : state.active_levels()) {
      out.row(t) += in.lambda(t, l + 1) * Row(query * state.level(l));
    }
    detail::require_finite_reads(out.row(t), t);
    levels.push(keys, values, admitted);
  }
  rollback.keep();
  return out;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_RECURRENT_HPP

// ---- loglinear/batch/detail/token_step.hpp

#ifndef LOGLINEAR_BATCH_DETAIL_TOKEN_STEP_HPP
#define LOGLINEAR_BATCH_DETAIL_TOKEN_STEP_HPP

// One token of one head in two phases: everything that can be refused while the state is still
// whole, then the writing.

namespace loglinear::detail {

template <class Scalar>
class TokenStep {
 public:
  /// The read, 1 x d_v: with A and diag(r) what older states undergo and C the leaf,
  ///
  ///     out = (sum_l lambda_(l+1) S_l^T A^T q) * r + lambda_0 C^T q
  ///
  /// \throws std::invalid_argument where the state would overflow or the read would not be finite
  [[nodiscard]] RowMajorMatrix<Scalar> read(const SequenceInputs<Scalar>& in,
                                            LogLinearState<Scalar>& state) {
    leaves_of(in, 0, keys_, values_);
    SequenceTransition<Scalar> transition(in);
    admitted_ = levels_of(state).admit(transition.norm_bound(), keys_, values_);
    RowMajorMatrix<Scalar> query = in.q;
    Vector<Scalar> found(in.d_v());
    RowMajorMatrix<Scalar> out = RowMajorMatrix<Scalar>::Zero(1, in.d_v());
    const RowMajorMatrix<Scalar> from_keys = query * keys_;
    transition.left_transposed(query);
    for (const int l : state.active_levels()) {
      weighted_rows(state.level(l).data(), in.d_k(), in.d_v(), in.d_v(), query.data(),
                    found.data());
      scaled_row<true>(in.lambda(0, l + 1), found.data(), in.d_v(), out.data());
    }
    transition.right(out);
    out += (in.lambda(0, 0) * from_keys) * values_.transpose();
    require_finite_reads(out, 0);
    return out;
  }
  void write(const SequenceInputs<Scalar>& in, LogLinearState<Scalar>& state) const {
    auto& levels = levels_of(state);
    levels.undergo(SequenceTransition<Scalar>(in));
    levels.push(keys_, values_, admitted_);
  }

 private:
  Matrix<Scalar> keys_{}, values_{};
  Admitted admitted_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BATCH_DETAIL_TOKEN_STEP_HPP

// ---- loglinear/batch/batch_recurrent.hpp

#ifndef LOGLINEAR_BATCH_BATCH_RECURRENT_HPP
#define LOGLINEAR_BATCH_BATCH_RECURRENT_HPP

namespace loglinear {

namespace detail {

/// Throws what is wrong with the arguments of either function below, before any work.
template <class Scalar>
void require_batch(const BatchHeads<Scalar>& heads, const BatchInputs<Scalar>& in,
                   const HeadArray<Scalar>& out, const BatchStates<Scalar>& states) {
  require_reads("out", out, heads.shape());
  require_writable("out", out);
  require_states(states, in, heads.shape());
  heads.validate([&](Index n) { return states[static_cast<std::size_t>(n)].size(); },
                 [&](Index n) { return states[static_cast<std::size_t>(n)].max_levels(); });
}

}  // namespace detail

/// The same as `chunkwise` of a batch, one token after the other: what `recurrent` gives for each
/// head, to the bit. Arguments and errors are those of `chunkwise`. Copies the states.
template <class Scalar>
void recurrent(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               BatchStates<Scalar>& states) {
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_batch(heads, in, out, states);
  BatchStates<Scalar> after(states);
  heads.for_each([&](Eigen::Index n) {
    detail::put_rows(recurrent(heads[n], after[static_cast<std::size_t>(n)]), out, heads.rows(n));
  });
  states.swap(after);
}

/// One token of every sequence and head: T is 1. The states are those of `recurrent`, to the bit,
/// the reads the same to rounding: they are taken from the states before the token, by queries that
/// go back through its transition, so that nothing needs to be copied.
///
/// \param out  where reads go, [B, 1, H, d_v]; must not overlap any input
/// \throws std::invalid_argument as `chunkwise` of a batch, or unless T is 1; where a result would
/// leave the range of the scalar type, all states are unchanged, and `out` may hold some of the
/// reads. O(active levels x d_k x d_v) a head
template <class Scalar>
void step(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
          BatchStates<Scalar>& states) {
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_size("the number of tokens (rows of q)", heads.shape().tokens, 1);
  detail::require_size("cu_seqlens", static_cast<Eigen::Index>(in.cu_seqlens.size()), 0);
  detail::require_batch(heads, in, out, states);
  std::vector<detail::TokenStep<Scalar>> tokens(states.size());
  heads.for_each([&](Eigen::Index n) {
    const auto at = static_cast<std::size_t>(n);
    detail::put_rows(tokens[at].read(heads[n], states[at]), out, heads.rows(n));
  });
  heads.for_each([&](Eigen::Index n) {
    const auto at = static_cast<std::size_t>(n);
    tokens[at].write(heads[n], states[at]);
  });
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_RECURRENT_HPP

// ---- loglinear/batch.hpp

#ifndef LOGLINEAR_BATCH_HPP
#define LOGLINEAR_BATCH_HPP

/// \file
/// Many sequences of many heads on plain arrays.

#endif  // LOGLINEAR_BATCH_HPP

// ---- loglinear/chunks/transition_steps.hpp

#ifndef LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP
#define LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP

// The steps of a transition (transitions/steps.hpp) as a chunk has them: decays of value columns,
// and updates D - u p^T one after the other. A decay E before a look-up goes into its update,
// (D - u p^T) E = D E - u (E p)^T, and one after the last update too, F (D - u p^T) = F D - (F u)
// p^T.

namespace loglinear::detail {

/// How tokens with these steps look in a chunk.
[[nodiscard]] inline SequenceShape shape_of(const StepCounts& steps, Index d_k, Index d_v,
                                            Index leaves, ReadOrder order) {
  return {.d_k = d_k,
          .d_v = d_v,
          .leaves = leaves,
          .steps = steps.updates,
          .decays = !steps.decays         ? 0
                    : steps.decays_by_row ? d_k
                                          : 1,
          .decays_values = steps.decays_values,
          .is_delta = false,
          .order = order};
}

/// A product of decays of key rows: no number, one for all of them, or one for each.
template <class Scalar>
class RowDecays {
 public:
  explicit RowDecays(Index decays) : decays_(decays) {}

  void reset() { std::fill_n(decays_.data(), decays_.size(), Scalar(1)); }
  void decay(const Scalar& a) { scale_by(a, decays_.data(), decays_.size()); }
  void decay_rows(const Scalar* w) { multiply(decays_.data(), w, decays_.size(), decays_.data()); }

  /// row *= decays, which may be one number for all of it.
  void apply(Scalar* row, Index size) const {
    if (decays_.size() == 1) scale_by(decays_[0], row, size);
    if (decays_.size() > 1) multiply(row, decays_.data(), size, row);
  }
  void write_to(Scalar* to) const { copy(decays_.data(), decays_.size(), to); }

 private:
  Vector<Scalar> decays_;
};

/// Takes the steps of token t into a chunk: `start`, `visit_steps` of its transition, `finish`.
template <class Scalar>
class StepWriter {
 public:
  explicit StepWriter(const SequenceShape& shape) : shape_(shape), before_(shape.decays) {}
  StepWriter(const StepWriter&) = default;
  StepWriter& operator=(const StepWriter&) = default;

  void start(Chunk<Scalar>& chunk, Index t) {
    chunk_ = &chunk;
    token_ = t;
    moment_ = t * shape_.moments();
    before_.reset();
    if (shape_.decays_values) std::fill_n(value_decay(), shape_.d_v, Scalar(1));
  }

  void decay(const Scalar& a) { before_.decay(a); }
  void decay_rows(const Scalar* w) { before_.decay_rows(w); }
  void decay_values(const Scalar* r) { multiply(value_decay(), r, shape_.d_v, value_decay()); }
  void look_up(const Scalar* p) {
    Scalar* const row = row_of(chunk_->p, moment_);
    copy(p, shape_.d_k, row);
    before_.apply(row, shape_.d_k);
  }
  void write_back(const Scalar* u) {
    copy(u, shape_.d_k, row_of(chunk_->u, moment_));
    if (shape_.decays > 0) before_.write_to(row_of(chunk_->decay, moment_));
    before_.reset();
    ++moment_;
  }

  void finish() {
    if (shape_.decays == 0) return;
    if (shape_.steps == 0) return before_.write_to(row_of(chunk_->decay, moment_));
    before_.apply(row_of(chunk_->decay, moment_ - 1), shape_.decays);
    before_.apply(row_of(chunk_->u, moment_ - 1), shape_.d_k);
  }

 private:
  [[nodiscard]] static Scalar* row_of(RowMajorMatrix<Scalar>& m, Index i) {
    return m.data() + i * m.cols();
  }
  [[nodiscard]] Scalar* value_decay() { return row_of(chunk_->value_decay, token_); }

  SequenceShape shape_;
  RowDecays<Scalar> before_;  // since the last update
  Chunk<Scalar>* chunk_ = nullptr;
  Index token_ = 0, moment_ = 0;
};

/// The decays after the last update of a transition.
template <class Scalar>
struct LastDecays {
  RowDecays<Scalar>& decays;

  void decay(const Scalar& a) { decays.decay(a); }
  void decay_rows(const Scalar* w) { decays.decay_rows(w); }
  void decay_values(const Scalar*) {}
  void look_up(const Scalar*) {}
  void write_back(const Scalar*) { decays.reset(); }
};

/// From the gradient of a chunk, log decays and the rows u and p as they stand in it, to that of
/// the steps of token t: `start`, then `visit_steps(steps, gradient)` of its transition.
template <class Scalar>
class StepGradients {
 public:
  explicit StepGradients(const SequenceShape& shape)
      : shape_(shape), before_(shape.decays), after_(shape.decays), d_log_(shape.decays) {}
  StepGradients(const StepGradients&) = default;
  StepGradients& operator=(const StepGradients&) = default;

  template <class Kind>
  void start(const Kind& kind, const Chunk<Scalar>& chunk, const Chunk<Scalar>& gradient, Index t) {
    chunk_ = &chunk;
    gradient_ = &gradient;
    token_ = t;
    moment_ = t * shape_.moments();
    is_open_ = false;
    before_.reset();
    after_.reset();
    if (shape_.steps == 0) return;
    LastDecays<Scalar> last{after_};
    kind.visit_steps(last);
  }

  void decay(const Scalar& a, Scalar& d_a) {
    note_decay();
    if (!is_open_) before_.decay(a);
    divide(sum(d_log_.data(), d_log_.size()), a, d_a);
  }
  void decay_rows(const Scalar* w, Scalar* d_w) {
    note_decay();
    if (!is_open_) before_.decay_rows(w);
    for (Index i = 0; i < shape_.d_k; ++i) divide(d_log_[i], w[i], d_w[i]);
  }
  void decay_values(const Scalar* r, Scalar* d_r) {
    const Scalar* const d_log = row_of(gradient_->value_decay, token_);
    for (Index j = 0; j < shape_.d_v; ++j) divide(d_log[j], r[j], d_r[j]);
  }
  void look_up(const Scalar*, Scalar* d_p) {
    copy(row_of(gradient_->p, moment_), shape_.d_k, d_p);
    before_.apply(d_p, shape_.d_k);
    is_open_ = true;
  }
  void write_back(const Scalar*, Scalar* d_u) {
    copy(row_of(gradient_->u, moment_), shape_.d_k, d_u);
    ++moment_;
    if (is_after_last()) after_.apply(d_u, shape_.d_k);
    before_.reset();
    is_open_ = false;
  }

 private:
  [[nodiscard]] static const Scalar* row_of(const RowMajorMatrix<Scalar>& m, Index i) {
    return m.data() + i * m.cols();
  }
  [[nodiscard]] bool is_after_last() const {
    return shape_.steps > 0 && moment_ == (token_ + 1) * shape_.moments();
  }

  /// The gradient of the logarithm of a decay: it is part of its moment's D and, unless it stands
  /// within an update, of p where an update follows, of u where none does.
  void note_decay() {
    const bool is_last = !is_open_ && is_after_last();
    const Index m = is_last ? moment_ - 1 : moment_;
    copy(row_of(gradient_->decay, m), shape_.decays, d_log_.data());
    if (is_open_ || shape_.steps == 0) return;
    is_last ? add_products(row_of(chunk_->u, m), row_of(gradient_->u, m))
            : add_products(row_of(chunk_->p, m), row_of(gradient_->p, m));
  }
  /// d_log += x . d_x, for all rows together or each for itself.
  void add_products(const Scalar* x, const Scalar* d_x) {
    if (d_log_.size() == 1) {
      d_log_[0] += dot(x, d_x, shape_.d_k);
    } else {
      for (Index i = 0; i < shape_.d_k; ++i) d_log_[i] += x[i] * d_x[i];
    }
  }
  /// A decay of 0 gets gradient 0: its logarithm has none.
  static void divide(const Scalar& d_log, const Scalar& decay, Scalar& d_decay) {
    d_decay = decay == Scalar(0) ? Scalar(0) : d_log / decay;
  }

  SequenceShape shape_;
  RowDecays<Scalar> before_, after_;  // since the last update, and after the last of all
  Vector<Scalar> d_log_;
  const Chunk<Scalar>* chunk_ = nullptr;
  const Chunk<Scalar>* gradient_ = nullptr;
  Index token_ = 0, moment_ = 0;
  bool is_open_ = false;  // between a look-up and its write-back
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_TRANSITION_STEPS_HPP

// ---- loglinear/detail/kernels/math.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_MATH_HPP
#define LOGLINEAR_DETAIL_KERNELS_MATH_HPP

// The few functions that rules and level weights are made of, for any scalar, with their
// derivatives where they are not obvious. Those of vectors take pointers and a length; a result may
// be an argument itself.

namespace loglinear::detail {

/// Whether Eigen has exp, or tanh, of a whole packet.
template <class Scalar>
inline constexpr bool has_packet_exp =
    packet_size<Scalar> == 1 || Eigen::internal::packet_traits<Scalar>::HasExp;
template <class Scalar>
inline constexpr bool has_packet_tanh =
    packet_size<Scalar> == 1 || Eigen::internal::packet_traits<Scalar>::HasTanh;

/// sg(z) = 1 / (1 + exp(-z)), the logistic sigmoid; never overflows into NaN.
template <class Scalar>
[[nodiscard]] Scalar sigmoid(const Scalar& z) {
  using std::exp;
  if (z >= Scalar(0)) return Scalar(1) / (Scalar(1) + exp(-z));
  const Scalar e = exp(z);
  return e / (Scalar(1) + e);
}

/// out = sg(z + bias), coefficient by coefficient, each to rounding.
template <class Scalar>
void sigmoid(const Scalar* z, double bias, Index size, Scalar* out) {
  const auto offset = Scalar(bias);
  for (Index i = 0; i < size; ++i) out[i] = sigmoid<Scalar>(z[i] + offset);
}

/// Below this, exp(-z) overflows, or nearly so.
template <class Scalar>
inline constexpr auto lowest_exponent =
    static_cast<Scalar>(-0.67 * std::numeric_limits<Scalar>::max_exponent);

/// exp(-z) of floating-point numbers; where it would overflow, a number that is nearly as large.
/// NaN stays NaN.
template <class Scalar>
void exp_of_negative(const Scalar* z, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Scalar lowest = lowest_exponent<Scalar>;
  const auto of_number = [&](Index i) { return std::exp(-(z[i] < lowest ? lowest : z[i])); };
  if constexpr (has_packet_exp<Scalar>) {
    const P bound = ei::pset1<P>(lowest);
    fill_by_packets(
        out, size,
        [&](Index i) {
          return ei::pexp(ei::pnegate(ei::pmax<Eigen::PropagateNaN>(ei::ploadu<P>(z + i), bound)));
        },
        of_number);
  } else {
    for (Index i = 0; i < size; ++i) out[i] = of_number(i);
  }
}

/// sg(z), coefficient by coefficient.
template <class Scalar>
void sigmoids(const Scalar* z, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  if constexpr (std::is_floating_point_v<Scalar>) {
    exp_of_negative(z, size, out);
    const P one = ei::pset1<P>(Scalar(1));
    fill_by_packets(
        out, size, [&](Index i) { return ei::pdiv(one, ei::padd(one, ei::ploadu<P>(out + i))); },
        [&](Index i) { return Scalar(1) / (Scalar(1) + out[i]); });
  } else {
    sigmoid(z, 0, size, out);
  }
}

/// y = exp(x), coefficient by coefficient.
template <class Scalar>
void exp_of(const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  const auto of_number = [&](Index i) {
    using std::exp;
    return Scalar(exp(x[i]));
  };
  if constexpr (has_packet_exp<Scalar>) {
    fill_by_packets(
        y, size, [&](Index i) { return ei::pexp(ei::ploadu<Packet<Scalar>>(x + i)); }, of_number);
  } else {
    for (Index i = 0; i < size; ++i) y[i] = of_number(i);
  }
}

/// y = tanh(x), coefficient by coefficient.
template <class Scalar>
void tanh_of(const Scalar* x, Index size, Scalar* y) {
  namespace ei = Eigen::internal;
  const auto of_number = [&](Index i) { return Eigen::numext::tanh(x[i]); };
  if constexpr (has_packet_tanh<Scalar>) {
    fill_by_packets(
        y, size, [&](Index i) { return ei::ptanh(ei::ploadu<Packet<Scalar>>(x + i)); }, of_number);
  } else {
    for (Index i = 0; i < size; ++i) y[i] = of_number(i);
  }
}

/// Its pullback, from `y` itself: d = d (1 - y^2).
template <class Scalar>
void tanh_pullback(const Scalar* y, Index size, Scalar* d) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P one = ei::pset1<P>(Scalar(1));
  fill_by_packets(
      d, size,
      [&](Index i) {
        const P value = ei::ploadu<P>(y + i);
        return ei::pmul(ei::ploadu<P>(d + i), ei::psub(one, ei::pmul(value, value)));
      },
      [&](Index i) { return d[i] * (Scalar(1) - y[i] * y[i]); });
}

/// Keys shorter than this are taken for zero and normalise to zero.
inline constexpr double zero_key_norm = 1e-12;

/// |raw| = scale * norm, with the largest coefficient as the scale: neither overflows or underflows
/// where |raw|^2 would.
template <class Scalar>
struct ScaledNorm {
  Scalar scale, norm;
  [[nodiscard]] bool is_zero() const { return to_double(scale) * to_double(norm) < zero_key_norm; }
};
template <class Scalar>
[[nodiscard]] ScaledNorm<Scalar> scaled_norm(const Scalar* raw, Index size) {
  using std::sqrt;
  const auto scale = static_cast<Scalar>(max_abs(raw, size));
  if (!(scale > Scalar(0))) return {Scalar(1), Scalar(0)};
  return {scale, sqrt(sum_of_squares<true>(raw, size, scale))};
}

/// out = x / a / b, coefficient by coefficient.
template <class Scalar>
void divide_twice(const Scalar* x, const Scalar& a, const Scalar& b, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  const P first = ei::pset1<P>(a), second = ei::pset1<P>(b);
  fill_by_packets(
      out, size, [&](Index i) { return ei::pdiv(ei::pdiv(ei::ploadu<P>(x + i), first), second); },
      [&](Index i) { return x[i] / a / b; });
}

/// out = raw / |raw|, or 0 where |raw| < 1e-12.
template <class Scalar>
void unit_vector(const Scalar* raw, Index size, Scalar* out) {
  const auto length = scaled_norm(raw, size);
  if (length.is_zero()) {
    std::fill_n(out, size, Scalar(0));
  } else {
    divide_twice(raw, length.scale, length.norm, size, out);
  }
}

/// The pullback of `unit_vector`: d_raw = (d_unit - unit (unit . d_unit)) / |raw|. Where the key
/// was taken for zero, d_unit passes unchanged, so that learning can leave the origin.
template <class Scalar>
void unit_vector_pullback(const Scalar* raw, const Scalar* unit, const Scalar* d_unit, Index size,
                          Scalar* d_raw) {
  const auto length = scaled_norm(raw, size);
  if (d_raw != d_unit) copy(d_unit, size, d_raw);
  if (length.is_zero()) return;
  axpy(Scalar(-dot(unit, d_raw, size)), unit, size, d_raw);
  divide_twice(d_raw, length.norm, length.scale, size, d_raw);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_MATH_HPP

// ---- loglinear/detail/kernels/row_dots.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_ROW_DOTS_HPP
#define LOGLINEAR_DETAIL_KERNELS_ROW_DOTS_HPP

// m q of a row-major matrix.

namespace loglinear::detail {

/// out[s][j] = rows[j] . vectors[s] for N packets of columns from `first` on, added to out if
/// `Add`.
template <int N, bool Add, class Scalar, std::size_t Vectors>
void row_dots_block(const Scalar* m, Index first, Index rows, Index stride,
                    const std::array<const Scalar*, Vectors>& vectors,
                    const std::array<Scalar*, Vectors>& out) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  P packets[Vectors][array_size(N)];
  for (std::size_t s = 0; s < Vectors; ++s) {
    for (int n = 0; n < N; ++n) packets[s][n] = ei::ploadu<P>(vectors[s] + first + n * width);
  }
  const Scalar* row = m + first;
  for (Index j = 0; j < rows; ++j, row += stride) {
    for (std::size_t s = 0; s < Vectors; ++s) {
      P sum = ei::pmul(ei::ploadu<P>(row), packets[s][0]);
      for (int n = 1; n < N; ++n) {
        sum = ei::pmadd(ei::ploadu<P>(row + n * width), packets[s][n], sum);
      }
      const Scalar dot = ei::predux(sum);
      out[s][j] = Add ? out[s][j] + dot : dot;
    }
  }
}
template <int N, bool Add, class Scalar, std::size_t Vectors>
void row_dots_from(const Scalar* m, Index first, Index rows, Index columns, Index stride,
                   const std::array<const Scalar*, Vectors>& vectors,
                   const std::array<Scalar*, Vectors>& out) {
  constexpr Index width = packet_size<Scalar>;
  if (first + N * width <= columns) {
    row_dots_block<N, Add>(m, first, rows, stride, vectors, out);
    return row_dots_from<N, true>(m, first + N * width, rows, columns, stride, vectors, out);
  }
  if constexpr (N > 1) {
    row_dots_from<N / 2, Add>(m, first, rows, columns, stride, vectors, out);
  } else {
    for (std::size_t s = 0; s < Vectors; ++s) {
      for (Index j = 0; j < rows && (first < columns || !Add); ++j) {
        Scalar dot(0);
        for (Index i = first; i < columns; ++i) dot += m[j * stride + i] * vectors[s][i];
        out[s][j] = Add ? out[s][j] + dot : dot;
      }
    }
  }
}

/// out[j] = rows[j] . q, `m q` of a row-major matrix.
template <class Scalar>
void row_dots(const Scalar* m, Index rows, Index columns, const Scalar* q, Scalar* out) {
  if (rows == 0) return;  // m may be null, to which nothing must be added
  row_dots_from<widest_block<Scalar> / 2, false, Scalar, 1>(m, 0, rows, columns, columns, {q},
                                                            {out});
}
/// The same with two vectors at once, and the same bits.
template <class Scalar>
void row_dots(const Scalar* m, Index rows, Index columns, const Scalar* q, const Scalar* p,
              Scalar* out_q, Scalar* out_p) {
  if (rows == 0) return;
  row_dots_from<widest_block<Scalar> / 2, false, Scalar, 2>(m, 0, rows, columns, columns, {q, p},
                                                            {out_q, out_p});
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_ROW_DOTS_HPP

// ---- loglinear/detail/kernels/softplus.hpp

#ifndef LOGLINEAR_DETAIL_KERNELS_SOFTPLUS_HPP
#define LOGLINEAR_DETAIL_KERNELS_SOFTPLUS_HPP

// softplus(z) = log(1 + exp(z)), of one number of any scalar and of many in memory, which level
// weights wait for at every token.

namespace loglinear::detail {

/// |z| beyond which softplus is written as one of its asymptotes: z above, exp(z) below.
inline constexpr int softplus_linear_from = 20;

template <class Scalar>
[[nodiscard]] Scalar softplus(const Scalar& z) {
  using std::exp;
  if (z > Scalar(softplus_linear_from)) return z;
  const Scalar e = exp(z);
  if (z < Scalar(-softplus_linear_from)) return e;
  if constexpr (std::is_floating_point_v<Scalar>) {
    return std::log1p(e);
  } else {  // dual numbers have no log1p
    using std::log;
    return log(Scalar(1) + e);
  }
}

/// log(1 + e) for e in [0, 1], to rounding: 2 artanh(s) = 2 s (1 + s^2 / 3 + s^4 / 5 + ...) with
/// s = e / (2 + e), at most 1/3, so that each term gives log2(9) bits. Even and odd terms are
/// summed side by side.
template <class Scalar>
[[nodiscard]] Packet<Scalar> log1p_up_to_1(const Packet<Scalar>& e) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr int terms = std::numeric_limits<Scalar>::digits / 6 * 2;  // even, and 3 bits each
  const auto coefficient = [](int n) { return ei::pset1<P>(Scalar(2) / Scalar(2 * n + 1)); };
  const P s = ei::pdiv(e, ei::padd(ei::pset1<P>(Scalar(2)), e));
  const P square = ei::pmul(s, s), fourth = ei::pmul(square, square);
  P even = coefficient(terms - 2), odd = coefficient(terms - 1);
  for (int n = terms - 4; n >= 0; n -= 2) {
    even = ei::pmadd(even, fourth, coefficient(n));
    odd = ei::pmadd(odd, fourth, coefficient(n + 1));
  }
  return ei::pmul(s, ei::pmadd(square, odd, even));
}

/// out = softplus(z), coefficient by coefficient; `out` may be `z` itself. Where a number in
/// a whole packet is far out, all are done one by one, as is what a packet is too wide for:
/// softplus(z) = max(z, 0) + log(1 + exp(-|z|)).
template <class Scalar>
void softplus(const Scalar* z, Index size, Scalar* out) {
  namespace ei = Eigen::internal;
  Index i = 0;
  if constexpr (std::is_floating_point_v<Scalar> && packet_size < Scalar >> 1) {
    using P = Packet<Scalar>;
    constexpr Index width = packet_size<Scalar>;
    const P bound = ei::pset1<P>(Scalar(softplus_linear_from));
    P far_out = ei::pset1<P>(Scalar(0));
    for (Index n = 0; n + width <= size; n += width) {
      far_out = ei::por(far_out, ei::pcmp_lt_or_nan(bound, ei::pabs(ei::ploadu<P>(z + n))));
    }
    const bool none_far_out = !ei::predux_any(far_out);
    for (; none_far_out && i + width <= size; i += width) {
      const P x = ei::ploadu<P>(z + i);
      const P rest = log1p_up_to_1<Scalar>(ei::pexp(ei::pnegate(ei::pabs(x))));
      ei::pstoreu(out + i, ei::padd(ei::pmax(x, ei::pset1<P>(Scalar(0))), rest));
    }
  }
  for (; i < size; ++i) out[i] = softplus<Scalar>(z[i]);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_KERNELS_SOFTPLUS_HPP

// ---- loglinear/layer/detail/adam_kernel.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_ADAM_KERNEL_HPP
#define LOGLINEAR_LAYER_DETAIL_ADAM_KERNEL_HPP

namespace loglinear::detail {

/// The numbers of one step of Adam.
template <class Scalar>
struct AdamNumbers {
  Scalar beta1{0}, rest1{1};  // and 1 - beta1
  Scalar beta2{0}, rest2{1};
  Scalar correction{1};  // 1 / (1 - beta2^t)
  Scalar epsilon{0};
  Scalar size{0};   // rate / (1 - beta1^t)
  Scalar reach{1};  // how often the root v' the mean can be
};

/// With a mean, `HasMean`:
/// m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  w <- w - size r with r = m / (sqrt(c v) +
/// epsilon) and g_i = factor d_i; without one, m is g and not kept. |r| is `reach` at most: more
/// can only come of squares that are too small for the scalar.
template <bool HasMean, class Scalar>
void adam_update(const AdamNumbers<Scalar>& a, const Scalar& factor, const Scalar* d, Index size,
                 Scalar* m, Scalar* v, Scalar* w) {
  namespace ei = Eigen::internal;
  using P = Packet<Scalar>;
  constexpr Index width = packet_size<Scalar>;
  // The root of 0 would be an invalid operation: Eigen takes it by way of 1 / sqrt.
  constexpr Scalar smallest = (std::numeric_limits<Scalar>::min)();
  const P least = ei::pset1<P>(smallest);
  [[maybe_unused]] const P beta1 = ei::pset1<P>(a.beta1), rest1 = ei::pset1<P>(a.rest1);
  const P by = ei::pset1<P>(factor), beta2 = ei::pset1<P>(a.beta2), rest2 = ei::pset1<P>(a.rest2),
          correction = ei::pset1<P>(a.correction), epsilon = ei::pset1<P>(a.epsilon),
          by_size = ei::pset1<P>(a.size), most = ei::pset1<P>(a.reach),
          least_quotient = ei::pset1<P>(-a.reach);
  Index i = 0;
  for (; i + width <= size; i += width) {
    const P g = ei::pmul(by, ei::ploadu<P>(d + i));
    P mean = g;
    if constexpr (HasMean) {
      mean = ei::pmadd(rest1, g, ei::pmul(beta1, ei::ploadu<P>(m + i)));
      ei::pstoreu(m + i, mean);
    }
    const P square = ei::pmadd(rest2, ei::pmul(g, g), ei::pmul(beta2, ei::ploadu<P>(v + i)));
    const P root = ei::padd(ei::psqrt(ei::pmax(ei::pmul(correction, square), least)), epsilon);
    ei::pstoreu(v + i, square);
    // Divided first: the size times the mean may overflow.
    const P quotient = ei::pmin(ei::pmax(ei::pdiv(mean, root), least_quotient), most);
    ei::pstoreu(w + i, ei::psub(ei::ploadu<P>(w + i), ei::pmul(by_size, quotient)));
  }
  for (; i < size; ++i) {
    using std::sqrt;
    const Scalar g = factor * d[i];
    Scalar mean = g;
    if constexpr (HasMean) mean = m[i] = a.beta1 * m[i] + a.rest1 * g;
    v[i] = a.beta2 * v[i] + a.rest2 * (g * g);
    const Scalar root = sqrt((std::max)(Scalar(a.correction * v[i]), smallest));
    w[i] -= a.size * std::clamp(Scalar(mean / (root + a.epsilon)), Scalar(-a.reach), a.reach);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_ADAM_KERNEL_HPP

// ---- loglinear/random.hpp

#ifndef LOGLINEAR_RANDOM_HPP
#define LOGLINEAR_RANDOM_HPP

/// \file
/// The generator behind every initial weight: the same seed gives the same weights everywhere.

namespace loglinear {

/// Marsaglia's 64-bit xorshift (13, 7, 17) with normals by Box and Muller. Its state must never be
/// zero. Does not allocate.
class Xorshift64 {
 public:
  /// \param seed any value but 0
  /// \throws std::invalid_argument if `seed` is 0: the generator would return zeros for ever
  explicit Xorshift64(std::uint64_t seed) : state_(seed) {
    if (seed == 0) detail::fail("seed", seed, "at least 1");
  }

  /// The next 64 bits.
  std::uint64_t next() noexcept {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

  /// Uniform in [0, 1): the upper 53 bits over 2^53.
  double uniform() noexcept { return static_cast<double>(next() >> 11) * 0x1p-53; }

  /// Standard normal, `sqrt(-2 ln u1) cos(2 pi u2)`; takes two uniforms, u1 redrawn while 0.
  double normal() noexcept {
    double u1 = uniform();
    while (!(u1 > 0)) u1 = uniform();
    const double u2 = uniform();
    return std::sqrt(-2 * std::log(u1)) * std::cos(2 * std::numbers::pi * u2);
  }

 private:
  std::uint64_t state_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RANDOM_HPP

// ---- loglinear/rules/hyperparameters.hpp

#ifndef LOGLINEAR_RULES_HYPERPARAMETERS_HPP
#define LOGLINEAR_RULES_HYPERPARAMETERS_HPP

/// \file
/// What a rule or a level weighting says of itself, once: its names, and of each hyperparameter the
/// name, the legal range and values to show it with. Checks, mode texts, tests, benchmarks and
/// tables are made from it. A rule of one's own may leave it out.
///
///     struct MyRule {
///       double gate_bias = 0;
///       static constexpr RuleInfo info{.name = "MyRule", .text = "my_rule"};
///       static constexpr void hyperparameters(auto& self, auto&& visit) {
///         visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
///       }
///       ...

namespace loglinear {

/// The finite numbers between two ends, each of which may belong to them or not.
struct Range {
  double low = std::numeric_limits<double>::lowest();
  double high = (std::numeric_limits<double>::max)();
  bool has_low = true, has_high = true;  ///< whether the ends themselves are legal

  [[nodiscard]] static constexpr Range between(double low, double high) { return {low, high}; }
  [[nodiscard]] static constexpr Range above_to(double low, double high) {
    return {low, high, false, true};
  }  ///< (low, high]
  [[nodiscard]] static constexpr Range from_to_below(double low, double high) {
    return {low, high, true, false};
  }  ///< [low, high)
  [[nodiscard]] static constexpr Range at_least(double low) { return {.low = low}; }
  [[nodiscard]] static constexpr Range above(double low) { return {.low = low, .has_low = false}; }

  /// Whether a number lies in it; NaN and the infinities never do.
  [[nodiscard]] bool holds(double value) const {
    return detail::is_finite(value) && (has_low ? value >= low : value > low) &&
           (has_high ? value <= high : value < high);
  }
  /// Whether both ends are given.
  [[nodiscard]] constexpr bool is_bounded() const {
    return low > Range{}.low && high < Range{}.high;
  }

  /// Whether all members are equal.
  [[nodiscard]] constexpr bool operator==(const Range&) const = default;
};

/// One hyperparameter. Those that are no numbers have all values of their type.
struct Hyperparameter {
  std::string_view name;         ///< of the member, and in a text
  Range range{};                 ///< what is legal
  double example = 1;            ///< legal, and not the default
  std::optional<double> slow{};  ///< with which a stream is forgotten in some 10,000 tokens; the
                                 ///< default unless given
};

/// What a rule, or a level weighting, is called, and what a table says of it.
struct RuleInfo {
  std::string_view name;        ///< of its type, as errors name it
  std::string_view text;        ///< in a text
  std::string_view paper{};     ///< its number on arXiv
  std::string_view equation{};  ///< what a token does to the state, in the notation of the comments
  bool bounds_output = false;  ///< whether layers made at run time bound its output by a tanh; they
                               ///< do so too where keys are normalised
};

/// A rule with those hyperparameters with which it forgets slowly.
template <class Rule>
[[nodiscard]] Rule slow() {
  Rule rule;
  Rule::hyperparameters(rule, [](const Hyperparameter& parameter, auto& value) {
    if constexpr (std::is_same_v<decltype(value), double&>) value = parameter.slow.value_or(value);
  });
  return rule;
}

/// The words of values that are not numbers, in the order of the values.
[[nodiscard]] constexpr std::array<std::string_view, 2> words_of(bool) {
  return {"false", "true"};
}

namespace detail {

/// What says of itself what it is called and what its hyperparameters are.
template <class Type>
concept Described = requires {
  { Type::info.name } -> std::convertible_to<std::string_view>;
};

/// Throws unless a value is in its range.
template <class Number>
void require_in(const Range& range, const Text& argument, const Number& value) {
  if (range.holds(static_cast<double>(value))) return;
  if (range == Range{}) fail(argument, value, "finite");
  if (!range.is_bounded()) {
    fail(argument, value, range.has_low ? "finite and at least " : "finite and above ", range.low);
  }
  if (range.has_low && range.has_high) {
    fail(argument, value, "between ", range.low, " and ", range.high);
  }
  fail(argument, value, range.has_low ? "in [" : "in (", range.low, ", ", range.high,
       range.has_high ? "]" : ")");
}

template <Described Type>
void require_legal(const Type& described);

/// Throws unless a hyperparameter of `owner` has a legal value.
inline void require_legal(std::string_view owner, const Hyperparameter& parameter, double value) {
  if (!parameter.range.holds(value)) {
    require_in(parameter.range, Text(owner, "::", parameter.name), value);
  }
}
inline void require_legal(std::string_view owner, const Hyperparameter& parameter, int value) {
  if (!parameter.range.holds(value)) {
    require_in(parameter.range, Text(owner, "::", parameter.name), value);
  }
}
inline void require_legal(std::string_view owner, const Hyperparameter& parameter,
                          const std::optional<double>& value) {
  if (value) require_legal(owner, parameter, *value);
}
/// Words are all legal; an alternative of a variant has hyperparameters of its own.
template <class Value>
void require_legal(std::string_view, const Hyperparameter&, const Value& value) {
  if constexpr (!std::is_enum_v<Value> && !std::is_same_v<Value, bool>) {
    visit([](const auto& alternative) { require_legal(alternative); }, value);
  }
}

/// Throws unless every hyperparameter has a legal value; names the first that has not.
template <Described Type>
void require_legal(const Type& described) {
  Type::hyperparameters(described, [](const Hyperparameter& parameter, const auto& value) {
    require_legal(Type::info.name, parameter, value);
  });
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HYPERPARAMETERS_HPP

// ---- loglinear/transitions/token.hpp

#ifndef LOGLINEAR_TRANSITIONS_TOKEN_HPP
#define LOGLINEAR_TRANSITIONS_TOKEN_HPP

namespace loglinear {

/// What a rule writes: the leaf `sum_j keys_j values_j^T`, the query and the transition of one
/// token. The gradient of a loss with respect to a token is again a token.
template <class Kind>
struct Token {
  using Scalar = typename Kind::Scalar;

  /// All zeros.
  Token(Eigen::Index key_rows, Eigen::Index d_v, Eigen::Index leaves)
      : keys(detail::zeros<detail::Matrix<Scalar>>(key_rows, leaves)),
        values(detail::zeros<detail::Matrix<Scalar>>(d_v, leaves)),
        query(detail::zeros<Scalar>(key_rows)),
        transition(key_rows, d_v) {}

  detail::Matrix<Scalar> keys;    ///< key_rows x leaves
  detail::Matrix<Scalar> values;  ///< d_v x leaves
  detail::Vector<Scalar> query;   ///< length key_rows
  Kind transition;                ///< what older states undergo
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_TOKEN_HPP

// ---- loglinear/rules/rule.hpp

#ifndef LOGLINEAR_RULES_RULE_HPP
#define LOGLINEAR_RULES_RULE_HPP

/// \file
/// What an inner rule is: the preparation that turns the projections of one token into the leaf it
/// writes and the transition that older states undergo, and the pullback of that preparation.
///
/// A rule is a small aggregate of hyperparameters with four members to write:
///
///     struct MyRule {
///       double gate_bias = 0;                                              // hyperparameters
///       template <class Scalar> using Transition = ScalarDecay<Scalar>;    // 1. the kind
///       auto parameters(Index d_k, Index d_v) const {                      // 2. own weights
///         return std::array{projection("w_gate", 1)};
///       }
///       void prepare(const auto& in, auto& token) const;                   // 3. forward
///       void pullback(const auto& in, const auto& token,                   // 4. backward
///                     auto& d_token, auto& d_in) const;
///     };
///
/// and, where they differ from the usual: `leaves` (how many `k v^T` a token writes, a static
/// constexpr int, 1), `normalizes_key` (whether `KeyOnly` writes `k/|k|`, a static constexpr bool,
/// false), `key_rows(d_k)` (rows of the state, d_k), `prepare_query(in, query)` (`query = in.q`),
/// `info` and `hyperparameters` (names and legal ranges, see hyperparameters.hpp) and `validate()`
/// (throws std::invalid_argument on illegal hyperparameters). A rule never sees a state's storage.
/// Layers call it in a mode in which denormal numbers are zero (docs/numerics.md), and threads that
/// it started would stay in it. Any of these, and copies of the rule, may throw whatever they like:
/// the layer is then what it was before the call. Moves of a rule must not throw.

namespace loglinear {

/// One weight array that a rule or a level weighting needs beyond W_k, W_v and W_q.
struct Parameter {
  std::string_view name;  ///< by which the layer reads and sets it; a string literal
  Eigen::Index rows = 0;  ///< outputs of the projection, or length of the free vector; 0: absent
  bool is_projection = true;        ///< a matrix `rows x d_model` applied to x, or a free vector
  std::optional<double> initial{};  ///< all coefficients start here instead of being drawn
};

/// A projection of the input: `in.own` holds its `rows` outputs.
[[nodiscard]] constexpr Parameter projection(std::string_view name, Eigen::Index rows) {
  return {name, rows, true, {}};
}

/// A vector of weights that does not depend on the input: `in.free` holds it.
[[nodiscard]] constexpr Parameter free_vector(std::string_view name, Eigen::Index rows,
                                              std::optional<double> initial = {}) {
  return {name, rows, false, initial};
}

/// What a rule reads: the projections of one token. `Vec` is a read-only or a writable view; with a
/// writable one the same struct receives the gradient. Views are of the layer's memory and valid
/// within the call alone: a rule that keeps one must copy its numbers.
template <class Vec>
struct Projections {
  Vec k;     ///< W_k x, length d_k
  Vec v;     ///< W_v x, length d_v
  Vec q;     ///< W_q x, length d_k
  Vec own;   ///< the rule's own projections one after the other, in the order of `parameters`
  Vec free;  ///< the rule's free vectors one after the other, likewise
};

namespace detail {

template <class Scalar>
using ConstVectorView = Eigen::Map<const Vector<Scalar>>;
template <class Scalar>
using VectorView = Eigen::Map<Vector<Scalar>>;

template <class Rule>
[[nodiscard]] constexpr int leaves_of() {
  if constexpr (requires { Rule::leaves; }) {
    return Rule::leaves;
  } else {
    return 1;
  }
}

template <class Rule>
[[nodiscard]] constexpr bool normalizes_key() {
  if constexpr (requires { Rule::normalizes_key; }) {
    return Rule::normalizes_key;
  } else {
    return false;
  }
}

template <class Rule>
[[nodiscard]] Index key_rows_of(const Rule& rule, Index d_k) {
  if constexpr (requires { rule.key_rows(d_k); }) {
    return rule.key_rows(d_k);
  } else {
    return d_k;
  }
}

template <class Rule, class In, class Query>
void prepare_query(const Rule& rule, const In& in, Query& query) {
  if constexpr (requires { rule.prepare_query(in, query); }) {
    rule.prepare_query(in, query);
  } else {
    copy(in.q.data(), in.q.size(), query.data());
  }
}

/// Throws where a hyperparameter is illegal: where its own `validate` says so, or else its ranges.
template <class Rule>
void validate_rule(const Rule& rule) {
  if constexpr (requires { rule.validate(); }) {
    rule.validate();
  } else if constexpr (Described<Rule>) {
    require_legal(rule);
  }
}

}  // namespace detail

/// The requirement `Rule::Transition<Scalar>` names a kind of transition.
template <class Rule, class Scalar>
concept HasTransition = Transition<typename Rule::template Transition<Scalar>, Scalar>;

/// The requirement `rule.parameters(d_k, d_v)` returns a range of `Parameter`.
template <class Rule>
concept HasParameters = requires(const Rule& rule, Eigen::Index d) {
  { *rule.parameters(d, d).begin() } -> std::convertible_to<Parameter>;
};

/// The requirement `rule.prepare(in, token)`: fills `token.keys`, `token.values` and
/// `token.transition` from the projections. Called with every member sized.
template <class Rule, class Scalar>
concept HasPrepare = requires(const Rule& rule,
                              const Projections<detail::ConstVectorView<Scalar>>& in,
                              Token<typename Rule::template Transition<Scalar>>& token) {
  rule.prepare(in, token);
};

/// The requirement `rule.pullback(in, token, d_token, d_in)`: from the gradient with respect to the
/// token, writes `d_in.k`, `d_in.v`, `d_in.own` and `d_in.free`. `d_in.q` already holds
/// `d_token.query`; a rule with a `prepare_query` of its own overwrites it. `d_token` is the rule's
/// to use as scratch memory.
template <class Rule, class Scalar>
concept HasPullback = requires(const Rule& rule,
                               const Projections<detail::ConstVectorView<Scalar>>& in,
                               const Token<typename Rule::template Transition<Scalar>>& token,
                               Projections<detail::VectorView<Scalar>>& d_in) {
  rule.pullback(in, token, token, d_in);
};

/// An inner rule: see the top of this file for what a rule has to supply and an example in
/// `examples/own_rule.cpp`.
template <class Rule, class Scalar>
concept InnerRule = std::copyable<Rule> && HasTransition<Rule, Scalar> && HasParameters<Rule> &&
    HasPrepare<Rule, Scalar> && HasPullback<Rule, Scalar>;

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RULE_HPP

// ---- loglinear/layer/detail/parameters.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP
#define LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP

// The weights of a layer: all projections of x stacked into one matrix, so that a token costs one
// product and a training step one rank-one update, and all free vectors in one more.

namespace loglinear::detail {

template <class Scalar>
class Parameters {
 public:
  explicit Parameters(Index d_model) : d_model_(d_model) {}

  /// Appends an array; returns where it begins in the stacked projections or free vectors.
  /// \throws std::invalid_argument where it has fewer than no rows, or its bytes are no Index
  Index append(const Parameter& shape) {
    Index& end = shape.is_projection ? projected_ : free_size_;
    const Index begin = end, columns = shape.is_projection ? d_model_ : Index{1};
    constexpr Index most = (std::numeric_limits<Index>::max)() / Index{sizeof(Scalar)};
    if (shape.rows < 0 || shape.rows > most / columns - end) {
      fail(Text("the number of rows of ", shape.name), shape.rows, "between 0 and ",
           most / columns - end);
    }
    end += shape.rows;
    if (shape.rows > 0) arrays_.push_back({std::string(shape.name), shape, begin});
    return begin;
  }

  /// Allocates everything and draws it, array after array in the order of appending,
  /// row by row: `scale` times a standard normal, or the constant that the parameter names.
  void draw(Xorshift64& random, double scale = 0.01) {
    projections_ = detail::zeros<Matrix<Scalar>>(projected_, d_model_);
    free_ = detail::zeros<Scalar>(free_size_);
    const auto weight = [&](const Parameter& shape) {
      const double value = shape.initial ? *shape.initial : scale * random.normal();
      if (!is_finite(Scalar(value))) fail(shape.name, value, "finite in the layer's scalar");
      return Scalar(value);
    };
    for (const Array& array : arrays_) {
      for (Index i = array.begin; i < array.begin + array.shape.rows; ++i) {
        if (!array.shape.is_projection) free_[i] = weight(array.shape);
        for (Index j = 0; array.shape.is_projection && j < d_model_; ++j) {
          projections_(i, j) = weight(array.shape);
        }
      }
    }
    measure();
  }

  [[nodiscard]] Index projected_size() const { return projected_; }
  [[nodiscard]] Index free_size() const { return free_size_; }
  [[nodiscard]] Index d_model() const { return d_model_; }
  [[nodiscard]] const Vector<Scalar>& free() const { return free_; }

  /// \name What steps of the weights are made on; `admit_growth` first
  /// \{
  [[nodiscard]] Scalar* column(Index input) { return projections_.data() + input * projected_; }
  [[nodiscard]] const Scalar* column(Index input) const {
    return projections_.data() + input * projected_;
  }
  [[nodiscard]] Scalar* free_data() { return free_.data(); }
  /// Throws unless every weight stays finite when it becomes `factor` times as large at most, and
  /// then moves by `step` at most.
  void admit_growth(double factor, double step) {
    const double limit = magnitude_limit<Scalar>();
    if (!is_at_most(magnitude_ * factor + step, limit)) measure();
    const double after = magnitude_ * factor + step;
    if (!is_at_most(after, limit)) {
      fail("the largest weight after this step", after, "within the range of the scalar type");
    }
    magnitude_ = after;
  }
  /// Throws unless the other has arrays of the same names and shapes.
  void require_same_arrays(const Parameters& other) const {
    require_size("the gradient (columns, d_model)", other.d_model_, d_model_);
    require_size("the gradient (arrays)", static_cast<Index>(other.arrays_.size()),
                 static_cast<Index>(arrays_.size()));
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Array &own = arrays_[i], &others = other.arrays_[i];
      if (others.name != own.name) fail("an array of the gradient", others.name, own.name);
      require_size(Text("the gradient of ", own.name, " (rows)"), others.shape.rows,
                   own.shape.rows);
    }
    require_size("the gradient (rows of projections)", other.projections_.rows(),
                 projections_.rows());
    require_size("the gradient (free vectors)", other.free_.size(), free_.size());
  }
  /// \}

  /// raw = W x for the stacked projections from row `from` on. It begins at a whole packet, with at
  /// least one of them where there is one, and sums in one chain, so that a row's rounding does not
  /// depend on `from`.
  void project(const Vector<Scalar>& x, Vector<Scalar>& raw, Index from = 0) const {
    constexpr Index width = packet_size<Scalar>;
    from -= from % width;
    if (from > 0 && projected_ - from < width) from -= width;
    weighted_rows<false, 1>(projections_.data() + from, d_model_, projected_ - from, projected_,
                            x.data(), raw.data() + from);
  }

  /// raw = x W^T, a row a token.
  void project_rows(const ConstRowBlock<Scalar>& x, RowMajorMatrix<Scalar>& raw) const {
    product<Into::replace>(x, by_input(), raw);
  }
  /// d_x = d_raw W, a row a token.
  void project_rows_back(const RowMajorMatrix<Scalar>& d_raw, const RowBlock<Scalar>& d_x) const {
    RowMajorMatrix<Scalar> transposed, d_x_transposed(d_model_, d_raw.rows());
    transpose_into(d_raw, transposed);
    product<Into::replace>(by_input(), transposed, d_x_transposed);
    transpose_into(d_x_transposed, d_x);
  }

  /// The same arrays, all zero: for a gradient.
  [[nodiscard]] Parameters zeros() const {
    Parameters zeros(*this);
    std::fill_n(zeros.projections_.data(), projections_.size(), Scalar(0));
    std::fill_n(zeros.free_.data(), free_.size(), Scalar(0));
    zeros.magnitude_ = 0;
    return zeros;
  }
  /// W += d_raw^T x, for a gradient.
  void add_outer_rows(const ConstRowBlock<Scalar>& x, const RowMajorMatrix<Scalar>& d_raw) {
    const RowBlock<Scalar> by_input(projections_.data(), d_model_, projected_, projected_);
    product<Into::add>(x.transpose(), d_raw, by_input);
  }
  void add_free(const Vector<Scalar>& d_free) {
    add(free_.data(), d_free.data(), free_.size(), free_.data());
  }

  /// W -= learning_rate * the gradient. \throws std::invalid_argument for the gradient of other
  /// arrays, or where a weight would not be finite; nothing is changed then
  void descend(double learning_rate, const Parameters& gradient) {
    require_same_arrays(gradient);
    gradient.require_finite_gradient();
    admit_step(learning_rate, max_abs(gradient.projections_), 1, max_abs(gradient.free_));
    if (is_exactly(learning_rate, 0.0)) return;
    const auto step = -Scalar(learning_rate);
    axpy<Scalar>(step, gradient.projections_.data(), projections_.size(), projections_.data());
    axpy<Scalar>(step, gradient.free_.data(), free_.size(), free_.data());
  }

  /// Throws unless the step of `descend` leaves every weight finite.
  void require_descendable(double learning_rate, const Vector<Scalar>& d_raw,
                           const Vector<Scalar>& x, const Vector<Scalar>& d_free) {
    const double largest = max_abs(d_raw), largest_free = max_abs(d_free);
    if (!is_finite(largest) || !is_finite(largest_free)) {
      require_finite("coefficient # of the gradient", d_raw);
      require_finite("coefficient # of the gradient", d_free);
    }
    admit_step(learning_rate, largest, max_abs(x), largest_free);
  }

  /// Throws unless every number is finite, as those of a gradient.
  void require_finite_gradient() const {
    require_finite("coefficient # of the gradient", projections_);
    require_finite("coefficient # of the gradient", free_);
  }

  /// W -= learning_rate * d_raw x^T and free -= learning_rate * d_free; d_raw is scaled on the way.
  void descend(double learning_rate, Vector<Scalar>& d_raw, const Vector<Scalar>& x,
               const Vector<Scalar>& d_free) {
    const auto step = -Scalar(learning_rate);
    scale_by<Scalar>(step, d_raw.data(), d_raw.size());
    add_outer(projections_.data(), d_model_, projected_, projected_, x.data(), d_raw.data());
    axpy<Scalar>(step, d_free.data(), free_.size(), free_.data());
  }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Array& array : arrays_) names.push_back(array.name);
    return names;
  }

  /// A read-only view of one array: `rows x d_model`, or `1 x rows` for a free vector.
  [[nodiscard]] ConstMatrixView<Scalar> get(std::string_view name) const {
    const Array& array = find(name);
    if (array.shape.is_projection) {
      return {projections_.data() + array.begin, array.shape.rows, d_model_,
              Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(projected_, 1)};
    }
    return {free_.data() + array.begin, 1, array.shape.rows,
            Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(1, 1)};
  }

  template <class Derived>
  void set(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const Array& array = find(name);
    const ConstMatrixView<Scalar> old = get(name);
    require_size(Text("rows of ", array.name), value.rows(), old.rows());
    require_size(Text("columns of ", array.name), value.cols(), old.cols());
    const Matrix<Scalar> evaluated = value;
    require_finite(name, evaluated);
    require_between(Text("the largest coefficient of ", array.name), max_abs(evaluated), 0.0,
                    magnitude_limit<Scalar>());
    if (array.shape.is_projection) {
      projections_.middleRows(array.begin, array.shape.rows) = evaluated;
    } else {
      free_.segment(array.begin, array.shape.rows) = evaluated.row(0).transpose();
    }
    measure();
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (const Array& array : self.arrays_) {
      if (array.shape.is_projection) {
        part(array.name, self.projections_.middleRows(array.begin, array.shape.rows));
      } else {
        part(array.name, self.free_.segment(array.begin, array.shape.rows));
      }
    }
    if constexpr (is_written<Self>) {
      self.measure();
      require_between("the largest weight", self.magnitude_, 0.0, magnitude_limit<Scalar>());
    }
  }

  template <class Other>
  [[nodiscard]] Parameters<Other> cast() const {
    Parameters<Other> other(d_model_);
    for (const Array& array : arrays_) {
      other.append({array.name, array.shape.rows, array.shape.is_projection, array.shape.initial});
    }
    Xorshift64 random(1);
    other.draw(random);
    for (const Array& array : arrays_) {
      other.set(array.name, get(array.name).template cast<Other>());
    }
    return other;
  }

 private:
  struct Array {
    std::string name;
    Parameter shape;
    Index begin;
  };

  /// The stacked projections as d_model x outputs, row-major.
  [[nodiscard]] ConstRowBlock<Scalar> by_input() const {
    return {projections_.data(), d_model_, projected_, projected_};
  }

  [[nodiscard]] const Array& find(std::string_view name) const {
    for (const Array& array : arrays_) {
      if (array.name == name) return array;
    }
    std::string legal = "one of";
    for (const Array& array : arrays_) legal += ' ' + array.name;
    fail("weight name", name, legal);
  }

  /// Every step of the weights passes here: throws unless it leaves all of them finite. A gradient
  /// of the projections is the product of something up to `largest` and something up to
  /// `largest_x`.
  void admit_step(double learning_rate, double largest, double largest_x, double largest_free) {
    // An infinite rate would turn a gradient of 0 into NaN. `descend` multiplies d_raw first: x may
    // be so small that only their product is finite.
    const double rate = learning_rate * largest_x, limit = magnitude_limit<Scalar>();
    require_between("the learning rate times the largest gradient of a projection",
                    learning_rate * largest, 0.0, limit);
    require_between("the learning rate times the largest |x|, or 1,",
                    (std::max)(rate, learning_rate), 0.0, limit);
    admit_growth(1, (std::max)(rate * largest, learning_rate * largest_free));
  }

  void measure() { magnitude_ = (std::max)(max_abs(projections_), max_abs(free_)); }

  std::vector<Array> arrays_{};
  Matrix<Scalar> projections_{};  // column-major: W x runs along contiguous outputs
  Vector<Scalar> free_{};
  Index d_model_, projected_ = 0, free_size_ = 0;
  double magnitude_ = 0;  // an upper bound of every weight's absolute value
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP

// ---- loglinear/stream/detail/read_memory.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_READ_MEMORY_HPP
#define LOGLINEAR_STREAM_DETAIL_READ_MEMORY_HPP

// The memory in which a stream is read, sized once so that no read allocates.

namespace loglinear::detail {

/// How large the memory of reads must be.
struct ReadShape {
  Index key_rows = 0, d_v = 0;
  Index max_levels = 0;
  Index columns = 0;  // of the buffer of newest leaves
  Index tiers = 0;    // of levels with pending transitions in common
};

/// Whether a write takes products of the state with p: a read then forms them on the way.
template <class Kind>
inline constexpr bool looks_up = is_rank_one_update<Kind>&& HasSteps<Kind>;

/// What a read finds out for the write of the next token, where the kind `looks_up`.
template <class Kind>
struct LookUp {
  using Scalar = typename Kind::Scalar;

  explicit LookUp(const ReadShape& shape)
      : pulled_p(zeros<Scalar>(looks_up<Kind> ? shape.key_rows : 0)),
        found(zeros<Scalar>(looks_up<Kind> ? shape.columns : 0)),
        of_state(zeros<Scalar>(looks_up<Kind> && shape.max_levels == 1 ? shape.d_v : 0)) {}

  Vector<Scalar> pulled_p;  // p of the token's update as the levels see it
  Vector<Scalar> found;     // p . k of each buffered leaf
  Vector<Scalar> of_state;  // S^T p where there is one level
};

/// What a read works in. It leaves there what its pullback takes.
template <class Kind>
struct ReadMemory {
  using Scalar = typename Kind::Scalar;

  explicit ReadMemory(const ReadShape& shape)
      : old_query(zeros<Scalar>(shape.key_rows)),
        old_read(zeros<Scalar>(shape.d_v)),
        tier_queries(zeros<Matrix<Scalar>>(shape.key_rows, shape.tiers)),
        tier_scales(zeros<Matrix<Scalar>>(shape.d_v, shape.tiers)),
        level_read(zeros<Scalar>(shape.d_v)),
        scores(zeros<Scalar>(shape.columns)),
        looked_up(shape) {}

  Vector<Scalar> old_query;     // a token's query as the older states see it: L^T q
  Vector<Scalar> old_read;      // what it reads of them, before diag(r)
  Matrix<Scalar> tier_queries;  // column i: the query as the levels of tier i see it
  Matrix<Scalar> tier_scales;   // column i: what their reads are multiplied by
  Vector<Scalar> level_read;    // one level's share of the read
  Vector<Scalar> scores;        // k . query of each buffered leaf
  LookUp<Kind> looked_up;
};

/// What the pullback of a read works in.
template <class Kind>
struct PullbackMemory {
  using Scalar = typename Kind::Scalar;

  explicit PullbackMemory(const ReadShape& shape)
      : d_old_read(shape.d_v),
        d_old_query(shape.key_rows),
        d_scores(shape.columns),
        level_weights(shape.key_rows, shape.max_levels),
        level_cotangents(shape.d_v, shape.max_levels + 1),
        products(shape.d_v),
        row_weights(shape.key_rows),
        pushed(shape.key_rows) {}

  Vector<Scalar> d_old_read, d_old_query, d_scores;
  Matrix<Scalar> level_weights;     // column l: the weight of each row of level l
  Matrix<Scalar> level_cotangents;  // column l: d_old_read as level l sees it; one is to spare
  Vector<Scalar> products;          // of reads of levels and their cotangents, summed
  Vector<Scalar> row_weights;       // what is pending for a level, where that is a diagonal
  Vector<Scalar> pushed;            // scratch
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READ_MEMORY_HPP

// ---- loglinear/layer/detail/workspace.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_WORKSPACE_HPP
#define LOGLINEAR_LAYER_DETAIL_WORKSPACE_HPP

// The memory in which a layer works on one token, sized once so that no call allocates.

namespace loglinear::detail {

/// Where each part of a token's stacked projections, and of the free vectors, begins.
struct Layout {
  Index d_k = 0, d_v = 0, key_rows = 0;
  Index v = 0, q = 0, lambda = 0, own = 0, end = 0;  // k begins at 0
  Index free_own = 0, free_end = 0;                  // the level weights' free vector at 0
  Index free_size = 0;                               // with a bias for each projection, or none

  /// The rule's share of stacked projections and free vectors, as a rule sees it.
  template <class Vec, class Raw>
  [[nodiscard]] Projections<Vec> rule_part(Raw* raw, Raw* free) const {
    return {Vec(raw, d_k), Vec(raw + v, d_v), Vec(raw + q, d_k), Vec(raw + own, end - own),
            Vec(free + free_own, free_end - free_own)};
  }
  /// The level weights' share.
  template <class Vec, class Raw>
  [[nodiscard]] Vec lambda_part(Raw* raw) const {
    return Vec(raw + lambda, own - lambda);
  }
  template <class Vec, class Raw>
  [[nodiscard]] Vec lambda_free_part(Raw* free) const {
    return Vec(free, free_own);
  }
};

/// Everything a read needs; the forward half of a token.
template <class Kind>
struct Workspace {
  using Scalar = typename Kind::Scalar;

  Workspace(const Layout& layout, Index d_model, Index leaves, Index weights,
            const ReadShape& shape)
      : max_levels(shape.max_levels),
        x(zeros<Scalar>(d_model)),
        raw(zeros<Scalar>(layout.end)),
        token(layout.key_rows, layout.d_v, leaves),
        lambda(zeros<Scalar>(weights)),
        stream(shape),
        read(zeros<Scalar>(layout.d_v)),
        output(zeros<Scalar>(layout.d_v)) {}

  Index max_levels;         // of the layer that it is for
  Vector<Scalar> x;         // the input
  Vector<Scalar> raw;       // all projections of x, stacked
  Token<Kind> token;        // what the rule made of them
  Vector<Scalar> lambda;    // level weights
  ReadMemory<Kind> stream;  // what the stream is read in
  Vector<Scalar> read;      // the raw read
  Vector<Scalar> output;    // tanh of it
};

/// Throws unless a workspace is made for a layer of the same shape as another is.
template <class Kind>
void require_shape_of(const Workspace<Kind>& own, const Workspace<Kind>& given) {
  require_size("the workspace's x", given.x.size(), own.x.size());
  require_size("the workspace's projections", given.raw.size(), own.raw.size());
  require_size("the workspace's query", given.token.query.size(), own.token.query.size());
  require_size("the workspace's output", given.output.size(), own.output.size());
  require_size("the workspace's lambda", given.lambda.size(), own.lambda.size());
  require_size("the workspace's levels", given.max_levels, own.max_levels);
  require_size("the workspace's tiers", given.stream.tier_queries.cols(),
               own.stream.tier_queries.cols());
}

/// The backward half: gradients of the loss with respect to what its name says after `d_`.
template <class Kind>
struct TrainingWorkspace {
  using Scalar = typename Kind::Scalar;

  TrainingWorkspace(const Layout& layout, Index leaves, Index weights, const ReadShape& shape)
      : d_read(layout.d_v),
        d_lambda(weights),
        stream(shape),
        d_token(layout.key_rows, layout.d_v, leaves),
        d_raw(layout.end),
        d_free(layout.free_size) {}

  Vector<Scalar> d_read, d_lambda;
  PullbackMemory<Kind> stream;
  Token<Kind> d_token;
  Vector<Scalar> d_raw, d_free;
};

/// A read in the making. Where that is refused, for it is not finite, it becomes 0: a refused call
/// shows no infinity.
template <class Scalar>
class ReadInMaking {
 public:
  explicit ReadInMaking(Vector<Scalar>& read) : read_(read) {}
  ~ReadInMaking() {
    if (!done_ && !all_finite(read_)) std::fill_n(read_.data(), read_.size(), Scalar(0));
  }
  ReadInMaking(const ReadInMaking&) = delete;
  ReadInMaking& operator=(const ReadInMaking&) = delete;
  void done() { done_ = true; }

 private:
  Vector<Scalar>& read_;
  bool done_ = false;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_WORKSPACE_HPP

// ---- loglinear/layer/step.hpp

#ifndef LOGLINEAR_LAYER_STEP_HPP
#define LOGLINEAR_LAYER_STEP_HPP

namespace loglinear {

/// How `train_one` and `train_span` move the weights, given the gradient g of the loss.
enum class StepRule {
  /// `w <- w - rate g`: plain stochastic gradient descent. The rate must suit the data.
  sgd,
  /// Adam (Kingma and Ba, arXiv:1412.6980): `m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`,
  /// `w <- w - rate m' / (sqrt(v') + epsilon)`, m' and v' being m and v over `1 - b^t`. The size of
  /// the gradient does not matter; that of the inputs does.
  adam,
  /// An adaptive step for inputs of any scale, in the way of the normalised updates of Ross,
  /// Mineiro
  /// and Langford (*Normalized Online Learning*, arXiv:1305.6646): with s_j the root mean square of
  /// input j where that is not 0, `g <- g / s_j`, `v <- b2 v + (1 - b2) g^2` and
  /// `w <- w - rate_t g / (s_j sqrt(v'))` for a weight of input j; s is 1 for any other.
  ///
  /// The rate falls: `rate_t = rate max(1/10, sqrt(300 / (299 + t)))` at step t. Weights that were
  /// drawn are for inputs of size 1: over the first 32 values of input j that are not 0 they are
  /// divided by s_j, too, so that training begins the same whatever the scale. Scaling inputs
  /// scales the weights the other way and changes nothing else, as long as it scales all of them,
  /// or leaves none below 1e-6 of the largest: a value that is smaller than 1e-6 times the largest
  /// s may be the rounding residue of a 0. It does not count unless its input is known to be
  /// larger, and s_j is that much while nothing else is known.
  normalized,
};

/// What a step rule is called in texts, and the rate that it has unless one is given.
struct StepRuleInfo {
  StepRule rule;          ///< its value
  std::string_view name;  ///< in texts
  double rate;            ///< the learning rate unless one is given
};

/// All step rules, in the order of `StepRule`.
inline constexpr std::array<StepRuleInfo, 3> step_rule_table{{
    {StepRule::sgd, "sgd", 0.05},
    {StepRule::adam, "adam", 0.01},
    {StepRule::normalized, "normalized", 0.02},
}};
/// The row of a rule, one of the table's.
[[nodiscard]] constexpr const StepRuleInfo& info_of(StepRule rule) noexcept {
  return step_rule_table[static_cast<std::size_t>(rule)];
}
/// Its name in texts.
[[nodiscard]] constexpr std::string_view name_of(StepRule rule) noexcept {
  return info_of(rule).name;
}

namespace detail {

/// \throws std::invalid_argument for a value that is no step rule
inline void require_rule(StepRule rule) {
  const auto value = static_cast<int>(rule);
  if (value >= 0 && value < static_cast<int>(step_rule_table.size())) return;
  fail("the step rule", value, "one of StepRule");
}

}  // namespace detail

/// A step rule with its numbers; the rate is the layer's `learning_rate`.
struct Step {
  StepRule rule = StepRule::normalized;  ///< which
  double beta1 = 0.9;                    ///< of adam, in [0, 1)
  double beta2 = 0.999;                  ///< of adam and normalized, in [0, 1), above beta1^2
  double epsilon = 1e-8;                 ///< of adam, finite and at least 0
  /// The longest gradient of all weights of a head, in the units of the rule: longer ones are
  /// shortened to it. Finite and at least 0; 0 leaves every gradient as it is.
  double clip = 0;

  /// \throws std::invalid_argument for a number that is out of its range
  void validate() const {
    using detail::fail;
    detail::require_rule(rule);
    if (!(beta1 >= 0 && beta1 < 1)) fail("beta1", beta1, "in [0, 1)");
    if (!(beta2 >= 0 && beta2 < 1)) fail("beta2", beta2, "in [0, 1)");
    if (beta1 > 0 && beta1 * beta1 >= beta2) fail("beta2", beta2, "above beta1^2");
    if (!(epsilon >= 0 && detail::is_finite(epsilon))) fail("epsilon", epsilon, "finite, >= 0");
    if (!(clip >= 0 && detail::is_finite(clip))) fail("clip", clip, "finite, >= 0");
  }

  /// Whether all numbers are equal.
  [[nodiscard]] bool operator==(const Step&) const = default;
};

namespace detail {

/// What options of a layer say about learning, with what they leave open filled in: where only a
/// rate is given, it is that of plain gradient descent.
struct Learning {
  Step step;
  double rate;
  bool bias;

  template <class Options>
  explicit Learning(const Options& options)
      : step(options.step.value_or(
            Step{.rule = options.learning_rate ? StepRule::sgd : StepRule::normalized})),
        rate(options.learning_rate.value_or(known(step.rule).rate)),
        bias(options.bias.value_or(step.rule == StepRule::normalized)) {}

  [[nodiscard]] static const StepRuleInfo& known(StepRule rule) {
    require_rule(rule);
    return info_of(rule);
  }
};

}  // namespace detail
}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_STEP_HPP

// ---- loglinear/rules/type_list.hpp

#ifndef LOGLINEAR_RULES_TYPE_LIST_HPP
#define LOGLINEAR_RULES_TYPE_LIST_HPP

// Lists of types, to make variants, loops and further lists from.

namespace loglinear::detail {

template <class... Types>
struct TypeList {
  /// `Template<Types...>`
  template <template <class...> class Template>
  using Into = Template<Types...>;
  template <class Type>
  static constexpr bool contains = (std::is_same_v<Type, Types> || ...);

  /// Calls `work(std::type_identity<Type>{})` for each type in order.
  static constexpr void for_each(auto&& work) { (work(std::type_identity<Types>{}), ...); }
};

template <class... First, class... Second>
[[nodiscard]] TypeList<First..., Second...> operator+(TypeList<First...>, TypeList<Second...>);

/// The types of a list of which a predicate, `Is<Type>::value`, is true.
template <class List, template <class> class Is>
struct Filter;
template <class... Types, template <class> class Is>
struct Filter<TypeList<Types...>, Is> {
  using Type = decltype((TypeList<>{} + ... +
                         std::conditional_t<Is<Types>::value, TypeList<Types>, TypeList<>>{}));
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_RULES_TYPE_LIST_HPP

// ---- loglinear/rules/level_weights.hpp

#ifndef LOGLINEAR_RULES_LEVEL_WEIGHTS_HPP
#define LOGLINEAR_RULES_LEVEL_WEIGHTS_HPP

/// \file
/// How a token weighs the levels it reads: the policies that turn `W_lambda x` into lambda.
///
/// A policy is a small aggregate of hyperparameters. For n weights (M levels, or M + 1 when the
/// order is `current_apart`) it supplies
/// * `parameters(n)`: the weight arrays it needs: projections of x arrive in `raw`, free vectors in
///   `free`;
/// * `resolve<Scalar>(max_levels)`: fills in defaults that depend on the number of levels, and
/// throws
///   std::invalid_argument on hyperparameters that are illegal in the layer's scalar;
/// * `weigh(raw, free, lambda)`: forward, n weights;
/// * `pullback(raw, free, lambda, d_lambda, d_raw, d_free)`: backward;
/// * `levels`, if it is for one number of levels alone: a static constexpr int, see `OneLevel`;
/// * `is_chosen_at_run_time`, if it may turn out to be for one level: a static constexpr bool.

namespace loglinear {

/// A mixture: `lambda_l = softplus(r_l / tau) / sum_j softplus(r_j / tau)`,
/// `r = W_lambda x + lambda_init`. Non-negative, sums to 1 over all levels, active or not; where
/// every softplus underflows it is computed shifted, as the softmax it then is. Weights: `w_lambda`
/// (n x d_model).
struct NormalizedMixture {
  std::optional<double> lambda_init{};  ///< any finite number; 1 / max_levels unless given
  double tau = 1;                       ///< temperature, finite and > 0

  static constexpr RuleInfo info{.name = "NormalizedMixture", .text = "normalized_mixture"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "lambda_init", .example = 0.4}, self.lambda_init);
    visit({.name = "tau", .range = Range::above(0), .example = 0.7}, self.tau);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index n) const {
    return {projection("w_lambda", n)};
  }

  /// \throws std::invalid_argument unless lambda_init is finite, tau at least the smallest normal
  /// number and tau and 1 / tau finite, as numbers of the layer's scalar
  template <class Scalar>
  void resolve(int max_levels) {
    if (!lambda_init) lambda_init = 1.0 / max_levels;
    if (!detail::is_finite(Scalar(*lambda_init))) {
      detail::fail("lambda_init", *lambda_init, "finite in the layer's scalar");
    }
    const auto temperature = static_cast<Scalar>(tau);
    const Scalar smallest = (std::numeric_limits<Scalar>::min)();  // what is below counts as zero
    if (!(temperature > Scalar(0)) || temperature < smallest || !detail::is_finite(temperature) ||
        !detail::is_finite(Scalar(1) / temperature)) {
      detail::fail(
          "tau", tau,
          "finite and positive, no denormal number in the layer's scalar, and 1 / tau finite");
    }
  }

  void weigh(const auto& raw, const auto&, auto& lambda) const {
    weigh_levels(raw.data(), lambda.size(), lambda.data());
  }

  /// `d_r_j = sg(r_j/tau) / (tau sum softplus) (d_lambda_j - sum_i lambda_i d_lambda_i)`
  void pullback(const auto& raw, const auto&, const auto& lambda, const auto& d_lambda, auto& d_raw,
                auto&) const {
    pull_back_levels(raw.data(), lambda.data(), d_lambda.data(), lambda.size(), d_raw.data());
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const NormalizedMixture&) const = default;

 private:
  template <class Scalar>
  void weigh_levels(const Scalar* raw, Eigen::Index n, Scalar* lambda) const {
    shifted_logits(raw, n, lambda);
    if (all_underflow(lambda, n)) {
      const Scalar largest = *std::max_element(lambda, lambda + n);
      for (Eigen::Index i = 0; i < n; ++i) lambda[i] -= largest;
      detail::exp_of(lambda, n, lambda);
    } else {
      detail::softplus(lambda, n, lambda);
    }
    Scalar sum = detail::sum(lambda, n);
    if (!detail::is_finite(sum)) {  // each is finite, their sum is not
      const Scalar largest = *std::max_element(lambda, lambda + n);
      for (Eigen::Index i = 0; i < n; ++i) lambda[i] /= largest;
      sum = detail::sum(lambda, n);
    }
    for (Eigen::Index i = 0; i < n; ++i) lambda[i] /= sum;
  }

  template <class Scalar>
  void pull_back_levels(const Scalar* raw, const Scalar* lambda, const Scalar* d_lambda,
                        Eigen::Index n, Scalar* d_raw) const {
    const Scalar mean = detail::dot(lambda, d_lambda, n);
    shifted_logits(raw, n, d_raw);
    if (all_underflow(d_raw, n)) {  // d softplus(z)/dz over the sum of all softplus
      std::copy_n(lambda, n, d_raw);
    } else {
      const auto largest = std::max_element(lambda, lambda + n) - lambda;
      const Scalar sum = detail::softplus<Scalar>(d_raw[largest]) / lambda[largest];
      detail::sigmoids(d_raw, n, d_raw);
      for (Eigen::Index i = 0; i < n; ++i) d_raw[i] /= sum;
    }
    for (Eigen::Index i = 0; i < n; ++i) d_raw[i] *= (d_lambda[i] - mean) / Scalar(tau);
  }

  /// Whether softplus(z) is exp(z) everywhere, which may be 0. Most often the first z tells.
  template <class Scalar>
  [[nodiscard]] static bool all_underflow(const Scalar* z, Eigen::Index n) {
    const Scalar low(-detail::softplus_linear_from);
    return std::all_of(z, z + n, [&](const Scalar& value) { return value < low; });
  }
  template <class Scalar>
  void shifted_logits(const Scalar* raw, Eigen::Index n, Scalar* z) const {
    const Scalar shift = Scalar(*lambda_init), factor = Scalar(1) / Scalar(tau);
    for (Eigen::Index i = 0; i < n; ++i) z[i] = (raw[i] + shift) * factor;
  }
};

/// A mixture of the levels' means: `lambda_l = mixture_l / 2^l`, with the `NormalizedMixture` over
/// all levels and the 2^l tokens that level l holds. A sum of ever more leaves ends where tanh is
/// flat, and training there stands still; a mean does not grow. So this is the choice for endless
/// streams of rules without forgetting, `KeyOnly<...>`; docs/state.md has the figures. Past the
/// last level the sum grows there after all, unless that forgets or halves (`LastLevel`). Weights:
/// `w_lambda` (n x d_model).
struct MeanMixture {
  NormalizedMixture mixture{};  ///< its hyperparameters
  int max_levels = 0;           ///< set by the layer

  static constexpr RuleInfo info{.name = "MeanMixture", .text = "mean_mixture"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    NormalizedMixture::hyperparameters(self.mixture, visit);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index n) const {
    return mixture.parameters(n);
  }

  /// \throws std::invalid_argument as `NormalizedMixture`
  template <class Scalar>
  void resolve(int levels) {
    max_levels = levels;
    mixture.resolve<Scalar>(levels);
  }

  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    using Scalar = typename std::decay_t<decltype(lambda)>::Scalar;
    mixture.weigh(raw, free, lambda);
    for (Eigen::Index i = 0; i < lambda.size(); ++i) lambda[i] /= tokens<Scalar>(i, lambda.size());
  }

  void pullback(const auto& raw, const auto& free, const auto& lambda, const auto& d_lambda,
                auto& d_raw, auto& d_free) const {
    using Scalar = typename std::decay_t<decltype(d_lambda)>::Scalar;
    using Weights =  // on the stack
        Eigen::Matrix<Scalar, Eigen::Dynamic, 1, Eigen::ColMajor, max_level_limit + 1, 1>;
    const Eigen::Index n = lambda.size();
    Weights mixed(n), d_mixed(n);
    for (Eigen::Index i = 0; i < n; ++i) {
      mixed[i] = lambda[i] * tokens<Scalar>(i, n);
      d_mixed[i] = d_lambda[i] / tokens<Scalar>(i, n);
    }
    mixture.pullback(raw, free, mixed, d_mixed, d_raw, d_free);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const MeanMixture&) const = default;

 private:
  /// Tokens of the bucket under weight i of n: 2^level, and in the order `current_apart` the first
  /// is the token's own leaf. Dividing by a power of two rounds nothing.
  template <class Scalar>
  [[nodiscard]] Scalar tokens(Eigen::Index i, Eigen::Index n) const {
    const auto level = static_cast<int>(n > max_levels ? (std::max)(i - 1, Eigen::Index{0}) : i);
    return static_cast<Scalar>(static_cast<double>(std::uint64_t{1} << level));
  }
};

/// The paper's weights, not normalised: `lambda = softplus(L * (W_lambda x))`, L a free vector that
/// starts at ones (arXiv:2506.04761, section 3.4). Weights: `w_lambda` (n x d_model) and
/// `level_scale` (n).
struct SoftplusWeights {
  static constexpr RuleInfo info{.name = "SoftplusWeights", .text = "softplus_weights"};
  static constexpr void hyperparameters(auto&, auto&&) {}

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index n) const {
    return {projection("w_lambda", n), free_vector("level_scale", n, 1.0)};
  }

  template <class Scalar>
  void resolve(int) {}

  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    detail::multiply(free.data(), raw.data(), lambda.size(), lambda.data());
    detail::softplus(lambda.data(), lambda.size(), lambda.data());
  }

  void pullback(const auto& raw, const auto& free, const auto&, const auto& d_lambda, auto& d_raw,
                auto& d_free) const {
    const Eigen::Index n = d_lambda.size();
    auto *const through_raw = d_raw.data(), *const through_free = d_free.data();
    detail::multiply(free.data(), raw.data(), n, through_free);
    detail::sigmoids(through_free, n, through_free);  // softplus' = sg
    detail::multiply(d_lambda.data(), through_free, n, through_free);
    detail::multiply(through_free, free.data(), n, through_raw);
    detail::multiply(through_free, raw.data(), n, through_free);
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const SoftplusWeights&) const = default;
};

/// Every level counts the same, `lambda = 1`: with it a hierarchy reads what a single state of the
/// same rule would. No weights.
struct UnitWeights {
  static constexpr RuleInfo info{.name = "UnitWeights", .text = "unit_weights"};
  static constexpr void hyperparameters(auto&, auto&&) {}

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index) const { return {}; }

  template <class Scalar>
  void resolve(int) {}
  void weigh(const auto&, const auto&, auto& lambda) const {
    using Scalar = typename std::decay_t<decltype(lambda)>::Scalar;
    std::fill_n(lambda.data(), lambda.size(), Scalar(1));
  }
  void pullback(const auto&, const auto&, const auto&, const auto&, auto&, auto&) const {}

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const UnitWeights&) const = default;
};

/// The weight of a layer of one level, which is 1: of `LinearAttention`.
struct OneLevel : UnitWeights {
  static constexpr int levels = 1;  ///< the only `max_levels` that such a layer takes
};

namespace detail {

/// How many levels a policy is for, 0 for any number: its static member `levels`, if it has one.
template <class Policy>
[[nodiscard]] constexpr int fixed_levels() {
  if constexpr (requires { Policy::levels; }) {
    return Policy::levels;
  } else {
    return 0;
  }
}

/// Whether a layer of this policy is compiled with the step of one state.
template <class Policy>
[[nodiscard]] constexpr bool has_one_state() {
  if constexpr (requires { Policy::is_chosen_at_run_time; }) {
    return Policy::is_chosen_at_run_time;
  } else {
    return fixed_levels<Policy>() == 1;
  }
}

}  // namespace detail

/// What `LogLinearAttention` demands of its level weights.
template <class Policy, class Scalar>
concept LevelWeights = std::copyable<Policy> &&
    requires(Policy& policy, const Policy& fixed, const detail::ConstVectorView<Scalar>& in,
             detail::Vector<Scalar>& lambda, detail::VectorView<Scalar>& out) {
  policy.template resolve<Scalar>(1);
  { *fixed.parameters(Eigen::Index{}).begin() } -> std::convertible_to<Parameter>;
  fixed.weigh(in, in, lambda);
  fixed.pullback(in, in, lambda, lambda, out, out);
};

static_assert(LevelWeights<NormalizedMixture, double>);
static_assert(LevelWeights<MeanMixture, double>);
static_assert(LevelWeights<SoftplusWeights, double>);
static_assert(LevelWeights<UnitWeights, double>);
static_assert(LevelWeights<OneLevel, double>);

/// Every level weighting that can be chosen at run time. A new one is a policy and its line here.
using LevelWeightings =
    detail::TypeList<NormalizedMixture, MeanMixture, SoftplusWeights, UnitWeights>;

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_LEVEL_WEIGHTS_HPP

// ---- loglinear/layer/detail/preparation.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP
#define LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP

// What a layer makes of an input, apart from its state: projections, level weights, and the rule's
// leaf, query and transition; and the way back from their gradients to that of every weight. One
// token or a span of tokens, it is the same.

namespace loglinear::detail {

/// A layer that is a head, or has one under it.
template <class Type>
concept HasHead = requires {
  typename Type::Head;
};

/// The options of a layer, if they are all in their ranges.
template <class Weights, class Options>
[[nodiscard]] const Options& checked_options(const Options& options) {
  require_length("d_model", options.d_model);
  require_length("d_k", options.d_k);
  require_length("d_v", options.d_v);
  require_between("max_levels", options.max_levels, 1, max_level_limit);
  constexpr int fixed = fixed_levels<Weights>();
  if (fixed != 0 && options.max_levels != fixed) fail("max_levels", options.max_levels, fixed);
  return options;
}

template <class Inner, class Scalar, class Weights>
class Preparation {
  static_assert(!HasHead<Inner>,
                "log-linear attention cannot be the inner rule of log-linear attention: pass the "
                "rule inside it, such as LogLinearAttention<GatedDeltaNet>");
  static_assert(!Eigen::NumTraits<Scalar>::IsInteger,
                "LogLinearAttention needs a floating-point scalar: use float or double");
  static_assert(InnerRule<Inner, Scalar>,
                "Inner must satisfy InnerRule: see loglinear/rules/rule.hpp");
  static_assert(LevelWeights<Weights, Scalar>,
                "Weights must satisfy LevelWeights: see loglinear/rules/level_weights.hpp");

 public:
  using Kind = typename Inner::template Transition<Scalar>;
  using Read = Workspace<Kind>;
  using Gradient = TrainingWorkspace<Kind>;

  static constexpr Index leaves = leaves_of<Inner>();

  /// \param options  of a layer. \throws std::invalid_argument for one out of its range
  template <class Options>
  explicit Preparation(const Options& options)
      : inner_(checked_options<Weights>(options).inner),
        weights_(options.level_weights),
        parameters_(options.d_model),
        weight_count_(level_weight_count(options.read_order, options.max_levels)) {
    const Index d_k = options.d_k, d_v = options.d_v;
    layout_.d_k = d_k;
    layout_.d_v = d_v;
    layout_.key_rows = key_rows_of(inner_, d_k);
    require_length("key_rows(d_k) of the rule", layout_.key_rows);
    std::vector<Parameter> projections;
    const auto append = [&](const Parameter& shape) {
      if (shape.is_projection && shape.rows > 0) projections.push_back(shape);
      return parameters_.append(shape);
    };
    append(projection("w_key", d_k));
    layout_.v = append(projection("w_value", d_v));
    layout_.q = append(projection("w_query", d_k));
    layout_.lambda = parameters_.projected_size();
    for (const Parameter& shape : weights_.parameters(weight_count_)) append(shape);
    layout_.own = parameters_.projected_size();
    layout_.free_own = parameters_.free_size();
    for (const Parameter& shape : inner_.parameters(d_k, d_v)) append(shape);
    layout_.end = parameters_.projected_size();
    layout_.free_end = parameters_.free_size();
    if (Learning(options).bias) {  // in the order of the projections, from 0
      for (const Parameter& shape : projections) {
        parameters_.append(free_vector(std::string(shape.name) + ".bias", shape.rows, 0.0));
      }
    }
    layout_.free_size = parameters_.free_size();
    validate_rule(inner_);
    weights_.template resolve<Scalar>(options.max_levels);
  }

  [[nodiscard]] const Inner& inner() const { return inner_; }
  [[nodiscard]] const Weights& weights() const { return weights_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] int weight_count() const { return weight_count_; }
  [[nodiscard]] const Parameters<Scalar>& parameters() const { return parameters_; }
  [[nodiscard]] Parameters<Scalar>& parameters() { return parameters_; }

  /// w.raw = W w.x, from row `from` on. Throws where x or a projection is not finite.
  void project(Read& w, Index from) const {
    parameters_.project(w.x, w.raw, from);
    add_bias(w.raw.data(), from);
    require_finite_projections(w, from);
  }
  /// Adds the biases, if there are any, to the stacked projections from row `from` on.
  void add_bias(Scalar* raw, Index from) const {
    if (!has_bias()) return;
    const Scalar* const bias = parameters_.free().data() + layout_.free_end;
    add(raw + from, bias + from, layout_.end - from, raw + from);
  }
  [[nodiscard]] bool has_bias() const { return layout_.free_size > layout_.free_end; }
  /// Every projection has every x[j] in it, so that in the end they tell of both.
  void require_finite_projections(const Read& w, Index from) const {
    const ConstView projections(w.raw.data() + from, layout_.end - from);
    if (all_finite(projections)) return;
    require_finite("x", w.x);
    require_finite("projection # of x", projections);
  }

  /// From w.raw what a read needs: level weights, which are still to be checked, and the query.
  void prepare_read(Read& w) const {
    prepare_query(inner_, rule_input(w), w.token.query);
    weights_.weigh(layout_.template lambda_part<ConstView>(std::as_const(w.raw).data()),
                   layout_.template lambda_free_part<ConstView>(parameters_.free().data()),
                   w.lambda);
  }

  /// From w.raw the leaf, which is checked where it is about to be written, and the transition.
  void prepare_leaf(Read& w) const {
    inner_.prepare(rule_input(w), w.token);
    if (!w.token.transition.all_finite()) fail("the transition", "not finite", "finite");
  }

  /// From t.d_token and t.d_lambda to t.d_raw and t.d_free.
  void pull_back(const Read& w, Gradient& t) const {
    auto d_in = layout_.template rule_part<View>(t.d_raw.data(), t.d_free.data());
    if constexpr (requires { inner_.prepare_query(d_in, d_in.q); }) {
      std::fill_n(d_in.q.data(), layout_.d_k, Scalar(0));
    } else {
      copy(t.d_token.query.data(), layout_.d_k, d_in.q.data());
    }
    inner_.pullback(rule_input(w), w.token, t.d_token, d_in);
    auto d_lambda_raw = layout_.template lambda_part<View>(t.d_raw.data());
    auto d_lambda_free = layout_.template lambda_free_part<View>(t.d_free.data());
    weights_.pullback(layout_.template lambda_part<ConstView>(w.raw.data()),
                      layout_.template lambda_free_part<ConstView>(parameters_.free().data()),
                      w.lambda, t.d_lambda, d_lambda_raw, d_lambda_free);
    if (has_bias()) copy(t.d_raw.data(), layout_.end, t.d_free.data() + layout_.free_end);
  }

 private:
  using ConstView = ConstVectorView<Scalar>;
  using View = VectorView<Scalar>;

  [[nodiscard]] Projections<ConstView> rule_input(const Read& w) const {
    return layout_.template rule_part<ConstView>(w.raw.data(), parameters_.free().data());
  }

  Inner inner_;
  Weights weights_;
  Layout layout_{};
  Parameters<Scalar> parameters_;
  int weight_count_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_PREPARATION_HPP

// ---- loglinear/layer/detail/input_scales.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_INPUT_SCALES_HPP
#define LOGLINEAR_LAYER_DETAIL_INPUT_SCALES_HPP

namespace loglinear::detail {

/// The scale of each input, for steps that do not depend on it (`StepRule::normalized`): the root
/// mean square of its values that are not 0, over some 10,000 of them. `look` finds the scales with
/// one more token, `take` keeps them.
///
/// A value below 1e-6 of the largest scale may be the rounding residue of a 0: it says nothing of
/// its input's scale, unless that is known and larger; the scale is that 1e-6 while none is known.
///
/// Class invariant: scales lie between the root of the smallest normal number and its inverse.
template <class Scalar>
class InputScales {
 public:
  InputScales(Index d_model, bool normalizes)
      : normalizes_(normalizes),
        scales_(ones<Scalar>(d_model)),
        counts_(zeros<Scalar>(d_model)),
        next_scales_(scales_),
        next_counts_(counts_),
        ratios_(scales_),
        unit_(counts_) {}

  void reset() {
    follows_ = 1;
    std::fill_n(scales_.data(), scales_.size(), Scalar(1));
    std::fill_n(counts_.data(), counts_.size(), Scalar(0));
  }
  void settle() { follows_ = 0; }
  [[nodiscard]] bool is_normalizing() const { return normalizes_; }

  /// x_j becomes x_j times the ratio by which the weights of input j are to be rescaled, so that
  /// the weights as they are make of it what the rescaled ones make of x.
  void look(Vector<Scalar>& x) {
    using std::abs;
    hold();
    Scalar largest{0};
    for (Index j = 0; normalizes_ && j < x.size(); ++j) {
      const Scalar size = abs(x[j]);
      if (size > Scalar(0)) {
        next_scales_[j] = clamped(mean_with(size, scales_[j], counts_[j]));
        next_counts_[j] = (std::min)(Scalar(counts_[j] + 1), Scalar(most));
      }
      if (next_counts_[j] > Scalar(0)) largest = (std::max)(largest, next_scales_[j]);
    }
    const Scalar least = Scalar(negligible) * largest;
    for (Index j = 0; j < x.size(); ++j) {
      const Scalar size = abs(x[j]), n = counts_[j];
      if (normalizes_ && size > Scalar(0)) {
        if (size < least && (is_exactly(n, Scalar(0)) || scales_[j] < least)) {
          next_scales_[j] = n > Scalar(0) ? scales_[j] : clamped(least);
          next_counts_[j] = n;
        }
        if (follows_ != 0 && n < Scalar(followed)) ratios_[j] = scales_[j] / next_scales_[j];
      }
      unit_[j] = x[j] / next_scales_[j];
      x[j] *= ratios_[j];
    }
  }
  /// A token that no scale follows.
  void see(const Vector<Scalar>& x) {
    hold();
    for (Index j = 0; j < x.size(); ++j) unit_[j] = x[j] / scales_[j];
  }
  /// Nothing new is seen: scales stay.
  void hold() {
    copy(scales_.data(), scales_.size(), next_scales_.data());
    copy(counts_.data(), counts_.size(), next_counts_.data());
    std::fill_n(ratios_.data(), ratios_.size(), Scalar(1));
  }
  void take() {
    copy(next_scales_.data(), scales_.size(), scales_.data());
    copy(next_counts_.data(), counts_.size(), counts_.data());
  }

  /// What was looked at, in units of its scale.
  [[nodiscard]] const Vector<Scalar>& unit() const { return unit_; }
  [[nodiscard]] const Scalar& scale(Index j) const { return scales_[j]; }
  [[nodiscard]] const Scalar& ratio(Index j) const { return ratios_[j]; }
  /// Of all ratios, at least 1; of 1 over all scales that are next, and 1.
  [[nodiscard]] double largest_ratio() const { return (std::max)(1.0, max_abs(ratios_)); }
  [[nodiscard]] double largest_inverse() const {
    double least = 1;
    for (Index j = 0; j < next_scales_.size(); ++j) {
      least = (std::min)(least, to_double(next_scales_[j]));
    }
    return 1 / least;
  }

  template <class Other>
  void assign(const InputScales<Other>& other) {
    follows_ = other.follows_;
    scales_ = other.scales_.template cast<Scalar>();
    counts_ = other.counts_.template cast<Scalar>();
    for (Index j = 0; j < scales_.size(); ++j) {
      scales_[j] = clamped(scales_[j]);
    }
  }
  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("follows", self.follows_);
    part("scales", self.scales_);
    part("counts", self.counts_);
    if constexpr (is_written<Self>) {
      for (Index j = 0; j < self.scales_.size(); ++j) {
        require_between("the scale of an input", self.scales_[j], smallest(),
                        Scalar(Scalar(1) / smallest()));
        require_between("the count of an input", self.counts_[j], Scalar(0), Scalar(most));
      }
    }
  }

 private:
  template <class>
  friend class InputScales;
  static constexpr double most = 10000, followed = 32, negligible = 1e-6;
  static constexpr double longest = 1e9;  // a value counts as so many scales at most, once followed

  /// The root mean square of n values whose own is `scale`, and one more of this size. It may jump
  /// to any size while weights follow it: the first values may be residues, or of another unit.
  [[nodiscard]] static Scalar mean_with(const Scalar& size, const Scalar& scale, const Scalar& n) {
    using std::sqrt;
    if (is_exactly(n, Scalar(0))) return size;
    if (n < Scalar(followed) && size > Scalar(longest) * scale) {
      return size / sqrt(Scalar(n + 1));  // its square hides those before, and may overflow
    }
    const Scalar times = (std::min)(Scalar(size / scale), Scalar(longest));
    return scale * sqrt(Scalar((n + times * times) / (n + 1)));
  }
  [[nodiscard]] static Scalar clamped(const Scalar& scale) {
    return std::clamp(scale, smallest(), Scalar(Scalar(1) / smallest()));
  }

  [[nodiscard]] static Scalar smallest() {
    return Scalar(std::sqrt(to_double((std::numeric_limits<Scalar>::min)())));
  }

  bool normalizes_;
  std::uint64_t follows_ = 1;  // whether weights are rescaled with the first values
  Vector<Scalar> scales_, counts_;
  Vector<Scalar> next_scales_, next_counts_, ratios_, unit_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_INPUT_SCALES_HPP

// ---- loglinear/layer/detail/stepper.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_STEPPER_HPP
#define LOGLINEAR_LAYER_DETAIL_STEPPER_HPP

namespace loglinear::detail {

/// Steps the weights of one head, or of the way out of several, by a `Step`, and keeps what that
/// remembers. A training step first looks at its input, then is admitted, then taken: only the last
/// changes anything, and it does not throw.
template <class Scalar>
class Stepper {
 public:
  /// \param follows  whether drawn weights follow the scale of the inputs at the beginning, and
  /// steps it, where the rule is `normalized`
  Stepper(const Parameters<Scalar>& parameters, const Step& step, double rate, bool follows)
      : step_(step), scales_(parameters.d_model(), follows && step.rule == StepRule::normalized) {
    step.validate();
    set_rate(rate);
    if (is_plain()) return;
    square_ = zeros<Matrix<Scalar>>(parameters.projected_size(), parameters.d_model());
    free_square_ = zeros<Scalar>(parameters.free_size());
    if (!has_mean()) return;
    mean_ = zeros<Matrix<Scalar>>(parameters.projected_size(), parameters.d_model());
    free_mean_ = zeros<Scalar>(parameters.free_size());
  }

  [[nodiscard]] const Step& step() const { return step_; }
  [[nodiscard]] double rate() const { return rate_; }
  void set_rate(double rate) {
    if (!is_finite(rate) || rate < 0) fail("learning_rate", rate, "finite and at least 0");
    rate_ = rate;
  }
  /// Weights are drawn anew: forgets everything.
  void reset() {
    scales_.reset();
    std::fill_n(mean_.data(), mean_.size(), Scalar(0));
    std::fill_n(square_.data(), square_.size(), Scalar(0));
    std::fill_n(free_mean_.data(), free_mean_.size(), Scalar(0));
    std::fill_n(free_square_.data(), free_square_.size(), Scalar(0));
    count_ = 0;
  }
  /// A weight has been set: none follows the inputs any more.
  void settle() { scales_.settle(); }

  /// \name A token
  /// \{

  /// Looks at the input of a token to learn from. It becomes what the weights as they are must see
  /// in its place, if the step is going to rescale them.
  void look(Vector<Scalar>& x) {
    if (is_plain()) return;
    if (stays()) return scales_.see(x);
    scales_.look(x);
  }
  /// Looks at one whose projections have been made already: no weight is rescaled.
  void see(const Vector<Scalar>& x) {
    if (!is_plain()) scales_.see(x);
  }

  /// Throws unless the step leaves every weight finite, for the gradient d_raw x^T and d_free.
  void admit(Parameters<Scalar>& parameters, const Vector<Scalar>& d_raw, const Vector<Scalar>& x,
             const Vector<Scalar>& d_free) {
    shortened_ = 1;
    if (step_.clip > 0) {
      require_finite_gradient(d_raw, d_free);
      shorten(std::hypot(stable_norm(d_raw) * stable_norm(is_plain() ? x : scales_.unit()),
                         stable_norm(d_free)));
    }
    if (is_plain()) {
      return parameters.require_descendable(rate_ * shortened_, d_raw, x, d_free);
    }
    require_finite_gradient(d_raw, d_free);
    admit_adaptive(parameters,
                   (std::max)(max_abs(d_raw) * max_abs(scales_.unit()), max_abs(d_free)));
  }
  /// The step; d_raw is scaled on the way.
  void take(Parameters<Scalar>& parameters, Vector<Scalar>& d_raw, const Vector<Scalar>& x,
            const Vector<Scalar>& d_free) {
    if (is_plain()) return parameters.descend(rate_ * shortened_, d_raw, x, d_free);
    if (stays()) return;
    scales_.take();
    begin_step();
    const Index rows = parameters.projected_size();
    for (Index j = 0; j < parameters.d_model(); ++j) {
      Scalar* const weights = parameters.column(j);
      const Scalar ratio = scales_.ratio(j);
      if (!is_exactly(ratio, Scalar(1))) scale_by(ratio, weights, rows);
      adam_.size = size_ / scales_.scale(j);
      update(factor_ * scales_.unit()[j], d_raw.data(), rows, j * rows, mean_, square_, weights);
    }
    step_free(parameters, d_free);
  }
  /// \}

  /// \name A span of tokens
  /// \{

  /// Looks at the inputs of a span to learn from, and rescales the weights at once.
  void look_at_rows(Parameters<Scalar>& parameters, const RowMajorMatrix<Scalar>& x) {
    if (is_plain() || stays() || !scales_.is_normalizing()) return;
    Vector<Scalar> row(x.cols());
    for (Index t = 0; t < x.rows(); ++t) {
      copy(x.data() + t * x.cols(), x.cols(), row.data());
      scales_.look(row);
      parameters.admit_growth(scales_.largest_ratio(), 0);
      scales_.take();
      for (Index j = 0; j < x.cols(); ++j) {
        const Scalar ratio = scales_.ratio(j);
        if (is_exactly(ratio, Scalar(1))) continue;
        scale_by(ratio, parameters.column(j), parameters.projected_size());
      }
    }
  }
  /// The step. Throws for the gradient of other arrays, or where a weight would not be finite;
  /// nothing is changed then.
  void take(Parameters<Scalar>& parameters, const Parameters<Scalar>& gradient) {
    parameters.require_same_arrays(gradient);
    gradient.require_finite_gradient();
    const Index rows = parameters.projected_size();
    double largest = max_abs(gradient.free()), norm = stable_norm(gradient.free());
    for (Index j = 0; j < gradient.d_model() && (step_.clip > 0 || !is_plain()); ++j) {
      const Pieces<Scalar> column{gradient.column(j), 1, rows, 0};
      const double scale = is_plain() ? 1 : to_double(scales_.scale(j));
      largest = (std::max)(largest, max_abs(column) / scale);
      norm = std::hypot(norm, stable_norm(column) / scale);
    }
    shortened_ = 1;
    if (step_.clip > 0) shorten(norm);
    if (is_plain()) return parameters.descend(rate_ * shortened_, gradient);
    if (stays()) return;
    scales_.hold();
    admit_adaptive(parameters, largest);
    begin_step();
    for (Index j = 0; j < gradient.d_model(); ++j) {
      adam_.size = size_ / scales_.scale(j);
      update(factor_ / scales_.scale(j), gradient.column(j), rows, j * rows, mean_, square_,
             parameters.column(j));
    }
    step_free(parameters, gradient.free());
  }
  /// \}

  /// Becomes another one, in this scalar. \throws std::invalid_argument where a number is out of
  /// its range; nothing is changed then
  template <class Other>
  void assign(const Stepper<Other>& other) {
    Stepper next(*this);
    next.scales_.assign(other.scales_);
    next.mean_ = other.mean_.template cast<Scalar>();
    next.square_ = other.square_.template cast<Scalar>();
    next.free_mean_ = other.free_mean_.template cast<Scalar>();
    next.free_square_ = other.free_square_.template cast<Scalar>();
    next.count_ = other.count_;
    next.require_legal();
    *this = std::move(next);
  }

  /// For checkpoints: nothing of plain gradient descent.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if (self.is_plain()) return;
    part("step.count", self.count_);
    if (self.has_mean()) part("step.mean", self.mean_);
    part("step.square", self.square_);
    if (self.has_mean()) part("step.free_mean", self.free_mean_);
    part("step.free_square", self.free_square_);
    part("step.inputs", self.scales_);
    if constexpr (is_written<Self>) self.require_legal();
  }

 private:
  template <class>
  friend class Stepper;

  [[nodiscard]] bool is_plain() const { return step_.rule == StepRule::sgd; }
  /// Whether the rate is 0: weights, and what their steps remember, stay.
  [[nodiscard]] bool stays() const { return is_exactly(rate_, 0.0); }
  [[nodiscard]] bool has_mean() const { return step_.rule == StepRule::adam; }
  /// Of the mean; 0 where there is none.
  [[nodiscard]] double beta1() const { return has_mean() ? step_.beta1 : 0; }

  /// Throws for what no steps leave, from which the next ones would make NaN.
  void require_legal() const {
    if (is_plain()) return;
    require_finite("step.mean", mean_);
    require_finite("step.free_mean", free_mean_);
    require_between("step.count", count_, std::uint64_t{0}, most_steps);
    const double limit = magnitude_limit<Scalar>() / correction(count_ + 1);
    for (const auto& squares :
         {ConstVectorView<Scalar>(square_.data(), square_.size()),
          ConstVectorView<Scalar>(free_square_.data(), free_square_.size())}) {
      for (Index i = 0; i < squares.size(); ++i) {
        require_between("a mean square of gradients", to_double(squares[i]), 0.0, limit);
      }
    }
  }
  static void require_finite_gradient(const Vector<Scalar>& d_raw, const Vector<Scalar>& d_free) {
    require_finite("the gradient", d_raw);
    require_finite("the gradient", d_free);
  }
  void shorten(double norm) {
    if (norm > step_.clip) shortened_ = step_.clip / norm;
  }
  /// How often the root of v' a step can be, by the inequality of Cauchy and Schwarz.
  [[nodiscard]] double reach() const {
    const double b1 = beta1(), b2 = step_.beta2;
    const double sums = b1 > 0 ? 1 / (1 - b1 * b1 / b2) : 1;
    return 1 + std::sqrt(sums / (1 - b2)) * (std::max)(1 - b1, std::sqrt(1 - b2));
  }
  /// What makes means of the squares after some steps.
  [[nodiscard]] double correction(std::uint64_t count) const {
    return 1 / (1 - std::pow(step_.beta2, static_cast<double>(count)));
  }
  /// \param largest  bounds the gradient, in the units of the rule
  void admit_adaptive(Parameters<Scalar>& parameters, double largest) {
    const double shortest = largest * shortened_;
    require_between("the square of the largest gradient", shortest * shortest, 0.0,
                    magnitude_limit<Scalar>());
    const double size = rate_ / (1 - std::pow(beta1(), static_cast<double>(count_) + 1));
    parameters.admit_growth(scales_.largest_ratio(), size * reach() * scales_.largest_inverse());
  }
  /// The numbers of the step that is about to be taken.
  void begin_step() {
    count_ = (std::min)(count_ + 1, most_steps);
    const auto t = static_cast<double>(count_);
    const double falling = has_mean() ? 1 : (std::max)(0.1, std::sqrt(300 / (299 + t)));
    const double smallest = std::sqrt(to_double((std::numeric_limits<Scalar>::min)()));
    size_ = Scalar(rate_ * falling / (1 - std::pow(beta1(), t)));
    factor_ = Scalar(shortened_);
    adam_.beta1 = Scalar(beta1());
    adam_.rest1 = Scalar(1 - beta1());
    adam_.beta2 = Scalar(step_.beta2);
    adam_.rest2 = Scalar(1 - step_.beta2);
    adam_.correction = Scalar(correction(count_));
    adam_.reach = Scalar(reach());
    // What is below counts as 0: a square that vanishes must not be divided by.
    adam_.epsilon = Scalar((std::max)(has_mean() ? step_.epsilon : 0.0, smallest));
  }
  /// Some weights, whose mean and square begin at `first`.
  template <class Numbers>
  void update(const Scalar& factor, const Scalar* d, Index size, Index first, Numbers& mean,
              Numbers& square, Scalar* weights) {
    if (has_mean()) {
      adam_update<true>(adam_, factor, d, size, mean.data() + first, square.data() + first,
                        weights);
    } else {
      adam_update<false, Scalar>(adam_, factor, d, size, nullptr, square.data() + first, weights);
    }
  }
  void step_free(Parameters<Scalar>& parameters, const Vector<Scalar>& d_free) {
    adam_.size = size_;
    update(factor_, d_free.data(), d_free.size(), 0, free_mean_, free_square_,
           parameters.free_data());
  }

  /// Steps are counted so far: long before, nothing depends on their number any more.
  static constexpr std::uint64_t most_steps = std::uint64_t{1} << 53;

  Step step_;
  double rate_ = 0, shortened_ = 1;
  std::uint64_t count_ = 0;  // steps
  InputScales<Scalar> scales_;
  Matrix<Scalar> mean_{}, square_{};            // m and v of the projections
  Vector<Scalar> free_mean_{}, free_square_{};  // of the free vectors
  AdamNumbers<Scalar> adam_{};                  // of the step in hand
  Scalar size_{0}, factor_{1};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_STEPPER_HPP

// ---- loglinear/stream/detail/kind_traits.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_KIND_TRAITS_HPP
#define LOGLINEAR_STREAM_DETAIL_KIND_TRAITS_HPP

// What a stream asks of a kind of transition, and how it gives it vectors.

namespace loglinear::detail {

/// A row that lies somewhere, for `right`.
template <class Scalar>
using RowView = Eigen::Map<Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>;
/// Columns that lie one after the other, for `left`.
template <class Scalar>
using ColumnsView = Eigen::Map<Matrix<Scalar>>;

/// Whether the kind multiplies everything by one number, `factor()`.
template <class Kind>
concept OneFactor = requires(const Kind& kind) {
  kind.factor();
};

/// Whether r can differ from 1; assumed of kinds that do not say.
template <class Kind>
inline constexpr bool scales_values = [] {
  if constexpr (requires { Kind::scales_values; }) {
    return Kind::scales_values;
  } else {
    return true;
  }
}();

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_KIND_TRAITS_HPP

// ---- loglinear/stream/detail/level_query.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP

namespace loglinear::detail {

/// What a read asks for: `sum_l lambda[seen(l)] S_l^T query`.
template <class Scalar>
struct LevelQuery {
  const Scalar* query;
  const Scalar* lambda;
  ReadOrder order;  // in which the next token sees the levels
};

/// The cotangents of a read: one for all levels, or one for each weight index, row by row.
template <class Scalar>
struct Cotangents {
  const Scalar* first;
  Eigen::Index stride = 0;  // from one to the next; 0 where all levels share one

  [[nodiscard]] const Scalar* operator()(int seen) const { return first + seen * stride; }
};

/// The weight index under which the next token sees a level, and how much of it is left then.
class SeenLevels {
 public:
  /// After `size` tokens, for a read in `order`.
  SeenLevels(ReadOrder order, std::uint64_t size, int max_levels, LastLevel overflow)
      : last_(max_levels - 1),
        least_(seen_level(order, 0, size, max_levels)),
        shift_(seen_level(order, last_, size, max_levels) - last_) {
    const bool gives_way =
        order == ReadOrder::after_push && landed_level(size, max_levels) == last_;
    kept_of_last_ = kept_fraction(overflow, gives_way ? 1 : 0);
  }

  [[nodiscard]] int operator()(int level) const { return (std::max)(level + shift_, least_); }
  /// What the token's carry leaves of what the level holds.
  [[nodiscard]] double kept(int level) const { return level == last_ ? kept_of_last_ : 1; }

 private:
  int last_, least_, shift_;
  double kept_of_last_ = 1;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_QUERY_HPP

// ---- loglinear/stream/detail/leaf_buffer.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEAF_BUFFER_HPP
#define LOGLINEAR_STREAM_DETAIL_LEAF_BUFFER_HPP

// The newest tokens as they came, keys beside values: attending to some B/2 leaves costs less than
// reading the b/2 matrices that they would be, and one carry every B = 2^b tokens less than B
// carries.

namespace loglinear::detail {

/// The buffer of a stream; a snapshot holds one with no more memory than it needs.
///
/// Class invariant: `count()` is below `capacity()`, or equal to it until the buffer is emptied;
/// each leaf has undergone every transition since it came. It has many members, as what happens to
/// a leaf is done here: written, read, learnt from, moved on, summed up.
template <class Kind>
class LeafBuffer {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr int most_levels = 6;
  /// Whether leaves decay by a number each, which is kept apart from their keys.
  static constexpr bool has_factors = OneFactor<Kind> && !std::is_same_v<Kind, Identity<Scalar>>;

  /// In place of `level` levels, for tokens of `leaves` leaves each, with memory for `room` tokens.
  LeafBuffer(int level, Index leaves, Index key_rows, Index d_v, Index room)
      : level_(level),
        leaves_(leaves),
        keys_(zeros<RowMajorMatrix<Scalar>>(room * leaves, key_rows)),
        values_(zeros<RowMajorMatrix<Scalar>>(room * leaves, d_v)),
        factors_(ones<Scalar>(has_factors ? room * leaves : 0)) {}
  /// The same, ready to take as many tokens as the levels would.
  LeafBuffer(int level, Index leaves, Index key_rows, Index d_v)
      : LeafBuffer(level, leaves, key_rows, d_v, Index{1} << level) {}

  /// b, so that B is about the smaller side of a level, but no more levels than there are.
  [[nodiscard]] static int level_for(int max_levels, Index key_rows, Index d_v) {
    const auto side = static_cast<std::uint64_t>((std::min)(key_rows, d_v));
    const int level = static_cast<int>(std::bit_width(side)) - 1;
    return std::clamp(level, 0, (std::min)(most_levels, max_levels - 1));
  }

  [[nodiscard]] int level() const { return static_cast<int>(level_); }  // b
  [[nodiscard]] Index capacity() const { return Index{1} << level_; }   // B, in tokens
  [[nodiscard]] Index count() const { return count_; }                  // tokens
  [[nodiscard]] Index leaves() const { return leaves_; }                // of a token
  [[nodiscard]] Index leaf_count() const { return count_ * leaves_; }   // of all tokens
  [[nodiscard]] Index leaf_capacity() const { return capacity() * leaves_; }
  [[nodiscard]] Index key_rows() const { return keys_.cols(); }
  [[nodiscard]] Index d_v() const { return values_.cols(); }
  [[nodiscard]] std::size_t byte_count() const {
    return static_cast<std::size_t>(leaf_count() * (key_rows() + d_v() + (has_factors ? 1 : 0))) *
           sizeof(Scalar);
  }

  void clear() noexcept { count_ = 0; }
  void append(const Token<Kind>& token) {
    // Column by column there, row by row here: the same order in memory.
    copy(token.keys.data(), leaves_ * key_rows(), key(leaf_count()));
    copy(token.values.data(), leaves_ * d_v(), value(leaf_count()));
    open(1);
  }
  /// Tokens that write nothing.
  void append_zeros(Index tokens) {
    std::fill_n(key(leaf_count()), tokens * leaves_ * key_rows(), Scalar(0));
    std::fill_n(value(leaf_count()), tokens * leaves_ * d_v(), Scalar(0));
    open(tokens);
  }
  /// The leaves from `first` on become those of a buffer of the same shape and count.
  void replace_from(Index first, const LeafBuffer& other) {
    const Index n = leaf_count() - first;
    copy(other.key(first), n * key_rows(), key(first));
    copy(other.value(first), n * d_v(), value(first));
    if constexpr (has_factors) copy(other.factors_.data() + first, n, factors_.data() + first);
  }

  /// Every leaf undergoes the transition of the token for which a read found `looked_up`.
  void undergo(const Kind& transition, [[maybe_unused]] const LookUp<Kind>& looked_up) {
    const Index n = leaf_count();
    if constexpr (has_factors) {
      scale_by<Scalar>(transition.factor(), factors_.data(), n);
    } else if constexpr (looks_up<Kind>) {
      transition.left(ColumnsView<Scalar>(keys_.data(), key_rows(), n), looked_up.found.data());
    } else if constexpr (!OneFactor<Kind>) {
      if (n > 0) transition.left(ColumnsView<Scalar>(keys_.data(), key_rows(), n));
      if constexpr (scales_values<Kind>) {
        transition.right(Eigen::Map<RowMajorMatrix<Scalar>>(values_.data(), n, d_v()));
      }
    }
  }
  /// Every leaf undergoes a product of transitions; allocates.
  template <class Product>
  void undergo_product(const Product& product) {
    if constexpr (requires { product.factor(); }) {
      if constexpr (has_factors) scale_by<Scalar>(product.factor(), factors_.data(), leaf_count());
    } else {
      Vector<Scalar> scratch(key_rows());
      for (Index j = 0; j < leaf_count(); ++j) {
        product.push(key(j), scratch.data());
        product.right(value(j));
      }
    }
  }
  /// What has decayed to nothing: denormal numbers would take their time.
  void clear_negligible() {
    const Index n = leaf_count();
    detail::clear_negligible(factors_.data(), has_factors ? n : 0);
    detail::clear_negligible(keys_.data(), OneFactor<Kind> ? 0 : n * key_rows());
    detail::clear_negligible(values_.data(), scales_values<Kind> ? n * d_v() : 0);
  }

  /// out += sum_l lambda[seen(l)] S_l^T query over the levels that the buffer stands for, and what
  /// writing `next` takes, unless that is null. Leaves k . query of each leaf in `scores`. `Apart`:
  /// each term is added to row seen(l) of `out` for itself.
  template <bool Apart = false>
  void read(const LevelQuery<Scalar>& query, const SeenLevels& seen, Scalar* scores, Scalar* out,
            [[maybe_unused]] const Kind* next, [[maybe_unused]] LookUp<Kind>* looked_up) const {
    if (count_ == 0) return;
    if (!looks_up<Kind> || next == nullptr) {
      row_dots(keys_.data(), leaf_count(), key_rows(), query.query, scores);
    } else if constexpr (looks_up<Kind>) {
      row_dots(keys_.data(), leaf_count(), key_rows(), query.query, next->p.data(), scores,
               looked_up->found.data());
    }
    if constexpr (has_factors) multiply(scores, factors_.data(), leaf_count(), scores);
    const auto sum_rows = [&](const auto* terms, int count, Scalar* sum) {
      weighted_rows<true, 8>(terms, count, d_v(), d_v(), sum);
    };
    std::array<WeightedRows<Scalar, Scalar>, most_levels> terms;
    std::size_t levels = 0;
    for_each_level([&](int l, Index first, Index count) {
      terms[levels] = {value(first), count, {scores + first}, query.lambda[seen(l)]};
      if constexpr (Apart) sum_rows(&terms[levels], 1, out + seen(l) * d_v());
      ++levels;
    });
    if constexpr (!Apart) sum_rows(terms.data(), static_cast<int>(levels), out);
  }
  /// For cotangents d_l of that read: t.d_old_query += sum_l lambda[seen(l)] S_l d_l, and
  /// d_lambda[seen(l)] += d_l . S_l^T query.
  void pull_back(const LevelQuery<Scalar>& query, const SeenLevels& seen, const Scalar* scores,
                 const Cotangents<Scalar>& d, PullbackMemory<Kind>& t, Scalar* d_lambda) const {
    if (count_ == 0) return;
    Scalar* const d_scores = t.d_scores.data();
    if (d.stride == 0) row_dots(values_.data(), leaf_count(), d_v(), d.first, d_scores);
    for_each_level([&](int l, Index first, Index count) {
      const int at = seen(l);
      if (d.stride != 0) row_dots(value(first), count, d_v(), d(at), d_scores + first);
      d_lambda[at] += dot(d_scores + first, scores + first, count);
      scale_by(query.lambda[at], d_scores + first, count);
    });
    if constexpr (has_factors) multiply(d_scores, factors_.data(), leaf_count(), d_scores);
    weighted_rows<true>(keys_.data(), leaf_count(), key_rows(), key_rows(), d_scores,
                        t.d_old_query.data());
  }

  /// bucket = the sum of all leaves, row-major; the buffer is empty then.
  void move_into(Scalar* bucket) {
    const Index n = leaf_count();
    if constexpr (has_factors) {
      const auto factor = [&](Index j) { return factors_[j]; };
      scale<Scalar, Scalar>(keys_.data(), n, key_rows(), key_rows(), factor, nullptr);
    }
    const LeftOperand<Scalar> keys{keys_.data(), 1, key_rows()};  // transposed
    product_kernel(Into::replace, keys, key_rows(), n, d_v(), values_.data(), d_v(), bucket, d_v());
    clear();
  }
  /// Pushes every token into levels, one after the other.
  template <class Levels>
  void push_into(Levels& levels) const {
    for (Index token = 0; token < count_; ++token) {
      const Index first = token * leaves_;
      const auto coefficient = [&](Index i, Index n) {
        const Scalar& stored = key(first + n)[i];
        if constexpr (has_factors) {
          return factors_[first + n] * stored;
        } else {
          return stored;
        }
      };
      levels.carry_bucket(0, leaves_, coefficient, value(first));
    }
  }

  /// A bound of the Frobenius norm of all leaves together.
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(leaf_count()) * std::sqrt(static_cast<double>(key_rows() * d_v())) *
           max_abs(keys_.data(), leaf_count() * key_rows()) *
           max_abs(values_.data(), leaf_count() * d_v());
  }
  /// Throws unless the first leaves are finite.
  void require_finite_leaves(Index leaves) const {
    for (Index j = 0; j < leaves; ++j) {
      require_finite("coefficient # of the buffered key", key(j), key_rows());
      require_finite("coefficient # of the buffered value", value(j), d_v());
    }
  }

  /// Makes room for what another buffer holds now; what this one holds stays.
  void reserve(const LeafBuffer& other) {
    if (keys_.rows() >= other.leaf_count()) return;
    LeafBuffer roomier(level(), leaves_, key_rows(), d_v(), other.count_);
    roomier.assign(*this);
    *this = std::move(roomier);
  }
  /// Becomes the other one, in this scalar; there must be room for what it holds.
  template <class OtherKind>
  void assign(const LeafBuffer<OtherKind>& other) {
    fields(AssignField{}, *this, other);
  }
  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("buffered", count_field(self.count_, self.capacity() - 1)...);
    use("buffered_keys", rows_field(self.keys_, self.leaf_count())...);
    use("buffered_values", rows_field(self.values_, self.leaf_count())...);
    if constexpr (has_factors) {
      use("buffered_factors", rows_field(self.factors_, self.leaf_count())...);
    }
  }
  template <class Self>
  static auto fixed(Self& self) {
    if constexpr (has_factors) {
      return std::tie(self.level_, self.leaves_);
    } else {
      return std::tie(self.level_, self.leaves_, self.factors_);  // none
    }
  }
  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
    for (Index j = 0; j < self.leaf_count() && is_written<Self>; ++j) {
      const double leaf = std::sqrt(static_cast<double>(self.key_rows() * self.d_v())) *
                          max_abs(self.key(j), self.key_rows()) *
                          max_abs(self.value(j), self.d_v());
      require_between("the magnitude of a buffered leaf", leaf, 0.0, magnitude_limit<Scalar>());
    }
  }

 private:
  template <class>
  friend class LeafBuffer;

  [[nodiscard]] Scalar* key(Index leaf) { return keys_.data() + leaf * key_rows(); }
  [[nodiscard]] const Scalar* key(Index leaf) const { return keys_.data() + leaf * key_rows(); }
  [[nodiscard]] Scalar* value(Index leaf) { return values_.data() + leaf * d_v(); }
  [[nodiscard]] const Scalar* value(Index leaf) const { return values_.data() + leaf * d_v(); }
  /// Counts tokens that have been written behind the last.
  void open(Index tokens) {
    if constexpr (has_factors) {
      std::fill_n(factors_.data() + leaf_count(), tokens * leaves_, Scalar(1));
    }
    count_ += tokens;
  }
  /// Calls `visit(level, first leaf, leaves)` for the levels that the buffer stands for.
  template <class Visit>
  void for_each_level(Visit visit) const {
    const auto count = static_cast<std::uint64_t>(count_);
    for (int l : ActiveLevels(count, max_level_limit)) {
      const Bucket bucket = bucket_of(count, l, max_level_limit);
      visit(l, static_cast<Index>(bucket.first) * leaves_,
            static_cast<Index>(bucket.size) * leaves_);
    }
  }

  Index level_, leaves_;
  Index count_ = 0;
  RowMajorMatrix<Scalar> keys_;  // one row a leaf, as it is now but for a factor
  RowMajorMatrix<Scalar> values_;
  Vector<Scalar> factors_;  // what keys are still to be multiplied by, of OneFactor kinds
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEAF_BUFFER_HPP

// ---- loglinear/stream/detail/low_rank_product.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP

// The product of some transitions that are diagonal or diagonal minus rank one, as a diagonal minus
// a matrix whose rank is the number of the latter:
//
//     (D - u p^T) (E - sum_j u_j z_j^T) = D E - sum_j (D u_j) z_j^T - u z^T,
//     z = E p - sum_j z_j (u_j . p)
//
// with products of decays only, so that decays near 0 are harmless. A token costs what the columns
// so far cost to read, not what a dense product does.

namespace loglinear::detail {

template <class Kind>
class LowRankProduct {
 public:
  using Scalar = typename Kind::Scalar;

  /// \param tokens  the most transitions before a reset
  LowRankProduct(Index key_rows, Index tokens)
      : LowRankProduct(key_rows, tokens * step_counts<Kind>(key_rows, 1).updates, nullptr) {}

  /// Numbers that `pull` needs for its sums.
  [[nodiscard]] Index score_columns() const { return scores_.size(); }

  void reset() {
    std::fill_n(diagonal_.data(), diagonal_.size(), Scalar(1));
    count_ = 0;
  }

  /// Whether nothing has followed since the last reset, updates of rank one that is.
  [[nodiscard]] bool is_identity() const { return count_ == 0; }

  /// What it is made of: D, and the updates u_factor u_j z_j^T.
  struct Update {
    const Scalar* z;
    const Scalar* u;
    Scalar u_factor;
  };
  [[nodiscard]] const Scalar* diagonal() const { return diagonal_.data(); }
  [[nodiscard]] Index update_count() const { return count_; }
  [[nodiscard]] Update update(Index j) const { return {row(z_, j), row(u_, j), u_factors_[j]}; }

  void follow(const Kind& later) {
    Following steps{*this, nullptr};
    later.visit_steps(steps);
  }
  /// The same where `pull` has been called with p, of the only update, already.
  void follow(const Kind& later, const Scalar* pulled_p) {
    Following steps{*this, pulled_p};
    later.visit_steps(steps);
  }

  /// pulled = P^T q
  void pull(const Scalar* q, Scalar* pulled, Scalar* scores) const {
    const Index rows = key_rows();
    row_dots(u_.data(), count_, rows, q, scores);
    negate_scores(scores);
    multiply(diagonal_.data(), q, rows, pulled);
    weighted_rows<true>(z_.data(), count_, rows, rows, scores, pulled);
  }

  /// The same for q and p at once.
  void pull(const Scalar* q, const Scalar* p, Scalar* pulled_q, Scalar* pulled_p, Scalar* scores,
            Scalar* scores_of_p) const {
    const Index rows = key_rows();
    row_dots(u_.data(), count_, rows, q, p, scores, scores_of_p);
    negate_scores(scores);
    negate_scores(scores_of_p);
    multiply(diagonal_.data(), q, rows, pulled_q);
    multiply(diagonal_.data(), p, rows, pulled_p);
    weighted_rows_pair<true>(z_.data(), count_, rows, rows, scores, scores_of_p, pulled_q,
                             pulled_p);
  }

  /// s <- P s
  void push(Scalar* s, Scalar* scratch) const {
    const Index rows = key_rows();
    multiply(diagonal_.data(), s, rows, scratch);
    for (Index j = 0; j < count_; ++j) {
      axpy<Scalar>(-(u_factors_[j] * dot(row(z_, j), s, rows)), row(u_, j), rows, scratch);
    }
    detail::copy(scratch, rows, s);
  }

  void clear_negligible() {
    detail::clear_negligible(diagonal_.data(), diagonal_.size());
    detail::clear_negligible(u_factors_.data(), count_);
    detail::clear_negligible(u_.data(), count_ * u_.cols());
    detail::clear_negligible(z_.data(), count_ * z_.cols());
  }

  /// By how much coefficients about grow, and norms at most.
  [[nodiscard]] double growth() const {
    return (std::max)(1.0, max_abs(diagonal_)) + static_cast<double>(count_) *
                                                     max_abs(u_.data(), count_ * key_rows()) *
                                                     max_abs(z_.data(), count_ * key_rows());
  }
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(diagonal_.size()) * growth();
  }

  /// Whether `apply` can be called: it has its sums on the stack, one for each update.
  [[nodiscard]] bool can_apply() const { return count_ <= most_on_stack; }
  /// m <- P m, row-major in memory, some columns at a time.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Scalar*) const {
    std::array<Scalar, most_on_stack> found, one_row;
    const Index most = most_on_stack / (std::max)(count_, Index{1});
    for (Index first = 0; first < columns; first += most) {
      const Index piece = (std::min)(most, columns - first);
      std::fill_n(found.begin(), count_ * piece, Scalar(0));
      const auto sums = [&](Index j) { return found.data() + j * piece; };
      for (Index i = 0; i < rows; ++i) {
        convert(m + first + i * columns, piece, one_row.data());
        for (Index j = 0; j < count_; ++j) axpy(row(z_, j)[i], one_row.data(), piece, sums(j));
      }
      for (Index j = 0; j < count_; ++j) scale_by(u_factors_[j], sums(j), piece);
      for (Index i = 0; i < rows; ++i) {
        convert(m + first + i * columns, piece, one_row.data());
        scale_by(diagonal_[i], one_row.data(), piece);
        for (Index j = 0; j < count_; ++j) {
          axpy<Scalar>(-row(u_, j)[i], sums(j), piece, one_row.data());
        }
        convert(one_row.data(), piece, m + first + i * columns);
      }
    }
  }

  /// m = P, row-major. Uses the product up: a reset must follow.
  void write_to(Scalar* m) {
    const Index rows = key_rows();
    for (Index j = 0; j < count_; ++j) scale_by<Scalar>(-u_factors_[j], row(z_, j), rows);
    if (count_ > 0) {
      const LeftOperand<Scalar> u{u_.data(), 1, rows};  // transposed
      product_kernel(Into::replace, u, rows, count_, rows, z_.data(), rows, m, rows);
    } else {
      std::fill_n(m, rows * rows, Scalar(0));
    }
    for (Index i = 0; i < rows; ++i) m[i * (rows + 1)] += diagonal_[i];
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("updates", count_field(self.count_, self.z_.rows())...);
    use("diagonal", rows_field(self.diagonal_, self.diagonal_.rows())...);
    use("u", rows_field(self.u_, self.count_)...);
    use("u_factors", rows_field(self.u_factors_, self.count_)...);
    use("z", rows_field(self.z_, self.count_)...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.scores_);
  }
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
  }
  /// The same product, in this scalar; `other` was made for as many rows and tokens.
  template <class OtherKind>
  void assign(const LowRankProduct<OtherKind>& other) {
    fields(AssignField{}, *this, other);
  }

 private:
  template <class>
  friend class LowRankProduct;
  static constexpr Index most_on_stack = 4096;

  LowRankProduct(Index key_rows, Index updates, std::nullptr_t)
      : diagonal_(ones<Scalar>(key_rows)),
        u_(zeros<RowMajorMatrix<Scalar>>(updates, key_rows)),
        u_factors_(ones<Scalar>(updates)),
        z_(zeros<RowMajorMatrix<Scalar>>(updates, key_rows)),
        scores_(zeros<Scalar>(updates)) {}

  [[nodiscard]] Index key_rows() const { return diagonal_.size(); }
  [[nodiscard]] Scalar* row(RowMajorMatrix<Scalar>& m, Index j) const {
    return m.data() + j * key_rows();
  }
  [[nodiscard]] const Scalar* row(const RowMajorMatrix<Scalar>& m, Index j) const {
    return m.data() + j * key_rows();
  }
  /// Scores of u_j from those of what is stored of it, with the sign of its update.
  void negate_scores(Scalar* scores) const {
    namespace ei = Eigen::internal;
    using P = Packet<Scalar>;
    const Scalar* const factors = u_factors_.data();
    fill_by_packets(
        scores, count_,
        [&](Index j) {
          return ei::pmul(ei::ploadu<P>(scores + j), ei::pnegate(ei::ploadu<P>(factors + j)));
        },
        [&](Index j) { return scores[j] * -factors[j]; });
  }

  /// The steps of a later transition.
  struct Following {
    LowRankProduct& product;
    const Scalar* pulled_p;

    void decay(const Scalar& a) {
      scale_by(a, product.diagonal_.data(), product.key_rows());
      scale_by(a, product.u_factors_.data(), product.count_);
    }
    void decay_rows(const Scalar* w) {
      const Index rows = product.key_rows();
      multiply(product.diagonal_.data(), w, rows, product.diagonal_.data());
      for (Index j = 0; j < product.count_; ++j) {
        Scalar* const u = product.row(product.u_, j);
        multiply(u, w, rows, u);
      }
    }
    void decay_values(const Scalar*) {}  // none: such kinds have other products
    void look_up(const Scalar* p) {
      Scalar* const z = product.row(product.z_, product.count_);
      if (pulled_p == nullptr) {
        product.pull(p, z, product.scores_.data());
      } else {
        detail::copy(pulled_p, product.key_rows(), z);
      }
    }
    void write_back(const Scalar* u) {
      detail::copy(u, product.key_rows(), product.row(product.u_, product.count_));
      product.u_factors_[product.count_++] = Scalar(1);
    }
  };

  Vector<Scalar> diagonal_;   // E
  RowMajorMatrix<Scalar> u_;  // u_j, a row each, but for a factor
  Vector<Scalar> u_factors_;  // what decays of the whole state have made of it
  RowMajorMatrix<Scalar> z_;  // z_j, a row each
  Vector<Scalar> scores_;     // scratch
  Index count_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP

// ---- loglinear/stream/detail/dense_product.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_DENSE_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_DENSE_PRODUCT_HPP

namespace loglinear::detail {

/// The product of any transitions, a matrix P and a vector r.
template <class Kind>
class DenseProduct {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = false;

  DenseProduct(Index key_rows, Index d_v) : left_(key_rows, key_rows), right_(d_v) { reset(); }

  /// For columns that are too long for the stack.
  [[nodiscard]] static Index scratch_size(Index key_rows) {
    return key_rows > most_on_stack ? 2 * columns_at_once * key_rows : 0;
  }
  [[nodiscard]] bool fits(Index key_rows, Index d_v) const {
    return left_.rows() == key_rows && right_.size() == d_v;
  }
  void reset() {
    std::fill_n(left_.data(), left_.size(), Scalar(0));
    for (Index i = 0; i < left_.rows(); ++i) left_(i, i) = Scalar(1);
    std::fill_n(right_.data(), right_.size(), Scalar(1));
  }
  void follow(const Kind& later) {
    later.left(left_);
    if constexpr (scales_values<Kind>) later.right(RowView<Scalar>(right_.data(), right_.size()));
  }
  void follow(const DenseProduct& later, Scalar* scratch) {
    later.apply(left_.data(), left_.rows(), left_.cols(), nullptr, scratch);
    if constexpr (scales_values<Kind>) later.right(right_.data());
  }
  void take(DenseProduct& other) {
    std::swap(left_, other.left_);
    std::swap(right_, other.right_);
    other.reset();
  }
  void take(LowRankProduct<Kind>& other) {
    other.write_to(left_.data());
    other.reset();
  }
  void clear_negligible() {
    detail::clear_negligible(left_.data(), left_.size());
    detail::clear_negligible(right_.data(), right_.size());
  }

  void pull(const Scalar* q, Scalar* pulled, Scalar*) const {
    weighted_rows(left_.data(), left_.rows(), left_.cols(), left_.cols(), q, pulled);
  }
  void push(Scalar* s, Scalar* scratch) const {
    row_dots(left_.data(), left_.rows(), left_.cols(), s, scratch);
    copy(scratch, left_.rows(), s);
  }
  void right(Scalar* z) const { multiply(z, right_.data(), right_.size(), z); }
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(left_.rows()) * max_abs(left_) * max_abs(right_);
  }
  [[nodiscard]] double growth() const {
    return (std::max)(1.0, max_abs(left_)) * (std::max)(1.0, max_abs(right_));
  }

  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Scalar* scratch) const {
    apply(m, rows, columns, scales_values<Kind> ? right_.data() : nullptr, scratch);
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("left", rows_field(self.left_, self.left_.rows())...);
    if constexpr (scales_values<Kind>) use("right", rows_field(self.right_, self.right_.rows())...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    if constexpr (scales_values<Kind>) {
      return std::tie();
    } else {
      return std::tie(self.right_);  // ones
    }
  }
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
  }
  template <class OtherKind>
  void assign(const DenseProduct<OtherKind>& other) {
    fields(AssignField{}, *this, other);
  }

 private:
  template <class>
  friend class DenseProduct;

  static constexpr Index most_on_stack = 32 * 1024 / sizeof(Scalar);
  static constexpr Index columns_at_once = 64;

  /// By pieces of some columns, which are copied to the stack or else to `scratch`.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, const Scalar* of_column, Scalar* scratch) const {
    const auto by_pieces = [&](Index width, Scalar* before, Scalar* after) {
      for (Index first = 0; first < columns; first += width) {
        apply_to_piece(m + first, rows, (std::min)(width, columns - first), columns,
                       of_column == nullptr ? nullptr : of_column + first, before, after);
      }
    };
    if (rows > most_on_stack) {
      by_pieces(columns_at_once, scratch, scratch + columns_at_once * rows);
      return;
    }
    std::array<Scalar, array_size(most_on_stack)> before;
    std::array<Scalar, is_narrow<Stored> ? array_size(most_on_stack) : 1> after;
    const Index whole = most_on_stack / rows;
    by_pieces(whole > columns_at_once ? whole / columns_at_once * columns_at_once : whole,
              before.data(), after.data());
  }
  template <class Stored>
  void apply_to_piece(Stored* m, Index rows, Index columns, Index stride, const Scalar* of_column,
                      Scalar* before, Scalar* after) const {
    for (Index i = 0; i < rows; ++i) convert(m + i * stride, columns, before + i * columns);
    if constexpr (is_narrow<Stored>) {
      write_product(before, rows, columns, after, columns, of_column);
      for (Index i = 0; i < rows; ++i) convert(after + i * columns, columns, m + i * stride);
    } else {
      write_product(before, rows, columns, m, stride, of_column);
    }
  }
  /// changed = P old diag(of_column), or without the latter where it is null.
  void write_product(const Scalar* old, Index rows, Index columns, Scalar* changed, Index stride,
                     const Scalar* of_column) const {
    const LeftOperand<Scalar> left{left_.data(), left_.cols(), 1};
    product_kernel(Into::replace, left, rows, rows, columns, old, columns, changed, stride);
    if (of_column != nullptr) {
      scale(
          changed, rows, columns, stride, [](Index) { return Scalar(1); }, of_column);
    }
    for (Index i = 0; i < rows; ++i) detail::clear_negligible(changed + i * stride, columns);
  }

  RowMajorMatrix<Scalar> left_;
  Vector<Scalar> right_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_DENSE_PRODUCT_HPP

// ---- loglinear/stream/detail/diagonal_product.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_DIAGONAL_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_DIAGONAL_PRODUCT_HPP

namespace loglinear::detail {

/// The product of diagonal transitions of one kind, P and r.
template <class Kind>
class DiagonalProduct {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = true;

  DiagonalProduct(Index key_rows, Index d_v)
      : key_rows_(key_rows), d_v_(d_v), product_(key_rows, d_v) {}

  /// Scalars that `apply` and `follow` need apart.
  [[nodiscard]] static Index scratch_size(Index) { return 0; }

  [[nodiscard]] bool fits(Index key_rows, Index d_v) const { return product_.fits(key_rows, d_v); }
  /// P = I
  void reset() { product_.reset(); }
  /// P <- L P, and the same for r
  void follow(const Kind& later) { product_.follow(later); }
  void follow(const DiagonalProduct& later, Scalar*) { product_.follow(later.product_); }
  /// P = another product, which becomes I.
  void take(DiagonalProduct& other) {
    product_ = other.product_;
    other.reset();
  }
  void clear_negligible() {}

  /// pulled = P^T q = P q
  void pull(const Scalar* q, Scalar* pulled, Scalar*) const {
    if constexpr (HasRowFactors<Kind>) {
      const Scalar* const factors = product_.row_factors();
      if (factors != nullptr) return multiply(q, factors, key_rows_, pulled);
      scale_to<Scalar>(product_.row_factor(0), q, key_rows_, pulled);
    } else {
      if (pulled != q) copy(q, key_rows_, pulled);
      product_.left_transposed(Eigen::Map<Vector<Scalar>>(pulled, key_rows_));
    }
  }
  /// s <- P s
  void push(Scalar* s, Scalar*) const { pull(s, s, nullptr); }
  /// z <- z diag(r)
  void right(Scalar* z) const {
    const Scalar* const factors = product_.column_factors();
    if (factors != nullptr) multiply(z, factors, d_v_, z);
  }
  [[nodiscard]] Scalar factor() const requires OneFactor<Kind> { return product_.factor(); }
  /// By how much a norm can grow, an upper bound; and by how much coefficients about do, 1 or more.
  [[nodiscard]] double norm_bound() const { return product_.norm_bound(); }
  [[nodiscard]] double growth() const { return (std::max)(1.0, norm_bound()); }

  /// m <- P m diag(r), row-major in memory.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Scalar*) const {
    if constexpr (OneFactor<Kind>) {
      if (is_exactly(product_.factor(), Scalar(1))) return;
    }
    scale(
        m, rows, columns, columns, [&](Index i) { return product_.row_factor(i); },
        product_.column_factors());
    detail::clear_negligible(m, rows * columns);
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("product", self.product_...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.key_rows_, self.d_v_);
  }
  /// For checkpoints: the kind's only member.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if constexpr (requires { self.product_.decay; }) {
      static_assert(sizeof self.product_ == sizeof self.product_.decay);
      part("decay", self.product_.decay);
    } else {
      static_assert(std::is_same_v<Kind, Identity<Scalar>>,
                    "checkpoints know the products of the kinds of transition in transition.hpp: "
                    "leave `follow` out of your own kind, and a dense product is kept instead");
    }
  }
  /// The same product, in this scalar.
  template <class OtherKind>
  void assign(const DiagonalProduct<OtherKind>& other) {
    if constexpr (std::is_same_v<Kind, OtherKind>) {
      product_ = other.product_;
    } else if constexpr (requires { product_.decay.size(); }) {
      product_.decay = other.product_.decay.template cast<Scalar>();
    } else if constexpr (requires { product_.decay; }) {
      product_.decay = static_cast<Scalar>(other.product_.decay);
    }
  }

 private:
  template <class>
  friend class DiagonalProduct;

  Index key_rows_, d_v_;
  Kind product_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_DIAGONAL_PRODUCT_HPP

// ---- loglinear/stream/detail/pending_product.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_PENDING_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_PENDING_PRODUCT_HPP

// What levels have yet to undergo: the product of the transitions of several tokens, kept apart so
// that the levels need not be rewritten at every token. A read takes its query back through the
// product instead, (P S diag(r))^T q = diag(r) S^T (P^T q).
//
// Products of diagonal kinds are of the same kind; those of all others are dense, once they are
// products of more than a few transitions.

namespace loglinear::detail {

/// The product of any number of transitions.
template <class Kind>
using PendingProduct =
    std::conditional_t<HasOwnProducts<Kind>, DiagonalProduct<Kind>, DenseProduct<Kind>>;

/// The product of so few transitions that it need not be dense.
template <class Kind>
using RecentProduct =
    std::conditional_t<!HasOwnProducts<Kind> && HasSteps<Kind> && !scales_values<Kind>,
                       LowRankProduct<Kind>, PendingProduct<Kind>>;

template <class Kind>
[[nodiscard]] RecentProduct<Kind> make_recent(Index key_rows, Index d_v,
                                              [[maybe_unused]] Index tokens) {
  if constexpr (std::is_same_v<RecentProduct<Kind>, LowRankProduct<Kind>>) {
    return {key_rows, tokens};
  } else {
    return {key_rows, d_v};
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_PENDING_PRODUCT_HPP

// ---- loglinear/stream/detail/pending_tiers.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_PENDING_TIERS_HPP
#define LOGLINEAR_STREAM_DETAIL_PENDING_TIERS_HPP

// What the levels of a stream have yet to undergo, tier by tier: a level of tier i is still to
// undergo P_0 P_1 ... P_i, the latest first, P_0 being the product of the transitions of the
// buffered tokens. So a carry rewrites the levels only as far as it reaches.
//
// Diagonal products are cheap, so each level is a tier of its own. A dense one costs as much as a
// level to read: there are few tiers, the first of which takes part in every flush.

namespace loglinear::detail {

/// Class invariant: the product of the first tier but for P_0 is I; `growth` bounds what P_0
/// multiplies a norm by. Without a buffer there are no tiers, and nothing is pending.
template <class Kind, class Stored>
class PendingTiers {
 public:
  using Scalar = typename Kind::Scalar;
  using Product = PendingProduct<Kind>;
  using Recent = RecentProduct<Kind>;

  /// For levels above a buffer in place of `buffer_level` of them.
  PendingTiers(int buffer_level, int max_levels, Index key_rows, Index d_v)
      : buffer_level_(buffer_level),
        max_levels_(max_levels),
        key_rows_(key_rows),
        d_v_(d_v),
        recent_(make_recent<Kind>(key_rows, d_v, Index{1} << buffer_level)),
        later_(static_cast<std::size_t>(last_tier() + 1), Product(key_rows, d_v)),
        scratch_(Product::scratch_size(key_rows)) {}

  [[nodiscard]] Index tier_count() const { return static_cast<Index>(later_.size()); }
  /// The tier of a level above the buffer; -1 where there are none.
  [[nodiscard]] int tier_of(int level) const {
    if (buffer_level_ == 0) return -1;
    const int above = level - static_cast<int>(buffer_level_);
    if (Product::is_diagonal) return above;
    return is_narrow<Stored> ? above / dense_tier_height : (std::min)(above / dense_tier_height, 1);
  }
  /// P_0
  [[nodiscard]] const Recent& recent() const { return recent_; }
  /// Calls `use` with the product that tier `tier` has to undergo after those below it.
  template <class Use>
  void with_tier(int tier, Use use) const {
    if (tier == 0) {
      use(recent_);
    } else {
      use(later(tier));
    }
  }
  /// Sums that a read of P_0 needs.
  [[nodiscard]] Index score_columns() const {
    if constexpr (requires { recent_.score_columns(); }) return recent_.score_columns();
    return 0;
  }
  /// A bound of what everything pending multiplies a norm by, at least 1.
  [[nodiscard]] double norm_bound() const {
    double bound = (std::max)(1.0, recent_.norm_bound());
    for (int i = 1; i <= last_tier(); ++i) bound *= (std::max)(1.0, later(i).norm_bound());
    return bound;
  }

  /// The levels are to undergo one more transition, for which a read has found `looked_up`.
  void follow(const Kind& transition, [[maybe_unused]] const LookUp<Kind>& looked_up) {
    if constexpr (looks_up<Kind>) {
      if (!recent_.is_identity()) return recent_.follow(transition, looked_up.pulled_p.data());
    }  // else p may have been looked up before the levels were settled
    recent_.follow(transition);
  }
  void clear_negligible() { recent_.clear_negligible(); }

  /// Products must neither overflow nor have rounded much away: where transitions make states grow,
  /// levels are rewritten in time, before a transition that grows a norm by `growth`.
  template <class Levels>
  void bound(double growth, Levels& levels) {
    growth_ *= (std::max)(1.0, growth);
    if (is_at_most(growth_, most_growth)) return;
    growth_ = recent_.growth() * (std::max)(1.0, growth);
    if (is_at_most(growth_, most_growth)) return;
    settle(levels);
    growth_ = (std::max)(1.0, growth);
  }
  /// Before a carry of the buffer to level `landed`: the levels that it merges undergo all that is
  /// pending for them.
  template <class Levels>
  void settle_below(int landed, Levels& levels) {
    settle(tier_of(landed), levels, merge_within_tiers(landed, levels));
  }
  /// After such a carry.
  template <class Levels>
  void begin_buffer(Levels& levels) {
    growth_ = 1;
    double growth = 1;
    for (const Product& product : later_) growth *= product.growth();
    if (!is_at_most(growth, most_growth)) settle(levels);
  }
  /// All levels undergo what is pending for them.
  template <class Levels>
  void settle(Levels& levels) {
    if (buffer_level_ > 0) settle(last_tier(), levels, 0);
  }
  /// The same, and nothing bounds the next product yet.
  template <class Levels>
  void settle_anew(Levels& levels) {
    settle(levels);
    growth_ = 1;
  }
  /// The same for copies of `levels`; allocates, before it changes them.
  template <class Levels>
  void settle_copy(const Levels& levels, Levels& out) const {
    Vector<Scalar> scratch(scratch_.size());
    with_applicable([&](const auto& recent) {
      out.copy(levels);
      for (int l : levels.active_levels()) {
        for (int i = tier_of(l); i > 0; --i) out.undergo(l, later(i), scratch.data());
        if (buffer_level_ > 0) out.undergo(l, recent, scratch.data());
      }
    });
  }
  void reset() noexcept {
    growth_ = 1;
    recent_.reset();
    for (Product& product : later_) product.reset();
  }

  /// Becomes the other one, in this scalar; it was made for as many levels of the same shape.
  template <class OtherKind, class OtherStored>
  void assign(const PendingTiers<OtherKind, OtherStored>& other) {
    fields(AssignField{}, *this, other);
  }
  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("recent", self.recent_...);
    use("pending", later_field(self.later_)...);
    use("growth", self.growth_...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.buffer_level_, self.max_levels_, self.key_rows_, self.d_v_, self.scratch_);
  }
  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if (self.buffer_level_ == 0) return;
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
  }

 private:
  template <class, class>
  friend class PendingTiers;

  /// Levels of a tier of dense products but for the last tier, which has all higher ones.
  static constexpr int dense_tier_height = 3;
  static constexpr double most_growth = 1e9;

  [[nodiscard]] int last_tier() const { return tier_of(static_cast<int>(max_levels_) - 1); }
  [[nodiscard]] const Product& later(int tier) const {
    return later_[static_cast<std::size_t>(tier)];
  }
  [[nodiscard]] Product& later(int tier) { return later_[static_cast<std::size_t>(tier)]; }

  /// Calls `use` with P_0 in a form that applies to levels: where it is of too many updates of rank
  /// one, a dense product, which is allocated before.
  template <class Use>
  void with_applicable(Use use) const {
    if constexpr (requires { recent_.can_apply(); }) {
      if (!recent_.can_apply()) {
        Recent used_up(recent_);
        Product dense(key_rows_, d_v_);
        dense.take(used_up);
        return use(dense);
      }
    }
    use(recent_);
  }

  /// Levels that a carry to `landed` merges and that are still to undergo the same are added up
  /// beforehand, to undergo it once. Returns the mask of those that are empty now.
  template <class Levels>
  [[nodiscard]] std::uint64_t merge_within_tiers(int landed, Levels& levels) const {
    std::uint64_t emptied = 0;
    if (is_narrow<Stored>) return emptied;  // each sum would be rounded
    int last = -1;
    for (int l : levels.active_levels()) {
      if (l >= landed) break;
      if (last >= 0 && tier_of(last) == tier_of(l)) {
        levels.merge(last, l);
        emptied |= std::uint64_t{1} << last;
      }
      last = l;
    }
    return emptied;
  }
  /// The levels of all tiers up to this one undergo what is pending for them, the empty ones apart.
  template <class Levels>
  void settle(int tier, Levels& levels, std::uint64_t empty) {
    later(0).take(recent_);
    for (int i = 0; i <= tier; ++i) {
      if (i > 0) pass_on(i - 1);
      for (int l : levels.active_levels()) {
        if (tier_of(l) != i || ((empty >> l) & 1) != 0) continue;
        levels.undergo(l, later(i), scratch_.data());
      }
    }
    if (tier < last_tier()) pass_on(tier);
    later(tier).reset();
  }
  /// What is pending for a tier whose levels have undergone it still is for the next.
  void pass_on(int tier) {
    later(tier + 1).follow(later(tier), scratch_.data());
    later(tier).reset();
  }

  Index buffer_level_, max_levels_, key_rows_, d_v_;
  Recent recent_;               // P_0
  std::vector<Product> later_;  // I, P_1, P_2, ...: one for each tier
  double growth_ = 1;
  Vector<Scalar> scratch_;  // of the products
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_PENDING_TIERS_HPP

// ---- loglinear/stream/detail/level_reads.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP

// Reads of the levels of a stream, and their pullback: all levels in one pass, each under the query
// that what is pending for its tier makes of the token's.

namespace loglinear::detail {

template <class Kind, class Stored>
class LevelReads {
 public:
  using Scalar = typename Kind::Scalar;
  using Tiers = PendingTiers<Kind, Stored>;

  /// out = sum_l lambda[seen(l)] S_l^T query: the query goes down through the tiers, the newest
  /// first. Where `next` is not null, what writing it takes is read on the way. `Apart`: each term
  /// is added to row seen(l) of `out`, of d_v columns, for itself.
  template <bool Apart = false, class Levels>
  static void read(const Levels& levels, const Tiers& tiers, const LevelQuery<Scalar>& query,
                   const SeenLevels& seen, ReadMemory<Kind>& memory, Scalar* out,
                   [[maybe_unused]] const Kind* next, [[maybe_unused]] LookUp<Kind>* looked_up) {
    const Index rows = levels.d_k(), columns = levels.d_v();
    std::array<WeightedRows<Stored, Scalar>, max_level_limit> terms;
    std::size_t count = 0;
    int tier = -1;
    Scalar factor(1);
    if constexpr (scales_values<Kind> && !Apart) std::fill_n(out, columns, Scalar(0));
    for (int l : levels.active_levels()) {
      while (tier < tiers.tier_of(l)) {
        ++tier;
        tiers.with_tier(tier, [&](const auto& product) {
          if constexpr (OneFactor<Kind>) {
            factor *= product.factor();
          } else {
            pull(product, query.query, memory, tier, next, looked_up);
          }
          if constexpr (scales_values<Kind>) {
            Scalar* const scales = memory.tier_scales.data() + tier * columns;
            if (tier == 0) std::fill_n(scales, columns, Scalar(1));
            if (tier > 0) copy(scales - columns, columns, scales);
            product.right(scales);
          }
        });
      }
      terms[count] = {levels.data(l),
                      rows,
                      {query_of(query.query, memory, tier)},
                      query.lambda[seen(l)] * (static_cast<Scalar>(seen.kept(l)) * factor)};
      [[maybe_unused]] Scalar* const sum = Apart ? out + seen(l) * columns : out;
      if constexpr (scales_values<Kind>) {
        Scalar* const share = memory.level_read.data();
        weighted_rows(&terms[count], 1, columns, columns, share);
        if (tier >= 0) {
          add_product(share, memory.tier_scales.data() + tier * columns, columns, sum);
        } else {
          add(sum, share, columns, sum);
        }
      } else if constexpr (Apart) {
        weighted_rows<true, 8>(&terms[count], 1, columns, columns, sum);
      }
      ++count;
    }
    if constexpr (looks_up<Kind>) {
      if (next != nullptr && tier < 0 && tiers.tier_count() > 0) {
        tiers.recent().pull(next->p.data(), looked_up->pulled_p.data(), memory.scores.data());
      }
    }
    if constexpr (!scales_values<Kind> && !Apart) {
      weighted_rows<false, 8>(terms.data(), static_cast<int>(count), columns, columns, out);
    }
  }

  /// For cotangents d_l of that read: t.d_old_query = sum_l lambda[seen(l)] S_l d_l, and
  /// d_lambda[seen(l)] += d_l . S_l^T query. Sums of S_l d_l come up through the tiers, the oldest
  /// first, or where products are diagonal all at once, their rows weighted.
  template <class Levels>
  static void pull_back(const Levels& levels, const Tiers& tiers, const LevelQuery<Scalar>& query,
                        const SeenLevels& seen, const ReadMemory<Kind>& memory,
                        const Cotangents<Scalar>& d, PullbackMemory<Kind>& t, Scalar* d_lambda) {
    const Index rows = levels.d_k(), columns = levels.d_v();
    std::array<DottedRows<Stored, Scalar>, max_level_limit> terms;
    std::array<LevelTerm, max_level_limit> of_level;
    std::size_t count = 0;
    int tier = -1;
    Scalar factor(1);
    constexpr bool is_diagonal = Tiers::Product::is_diagonal;
    constexpr bool weighs_rows = is_diagonal && !OneFactor<Kind>;
    if constexpr (weighs_rows) std::fill_n(t.row_weights.data(), rows, Scalar(1));
    for (int l : levels.active_levels()) {
      while (tier < tiers.tier_of(l)) {
        tiers.with_tier(++tier, [&]([[maybe_unused]] const auto& product) {
          if constexpr (OneFactor<Kind>) factor *= product.factor();
          if constexpr (weighs_rows) product.push(t.row_weights.data(), t.pushed.data());
        });
      }
      const int at = seen(l);
      Scalar* const weights = t.level_weights.data() + l * rows;
      const Scalar left = static_cast<Scalar>(seen.kept(l)) * factor;
      const Scalar weight = query.lambda[at] * left;
      if constexpr (weighs_rows) {
        scale_to<Scalar>(weight, t.row_weights.data(), rows, weights);
      } else {
        std::fill_n(weights, rows, weight);
      }
      const Scalar* vector = d(at);
      if constexpr (scales_values<Kind>) {
        if (tier >= 0) {
          Scalar* const scaled = t.level_cotangents.data() + l * columns;
          multiply(memory.tier_scales.data() + tier * columns, vector, columns, scaled);
          vector = scaled;
        }
      }
      terms[count] = {levels.data(l), vector, weights, query_of(query.query, memory, tier),
                      Scalar(0)};
      of_level[count++] = {tier, at, left};
    }
    const auto add_dotted = [&](std::size_t first, std::size_t end) {
      dotted_rows(terms.data() + first, static_cast<int>(end - first), rows, columns, columns,
                  t.d_old_query.data());
    };
    std::fill_n(t.d_old_query.data(), rows, Scalar(0));
    std::size_t last = count;
    for (; tier >= 0 && !is_diagonal; --tier) {
      std::size_t first = last;
      while (first > 0 && of_level[first - 1].tier == tier) --first;
      add_dotted(first, last);
      tiers.with_tier(
          tier, [&](const auto& product) { product.push(t.d_old_query.data(), t.pushed.data()); });
      last = first;
    }
    add_dotted(0, last);
    for (std::size_t i = 0; i < count; ++i) {
      d_lambda[of_level[i].seen] += of_level[i].factor * terms[i].found;
    }
  }

 private:
  struct LevelTerm {
    int tier, seen;
    Scalar factor;
  };

  /// The query as tier `tier` sees it, but for a common factor.
  [[nodiscard]] static const Scalar* query_of(const Scalar* query, const ReadMemory<Kind>& memory,
                                              int tier) {
    if (OneFactor<Kind> || tier < 0) return query;
    return memory.tier_queries.data() + tier * memory.tier_queries.rows();
  }

  /// The query as `tier` sees it from that of the tier before; and p of the next token, too.
  template <class Pulling>
  static void pull(const Pulling& product, const Scalar* query, ReadMemory<Kind>& memory, int tier,
                   [[maybe_unused]] const Kind* next, [[maybe_unused]] LookUp<Kind>* looked_up) {
    const Scalar* const before = query_of(query, memory, tier - 1);
    Scalar* const pulled = memory.tier_queries.data() + tier * memory.tier_queries.rows();
    Scalar* const scores = memory.scores.data();
    if constexpr (looks_up<Kind> && std::is_same_v<Pulling, typename Tiers::Recent>) {
      if (next != nullptr) {
        product.pull(before, next->p.data(), pulled, looked_up->pulled_p.data(), scores,
                     looked_up->found.data());
        return;
      }
    }
    product.pull(before, pulled, scores);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP

// ---- loglinear/stream/detail/one_state.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_ONE_STATE_HPP
#define LOGLINEAR_STREAM_DETAIL_ONE_STATE_HPP

// The step of a stream of one level, which holds all tokens:
//
//     S <- kept (L S diag(r)) + sum_n k_n v_n^T,
//
// where `kept` is what the level keeps of what it held. The state is read once, under the query and
// what the transition looks up together, and rewritten once, row by row.
//
// Every transition made of steps, of value columns apart, is a diagonal minus updates of rank one,
// L = D - sum_j u_j z_j^T: with f_j = S^T z_j known, a row becomes D_i S_i - sum_j u_ji f_j + sum_n
// k_ni v_n.

namespace loglinear::detail {

/// Works on a level that it is given; what it has itself is scratch memory, none of it unless there
/// is one level.
template <class Kind>
class OneState {
 public:
  using Scalar = typename Kind::Scalar;
  /// Whether the transition is a product of steps, whose z_j are still to be found.
  static constexpr bool has_product =
      std::is_same_v<RecentProduct<Kind>, LowRankProduct<Kind>> && !looks_up<Kind>;
  /// Whether `write` knows the kind.
  static constexpr bool is_known = HasOwnProducts<Kind> || looks_up<Kind> || has_product;

  static constexpr bool scales_columns = scales_values<Kind>;

  OneState(int max_levels, Index key_rows, Index d_v, Index leaves)
      : product_(max_levels == 1 ? key_rows : 0, 1) {
    if (max_levels > 1) return;
    Index updates = looks_up<Kind> ? 1 : 0;
    if constexpr (has_product) {
      updates = product_.score_columns();
      found_ = zeros<RowMajorMatrix<Scalar>>(updates, d_v);
    }
    if constexpr (HasOwnProducts<Kind>) row_factors_ = zeros<Scalar>(key_rows);
    if constexpr (scales_columns) column_ones_ = ones<Scalar>(d_v);
    terms_.resize(array_size(updates + leaves));
  }

  /// out = weight S^T query, and S^T p for what writing `next` takes, unless that is null: the bits
  /// of `out` are the same.
  template <class Stored>
  static void read(const Stored* state, const Scalar* query, const Scalar& weight, Index rows,
                   Index columns, Scalar* out, const Kind* next, LookUp<Kind>* looked_up) {
    if (next != nullptr) {
      weighted_rows_pair(state, rows, columns, columns, query, next->p.data(), out,
                         looked_up->of_state.data());
    } else {
      weighted_rows(state, rows, columns, columns, query, out);
    }
    scale_by(weight, out, columns);
  }

  /// Writes a token, for which a read has found `looked_up`.
  template <class Stored>
  void write(const Token<Kind>& token, const Scalar& kept, const LookUp<Kind>& looked_up,
             Stored* state) {
    const Index rows = token.keys.rows(), columns = token.values.rows();
    Scaling<Scalar> scaling;
    int count = 0;
    const auto add_term = [&](const Scalar* of_row, const Scalar* along, const Scalar& factor) {
      terms_[array_size(count++)] = {of_row, along, factor};
    };
    if constexpr (HasOwnProducts<Kind>) {
      scaling = scaling_of(token.transition, rows);
    } else if constexpr (looks_up<Kind>) {
      scaling = token.transition.scaling();
      add_term(token.transition.u.data(), looked_up.of_state.data(), -kept);
    } else {
      product_.reset();
      product_.follow(token.transition);
      scaling = {Scalar(1), product_.diagonal(), nullptr};
      for (Index j = 0; j < product_.update_count(); ++j) {
        const auto update = product_.update(j);
        Scalar* const found = found_.data() + j * columns;
        weighted_rows(state, rows, columns, columns, update.z, found);
        add_term(update.u, found, -kept * update.u_factor);
      }
    }
    scaling.factor *= kept;
    for (Index n = 0; n < token.keys.cols(); ++n) {
      add_term(token.keys.data() + n * rows, token.values.data() + n * columns, Scalar(1));
    }
    step_rows<looks_up<Kind> ? 2
              : has_product  ? 0
                             : 1,
              scales_columns>(state, rows, columns, columns, scaling, terms_.data(), count);
  }

 private:
  [[nodiscard]] Scaling<Scalar> scaling_of(const Kind& kind, Index rows) {
    const Scalar* of_column = scales_columns ? kind.column_factors() : nullptr;
    if (scales_columns && of_column == nullptr) of_column = column_ones_.data();
    if constexpr (OneFactor<Kind>) {
      return {kind.factor(), nullptr, of_column};
    } else {
      for (Index i = 0; i < rows; ++i) row_factors_[i] = kind.row_factor(i);
      return {Scalar(1), row_factors_.data(), of_column};
    }
  }

  struct Nothing {
    Nothing(Index, Index) {}
    Index none = 0;
  };

  std::conditional_t<has_product, LowRankProduct<Kind>, Nothing> product_;  // L
  RowMajorMatrix<Scalar> found_{};                                          // f_j, a row each
  Vector<Scalar> row_factors_{}, column_ones_{};
  std::vector<OuterProduct<Scalar>> terms_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_ONE_STATE_HPP

// ---- loglinear/stream/detail/stream_shape.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_SHAPE_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_SHAPE_HPP

namespace loglinear::detail {

/// What two streams must have in common so that one can become the other.
struct StreamShape {
  int max_levels;
  Index key_rows, d_v;
  Index leaves;  // of a token

  [[nodiscard]] bool operator==(const StreamShape&) const = default;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_SHAPE_HPP

// ---- loglinear/stream/detail/stream_state.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP

// The state as a layer keeps it, so that a token costs one read of it and little more: the newest
// tokens stand apart in a buffer, older ones are in levels that are rewritten only where the buffer
// is carried into them, and only as far as the carry reaches. What higher levels have yet to
// undergo is pending: a read takes its query down through it instead.

namespace loglinear::detail {

/// Class invariant: the levels hold the first `size()` tokens but for those in the buffer, a
/// multiple of its capacity, before what is pending for them. It has many members: all that a layer
/// asks of its stream passes through here.
///
/// \tparam HasOneState  whether a stream of one level takes the step of its own (one_state.hpp).
/// Layers that are not made for one level say no, or every program would compile it; they are right
/// with one level, too, by the path of several.
template <class Kind, class Stored = typename Kind::Scalar, LastLevel Overflow = LastLevel::fold,
          bool HasOneState = true>
class StreamState {
 public:
  static constexpr LastLevel overflow = Overflow;
  using Scalar = typename Kind::Scalar;
  using Levels = detail::Levels<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, Overflow>;
  using Buffer = LeafBuffer<Kind>;
  using Tiers = PendingTiers<Kind, Stored>;

  StreamState(int max_levels, Index key_rows, Index d_v, Index leaves)
      : levels_(max_levels, key_rows, d_v),
        buffer_(Buffer::level_for(max_levels, key_rows, d_v), leaves, key_rows, d_v),
        tiers_(buffer_.level(), max_levels, key_rows, d_v),
        bucket_(key_rows, buffer_.level() > 0 ? d_v : 0),
        one_state_(HasOneState ? max_levels : 2, key_rows, d_v, leaves) {}

  [[nodiscard]] int max_levels() const { return levels_.max_levels(); }
  [[nodiscard]] Index key_rows() const { return levels_.d_k(); }
  [[nodiscard]] Index d_v() const { return levels_.d_v(); }
  [[nodiscard]] std::uint64_t size() const {
    return levels_.size() + static_cast<std::uint64_t>(buffer_.count());
  }
  /// What a workspace must have room for.
  [[nodiscard]] ReadShape read_shape() const {
    return {key_rows(), d_v(), max_levels(),
            (std::max)(buffer_.leaf_capacity(), tiers_.score_columns()), tiers_.tier_count()};
  }
  [[nodiscard]] StreamShape shape() const {
    return {max_levels(), key_rows(), d_v(), buffer_.leaves()};
  }

  /// \name What the state is made of, for those who move streams as a whole
  /// \{
  [[nodiscard]] const Levels& levels() const { return levels_; }
  [[nodiscard]] Levels& levels() { return levels_; }
  [[nodiscard]] const Buffer& buffer() const { return buffer_; }
  [[nodiscard]] Buffer& buffer() { return buffer_; }
  [[nodiscard]] const Tiers& tiers() const { return tiers_; }
  [[nodiscard]] Tiers& tiers() { return tiers_; }
  /// \}

  /// Tokens until nothing is buffered any more; 0 if nothing is.
  [[nodiscard]] Index until_flushed() const {
    return buffer_.count() == 0 ? 0 : capacity() - buffer_.count();
  }
  /// Tokens between two such moments.
  [[nodiscard]] Index capacity() const { return buffer_.capacity(); }
  /// The levels with nothing pending; all there is if nothing is buffered.
  [[nodiscard]] Levels& settled_levels() {
    tiers_.settle(levels_);
    return levels_;
  }
  void reset() noexcept {
    levels_.reset();
    buffer_.clear();
    tiers_.reset();
  }

  /// Throws where the token may not be written; nothing is changed. `write` demands the result.
  [[nodiscard]] Admitted admit(const Token<Kind>& token) const {
    if (size() == UINT64_MAX) fail("size", size(), "below 2^64 - 1 before a push");
    return levels_.admit(token.transition.norm_bound(), token.keys, token.values,
                         [&](bool exactly) { return measured(exactly); });
  }
  /// Writes a token as it was admitted, with what a read found out for it; the state is still what
  /// it was for both.
  void write(const Token<Kind>& token, const Admitted& admitted, const LookUp<Kind>& looked_up) {
    if (buffer_.level() == 0) return write_at_once(token, admitted, looked_up);
    tiers_.bound(admitted.growth, levels_);
    buffer_.undergo(token.transition, looked_up);
    tiers_.follow(token.transition, looked_up);
    if (buffer_.count() % 8 == 7) {  // now and then
      buffer_.clear_negligible();
      tiers_.clear_negligible();
    }
    buffer_.append(token);
    levels_.defer(admitted.magnitude);
    if (buffer_.count() == capacity()) flush();
  }

  /// out = sum_l lambda[seen(l)] S_l^T query over the active levels, those in the buffer included.
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out) const {
    read(query, memory, out, nullptr, nullptr);
  }
  /// The same, and what writing a token with the transition `next` takes is read on the way.
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out,
            const Kind& next, LookUp<Kind>& looked_up) const {
    read(query, memory, out, &next, &looked_up);
  }
  /// The same, each term added to row seen(l) of `rows`, of d_v columns, for itself.
  void read_apart(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* rows,
                  const Kind* next, LookUp<Kind>* looked_up) const {
    read<true>(query, memory, rows, next, looked_up);
  }
  /// For the `read` of `query` in `memory` and its cotangents d_l: t.d_old_query =
  /// sum_l lambda[seen(l)] S_l d_l, and d_lambda[seen(l)] += d_l . S_l^T query.
  void pull_back(const LevelQuery<Scalar>& query, const ReadMemory<Kind>& memory,
                 const Cotangents<Scalar>& d, PullbackMemory<Kind>& t, Scalar* d_lambda) const {
    const SeenLevels seen = seen_in(query.order);
    LevelReads<Kind, Stored>::pull_back(levels_, tiers_, query, seen, memory, d, t, d_lambda);
    buffer_.pull_back(query, seen, memory.scores.data(), d, t, d_lambda);
  }

  /// The plain form, exactly as if every token had been pushed; `out` must have the same shape.
  void copy_to(Levels& out) const {
    tiers_.settle_copy(levels_, out);
    buffer_.push_into(out);
  }
  /// A bound of the Frobenius norm of everything: from the bounds of its parts, or, at the cost of
  /// a copy, of the plain form.
  [[nodiscard]] double measured(bool exactly) const {
    if (!exactly) return levels_.norm_bound() * tiers_.norm_bound() + buffer_.norm_bound();
    Levels plain(max_levels(), key_rows(), d_v());
    copy_to(plain);
    return plain.norm();
  }
  /// The buffer becomes part of the levels, which must have nothing pending.
  void carry_buffer() {
    buffer_.move_into(bucket_.data());
    levels_.carry_bucket(buffer_.level(), bucket_.data());
  }

  /// For checkpoints: the buffer, what is pending, and the levels before that.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    Parts::visit(self.buffer_, part);
    Parts::visit(self.tiers_, part);
    Parts::visit(self.levels_, part, [&] { return self.measured(true); });
    if (self.levels_.size() % static_cast<std::uint64_t>(self.capacity()) != 0) {
      fail("size", self.levels_.size(), "a multiple of " + std::to_string(self.capacity()));
    }
  }
  template <class OtherKind, class OtherStored>
  [[nodiscard]] auto cast() const {
    StreamState<OtherKind, OtherStored, Overflow, HasOneState> other(max_levels(), key_rows(),
                                                                     d_v(), buffer_.leaves());
    if constexpr (is_narrow<Stored> == is_narrow<OtherStored>) {
      other.levels() = levels_.template cast<OtherStored>();
      other.tiers().assign(tiers_);
    } else {  // with other tiers
      StreamState settled(*this);
      other.levels() = settled.settled_levels().template cast<OtherStored>();
    }
    other.buffer().assign(buffer_);
    other.buffer().require_finite_leaves(buffer_.leaf_count());
    return other;
  }

  /// See fields.hpp: what a snapshot holds.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("buffer", self.buffer_...);
    use("tiers", self.tiers_...);
    use("levels", self.levels_...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.bucket_, self.one_state_);
  }

 private:
  [[nodiscard]] SeenLevels seen_in(ReadOrder order) const {
    return {order, size(), max_levels(), Overflow};
  }
  template <bool Apart = false>
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out,
            const Kind* next, LookUp<Kind>* looked_up) const {
    using Reads = LevelReads<Kind, Stored>;
    const SeenLevels seen = seen_in(query.order);
    if constexpr (HasOneState && looks_up<Kind>) {
      if (max_levels() == 1) {
        const Scalar weight = query.lambda[seen(0)] * static_cast<Scalar>(seen.kept(0));
        Scalar* const found = Apart ? memory.level_read.data() : out;
        OneState<Kind>::read(levels_.data(0), query.query, weight, key_rows(), d_v(), found, next,
                             looked_up);
        if (Apart) add(out + seen(0) * d_v(), found, d_v(), out + seen(0) * d_v());
        return;
      }
    }
    Reads::template read<Apart>(levels_, tiers_, query, seen, memory, out, next, looked_up);
    buffer_.template read<Apart>(query, seen, memory.scores.data(), out, next, looked_up);
  }
  /// Without a buffer levels are rewritten at every token.
  void write_at_once(const Token<Kind>& token, const Admitted& admitted,
                     [[maybe_unused]] const LookUp<Kind>& looked_up) {
    if constexpr (HasOneState && OneState<Kind>::is_known) {
      if (max_levels() == 1) {
        const double kept = kept_fraction(Overflow, size() > 0 ? 1 : 0);
        one_state_.write(token, static_cast<Scalar>(kept), looked_up, levels_.data(0));
        return levels_.count(admitted.magnitude);
      }
    }
    levels_.write(token.transition, token.keys, token.values, admitted);
  }
  /// All buffered leaves become one bucket of the level above the buffer.
  void flush() {
    const int b = buffer_.level();
    tiers_.settle_below(b + landed_level(levels_.size() >> b, max_levels() - b), levels_);
    carry_buffer();
    tiers_.begin_buffer(levels_);
  }

  Levels levels_;
  Buffer buffer_;
  Tiers tiers_;
  RowMajorMatrix<Scalar> bucket_;  // scratch
  OneState<Kind> one_state_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP

// ---- loglinear/stream/detail/stream_parts.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP

// Jumps of a stream's count, and streams made of parts, in the form in which layers keep them.
//
// Levels are moved with nothing pending: what they had to undergo depends on their tier. The buffer
// of newest leaves stands for the tokens since the last multiple of its capacity: a jump past the
// next one carries it into the levels, a shorter one appends leaves of zeros, and parts have theirs
// side by side.

namespace loglinear::detail {

struct StreamParts {
  /// The state after tokens up to `count` that write nothing and have no transition.
  template <class Stream>
  static void advance(Stream& stream, std::uint64_t count) {
    if (count < stream.size()) fail("the count to advance to", count, "at least size()");
    const int b = stream.buffer().level();
    if ((count >> b) != (stream.size() >> b)) {
      stream.tiers().settle_anew(stream.levels());
      if (stream.buffer().count() > 0) stream.carry_buffer();
      stream.levels().advance_to(count >> b << b);
    }
    stream.buffer().append_zeros(static_cast<Index>(count - stream.size()));
  }

  /// `earlier` becomes the stream of which `later` is the rest: a stream that began empty at the
  /// count of `earlier` and whose transitions multiply to `product`. Throws where something is not
  /// finite or too large, before anything has changed. Copies both, allocates.
  template <class Stream, class Product>
  static void append(Stream& earlier, const Stream& later, const Product& product) {
    require_size("max_levels of the later part", later.max_levels(), earlier.max_levels());
    require_size("d_k of the later part", later.key_rows(), earlier.key_rows());
    require_size("d_v of the later part", later.d_v(), earlier.d_v());
    if (!product.fits(earlier.key_rows(), earlier.d_v())) {
      fail("the product of the later part", "of another shape", "made for this layer's states");
    }
    Stream whole(earlier), rest(later);
    whole.tiers().settle_anew(whole.levels());
    rest.tiers().settle(rest.levels());
    undergo(whole, product);
    const int b = whole.buffer().level();
    const bool carries = (rest.size() >> b) != (whole.size() >> b);
    const Index own = carries ? 0 : whole.buffer().leaf_count();
    advance(whole, rest.size());
    const Index level_size = whole.levels().level_size();
    for (int l : rest.levels().active_levels()) {
      require_finite("coefficient # of the merged state", whole.levels().data(l), level_size);
    }
    whole.levels().add(rest.levels());
    whole.buffer().replace_from(own, rest.buffer());
    whole.buffer().require_finite_leaves(own);
    const double magnitude = whole.measured(true);
    if (!is_at_most(magnitude, magnitude_limit<typename Stream::Levels::Scalar>())) {
      fail("the magnitude of the merged state", magnitude, "within the range of the scalar type");
    }
    whole.levels().defer(magnitude);
    earlier = std::move(whole);
  }

 private:
  /// Everything in a stream that has nothing pending undergoes a product of transitions; allocates.
  template <class Stream, class Product>
  static void undergo(Stream& stream, const Product& product) {
    Vector<typename Stream::Scalar> scratch(product.scratch_size(stream.key_rows()));
    for (int l : stream.levels().active_levels()) {
      stream.levels().undergo(l, product, scratch.data());
    }
    stream.buffer().undergo_product(product);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_PARTS_HPP

// ---- loglinear/stream/snapshot.hpp

#ifndef LOGLINEAR_STREAM_SNAPSHOT_HPP
#define LOGLINEAR_STREAM_SNAPSHOT_HPP

namespace loglinear {

/// A moment of a stream: what a layer remembers, in its internal form, so that a layer that is
/// restored to it goes on bit for bit as it did from there. Weights are no part of it, and neither
/// are hyperparameters: every layer takes it whose states have this shape, max_levels, d_k and d_v
/// and as many leaves a token, and whose rule has this kind of transition.
///
/// It holds the active levels, the leaves that stand apart and the products of transitions that
/// levels have yet to undergo, and nothing of inactive levels: about `active_level_count()`
/// matrices. It grows to the largest moment it has held and then never allocates again. A plain
/// value, to be copied, moved and kept as long as one likes; it refers to no layer.
///
/// \tparam Kind    the kind of transition of the layer's rule
/// \tparam Stored  what levels are stored as
template <class Kind, class Stored = typename Kind::Scalar>
class StreamSnapshot {
 public:
  using Scalar = typename Kind::Scalar;
  using Index = Eigen::Index;

  /// Holds nothing yet, and no layer can be restored to it.
  StreamSnapshot() = default;
  StreamSnapshot(const StreamSnapshot&) = default;                               ///< allocates
  StreamSnapshot(StreamSnapshot&& other) noexcept { *this = std::move(other); }  ///< leaves nothing
  StreamSnapshot& operator=(const StreamSnapshot& other) {
    return *this = StreamSnapshot(other);
  }  ///< allocates; where that throws, nothing is changed
  StreamSnapshot& operator=(StreamSnapshot&& other) noexcept {
    held_.swap(other.held_);
    return *this;
  }  ///< an exchange

  /// Tokens that the stream had taken.
  [[nodiscard]] std::uint64_t size() const noexcept {
    return held_ ? held_->levels.size() + static_cast<std::uint64_t>(held_->buffer.count()) : 0;
  }

  /// Bytes of levels and leaves that it holds: what taking it and restoring it copy, products of
  /// transitions apart.
  [[nodiscard]] std::size_t byte_count() const noexcept {
    return held_ ? held_->levels.byte_count() + held_->buffer.byte_count() : 0;
  }

  /// \name For layers
  /// \{

  /// Makes room for what `stream` is now; what is held stays. \return false where another shape is
  /// held, or nothing
  template <class Stream>
  [[nodiscard]] bool reserve(const Stream& stream) {
    if (!held_ || !(held_->shape == stream.shape())) return false;
    held_->levels.reserve(stream.levels());
    held_->buffer.reserve(stream.buffer());
    return true;
  }

  /// Becomes what `stream` is now; what it held stays where it throws.
  template <class Stream>
  void take(const Stream& stream) {
    if (!reserve(stream)) {
      *this = StreamSnapshot(stream);
    } else {
      held_->levels.take(stream.levels());
      held_->buffer.assign(stream.buffer());
      held_->tiers.assign(stream.tiers());
    }
  }

  /// \throws std::invalid_argument where nothing is held, or `stream` has another shape
  template <class Stream>
  void require_shape_of(const Stream& stream) const {
    if (!held_) detail::fail("the snapshot", "empty", "one that a layer has taken");
    const detail::StreamShape own = held_->shape, other = stream.shape();
    detail::require_size("max_levels of the snapshot", own.max_levels, other.max_levels);
    detail::require_size("d_k of the snapshot", own.key_rows, other.key_rows);
    detail::require_size("d_v of the snapshot", own.d_v, other.d_v);
    detail::require_size("the leaves of a token of the snapshot", own.leaves, other.leaves);
  }

  /// Makes `stream` what it was. \throws std::invalid_argument as `require_shape_of`
  template <class Stream>
  void restore(Stream& stream) const {
    require_shape_of(stream);
    held_->levels.restore(stream.levels());
    stream.buffer().assign(held_->buffer);
    stream.tiers().assign(held_->tiers);
  }
  /// \}

 private:
  /// A stream's values, but for memory of what is not there.
  struct Held {
    template <class Stream>
    explicit Held(const Stream& stream)
        : shape(stream.shape()),
          buffer(stream.buffer().level(), shape.leaves, shape.key_rows, shape.d_v,
                 stream.buffer().count()),
          tiers(stream.tiers()) {
      levels.take(stream.levels());
      buffer.assign(stream.buffer());
    }

    detail::StreamShape shape;
    detail::LevelsMoment<Stored> levels{};
    detail::LeafBuffer<Kind> buffer;
    detail::PendingTiers<Kind, Stored> tiers;
  };

  template <class Stream>
  explicit StreamSnapshot(const Stream& stream) : held_(std::in_place, stream) {}

  std::optional<Held> held_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_SNAPSHOT_HPP

// ---- loglinear/layer/detail/head_parts.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_HEAD_PARTS_HPP
#define LOGLINEAR_LAYER_DETAIL_HEAD_PARTS_HPP

namespace loglinear::detail {

/// What a head has, and how that is replaced as a whole: the stream, the weights and how they
/// learn, the memory of the token in hand. `Head` says what becomes of a token. It has many
/// members: layers, parts of streams and checkpoints each ask for something else.
template <class Inner_, class Scalar_, class Weights_, class Stored, LastLevel Overflow>
class HeadParts {
  static_assert(std::is_same_v<Scalar_, Accumulator<Stored>>,
                "levels can be stored as the layer's scalar, or, where that is float, as "
                "Eigen::bfloat16 or Eigen::half");

 public:
  using Inner = Inner_;
  using Scalar = Scalar_;
  using Weights = Weights_;
  using Kind = typename Inner::template Transition<Scalar>;
  using Preparation = detail::Preparation<Inner, Scalar, Weights>;
  using Stream = StreamState<Kind, Stored, Overflow, has_one_state<Weights>()>;
  using State = LogLinearState<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, Overflow>;
  using Workspace = detail::Workspace<Kind>;
  using Snapshot = StreamSnapshot<Kind, Stored>;

  /// Allocates everything and draws the weights. \param options  of a layer, see
  /// `LogLinearAttention::Options`. \throws std::invalid_argument for one out of its range
  template <class Options>
  explicit HeadParts(const Options& options)
      : read_order_(options.read_order),
        weight_scale_(options.weight_scale),
        preparation_(options),
        stream_(options.max_levels, layout().key_rows, options.d_v, Preparation::leaves),
        workspace_(make_workspace()),
        training_(layout(), Preparation::leaves, preparation_.weight_count(), stream_.read_shape()),
        stepper_(preparation_.parameters(), Learning(options).step, Learning(options).rate, true) {
    // No normal number that is drawn reaches 10.
    require_between("weight_scale", weight_scale_, 0.0, magnitude_limit<Scalar>() / 10);
    Xorshift64 random(options.seed);
    draw_weights(random);
  }

  /// \name The stream, weights and learning, see `LogLinearAttention`
  /// \{
  void reset() noexcept {
    drop_staged();
    stream_.reset();
  }
  void advance_to(std::uint64_t count) {
    drop_staged();
    StreamParts::advance(stream_, count);
  }
  void restore(const Snapshot& moment) {
    moment.restore(stream_);
    drop_staged();
  }
  /// Appends the stream of another head that began at this one's count, after `product` of its
  /// transitions; see `StreamPart`.
  template <class Product>
  void append(const HeadParts& later, const Product& product) {
    drop_staged();
    StreamParts::append(stream_, later.stream_, product);
  }
  [[nodiscard]] const Stream& stream() const noexcept { return stream_; }
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    preparation_.parameters().set(name, value);
    stepper_.settle();
    drop_staged();
  }
  void draw_weights(Xorshift64& random) {
    drop_staged();
    preparation_.parameters().draw(random, weight_scale_);
    stepper_.reset();
  }
  void set_learning_rate(double learning_rate) {
    stepper_.set_rate(learning_rate);
    drop_staged();
  }
  [[nodiscard]] double learning_rate() const noexcept { return stepper_.rate(); }
  [[nodiscard]] const Step& step() const noexcept { return stepper_.step(); }
  void reset_train_step_count() noexcept { train_step_count_ = 0; }
  [[nodiscard]] std::uint64_t train_step_count() const noexcept { return train_step_count_; }
  /// \}

  /// The rule, the policy of the level weights, the weights.
  [[nodiscard]] const Preparation& preparation() const noexcept { return preparation_; }
  [[nodiscard]] ReadOrder read_order() const noexcept { return read_order_; }
  [[nodiscard]] double weight_scale() const noexcept { return weight_scale_; }
  /// What training reads: `after_push`, or the head's order if that keeps the own leaf apart.
  [[nodiscard]] ReadOrder training_order() const noexcept {
    return info_of(read_order_).is_leaf_apart ? read_order_ : ReadOrder::after_push;
  }
  /// What became of the last token: its raw read, its level weights, its transition.
  [[nodiscard]] const Workspace& workspace() const noexcept { return workspace_; }
  [[nodiscard]] Workspace& workspace() noexcept { return workspace_; }

  [[nodiscard]] const Stepper<Scalar>& stepper() const noexcept { return stepper_; }

  /// Takes over the weights, what their steps remember, the stream and the counter of a head in
  /// another scalar.
  template <class Other>
  void assign(const Other& other) {
    weight_scale_ = other.weight_scale();
    preparation_.parameters() = other.preparation().parameters().template cast<Scalar>();
    stream_ = other.stream().template cast<Kind, Stored>();
    stepper_.assign(other.stepper());
    train_step_count_ = other.train_step_count();
  }

  /// Becomes what it was, of which `before` is a copy, and uses that up. The weights stay where
  /// they are in memory.
  void put_back(HeadParts& before) noexcept {
    preparation_.parameters() = before.preparation_.parameters();
    stream_ = std::move(before.stream_);
    workspace_ = std::move(before.workspace_);
    stepper_ = std::move(before.stepper_);
    train_step_count_ = before.train_step_count_;
    drop_staged();
  }

  /// Memory for it; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    return Workspace(layout(), preparation_.parameters().d_model(), Preparation::leaves,
                     preparation_.weight_count(), stream_.read_shape());
  }

 protected:
  /// What has been read for the token in hand.
  enum class Staged { nothing, read, levels };

  void drop_staged() noexcept {
    staged_ = Staged::nothing;
    has_gradient_ = is_looked_at_ = false;
  }
  [[nodiscard]] const Layout& layout() const { return preparation_.layout(); }

  ReadOrder read_order_;
  double weight_scale_;
  Preparation preparation_;
  Stream stream_;
  Workspace workspace_;
  TrainingWorkspace<Kind> training_;
  Stepper<Scalar> stepper_;
  std::uint64_t train_step_count_ = 0;
  ReadOrder staged_order_ = ReadOrder::before_push;
  Admitted staged_write_{};
  Staged staged_ = Staged::nothing;
  bool has_gradient_ = false, is_looked_at_ = false;

 private:
  friend struct Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    std::conditional_t<std::is_const_v<Self>, const HeadParts, HeadParts>& own = self;
    part("", own.preparation_.parameters());
    part("state", own.stream_);
    double rate = own.learning_rate();
    part("learning_rate", rate);
    part("train_step_count", own.train_step_count_);
    part("", own.stepper_);
    if constexpr (is_written<Self>) {
      own.drop_staged();
      own.set_learning_rate(rate);
    }
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_HEAD_PARTS_HPP

// ---- loglinear/layer/span_gradient.hpp

#ifndef LOGLINEAR_LAYER_SPAN_GRADIENT_HPP
#define LOGLINEAR_LAYER_SPAN_GRADIENT_HPP

namespace loglinear {

/// The gradient of a loss over a span of T tokens with respect to what the layer was given.
template <class Scalar>
struct SpanGradient {
  using Rows = detail::RowMajorMatrix<Scalar>;         ///< a row a token
  using Matrix = detail::Matrix<Scalar>;               ///< a copy of an array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< an array where it lies

  Rows x;  ///< with respect to the inputs, T x d_model

  /// With respect to one weight array, by its name in the layer; a read-only view, valid as long as
  /// this object. \throws std::invalid_argument for a name that is not one of the layer's weights
  [[nodiscard]] MatrixView weight(std::string_view name) const& { return weights.get(name); }
  /// The same of a temporary: a copy.
  [[nodiscard]] Matrix weight(std::string_view name) const&& { return weights.get(name); }

  detail::Parameters<Scalar> weights;  ///< all of them, in the layer's own layout
};

/// The gradient of a loss over a span with respect to what a multi-head layer was given.
template <class Scalar>
struct MultiHeadSpanGradient {
  using Rows = detail::RowMajorMatrix<Scalar>;  ///< a row a token

  Rows x;                                   ///< with respect to the inputs, T x d_model
  std::vector<SpanGradient<Scalar>> heads;  ///< with respect to each head's weights; no x in them
  Rows w_out;                               ///< with respect to W_out, d_model x n_heads d_v
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_SPAN_GRADIENT_HPP

// ---- loglinear/layer/detail/layer_source.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_LAYER_SOURCE_HPP
#define LOGLINEAR_LAYER_DETAIL_LAYER_SOURCE_HPP

namespace loglinear::detail {

/// A span of inputs, T x d_model, as the tokens that a layer makes of them.
template <class Inner, class Scalar, class Weights>
class LayerSource final : public TokenSource<Scalar> {
 public:
  using Layer = Preparation<Inner, Scalar, Weights>;
  using Kind = typename Layer::Kind;

  /// `layer` and the rows of `x` must outlive it.
  LayerSource(const Layer& layer, const RowsView<Scalar>& x, ReadOrder order,
              typename Layer::Read workspace)
      : layer_(layer),
        x_(x),
        shape_(shape_of(step_counts<Kind>(layer.layout().key_rows, layer.layout().d_v),
                        layer.layout().key_rows, layer.layout().d_v, Layer::leaves, order)),
        writer_(shape_),
        step_gradients_(shape_),
        workspace_(std::move(workspace)) {}
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;

  /// Where reads go, the first of them to row `first`.
  void read_into(RowMajorMatrix<Scalar>& reads, Index first) {
    reads_ = &reads;
    first_read_ = first;
  }
  /// Where gradients of the reads come from, and those of everything else go.
  void differentiate(const RowsView<Scalar>& d_reads, typename Layer::Gradient gradient,
                     SpanGradient<Scalar>& to) {
    d_reads_.emplace(d_reads);
    training_.emplace(std::move(gradient));
    to_ = &to;
  }

  [[nodiscard]] SequenceShape shape() const override { return shape_; }
  [[nodiscard]] Index length() const override { return x_.rows(); }

  typename Chunk<Scalar>::Views load(Index first, Chunk<Scalar>& chunk) override {
    project(first, chunk.tokens);
    for (Index t = 0; t < chunk.tokens; ++t) {
      prepare(t);
      const Token<Kind>& token = workspace_.token;
      put(token.query, t, chunk.q);
      put(token.keys, t, chunk.k);
      put(token.values, t, chunk.v);
      put(workspace_.lambda, t, chunk.lambda);
      writer_.start(chunk, t);
      token.transition.visit_steps(writer_);
      writer_.finish();
    }
    return chunk.own_views();
  }

  void take_out(Index first, const Chunk<Scalar>& chunk) override {
    if (reads_ == nullptr) return;
    const ConstRowBlock<Scalar> reads = block_of(chunk.out).topRows(chunk.tokens);
    if (!all_finite(reads)) require_finite("coefficient # of the raw reads", view_of(reads));
    copy_rows(reads, writable_block_of(*reads_).middleRows(first_read_ + first, chunk.tokens));
  }

  typename Chunk<Scalar>::Targets open_gradient(Index first, const Chunk<Scalar>& chunk,
                                                Chunk<Scalar>& gradient) override {
    return gradient.own_targets(block_of(*d_reads_).middleRows(first, chunk.tokens));
  }

  void take_gradient(Index first, const Chunk<Scalar>& chunk, Chunk<Scalar>& gradient) override {
    const Index tokens = chunk.tokens;
    project(first, tokens);
    resize(d_raw_, tokens, raw_.cols());
    auto& t = *training_;
    for (Index i = 0; i < tokens; ++i) {
      prepare(i);
      take(gradient.q, i, t.d_token.query);
      take(gradient.k, i, t.d_token.keys);
      take(gradient.v, i, t.d_token.values);
      take(gradient.lambda, i, t.d_lambda);
      const Kind& transition = workspace_.token.transition;
      step_gradients_.start(transition, chunk, gradient, i);
      transition.visit_steps(step_gradients_, t.d_token.transition);
      layer_.pull_back(workspace_, t);
      put(t.d_raw, i, d_raw_);
      to_->weights.add_free(t.d_free);
    }
    to_->weights.add_outer_rows(block_of(x_).middleRows(first, tokens), d_raw_);
    layer_.parameters().project_rows_back(d_raw_,
                                          writable_block_of(to_->x).middleRows(first, tokens));
  }

 private:
  /// Token t of `rows` becomes what a token has of it, and the other way round: the columns of the
  /// one are the rows of the other.
  template <class OfToken>
  static void put(const OfToken& from, Index t, RowMajorMatrix<Scalar>& rows) {
    copy(from.data(), from.size(), rows.data() + t * from.size());
  }
  template <class OfToken>
  static void take(const RowMajorMatrix<Scalar>& rows, Index t, OfToken& to) {
    copy(rows.data() + t * to.size(), to.size(), to.data());
  }

  void project(Index first, Index tokens) {
    resize(raw_, tokens, layer_.layout().end);
    layer_.parameters().project_rows(block_of(x_).middleRows(first, tokens), raw_);
    for (Index t = 0; t < tokens; ++t) layer_.add_bias(raw_.data() + t * raw_.cols(), 0);
  }
  void prepare(Index t) {
    take(raw_, t, workspace_.raw);
    layer_.require_finite_projections(workspace_, 0);
    layer_.prepare_read(workspace_);
    require_finite("level weight #", workspace_.lambda);
    layer_.prepare_leaf(workspace_);
    require_finite_leaf(workspace_.token.keys, workspace_.token.values);
  }

  const Layer& layer_;
  RowsView<Scalar> x_;
  SequenceShape shape_;
  StepWriter<Scalar> writer_;
  StepGradients<Scalar> step_gradients_;
  typename Layer::Read workspace_;
  std::optional<typename Layer::Gradient> training_{};
  RowMajorMatrix<Scalar> raw_{}, d_raw_{};
  RowMajorMatrix<Scalar>* reads_ = nullptr;
  Index first_read_ = 0;
  std::optional<RowsView<Scalar>> d_reads_{};
  SpanGradient<Scalar>* to_ = nullptr;
};

template <class Inner, class Scalar, class Weights, class... Rest>
LayerSource(const Preparation<Inner, Scalar, Weights>&, Rest...)
    -> LayerSource<Inner, Scalar, Weights>;

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_LAYER_SOURCE_HPP

// ---- loglinear/layer/detail/span.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_SPAN_HPP
#define LOGLINEAR_LAYER_DETAIL_SPAN_HPP

// What a head does with a span of T tokens at once: the numbers of T single tokens, to rounding,
// computed chunk by chunk with matrix products (see chunks/chunkwise_run.hpp), in every read order;
// and backpropagation through the whole span.

namespace loglinear::detail {

inline constexpr Index span_chunk_size = 64;

/// Puts `value` back as it was, unless told to keep what has become of it.
template <class Type>
class Rollback {
  /// Views of a head's weights and references to a head of several stay valid.
  template <class Value>
  static void put_back(Value& value, Value& before) noexcept {
    if constexpr (requires { value.put_back(before); }) {
      value.put_back(before);
    } else {
      value = std::move(before);
    }
  }
  template <class Layer>
  static void put_back(std::vector<Layer>& layers, std::vector<Layer>& before) noexcept {
    for (std::size_t i = 0; i < layers.size(); ++i) {
      layers[i].as_head().put_back(before[i].as_head());
    }
  }

 public:
  explicit Rollback(Type& value) : value_(value), before_(value) {}
  Rollback(const Rollback&) = delete;
  Rollback& operator=(const Rollback&) = delete;
  ~Rollback() {
    if (!keeps_) put_back(value_, before_);
  }
  void keep() noexcept { keeps_ = true; }
  [[nodiscard]] const Type& before() const noexcept { return before_; }

 private:
  Type& value_;
  Type before_;
  bool keeps_ = false;
};

/// The span as it is worked on, to come after `before` tokens. \throws std::invalid_argument for
/// another width, numbers that are not finite, or more tokens than can be counted
template <class Scalar, class In>
[[nodiscard]] RowMajorMatrix<Scalar> checked_span(const Eigen::MatrixBase<In>& x, Index d_model,
                                                  std::uint64_t before) {
  static_assert(std::is_same_v<typename In::Scalar, Scalar>,
                "the span must have the layer's scalar: convert it with .cast<Scalar>()");
  require_size("x (columns)", x.cols(), d_model);
  require_finite("x", x);
  if (static_cast<std::uint64_t>(x.rows()) > UINT64_MAX - before) {
    fail("the number of tokens", x.rows(), "at most 2^64 - 1 together with those before");
  }
  return RowMajorMatrix<Scalar>(x);
}

/// Reads and writes a span. The chunkwise form takes over where the stream has nothing buffered,
/// and leaves it so; `one_token(t)` does the rest, and all of it for a kind of transition that the
/// chunkwise form does not know. Where this throws, the stream is to be put back.
template <class Preparation, class Stream, class OneToken>
void read_span(const Preparation& preparation, const typename Preparation::Read& workspace,
               Stream& stream, const RowMajorMatrix<typename Stream::Scalar>& x, ReadOrder order,
               RowMajorMatrix<typename Stream::Scalar>& reads, OneToken one_token) {
  static_assert(Stream::overflow == LastLevel::fold,
                "spans of tokens need a layer whose last level folds: LastLevel::fold; give the "
                "tokens one by one to a layer whose last level forgets or halves");
  using Scalar = typename Stream::Scalar;
  const Index length = x.rows();
  if constexpr (HasSteps<typename Preparation::Kind>) {
    const Index head = (std::min)(stream.until_flushed(), length),
                tail = (length - head) % stream.capacity(), middle = length - head - tail;
    for (Index t = 0; t < head; ++t) one_token(t);
    if (middle > 0) {
      const RowsView<Scalar> rows(x.data() + head * x.cols(), middle, x.cols(),
                                  Eigen::OuterStride<>(x.cols()));
      auto& levels = stream.settled_levels();
      LayerSource source(preparation, rows, order, workspace);
      source.read_into(reads, head);
      Hierarchy<Scalar> states = hierarchy_of(levels);
      forward_chunks<Scalar>(source, span_chunk_size, preparation.weight_count(), states, nullptr,
                             true);
      levels.replace(
          states.count(), [&](int l) -> const auto& { return states.level(l); });
    }
    for (Index t = length - tail; t < length; ++t) one_token(t);
  } else {
    for (Index t = 0; t < length; ++t) one_token(t);
  }
}

/// From the gradient of the raw reads of a span, read in the given order from the state `before`
/// it, to that of x and every weight. \throws std::invalid_argument for a state or a gradient of
/// another shape, and where the gradient is not finite
template <class Preparation, class State, class Scalar, class DReads>
[[nodiscard]] SpanGradient<Scalar> pull_back_span(const Preparation& preparation,
                                                  const typename Preparation::Read& workspace,
                                                  const typename Preparation::Gradient& training,
                                                  const State& before,
                                                  const RowMajorMatrix<Scalar>& x, ReadOrder order,
                                                  const DReads& d_reads) {
  static_assert(HasSteps<typename Preparation::Kind>,
                "gradients of a span need the steps of the rule's kind of transition: give it "
                "the member visit_steps of loglinear/transitions/steps.hpp, or build it from the "
                "kinds of the library");
  const Layout& layout = preparation.layout();
  require_size("max_levels of the state before the span", before.max_levels(),
               workspace.max_levels);
  require_size("d_k of the state before the span", before.d_k(), layout.key_rows);
  require_size("d_v of the state before the span", before.d_v(), layout.d_v);
  require_size("the gradient of the reads (rows)", d_reads.rows(), x.rows());
  require_size("the gradient of the reads (columns)", d_reads.cols(), layout.d_v);
  const SequenceArray<Scalar> d_rows(d_reads);  // a copy, unless they lie row by row
  SpanGradient<Scalar> gradient{zeros<RowMajorMatrix<Scalar>>(x.rows(), x.cols()),
                                preparation.parameters().zeros()};
  if (x.rows() == 0) return gradient;
  LayerSource source(preparation, view_of(x), order, workspace);
  source.differentiate(view_of(d_rows), training, gradient);
  Hierarchy<Scalar> states = hierarchy_of(before),
                    d_states(before.max_levels(), before.d_k(), before.d_v(),
                             before.size() + static_cast<std::uint64_t>(x.rows()));
  for (int l : d_states.active()) d_states.set_zero(l);
  const Index weights = preparation.weight_count();
  ChunkwiseTape<Scalar> tape;
  forward_chunks<Scalar>(source, span_chunk_size, weights, states, &tape, false);
  pull_back_chunks<Scalar>(source, span_chunk_size, weights, tape, d_states);
  require_finite("coefficient # of the gradient of x", gradient.x);
  gradient.weights.require_finite_gradient();
  return gradient;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_SPAN_HPP

// ---- loglinear/stream/detail/reading.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_READING_HPP
#define LOGLINEAR_STREAM_DETAIL_READING_HPP

// Reads of a hierarchy in every order, and their pullback. A read never needs the token to be
// written first: what the older states become is read through the token's transition,
//
//     (L S diag(r))^T q = diag(r) S^T (L^T q),
//
// under the level weight of where the carry will take them, and the token's own leaf is added.

namespace loglinear::detail {

/// Level weights are looked at when they have been read with: the read does not wait.
template <class Scalar>
void require_finite_read(const Vector<Scalar>& lambda, const Vector<Scalar>& read) {
  if (are_finite(lambda.data(), lambda.size(), read.data(), read.size())) return;
  require_finite("level weight #", lambda);
  require_finite("coefficient # of the raw read", read);
}

/// read = what the state as it stands says to the query, with each level under the weight that the
/// next token in `order` gives it.
template <class State, class Scalar, class Kind>
void read_standing(const State& state, const Vector<Scalar>& query, const Vector<Scalar>& lambda,
                   ReadOrder order, ReadMemory<Kind>& memory, Vector<Scalar>& read) {
  state.read({query.data(), lambda.data(), order}, memory, read.data());
  require_finite_read(lambda, read);
}

/// read = what the token reads in the given order, before it is written. Returns what writing it
/// takes, which lies in `memory`.
template <class State, class Scalar, class Kind>
const LookUp<Kind>& read_token(const State& state, const Token<Kind>& token,
                               const Vector<Scalar>& lambda, ReadOrder order,
                               ReadMemory<Kind>& memory, Vector<Scalar>& read) {
  const Index d_v = token.values.rows(), key_rows = token.keys.rows();
  const bool stands = !info_of(order).reads_written;
  const Vector<Scalar>& old_query = stands ? token.query : memory.old_query;
  if (!stands) {
    memory.old_query = token.query;
    token.transition.left_transposed(memory.old_query);
  }
  const LevelQuery<Scalar> query{old_query.data(), lambda.data(), order};
  state.read(query, memory, read.data(), token.transition, memory.looked_up);
  if (!stands) {
    memory.old_read = read;
    token.transition.right(RowView<Scalar>(read.data(), d_v));
    const Scalar weight = lambda[seen_leaf_level(order, state.size(), state.max_levels())];
    for (Index j = 0; j < token.keys.cols(); ++j) {
      const Scalar score = dot(token.keys.data() + j * key_rows, token.query.data(), key_rows);
      axpy<Scalar>(weight * score, token.values.data() + j * d_v, d_v, read.data());
    }
  }
  require_finite_read(lambda, read);
  return memory.looked_up;
}

/// From d_read to d_token and d_lambda, for what `read_token` read into `memory`; the states are
/// constants.
template <class State, class Scalar, class Kind>
void pull_back_token(const State& state, const Token<Kind>& token, const Vector<Scalar>& lambda,
                     ReadOrder order, const ReadMemory<Kind>& memory, const Vector<Scalar>& d_read,
                     PullbackMemory<Kind>& t, Token<Kind>& d_token, Vector<Scalar>& d_lambda) {
  const Index d_v = token.values.rows(), key_rows = token.keys.rows();
  std::fill_n(d_lambda.data(), d_lambda.size(), Scalar(0));

  // The older states: with d = diag(r) d_read, p = sum_l lambda_l S_l d is all that is needed, the
  // derivative with respect to L^T q.
  t.d_old_read = d_read;
  token.transition.right(RowView<Scalar>(t.d_old_read.data(), d_v));
  state.pull_back({memory.old_query.data(), lambda.data(), order}, memory, {t.d_old_read.data()}, t,
                  d_lambda.data());
  token.transition.pullback(token.query, t.d_old_query, memory.old_read, d_read,
                            d_token.transition);
  d_token.query = t.d_old_query;
  token.transition.left(d_token.query);

  // The leaf: lambda_c (k . q) v.
  const int own = seen_leaf_level(order, state.size(), state.max_levels());
  const Scalar weight = lambda[own];
  for (Index j = 0; j < token.keys.cols(); ++j) {
    const Scalar* const key = token.keys.data() + j * key_rows;
    const Scalar* const value = token.values.data() + j * d_v;
    const Scalar key_query = dot(key, token.query.data(), key_rows);
    const Scalar value_d = dot(value, d_read.data(), d_v);
    d_lambda[own] += key_query * value_d;
    axpy<Scalar>(weight * value_d, key, key_rows, d_token.query.data());
    scale_to<Scalar>(weight * value_d, token.query.data(), key_rows,
                     d_token.keys.data() + j * key_rows);
    scale_to<Scalar>(weight * key_query, d_read.data(), d_v, d_token.values.data() + j * d_v);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READING_HPP

// ---- loglinear/stream/detail/reading_apart.hpp

#ifndef LOGLINEAR_STREAM_DETAIL_READING_APART_HPP
#define LOGLINEAR_STREAM_DETAIL_READING_APART_HPP

// Reads of a hierarchy with each level for itself, and their pullback: what reading.hpp does but
// for the sum over levels. Row w of the reads is what the level weight lambda[w] would be
// multiplied by, so that `lambda^T reads` is the mixed read; rows that no level is seen at are
// zero.

namespace loglinear::detail {

/// A weight of 1 for each level.
template <class Scalar>
[[nodiscard]] std::array<Scalar, max_level_limit + 1> unit_level_weights() {
  std::array<Scalar, max_level_limit + 1> ones;
  ones.fill(Scalar(1));
  return ones;
}

/// Rows of reads that lie one after the other, one for each level weight.
template <class Scalar>
struct ReadRows {
  Scalar* first;
  Index count, d_v;

  [[nodiscard]] Index size() const { return count * d_v; }
  [[nodiscard]] Scalar* row(Index w) const { return first + w * d_v; }
};

/// Each row undergoes r of a transition, as reads and their cotangents do.
template <class Kind, class Scalar>
void scale_read_rows([[maybe_unused]] const Kind& transition,
                     [[maybe_unused]] const ReadRows<Scalar>& rows) {
  if constexpr (scales_values<Kind>) {
    for (Index w = 0; w < rows.count; ++w) transition.right(RowView<Scalar>(rows.row(w), rows.d_v));
  }
}

/// reads = what each level of the state as it stands says to the query, in the row where the next
/// token in `order` sees the level.
template <class State, class Scalar, class Kind>
void read_standing_apart(const State& state, const Vector<Scalar>& query, ReadOrder order,
                         ReadMemory<Kind>& memory, const ReadRows<Scalar>& reads) {
  const auto ones = unit_level_weights<Scalar>();
  std::fill_n(reads.first, reads.size(), Scalar(0));
  state.read_apart({query.data(), ones.data(), order}, memory, reads.first, nullptr, nullptr);
  require_finite("a read of a level", reads.first, reads.size());
}

/// reads = what the token reads of each level in the given order, before it is written. What
/// writing it takes lies in `memory` then.
template <class State, class Scalar, class Kind>
void read_token_apart(const State& state, const Token<Kind>& token, ReadOrder order,
                      ReadMemory<Kind>& memory, const ReadRows<Scalar>& reads) {
  const bool stands = !info_of(order).reads_written;
  const auto ones = unit_level_weights<Scalar>();
  memory.old_query = token.query;
  if (!stands) token.transition.left_transposed(memory.old_query);
  std::fill_n(reads.first, reads.size(), Scalar(0));
  state.read_apart({memory.old_query.data(), ones.data(), order}, memory, reads.first,
                   &token.transition, &memory.looked_up);
  if (!stands) {
    scale_read_rows(token.transition, reads);
    const Index key_rows = token.keys.rows();
    Scalar* const own = reads.row(seen_leaf_level(order, state.size(), state.max_levels()));
    for (Index j = 0; j < token.keys.cols(); ++j) {
      const Scalar score = dot(token.keys.data() + j * key_rows, token.query.data(), key_rows);
      axpy<Scalar>(score, token.values.data() + j * reads.d_v, reads.d_v, own);
    }
  }
  require_finite("a read of a level", reads.first, reads.size());
}

/// From the cotangents of the reads, which are used up, to d_token, for what `read_token_apart`
/// read into `memory`; the states are constants. `scratch` is as long as there are level weights.
template <class State, class Scalar, class Kind>
void pull_back_token_apart(const State& state, const Token<Kind>& token, ReadOrder order,
                           ReadMemory<Kind>& memory, const ReadRows<Scalar>& d_reads,
                           PullbackMemory<Kind>& t, Token<Kind>& d_token, Vector<Scalar>& scratch) {
  const Index d_v = d_reads.d_v, key_rows = token.keys.rows();
  const auto ones = unit_level_weights<Scalar>();
  const LevelQuery<Scalar> query{memory.old_query.data(), ones.data(), order};
  const Scalar* const own = d_reads.row(seen_leaf_level(order, state.size(), state.max_levels()));
  copy(own, d_v, t.d_old_read.data());  // before r
  std::fill_n(t.products.data(), d_v, Scalar(0));
  if constexpr (scales_values<Kind>) {  // the reads before r, once more: what r is multiplied by
    const ReadRows<Scalar> old_reads{t.level_cotangents.data(), d_reads.count, d_v};
    std::fill_n(old_reads.first, old_reads.size(), Scalar(0));
    state.read_apart(query, memory, old_reads.first, nullptr, nullptr);
    for (Index w = 0; w < d_reads.count; ++w) {
      add_product(old_reads.row(w), d_reads.row(w), d_v, t.products.data());
    }
  }

  // The older states: with d_l = diag(r) d_reads_l, sum_l S_l d_l is all that is needed, the
  // derivative with respect to L^T q.
  scale_read_rows(token.transition, d_reads);
  std::fill_n(scratch.data(), scratch.size(), Scalar(0));
  state.pull_back(query, memory, {d_reads.first, d_v}, t, scratch.data());
  d_token.query = t.d_old_query;
  token.transition.left(d_token.query);

  // The leaf: (k . q) v.
  for (Index j = 0; j < token.keys.cols(); ++j) {
    const Scalar* const key = token.keys.data() + j * key_rows;
    const Scalar* const value = token.values.data() + j * d_v;
    const Scalar key_query = dot(key, token.query.data(), key_rows);
    const Scalar value_d = dot(value, t.d_old_read.data(), d_v);
    axpy<Scalar>(value_d, key, key_rows, d_token.query.data());
    scale_to<Scalar>(value_d, token.query.data(), key_rows, d_token.keys.data() + j * key_rows);
    scale_to<Scalar>(key_query, t.d_old_read.data(), d_v, d_token.values.data() + j * d_v);
  }

  // sum_l d_l . (r z_l) = 1 . (r products)
  std::fill_n(t.d_old_read.data(), d_v, Scalar(1));
  token.transition.pullback(token.query, t.d_old_query, t.products, t.d_old_read,
                            d_token.transition);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READING_APART_HPP

// ---- loglinear/layer/detail/head.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_HEAD_HPP
#define LOGLINEAR_LAYER_DETAIL_HEAD_HPP

namespace loglinear::detail {

/// One head, the engine under every layer: what it makes of a token (`Preparation`), the stream's
/// state, and the memory of the token in hand. Its output is the raw read, without tanh.
///
/// A token comes in stages: `stage`, then `stage_gradient` and `learn` to learn from it, then
/// `commit`. Only `learn` and `commit` change the head, and neither throws after the stage before
/// it: many heads can take a token together or not at all. Whatever else changes the stream, the
/// weights or the learning rate, or uses the same memory, drops what was staged. Out of turn they
/// throw and change nothing.
///
/// Whoever owns a head calls it in the mode in which denormal numbers are zero (`FlushToZero`).
template <class Inner, class Scalar_, class Weights, class Stored, LastLevel Overflow>
class Head : public HeadParts<Inner, Scalar_, Weights, Stored, Overflow> {
  using Base = HeadParts<Inner, Scalar_, Weights, Stored, Overflow>;
  using Base::drop_staged, Base::layout;
  using Base::read_order_, Base::preparation_, Base::stream_, Base::workspace_, Base::training_;
  using Base::staged_order_, Base::staged_write_, Base::staged_, Base::has_gradient_,
      Base::is_looked_at_;
  using Base::stepper_, Base::train_step_count_;
  using typename Base::Staged;

 public:
  using Base::Base;

  /// What a token is staged for: the weights may follow the scale of what is learnt from.
  enum class For { reading, learning };
  using typename Base::Scalar, typename Base::State, typename Base::Workspace;

  /// \name A token
  /// \{

  /// Prepares a token, sees that it may be written, and reads; nothing changes yet. \return the raw
  /// read, length d_v. \throws std::invalid_argument also for the order `current_apart` of a head
  /// that was not made for it: it has no weight for that
  template <class In>
  const Vector<Scalar>& stage(const In& x, ReadOrder order, For purpose = For::reading) {
    prepare(x, order, purpose);
    ReadInMaking<Scalar> read(workspace_.read);
    static_cast<void>(read_token(stream_, workspace_.token, workspace_.lambda, order,
                                 workspace_.stream, workspace_.read));
    read.done();
    staged_ = Staged::read;
    return workspace_.read;
  }
  /// The same with each level read apart: row w of `reads` is what lambda[w] would weigh.
  template <class In>
  void stage_levels(const In& x, ReadOrder order, RowMajorMatrix<Scalar>& reads,
                    For purpose = For::reading) {
    const ReadRows<Scalar> rows = rows_of(reads, order);
    prepare(x, order, purpose);
    read_token_apart(stream_, workspace_.token, order, workspace_.stream, rows);
    staged_ = Staged::levels;
  }

  /// From the gradient with respect to the staged raw read, length d_v, to that of every weight.
  /// \throws std::invalid_argument for another length, where no token is staged, or where it is in
  /// the order `before_push`, which does not read what the token writes
  template <class Derived>
  void stage_gradient(const Eigen::MatrixBase<Derived>& d_read) {
    require_staged(Staged::read);
    copy_vector(d_read.derived(), "the gradient of the read", training_.d_read);
    pull_back_token(stream_, workspace_.token, workspace_.lambda, staged_order_, workspace_.stream,
                    training_.d_read, training_.stream, training_.d_token, training_.d_lambda);
    admit_gradient();
  }
  /// The same with respect to levels read apart, which it uses up.
  void stage_levels_gradient(RowMajorMatrix<Scalar>& d_reads) {
    require_staged(Staged::levels);
    const ReadRows<Scalar> rows = rows_of(d_reads, staged_order_);
    require_finite("the gradient of the reads", d_reads);
    pull_back_token_apart(stream_, workspace_.token, staged_order_, workspace_.stream, rows,
                          training_.stream, training_.d_token, training_.d_lambda);
    std::fill_n(training_.d_lambda.data(), training_.d_lambda.size(), Scalar(0));
    admit_gradient();
  }

  /// Steps the weights by the staged gradient; `commit` follows, and writes the token as the old
  /// weights made it. \throws std::invalid_argument where no gradient is staged
  void learn() {
    if (!has_gradient_) fail("the staged gradient", "absent", "there: it is staged before");
    stepper_.take(preparation_.parameters(), training_.d_raw, workspace_.x, training_.d_free);
    ++train_step_count_;
    has_gradient_ = false;
  }
  /// Writes the staged token to the stream. \throws std::invalid_argument where none is staged
  void commit() {
    if (staged_ == Staged::nothing) fail_unstaged();
    drop_staged();
    stream_.write(workspace_.token, staged_write_, workspace_.stream.looked_up);
  }

  /// Reads the stream as it stands into `workspace.read`: nothing changes. With `current_apart`
  /// weights, level l counts lambda_{l+1}. \throws std::invalid_argument also for a workspace of
  /// another shape
  template <class In>
  void query(const In& x, Workspace& workspace) const {
    require_shape_of(workspace_, workspace);
    copy_vector(x, "x", workspace.x);
    preparation_.project(workspace, layout().q);
    preparation_.prepare_read(workspace);
    ReadInMaking<Scalar> read(workspace.read);
    read_standing(stream_, workspace.token.query, workspace.lambda, standing_order(),
                  workspace.stream, workspace.read);
    read.done();
  }
  /// The same with each level read apart.
  template <class In>
  void query_levels(const In& x, Workspace& workspace, RowMajorMatrix<Scalar>& reads) const {
    require_shape_of(workspace_, workspace);
    const ReadRows<Scalar> rows = rows_of(reads, read_order_);
    copy_vector(x, "x", workspace.x);
    preparation_.project(workspace, layout().q);
    preparation_.prepare_read(workspace);
    read_standing_apart(stream_, workspace.token.query, standing_order(), workspace.stream, rows);
  }
  /// Both in the head's own memory, where what was staged is dropped.
  template <class In>
  void query(const In& x) {
    drop_staged();
    std::as_const(*this).query(x, workspace_);
  }
  template <class In>
  void query_levels(const In& x, RowMajorMatrix<Scalar>& reads) {
    drop_staged();
    std::as_const(*this).query_levels(x, workspace_, reads);
  }
  /// \}

  /// \name A span of tokens, see span.hpp
  /// \{

  /// Reads in the given order and writes the whole span. \param x T x d_model \return the raw
  /// reads, T x d_v. \throws std::invalid_argument as `stage`; nothing is changed then
  template <class In>
  RowMajorMatrix<Scalar> read_span(const Eigen::MatrixBase<In>& x, ReadOrder order) {
    require_order(order);
    const RowMajorMatrix<Scalar> rows =
        checked_span<Scalar>(x, workspace_.x.size(), stream_.size());
    drop_staged();
    RowMajorMatrix<Scalar> reads(rows.rows(), layout().d_v);
    Rollback rollback(stream_);
    const auto one_token = [&](Index t) {
      stage(ConstVectorView<Scalar>(rows.data() + t * rows.cols(), rows.cols()), order);
      std::copy_n(workspace_.read.data(), reads.cols(), reads.data() + t * reads.cols());
      commit();
    };
    detail::read_span(preparation_, workspace_, stream_, rows, order, reads, one_token);
    rollback.keep();
    return reads;
  }

  /// From the gradient of the raw reads of a span, read in the given order from the state `before`
  /// it, to that of x and every weight. \throws std::invalid_argument as `read_span`, or for a
  /// state or a gradient of another shape
  template <class In, class DReads>
  [[nodiscard]] SpanGradient<Scalar> pull_back_span(const State& before,
                                                    const Eigen::MatrixBase<In>& x, ReadOrder order,
                                                    const DReads& d_reads) const {
    require_order(order);
    return detail::pull_back_span(preparation_, workspace_, training_, before,
                                  checked_span<Scalar>(x, workspace_.x.size(), before.size()),
                                  order, d_reads);
  }

  /// Looks at the inputs of a span to learn from, before it is read.
  template <class In>
  void look_at_span(const Eigen::MatrixBase<In>& x) {
    stepper_.look_at_rows(preparation_.parameters(),
                          checked_span<Scalar>(x, workspace_.x.size(), stream_.size()));
    drop_staged();
  }
  /// One step against the gradient. \throws std::invalid_argument for the gradient of a head with
  /// other weights, or where a weight would not be finite; nothing is changed then
  void descend(const SpanGradient<Scalar>& gradient) {
    stepper_.take(preparation_.parameters(), gradient.weights);
    drop_staged();
    ++train_step_count_;
  }
  /// \}

 private:
  /// There is one more weight in the order `current_apart`.
  void require_order(ReadOrder order) const {
    if (info_of(order).is_leaf_apart && !info_of(read_order_).is_leaf_apart) {
      fail("the read order", name_of(order),
           "before_push or after_push, unless it is the layer's own");
    }
  }
  /// What every stage begins with.
  template <class In>
  void prepare(const In& x, ReadOrder order, For purpose) {
    require_order(order);
    drop_staged();
    copy_vector(x, "x", workspace_.x);
    is_looked_at_ = purpose == For::learning;
    if (is_looked_at_) stepper_.look(workspace_.x);
    preparation_.project(workspace_, 0);
    preparation_.prepare_leaf(workspace_);
    staged_write_ = stream_.admit(workspace_.token);
    preparation_.prepare_read(workspace_);
    staged_order_ = order;
  }
  /// What every gradient ends with.
  void admit_gradient() {
    preparation_.pull_back(workspace_, training_);
    if (!is_looked_at_) stepper_.see(workspace_.x);
    stepper_.admit(preparation_.parameters(), training_.d_raw, workspace_.x, training_.d_free);
    has_gradient_ = true;
  }
  void require_staged(Staged expected) {
    if (staged_ != expected) fail_unstaged();
    if (!info_of(staged_order_).reads_written) {
      fail("the order of the staged token", name_of(staged_order_),
           "after_push or current_apart, to learn from it");
    }
    has_gradient_ = false;
  }
  [[noreturn]] static void fail_unstaged() {
    fail("the staged token", "absent", "there: `stage` comes first, once a token");
  }
  /// A row for each level weight of an order.
  [[nodiscard]] ReadRows<Scalar> rows_of(RowMajorMatrix<Scalar>& reads, ReadOrder order) const {
    const Index rows = level_weight_count(order, stream_.max_levels());
    require_size("the reads (rows, one a level weight)", reads.rows(), rows);
    require_size("the reads (columns, d_v)", reads.cols(), layout().d_v);
    return {reads.data(), rows, reads.cols()};
  }
  /// In which the state is read as it stands.
  [[nodiscard]] ReadOrder standing_order() const {
    return info_of(read_order_).is_leaf_apart ? read_order_ : ReadOrder::before_push;
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_HEAD_HPP

// ---- loglinear/layer/detail/output_projection.hpp

#ifndef LOGLINEAR_LAYER_DETAIL_OUTPUT_PROJECTION_HPP
#define LOGLINEAR_LAYER_DETAIL_OUTPUT_PROJECTION_HPP

namespace loglinear {

/// Where a multi-head layer bounds its output by a tanh; a head itself never does there.
enum class OutputBound {
  none,     ///< nowhere: `output = W_out [o_1; ..; o_H]`
  forward,  ///< in `forward` and `train_one`, not in `query_readonly`
  always,   ///< everywhere
};

namespace detail {

/// The way from the reads of all heads to the output: W_out, then at most one tanh.
template <class Scalar>
class OutputProjection {
  using Rows = RowMajorMatrix<Scalar>;

 public:
  /// From reads of length `width` to outputs of length `d_model`, with weights that `random` draws.
  OutputProjection(Index width, Index d_model, OutputBound bound, const Step& step, double rate,
                   Xorshift64& random)
      : bound_(bound),
        weights_(drawn(width, d_model, random)),
        stepper_(weights_, step, rate, false) {}

  [[nodiscard]] OutputBound bound() const { return bound_; }
  [[nodiscard]] Index width() const { return weights_.d_model(); }
  [[nodiscard]] Index output_dim() const { return weights_.projected_size(); }
  [[nodiscard]] const Parameters<Scalar>& weights() const { return weights_; }
  [[nodiscard]] Parameters<Scalar>& weights() { return weights_; }
  /// How they learn; the scale of the reads, which the heads learn, is none of its business.
  [[nodiscard]] Stepper<Scalar>& stepper() { return stepper_; }
  [[nodiscard]] const Stepper<Scalar>& stepper() const { return stepper_; }

  /// output = W_out reads of a token, bounded where the layer says so. \throws
  /// std::invalid_argument where that is not finite
  void apply(const Vector<Scalar>& reads, Vector<Scalar>& output) const {
    apply(reads, output, bound_ != OutputBound::none);
  }
  /// The same of a token that is not written.
  void apply_readonly(const Vector<Scalar>& reads, Vector<Scalar>& output) const {
    apply(reads, output, bound_ == OutputBound::always);
  }
  /// The same, a row a token.
  [[nodiscard]] Rows apply(const Rows& reads) const {
    Rows output(reads.rows(), output_dim());
    weights_.project_rows(reads, output);
    require_finite("coefficient # of the output", output);
    if (bound_ != OutputBound::none) tanh_of(output.data(), output.size(), output.data());
    return output;
  }

  /// From the gradient of the output, of any number of tokens, to that of W_out times the reads.
  void pull_back_bound(const Scalar* output, Index size, Scalar* d_output) const {
    if (bound_ != OutputBound::none) tanh_pullback(output, size, d_output);
  }

 private:
  static Parameters<Scalar> drawn(Index width, Index d_model, Xorshift64& random) {
    Parameters<Scalar> weights(width);
    weights.append(projection("w_out", d_model));
    weights.draw(random);
    return weights;
  }
  void apply(const Vector<Scalar>& reads, Vector<Scalar>& output, bool bounded) const {
    weights_.project(reads, output);
    require_finite("coefficient # of the output", output);
    if (bounded) tanh_of(output.data(), output.size(), output.data());
  }

  OutputBound bound_;
  Parameters<Scalar> weights_;
  Stepper<Scalar> stepper_;
};

}  // namespace detail
}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_DETAIL_OUTPUT_PROJECTION_HPP

// ---- loglinear/layer/one_head.hpp

#ifndef LOGLINEAR_LAYER_ONE_HEAD_HPP
#define LOGLINEAR_LAYER_ONE_HEAD_HPP

namespace loglinear {

/// What a layer of one head offers beside its tokens: the stream's state, weights and learning.
/// `LogLinearAttention` derives from it. Its public members are many, since a layer has many sides:
/// each is a line that asks the head.
///
/// \tparam Head_  the engine, see layer/detail/head.hpp
template <class Head_>
class OneHead {
 public:
  using Head = Head_;
  using Scalar = typename Head::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;               ///< a copy of a weight array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< a weight array where it lies
  using Rows = detail::RowMajorMatrix<Scalar>;         ///< a span, a row a token
  using State = typename Head::State;
  /// A moment of the stream, from `snapshot`.
  using Snapshot = typename Head::Snapshot;

  /// \name What the last `forward`, `query_readonly(x)` or `train_one` saw
  /// \{
  [[nodiscard]] const Vector& raw_read() const noexcept {
    return head_.workspace().read;
  }  ///< no tanh
  [[nodiscard]] const Vector& lambda() const noexcept {
    return head_.workspace().lambda;
  }  ///< weights
  /// \}

  /// \name A token, each level read apart
  /// Row w of `reads`, a matrix of `lambda().size()` rows and d_v columns from
  /// `make_level_reads()`, becomes what the level weight lambda_w would be multiplied by,
  ///
  ///     reads_w = sum of S_l^T q over the levels l that the read order sees at w,
  ///
  /// zero where there are none, so that `lambda^T reads` is the raw read, to rounding. In the order
  /// `before_push` row l is level l; in `current_apart` row 0 is the token's own leaf. A readout of
  /// your own takes the place of the mixture and the tanh, see `Cascade`. At the cost of one read;
  /// nothing allocates. \throws std::invalid_argument also for reads of another shape
  /// \{

  /// As `forward`.
  template <class In>
  void forward_levels(const In& x, Rows& reads) {
    const Flush flush;
    head_.stage_levels(x, head_.read_order(), reads);
    head_.commit();
  }
  /// As `query_readonly`: nothing changes.
  template <class In>
  void level_reads(const In& x, Rows& reads) {
    const Flush flush;
    head_.query_levels(x, reads);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each.
  template <class In>
  void level_reads(const In& x, typename Head::Workspace& workspace, Rows& reads) const {
    const Flush flush;
    head_.query_levels(x, workspace, reads);
  }
  /// As `train_one`, for any loss of the level reads: `differentiate(reads)` is called with them,
  /// in the order of `train_one`, and must replace them by the gradient of the loss with respect to
  /// them. Steps every weight but those of the level weights, which have no part in it.
  template <class In, class Differentiate>
  void train_levels(const In& x, Rows& reads, Differentiate differentiate) {
    const Flush flush;
    head_.stage_levels(x, head_.training_order(), reads, Head::For::learning);
    differentiate(reads);
    head_.stage_levels_gradient(reads);
    head_.learn();
    head_.commit();
  }
  /// A matrix for them, all zero; allocates.
  [[nodiscard]] Rows make_level_reads() const {
    return detail::zeros<Rows>(head_.preparation().weight_count(), output_dim());
  }
  /// \}

  /// \name The stream's state
  /// \{

  /// The hierarchy in its plain form, with everything that the layer keeps apart or defers written
  /// out. By value: allocates and copies all levels.
  [[nodiscard]] State log_linear_state() const {
    const Flush flush;
    State out(stream().max_levels(), stream().key_rows(), stream().d_v());
    stream().copy_to(detail::levels_of(out));
    return out;
  }
  /// The same into a state of the same shape, without allocating. \throws std::invalid_argument for
  /// another shape
  void log_linear_state(State& out) const {
    const Flush flush;
    detail::require_size("max_levels of out", out.max_levels(), stream().max_levels());
    detail::require_size("d_k of out", out.d_k(), stream().key_rows());
    detail::require_size("d_v of out", out.d_v(), stream().d_v());
    stream().copy_to(detail::levels_of(out));
  }
  /// All levels as one constant-length vector, `max_levels * key_rows * d_v`, row-major; a copy of
  /// `log_linear_state().flat_state()`.
  [[nodiscard]] Vector state() const {
    const Flush flush;
    const State plain = log_linear_state();
    return plain.flat_state().template cast<Scalar>();
  }
  /// Jumps to a later count, as if the tokens up to it had written nothing and had no transition:
  /// what is remembered ages and merges as it would have, in no time. Costs a pass over the active
  /// levels, does not allocate. \throws std::invalid_argument unless count >= size(); nothing is
  /// changed then
  void advance_to(std::uint64_t count) {
    const Flush flush;
    head_.advance_to(count);
  }

  /// This moment of the stream, to come back to: continuations can be tried and taken back. Costs a
  /// copy of the active levels, the newest leaves and what is pending; allocates.
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot moment;
    moment.take(stream());
    return moment;
  }
  /// The same into a snapshot that exists, whatever it held. Does not allocate where it once held a
  /// moment of the same shape with as many active levels and leaves; where it does and throws
  /// std::bad_alloc, the snapshot is what it was.
  void snapshot(Snapshot& moment) const { moment.take(stream()); }
  /// Goes back, or on, to a moment of this stream or of that of another layer (a fork): what
  /// follows is what followed then, bit for bit, where weights and hyperparameters are what they
  /// were. Those of this layer stay, as does the step counter: a snapshot holds what a stream
  /// remembers, and any layer takes it whose states have the same shape. A staged token is dropped.
  /// Does not allocate. \throws std::invalid_argument for a snapshot of another shape, or one that
  /// holds nothing; nothing is changed then
  void restore(const Snapshot& moment) { head_.restore(moment); }
  [[nodiscard]] std::uint64_t size() const noexcept { return stream().size(); }  ///< tokens so far
  [[nodiscard]] int max_levels() const noexcept { return stream().max_levels(); }  ///< M
  /// Number of levels that hold a bucket.
  [[nodiscard]] int active_level_count() const noexcept {
    return loglinear::active_level_count(size(), max_levels());
  }
  [[nodiscard]] Index d_model() const noexcept { return parameters().d_model(); }  ///< length of x
  [[nodiscard]] Index d_k() const noexcept { return layout().d_k; }            ///< length of a key
  [[nodiscard]] Index key_rows() const noexcept { return layout().key_rows; }  ///< rows of a level
  [[nodiscard]] Index output_dim() const noexcept { return layout().d_v; }     ///< d_v
  [[nodiscard]] ReadOrder read_order() const noexcept {
    return head_.read_order();
  }  ///< of `forward`
  [[nodiscard]] const typename Head::Inner& inner() const noexcept {
    return head_.preparation().inner();
  }  ///< the rule
  [[nodiscard]] const typename Head::Weights& level_weights() const noexcept {
    return head_.preparation().weights();
  }  ///< the policy
  /// \}

  /// \name Weights and learning
  /// \{

  /// The weight arrays in the order in which the seed draws them: w_key, w_value, w_query, those of
  /// the level weights, the rule's own.
  [[nodiscard]] std::vector<std::string> weight_names() const { return parameters().names(); }
  /// One weight array, `outputs x d_model`, or `1 x n` for a free vector; a read-only view, valid
  /// as long as the layer is neither moved nor destroyed. \throws std::invalid_argument for a name
  /// that is not in `weight_names()`
  [[nodiscard]] MatrixView weight(std::string_view name) const& { return parameters().get(name); }
  /// The same of a temporary: a copy.
  [[nodiscard]] Matrix weight(std::string_view name) const&& { return parameters().get(name); }
  /// Replaces one weight array by a matrix of the same shape, which may be made of the layer's own.
  /// Allocates a copy of it. \throws std::invalid_argument for an unknown name, another shape or
  /// coefficients that are not finite; nothing is changed then
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const Flush flush;
    head_.set_weight(name, value);
  }
  [[nodiscard]] double learning_rate() const noexcept {
    return head_.learning_rate();
  }                                                                         ///< of train_one
  [[nodiscard]] const Step& step() const noexcept { return head_.step(); }  ///< the step rule
  /// Whether each projection has a bias, named after it: `w_key.bias`, ...
  [[nodiscard]] bool has_bias() const noexcept { return head_.preparation().has_bias(); }
  /// \throws std::invalid_argument unless finite and >= 0; 0 leaves the weights as they are,
  /// and what an adaptive step remembers, too
  void set_learning_rate(double learning_rate) { head_.set_learning_rate(learning_rate); }
  /// Calls of `train_one` since construction or `reset_train_step_count`.
  [[nodiscard]] std::uint64_t train_step_count() const noexcept { return head_.train_step_count(); }
  void reset_train_step_count() noexcept { head_.reset_train_step_count(); }  ///< back to 0
  /// \}

  /// The engine, for layers made of layers and for parts of streams. It expects to be called in the
  /// mode in which denormal numbers are zero.
  [[nodiscard]] Head& as_head() noexcept { return head_; }
  [[nodiscard]] const Head& as_head() const noexcept { return head_; }  ///< the same, read-only

 protected:
  using Flush = detail::FlushToZero<Scalar>;

  template <class Options>
  explicit OneHead(const Options& options) : head_(options) {}

  Head head_;

 private:
  [[nodiscard]] const typename Head::Stream& stream() const { return head_.stream(); }
  [[nodiscard]] const detail::Layout& layout() const { return head_.preparation().layout(); }
  [[nodiscard]] const detail::Parameters<Scalar>& parameters() const {
    return head_.preparation().parameters();
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_ONE_HEAD_HPP

// ---- loglinear/layer/log_linear_attention.hpp

#ifndef LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP
#define LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP

namespace loglinear {

/// Log-linear attention, streaming: one token at a time through a hierarchy of O(log T) states
/// (Guo et al., *Log-Linear Attention*, ICLR 2026, arXiv:2506.04761), with any inner rule applied
/// in full: at every token its transition acts on every active level, then its leaf is pushed.
///
///     k = W_k x    v = W_v x    q = W_q x    lambda = level weights of W_lambda x
///     S_l <- L_t S_l diag(r_t) for every level l, then push the leaf        (what `inner` says)
///     raw read = sum_l lambda_l S_l^T q        output = tanh(raw read)
///
/// `x` is a vector of length d_model, outputs have length d_v, states are `key_rows x d_v`
/// (key_rows is d_k unless the rule says otherwise). Any Eigen vector expression is accepted, row
/// or column; it is copied once. All memory is allocated by the constructor: `forward`,
/// `query_readonly` and `train_one` never allocate. What they return is a reference to the layer's
/// own output, overwritten by the next call; copy it (`Eigen::VectorXd o = ...`) to keep it.
///
/// Errors: std::invalid_argument with the argument's name, value and legal range, before anything
/// has changed. It is thrown for wrong sizes, input that is not finite, and finite input whose
/// projections, gates, leaf, read or weights would overflow; a NaN never enters a state or a
/// weight. Numbers below std::numeric_limits<Scalar>::min() count as zero, in rules of your own
/// too, see docs/numerics.md.
///
/// A token costs one product with the stacked weights, `(2 d_k + d_v + M + own) d_model`, one read
/// of the active levels and O(1) amortised merges; a training step reads the levels once more.
/// Concurrent const calls are safe; use `query_readonly(x, workspace)` from several threads.
///
/// \tparam Inner      the inner rule, see rule.hpp and the folder rules/
/// \tparam Scalar_    float, double, long double
/// \tparam Weights    the level weights, see level_weights.hpp
/// \tparam Stored     what levels are stored as: Scalar, or with float Eigen::bfloat16 or
///                    Eigen::half, which halve the memory of the levels. On an AMD Zen 4 a read
///                    takes 0.6 to 1.0 times as long from bfloat16 levels as from float ones, and
///                    0.8 to 1.2 times with a delta rule; from half levels 0.7 to 0.9 times with
///                    -march=x86-64-v3, 1.0 to 1.2 times with v4, but 3 to 4 times without F16C.
///                    Half levels overflow on ordinary streams: a token that takes the norm of the
///                    state above 65504 / 4 is refused, in mid-stream, as the 256th of equal tokens
///                    is whose keys and values are 64 coefficients of size 1. bfloat16 has the
///                    range of float. See docs/numerics.md, also for what both cost in accuracy
/// \tparam Overflow   what the last level does when it is full, see `LastLevel`; spans of tokens
///                    need `LastLevel::fold`
template <class Inner, class Scalar_ = double, class Weights = NormalizedMixture,
          class Stored = Scalar_, LastLevel Overflow = LastLevel::fold>
class LogLinearAttention : public OneHead<detail::Head<Inner, Scalar_, Weights, Stored, Overflow>> {
  using Base = OneHead<detail::Head<Inner, Scalar_, Weights, Stored, Overflow>>;
  using Base::head_;
  using typename Base::Flush;
  static constexpr int fixed_levels = detail::fixed_levels<Weights>();

 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using typename Base::Rows;
  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  using Workspace = typename Base::Head::Workspace;

  /// How to build a layer; d_model, d_k and d_v must be given.
  struct Options {
    Inner inner{};      ///< the rule with its hyperparameters
    Index d_model = 0;  ///< length of x, 1 to 2^26
    Index d_k = 0;      ///< length of keys and queries, 1 to 2^26
    Index d_v = 0;      ///< length of values and outputs, 1 to 2^26
    int max_levels = fixed_levels == 0 ? 32 : fixed_levels;  ///< 1 to 64, or what Weights says
    Weights level_weights{};                        ///< lambda_init, tau, ... of the policy
    ReadOrder read_order = ReadOrder::before_push;  ///< what `forward` reads
    std::optional<double> learning_rate{};          ///< finite, >= 0; that of `step` unless given
    std::optional<Step> step{};  ///< `normalized` unless a learning rate is given, `sgd` then
    std::optional<bool> bias{};  ///< W x + b for each projection; where the step is `normalized`
    double weight_scale = 0.01;  ///< deviation of the drawn weights, >= 0
    std::uint64_t seed = 42;     ///< of the weights, at least 1
  };

  /// Allocates the layer and draws its weights from the seed: weight_scale times standard normals
  /// by Xorshift64 and Box-Muller, in the order of `weight_names()`. \throws std::invalid_argument
  /// for an option out of its range
  explicit LogLinearAttention(const Options& options)
      : Base(options), target_(detail::zeros<Scalar>(options.d_v)) {}

  /// \name Copies and moves
  /// What throws, the allocator or a rule's own copy, changes nothing. A layer that has been moved
  /// from, by self-assignment too, is to be assigned to or destroyed, nothing else.
  /// \{
  LogLinearAttention(const LogLinearAttention&) = default;  ///< allocates
  LogLinearAttention(LogLinearAttention&&) = default;       ///< does not allocate
  LogLinearAttention& operator=(const LogLinearAttention& other) {
    return *this = LogLinearAttention(other);
  }                                                               ///< a copy; allocates
  LogLinearAttention& operator=(LogLinearAttention&&) = default;  ///< does not allocate
  /// \}

  /// \name A token
  /// \{

  /// Reads in the layer's read order, then lets the state undergo the token's transition and pushes
  /// its leaf. In the order `before_push`, the default, it returns what `query_readonly(x)` would.
  /// \return the output, length d_v
  template <class In>
  const Vector& forward(const In& x) {
    const Flush flush;
    head_.stage(x, head_.read_order());
    head_.commit();
    return bound(head_.workspace());
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = forward(x);
  }

  /// Reads the state as it stands, in the order `before_push`: no transition, no leaf of x, nothing
  /// changes. With `current_apart` weights, level l counts lambda_{l+1}. \return the output
  template <class In>
  const Vector& query_readonly(const In& x) {
    const Flush flush;
    head_.query(x);
    return bound(head_.workspace());
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each.
  /// \return the output, which lies in the workspace
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    head_.query(x, workspace);
    return bound(workspace);
  }

  /// One step of stochastic gradient descent on `1/2 |o - y|^2` and one token of the stream: reads
  /// after the push (or `current_apart`, if that is the layer's order), steps every weight, then
  /// writes the state with the old weights. The gradient is that of this step's loss with the state
  /// before the step held constant: through the leaf and through the token's own transition.
  /// \param y  target, length d_v, finite; outputs lie in [-1, 1]
  /// \return the output o from before the step
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    const Flush flush;
    detail::copy_vector(y, "y", target_);
    detail::require_finite("y", target_);
    head_.stage(x, head_.training_order(), Base::Head::For::learning);
    const Vector& o = bound(head_.workspace());
    detail::subtract(o.data(), target_.data(), o.size(), target_.data());
    detail::tanh_pullback(o.data(), o.size(), target_.data());  // the gradient of the read now
    head_.stage_gradient(target_);
    head_.learn();
    head_.commit();
    return o;
  }
  /// The same, into the caller's vector of length d_v.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = train_one(x, y);
  }

  /// Memory for the const `query_readonly` and `level_reads`; allocates.
  [[nodiscard]] Workspace make_workspace() const { return head_.make_workspace(); }

  /// Empties the state; weights and the step counter stay.
  void reset() noexcept { head_.reset(); }
  /// \}

  /// \name A span of T tokens at once
  /// The numbers of T calls, to rounding, computed chunk by chunk with matrix products (see
  /// sequence/chunkwise.hpp), in every read order; and backpropagation through the whole span.
  ///
  /// Spans and single tokens can follow each other in any order. Inputs are matrices of T rows, of
  /// either storage order. A token costs its projections, `C (d_k + d_v)` and `log(T / C) d_k d_v`
  /// operations for chunks of C = 64 tokens; all these functions allocate and copy the state.
  /// Errors as for single tokens, before anything has changed. Rules whose kind of transition has
  /// no `visit_steps` (transitions/steps.hpp) are read token by token and have no gradient here.
  /// \{

  /// T calls of `forward`. \param x T x d_model \return the outputs, T x d_v
  template <class In>
  Rows forward_span(const Eigen::MatrixBase<In>& x) {
    const Flush flush;
    Rows out = head_.read_span(x, head_.read_order());
    detail::tanh_of(out.data(), out.size(), out.data());  // in place: nothing may throw any more
    return out;
  }

  /// The gradient of `sum(d_out * forward_span(x))` with respect to x and every weight, the state
  /// before the span held constant; through all reads and all states within the span. Nothing
  /// changes. \param d_out T x d_v
  template <class In, class DOut>
  [[nodiscard]] SpanGradient<Scalar> span_gradient(const Eigen::MatrixBase<In>& x,
                                                   const Eigen::MatrixBase<DOut>& d_out) const {
    const Flush flush;
    LogLinearAttention copy(*this);
    const Rows out = copy.forward_span(x);
    detail::require_matrix("d_out", d_out, out.rows(), out.cols());
    Rows d_reads = d_out;
    detail::tanh_pullback(out.data(), out.size(), d_reads.data());
    return head_.pull_back_span(this->log_linear_state(), x, head_.read_order(), d_reads);
  }

  /// One step of gradient descent on `1/2 sum |o - y|^2` over the whole span and T tokens of the
  /// stream. Reads in the order of `train_one`. Unlike T calls of `train_one` the weights stay the
  /// same within the span, and the gradient goes through the states that its tokens write.
  /// \param y T x d_v, finite \return the outputs o from before the step, T x d_v
  template <class In, class Target>
  Rows train_span(const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<Target>& y) {
    const Flush flush;
    detail::require_matrix("y", y, x.rows(), this->output_dim());
    const typename Base::State before = this->log_linear_state();
    const ReadOrder order = head_.training_order();
    detail::Rollback rollback(head_);
    head_.look_at_span(x);
    Rows out = head_.read_span(x, order);
    detail::tanh_of(out.data(), out.size(), out.data());
    Rows d_reads = out - y;
    detail::tanh_pullback(out.data(), out.size(), d_reads.data());
    head_.descend(head_.pull_back_span(before, x, order, d_reads));
    rollback.keep();
    return out;
  }
  /// \}

  /// The same layer, weights, state and counters in another scalar, or in one that is computed with
  /// and another that is stored; allocates. \throws std::invalid_argument if a number is out of the
  /// other scalar's range, of which levels may fill a quarter: 16376 in half
  template <class Other, class OtherStored = Other>
  [[nodiscard]] LogLinearAttention<Inner, Other, Weights, OtherStored, Overflow> cast() const {
    const detail::FlushToZero<Other> flush;
    LogLinearAttention<Inner, Other, Weights, OtherStored, Overflow> other(
        {.inner = this->inner(),
         .d_model = this->d_model(),
         .d_k = this->d_k(),
         .d_v = this->output_dim(),
         .max_levels = this->max_levels(),
         .level_weights = this->level_weights(),
         .read_order = this->read_order(),
         .learning_rate = this->learning_rate(),
         .step = this->step(),
         .bias = this->has_bias()});
    other.as_head().assign(head_);
    return other;
  }

 private:
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("", self.head_);
  }

  static const Vector& bound(Workspace& w) {
    detail::tanh_of(w.read.data(), w.read.size(), w.output.data());
    return w.output;
  }

  Vector target_;  // of `train_one`
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_LOG_LINEAR_ATTENTION_HPP

// ---- loglinear/layer/linear_attention.hpp

#ifndef LOGLINEAR_LAYER_LINEAR_ATTENTION_HPP
#define LOGLINEAR_LAYER_LINEAR_ATTENTION_HPP

namespace loglinear {

/// Linear attention, streaming: one `key_rows x d_v` state, `S <- L S diag(r) + k v^T`, driven by
/// the same rules, read orders and training step as log-linear attention.
///
/// It is the hierarchy of one level whose weight is 1: every carry overflows into that level, so
/// that it holds what the rule's own recurrence would. Hence the options, errors and guarantees are
/// those of `LogLinearAttention`, with `max_levels` 1 and no `w_lambda`. A token costs one read of
/// the state and one pass that rewrites it (stream/detail/one_state.hpp), which a layer of another
/// weighting with `max_levels` 1 does not have.
template <class Inner, class Scalar = double>
using LinearAttention = LogLinearAttention<Inner, Scalar, OneLevel>;

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_LINEAR_ATTENTION_HPP

// ---- loglinear/layer/many_heads.hpp

#ifndef LOGLINEAR_LAYER_MANY_HEADS_HPP
#define LOGLINEAR_LAYER_MANY_HEADS_HPP

namespace loglinear {

/// What a layer of several heads offers beside its tokens: the heads' streams, and weights, those
/// of the heads and W_out. `MultiHeadAttention` derives from it.
///
/// \tparam Layer_  the layer of one head
template <class Layer_>
class ManyHeads {
 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;               ///< a copy of a weight array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< a weight array where it lies
  using Rows = detail::RowMajorMatrix<Scalar>;         ///< a span, a row a token
  /// A moment of the stream, one of each head.
  using Snapshot = std::vector<typename Layer::Snapshot>;

  /// \name The stream
  /// \{

  /// Empties all states; weights stay.
  void reset() noexcept {
    for (Layer& head : heads_) head.reset();
  }

  /// Jumps to a later count, as `LogLinearAttention::advance_to`. \throws std::invalid_argument
  /// unless count >= size(); nothing is changed then
  void advance_to(std::uint64_t count) {
    for (Layer& head : heads_) head.advance_to(count);
  }

  /// This moment of the stream, as `LogLinearAttention::snapshot`; allocates.
  [[nodiscard]] Snapshot snapshot() const {
    Snapshot moment;
    snapshot(moment);
    return moment;
  }
  /// The same into a snapshot that exists. Does not allocate once that has grown to size; where
  /// it does and throws std::bad_alloc, the snapshot is what it was.
  void snapshot(Snapshot& moment) const {
    bool fits = moment.size() == heads_.size();
    for (std::size_t h = 0; fits && h < heads_.size(); ++h) {
      fits = moment[h].reserve(heads_[h].as_head().stream());
    }
    Snapshot fresh(fits ? 0 : heads_.size());
    Snapshot& into = fits ? moment : fresh;
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].snapshot(into[h]);
    if (!fits) moment.swap(fresh);
  }
  /// Goes back, or on, to a moment of this stream or of that of another layer, as
  /// `LogLinearAttention::restore`. Does not allocate. \throws std::invalid_argument for a snapshot
  /// of another shape, or one that holds nothing; nothing is changed then
  void restore(const Snapshot& moment) {
    if (moment.empty()) detail::fail("the snapshot", "empty", "one that a layer has taken");
    detail::require_size("the heads of the snapshot", static_cast<Index>(moment.size()), n_heads());
    for (std::size_t h = 0; h < heads_.size(); ++h) {
      moment[h].require_shape_of(heads_[h].as_head().stream());
    }
    for (std::size_t h = 0; h < heads_.size(); ++h) heads_[h].restore(moment[h]);
  }

  /// Appends a part of each head, see `StreamPart`; copies the heads, allocates. \throws
  /// std::invalid_argument for another number of heads and as `StreamPart::append_to`; nothing is
  /// changed then
  template <class Part>
  void append(const std::vector<Part>& parts) {
    detail::require_size("the heads of the part to append", static_cast<Index>(parts.size()),
                         n_heads());
    std::vector<Layer> whole(heads_);
    for (std::size_t h = 0; h < whole.size(); ++h) parts[h].append_to(whole[h]);
    heads_.swap(whole);
  }
  /// \}

  /// \name Shape, state and weights
  /// \{
  [[nodiscard]] Index d_model() const noexcept { return out_.output_dim(); }     ///< length of x
  [[nodiscard]] Index output_dim() const noexcept { return out_.output_dim(); }  ///< d_model
  [[nodiscard]] std::uint64_t size() const noexcept {
    return heads_.front().size();
  }  ///< tokens so far
  [[nodiscard]] int n_heads() const noexcept { return static_cast<int>(heads_.size()); }  ///< heads
  /// Threads that the heads of a token run on: as many as the options say, but no more than there
  /// are heads, and than `loglinear::thread_count()`.
  [[nodiscard]] int threads_used() const noexcept {
    return (std::min)({threads_, n_heads(), thread_count()});
  }
  /// One head, read-only. \throws std::invalid_argument unless 0 <= index < n_heads
  [[nodiscard]] const Layer& head(int index) const {
    detail::require_between("head", index, 0, n_heads() - 1);
    return heads_[static_cast<std::size_t>(index)];
  }
  /// The states of all heads one after the other, of constant length; allocates.
  [[nodiscard]] Vector state() const {
    const Index size = heads_.front().max_levels() * heads_.front().key_rows() * d_v();
    Vector all(size * n_heads());
    for (int h = 0; h < n_heads(); ++h) all.segment(h * size, size) = head(h).state();
    return all;
  }
  /// `head0.w_key`, ..., `w_out`: every weight array in the order in which they are drawn.
  [[nodiscard]] std::vector<std::string> weight_names() const {
    std::vector<std::string> names;
    for (int h = 0; h < n_heads(); ++h) {
      for (const std::string& name : head(h).weight_names()) {
        names.push_back("head" + std::to_string(h) + "." + name);
      }
    }
    names.emplace_back("w_out");
    return names;
  }
  /// One weight array; a read-only view, valid as long as the layer is neither moved nor destroyed.
  /// \throws std::invalid_argument for an unknown name
  [[nodiscard]] MatrixView weight(std::string_view name) const& {
    const auto [index, rest] = split(name);
    return index < 0 ? out_.weights().get(rest) : head(index).weight(rest);
  }
  /// The same of a temporary: a copy.
  [[nodiscard]] Matrix weight(std::string_view name) const&& { return weight(name); }
  /// Replaces one weight array; allocates. \throws std::invalid_argument as
  /// `LogLinearAttention::set_weight`
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    Flush flush;
    const auto [index, rest] = split(name);
    if (index < 0) {
      out_.weights().set(rest, value);
    } else {
      heads_[static_cast<std::size_t>(index)].set_weight(rest, value);
    }
  }
  [[nodiscard]] double learning_rate() const noexcept {
    return heads_.front().learning_rate();
  }  ///< of all heads and W_out
  /// \throws std::invalid_argument unless finite and >= 0
  void set_learning_rate(double learning_rate) {
    for (Layer& head : heads_) head.set_learning_rate(learning_rate);
    out_.stepper().set_rate(learning_rate);
  }
  /// \}

 protected:
  using Flush = detail::FlushToZero<Scalar>;

  /// `count` heads like the first, and W_out, all with weights drawn from one seed.
  ManyHeads(const Layer& first, int count, int threads, Index d_model, OutputBound bound,
            std::uint64_t seed)
      : ManyHeads(first, count, threads, d_model, bound, Xorshift64(seed)) {}

  [[nodiscard]] Index d_v() const { return heads_.front().output_dim(); }
  /// The length of all heads' reads.
  [[nodiscard]] Index width() const { return n_heads() * d_v(); }

  /// Calls `work(head, where its read begins)` for all heads, in parallel if asked to, then throws
  /// what the first failing head threw.
  template <class Work>
  void for_each_head(Work work) {
    detail::parallel_for<Scalar>(n_heads(), threads_, [&](Index h) {
      work(heads_[static_cast<std::size_t>(h)].as_head(), h * d_v());
    });
  }

  /// The raw reads of all heads side by side, T x n_heads d_v.
  template <class In>
  [[nodiscard]] Rows read_span(const Eigen::MatrixBase<In>& x, ReadOrder order) {
    Rows reads(x.rows(), width());
    for_each_head([&](typename Layer::Head& head, Index begin) {
      reads.middleCols(begin, d_v()) = head.read_span(x, order);
    });
    return reads;
  }

  /// From the gradient of the outputs to that of everything; `before` are the heads before the
  /// span.
  template <class In>
  [[nodiscard]] MultiHeadSpanGradient<Scalar> pull_back_span(const std::vector<Layer>& before,
                                                             const Eigen::MatrixBase<In>& x,
                                                             ReadOrder order, const Rows& reads,
                                                             const Rows& out, Rows d_out) {
    out_.pull_back_bound(out.data(), out.size(), d_out.data());
    Rows d_reads(reads.rows(), reads.cols());
    out_.weights().project_rows_back(d_out, d_reads);
    MultiHeadSpanGradient<Scalar> gradient{
        Rows::Zero(x.rows(), x.cols()), {}, d_out.transpose() * reads};
    std::vector<SpanGradient<Scalar>>& heads = gradient.heads;
    for (const Layer& head : before) {
      heads.push_back({{}, head.as_head().preparation().parameters().zeros()});
    }
    for_each_head([&](typename Layer::Head&, Index begin) {
      const auto h = static_cast<std::size_t>(begin / d_v());
      const Rows d_head = d_reads.middleCols(begin, d_v());
      heads[h] = before[h].as_head().pull_back_span(before[h].log_linear_state(), x, order, d_head);
    });
    for (SpanGradient<Scalar>& head : heads) {
      gradient.x += head.x;
      head.x.resize(0, 0);
    }
    detail::require_finite("coefficient # of the gradient of x", gradient.x);
    detail::require_finite("coefficient # of the gradient of w_out", gradient.w_out);
    return gradient;
  }

  std::vector<Layer> heads_;
  detail::OutputProjection<Scalar> out_;

 private:
  friend struct detail::Parts;

  ManyHeads(const Layer& first, int count, int threads, Index d_model, OutputBound bound,
            Xorshift64 random)
      : heads_(drawn(first, count, random)),
        out_(count * first.output_dim(), d_model, bound, first.step(), first.learning_rate(),
             random),
        threads_(threads) {}
  static std::vector<Layer> drawn(const Layer& first, int count, Xorshift64& random) {
    std::vector<Layer> heads(static_cast<std::size_t>(count), first);
    for (Layer& head : heads) head.as_head().draw_weights(random);
    return heads;
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    std::conditional_t<std::is_const_v<Self>, const ManyHeads, ManyHeads>& own = self;
    for (int h = 0; h < own.n_heads(); ++h) {
      auto& head = own.heads_[static_cast<std::size_t>(h)];
      part("head" + std::to_string(h), head);
      detail::require_between("learning_rate of head " + std::to_string(h), head.learning_rate(),
                              own.learning_rate(), own.learning_rate());
    }
    part("", own.out_.weights());
    part("w_out", own.out_.stepper());
    if constexpr (detail::is_written<Self>) own.out_.stepper().set_rate(own.learning_rate());
  }

  /// Which head a weight name belongs to, -1 for none, and its name there.
  [[nodiscard]] std::pair<int, std::string_view> split(std::string_view name) const {
    for (int h = 0; h < n_heads(); ++h) {
      const std::string prefix = "head" + std::to_string(h) + ".";
      if (name.starts_with(prefix)) return {h, name.substr(prefix.size())};
    }
    return {-1, name};
  }

  int threads_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_MANY_HEADS_HPP

// ---- loglinear/layer/multi_head_attention.hpp

#ifndef LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP
#define LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP

namespace loglinear {

/// Several heads of one layer type on the same input: `output = W_out [o_1; ..; o_H]` with the
/// heads' raw reads o_h, then at most one tanh.
///
/// `forward` reads in the heads' order, which here is `after_push` unless the options say
/// otherwise; `query_readonly` reads the state as it stands. Weights are drawn head by head from
/// one seed, then W_out (d_model x n_heads d_v). With `threads` > 1 the heads of a token run on the
/// threads of parallel/executor.hpp: `threads_used()` tells on how many. Each head's arithmetic is
/// its own, so that the bits do not depend on the number of threads.
///
/// Outputs and targets have length d_model. Errors as in `LogLinearAttention`: what throws for one
/// head changes none of them. Nothing allocates after construction but `state()`, and the first
/// loop that starts threads.
///
/// \tparam Layer_  `LogLinearAttention<...>` or `LinearAttention<...>`
template <class Layer_>
class MultiHeadAttention : public ManyHeads<Layer_> {
  static_assert(detail::HasHead<Layer_>,
                "MultiHeadAttention takes a layer: LogLinearAttention<Rule> or "
                "LinearAttention<Rule>");
  using Base = ManyHeads<Layer_>;
  using Head = typename Layer_::Head;
  using Base::heads_;
  using Base::out_;
  using typename Base::Flush;

 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using typename Base::Rows;

  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  struct Workspace {
    typename Layer::Workspace head;  ///< of one head after the other
    Vector reads;                    ///< of all heads
    Vector output;                   ///< what is returned
  };

  /// How to build a layer of heads; d_model, d_k and d_v must be given.
  struct Options {
    typename Head::Inner inner{};  ///< the rule with its hyperparameters
    Index d_model = 0;             ///< length of x and of the output, 1 to 2^26
    Index d_k = 0;                 ///< length of a head's keys, 1 to 2^26
    Index d_v = 0;                 ///< length of a head's values, 1 to 2^26
    int n_heads = 4;               ///< at least 1; n_heads d_v at most 2^26
    int max_levels = typename Layer::Options{}.max_levels;  ///< of every head, 1 to 64
    typename Head::Weights level_weights{};                 ///< the policy of every head
    ReadOrder read_order = ReadOrder::after_push;           ///< what `forward` reads
    std::optional<double> learning_rate{};                  ///< of the heads and of W_out
    std::optional<Step> step{};                             ///< as in `LogLinearAttention::Options`
    std::optional<bool> bias{};                             ///< of the heads, as there
    double weight_scale = 0.01;                             ///< of the heads, as there
    std::uint64_t seed = 42;                                ///< of all weights
    OutputBound bound = OutputBound::always;                ///< where the tanh is
    int threads = 1;  ///< the most for the heads, at least 1; see `threads_used()`
  };

  /// Allocates the heads and draws all weights. \throws std::invalid_argument for an option out of
  /// its range
  explicit MultiHeadAttention(const Options& options)
      : Base(first_head(checked(options)), options.n_heads, options.threads, options.d_model,
             options.bound, options.seed),
        reads_(detail::zeros<Scalar>(this->width())),
        d_reads_(reads_),
        output_(detail::zeros<Scalar>(options.d_model)),
        target_(output_),
        d_output_(output_) {}

  /// \name Copies and moves
  /// As those of `LogLinearAttention`.
  /// \{
  MultiHeadAttention(const MultiHeadAttention&) = default;  ///< allocates
  MultiHeadAttention(MultiHeadAttention&&) = default;       ///< does not allocate
  MultiHeadAttention& operator=(const MultiHeadAttention& other) {
    return *this = MultiHeadAttention(other);
  }                                                               ///< a copy; allocates
  MultiHeadAttention& operator=(MultiHeadAttention&&) = default;  ///< does not allocate
  /// \}

  /// \name A token
  /// \{

  /// All heads read and write. \return the output, length d_model, overwritten by the next call
  template <class In>
  const Vector& forward(const In& x) {
    const Flush flush;
    stage(x, order());
    out_.apply(reads_, output_);
    commit();
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = forward(x);
  }

  /// All heads read the state as it stands; nothing changes. \return as `forward`
  template <class In>
  const Vector& query_readonly(const In& x) {
    const Flush flush;
    this->for_each_head([&](Head& head, Index begin) {
      head.query(x);
      take_read(head.workspace(), begin, reads_);
    });
    out_.apply_readonly(reads_, output_);
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory, one head after the other; safe from several threads, a
  /// workspace each. \return the output, which lies in the workspace. \throws
  /// std::invalid_argument also for a workspace of a layer of another shape
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    const Flush flush;
    detail::require_size("the workspace's reads", workspace.reads.size(), reads_.size());
    detail::require_size("the workspace's output", workspace.output.size(), this->output_dim());
    for (int h = 0; h < this->n_heads(); ++h) {
      this->head(h).as_head().query(x, workspace.head);
      take_read(workspace.head, h * this->d_v(), workspace.reads);
    }
    out_.apply_readonly(workspace.reads, workspace.output);
    return workspace.output;
  }
  /// Memory for it; allocates.
  [[nodiscard]] Workspace make_workspace() const {
    return {heads_.front().make_workspace(), detail::zeros<Scalar>(reads_.size()),
            detail::zeros<Scalar>(output_.size())};
  }

  /// One step of gradient descent on `1/2 |o - y|^2` through W_out into every head, and one token
  /// of the stream, as `LogLinearAttention::train_one`. \param y length d_model \return the output
  /// o
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    const Flush flush;
    detail::load_vector(y, "y", target_);
    stage(x, training_order(), Head::For::learning);
    out_.apply(reads_, output_);
    detail::subtract(output_.data(), target_.data(), output_.size(), d_output_.data());
    out_.pull_back_bound(output_.data(), output_.size(), d_output_.data());
    d_reads_.noalias() = out_.weights().get("w_out").transpose() * d_output_;
    this->for_each_head([&](Head& head, Index begin) {
      head.stage_gradient(detail::ConstVectorView<Scalar>(d_reads_.data() + begin, this->d_v()));
    });
    out_.stepper().see(reads_);
    out_.stepper().admit(out_.weights(), d_output_, reads_, no_free_);
    out_.stepper().take(out_.weights(), d_output_, reads_, no_free_);
    this->for_each_head([](Head& head, Index) { head.learn(); });
    commit();
    return output_;
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    detail::require_output<Scalar>(out, this->output_dim());
    detail::as_writable_column(out) = train_one(x, y);
  }
  /// \}

  /// \name A span of T tokens at once
  /// As `LogLinearAttention` has them for one head: inputs T x d_model, outputs and targets
  /// T x d_model.
  /// \{

  /// T calls of `forward`. \param x T x d_model \return the outputs, T x d_model
  template <class In>
  Rows forward_span(const Eigen::MatrixBase<In>& x) {
    const Flush flush;
    detail::Rollback rollback(heads_);
    const Rows reads = this->read_span(x, order());
    Rows out = out_.apply(reads);
    rollback.keep();
    return out;
  }

  /// The gradient of `sum(d_out * forward_span(x))`; nothing changes. \param d_out T x d_model
  template <class In, class DOut>
  [[nodiscard]] MultiHeadSpanGradient<Scalar> span_gradient(
      const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<DOut>& d_out) const {
    const Flush flush;
    detail::require_matrix("d_out", d_out, x.rows(), this->output_dim());
    MultiHeadAttention copy(*this);
    const Rows reads = copy.read_span(x, order());
    return copy.pull_back_span(heads_, x, order(), reads, out_.apply(reads), Rows(d_out));
  }

  /// One step of gradient descent on `1/2 sum |o - y|^2` through W_out into every head, and T
  /// tokens of the stream; see `LogLinearAttention::train_span`. \param y T x d_model
  template <class In, class Target>
  Rows train_span(const Eigen::MatrixBase<In>& x, const Eigen::MatrixBase<Target>& y) {
    const Flush flush;
    detail::require_matrix("y", y, x.rows(), this->output_dim());
    detail::Rollback undo(heads_);
    for (Layer& head : heads_) head.as_head().look_at_span(x);
    detail::Rollback rollback(heads_);
    const Rows reads = this->read_span(x, training_order());
    const Rows out = out_.apply(reads);
    const auto gradient =
        this->pull_back_span(rollback.before(), x, training_order(), reads, out, Rows(out - y));
    auto d_out = out_.weights().zeros();
    d_out.set("w_out", gradient.w_out);
    for (std::size_t h = 0; h < gradient.heads.size(); ++h) {
      heads_[h].as_head().descend(gradient.heads[h]);
    }
    out_.stepper().take(out_.weights(), d_out);
    rollback.keep();
    undo.keep();
    return out;
  }
  /// \}

  /// Where the tanh is.
  [[nodiscard]] OutputBound bound() const noexcept { return out_.bound(); }

 private:
  /// Sizes whose product is the width of W_out must be checked before the heads are made.
  static const Options& checked(const Options& options) {
    detail::require_length("d_model", options.d_model);
    detail::require_length("d_k", options.d_k);
    detail::require_length("d_v", options.d_v);
    detail::require_positive("n_heads", options.n_heads);
    detail::require_positive("threads", options.threads);
    detail::require_length("n_heads * d_v", options.n_heads * options.d_v);
    return options;
  }
  static Layer first_head(const Options& options) {
    return Layer({.inner = options.inner,
                  .d_model = options.d_model,
                  .d_k = options.d_k,
                  .d_v = options.d_v,
                  .max_levels = options.max_levels,
                  .level_weights = options.level_weights,
                  .read_order = options.read_order,
                  .learning_rate = options.learning_rate,
                  .step = options.step,
                  .bias = options.bias,
                  .weight_scale = options.weight_scale,
                  .seed = options.seed});
  }

  [[nodiscard]] ReadOrder order() const { return heads_.front().read_order(); }
  [[nodiscard]] ReadOrder training_order() const {
    return heads_.front().as_head().training_order();
  }
  /// Every head prepares the token and reads, or none of them has changed.
  template <class In>
  void stage(const In& x, ReadOrder order, typename Head::For purpose = Head::For::reading) {
    this->for_each_head([&](Head& head, Index begin) {
      head.stage(x, order, purpose);
      take_read(head.workspace(), begin, reads_);
    });
  }
  /// Every head writes what it has staged.
  void commit() {
    this->for_each_head([](Head& head, Index) { head.commit(); });
  }
  static void take_read(const typename Head::Workspace& head, Index begin, Vector& reads) {
    detail::copy(head.read.data(), head.read.size(), reads.data() + begin);
  }

  Vector reads_, d_reads_, output_, target_, d_output_;
  Vector no_free_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_MULTI_HEAD_ATTENTION_HPP

// ---- loglinear/mixers/causal_convolution.hpp

#ifndef LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP
#define LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP

// The short causal convolution of a mixer, each channel on its own:
//     y_t = b + sum_j w_j * x_{t - (K - 1) + j},   j = 0 ... K - 1 taps, the last on the token
//     itself
// as torch's Conv1d with groups = channels and padding = K - 1. Before the first token x is 0; what
// a stream carries on is its last K - 1 inputs.

namespace loglinear::detail {

/// The last K - 1 inputs, then the new ones: what `convolve` slides over.
template <class Scalar, class Rows>
[[nodiscard]] RowMajorMatrix<Scalar> after(const RowMajorMatrix<Scalar>& history,
                                           const Rows& inputs) {
  RowMajorMatrix<Scalar> all(history.rows() + inputs.rows(), inputs.cols());
  all << history, inputs;
  return all;
}

/// \param inputs  (K - 1 + T) x channels
/// \param weight  channels x K
/// \param bias    channels x 1, or nullptr
/// \return T x channels
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> convolve(const RowMajorMatrix<Scalar>& inputs,
                                              const Matrix<Scalar>& weight,
                                              const Matrix<Scalar>* bias) {
  const Index tokens = inputs.rows() - (weight.cols() - 1);
  RowMajorMatrix<Scalar> y = RowMajorMatrix<Scalar>::Zero(tokens, inputs.cols());
  for (Index j = 0; j < weight.cols(); ++j) {
    y.array() += inputs.middleRows(j, tokens).array().rowwise() * weight.col(j).transpose().array();
  }
  if (bias != nullptr) y.rowwise() += bias->col(0).transpose();
  return y;
}

/// The pullback of `convolve`, the history held constant: adds to d_weight and d_bias.
/// \return with respect to the T new inputs
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> convolve_pullback(const RowMajorMatrix<Scalar>& inputs,
                                                       const Matrix<Scalar>& weight,
                                                       const RowMajorMatrix<Scalar>& d_y,
                                                       Matrix<Scalar>& d_weight,
                                                       Matrix<Scalar>* d_bias) {
  const Index tokens = d_y.rows();
  RowMajorMatrix<Scalar> d_inputs = RowMajorMatrix<Scalar>::Zero(inputs.rows(), inputs.cols());
  for (Index j = 0; j < weight.cols(); ++j) {
    d_inputs.middleRows(j, tokens).array() +=
        d_y.array().rowwise() * weight.col(j).transpose().array();
    d_weight.col(j) += d_y.cwiseProduct(inputs.middleRows(j, tokens)).colwise().sum().transpose();
  }
  if (d_bias != nullptr) *d_bias += d_y.colwise().sum().transpose();
  return d_inputs.bottomRows(tokens);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP

// ---- loglinear/mixers/draw_weights.hpp

#ifndef LOGLINEAR_MIXERS_DRAW_WEIGHTS_HPP
#define LOGLINEAR_MIXERS_DRAW_WEIGHTS_HPP

// Initial weights of the mixers in flash-linear-attention's distributions, and the checks of
// options they share. Numbers are drawn in double, row by row, so that float has the rounded
// weights of double.

namespace loglinear::detail {

/// The largest size of a dimension: products of three of them stay within Index.
inline constexpr Index largest_dimension = Index{1} << 20;

inline void require_dimension(std::string_view name, Index value) {
  require_between(name, value, Index{1}, largest_dimension);
}
inline void require_positive_number(std::string_view name, double value) {
  if (!(value > 0) || !is_finite(value)) fail(name, value, "finite and positive");
}
/// Whether a number is finite as a Scalar, too.
template <class Scalar>
[[nodiscard]] bool fits(double value) {
  return is_at_most(std::abs(value), static_cast<double>((std::numeric_limits<Scalar>::max)()));
}
/// factor * size, an expanded dimension. \throws std::invalid_argument unless it is whole
inline Index expanded(std::string_view name, double factor, std::string_view size_name,
                      Index size) {
  require_positive_number(name, factor);
  const double product = factor * static_cast<double>(size);
  if (!(product >= 1) || !(product <= static_cast<double>(largest_dimension)) ||
      product > std::floor(product)) {
    fail(name, factor,
         "a number that makes a whole dimension of at least 1 when multiplied by " +
             std::string(size_name) + ", " + std::to_string(size));
  }
  return static_cast<Index>(product);
}

/// Fills an array row by row.
template <class Scalar, class Draw>
void fill(Matrix<Scalar>& array, Draw draw) {
  for (Index i = 0; i < array.rows(); ++i) {
    for (Index j = 0; j < array.cols(); ++j) array(i, j) = static_cast<Scalar>(draw());
  }
}
/// Normal with mean 0. \throws std::invalid_argument for a number too large for Scalar
template <class Scalar>
void fill_normal(Matrix<Scalar>& array, double deviation, Xorshift64& random) {
  fill(array, [&] {
    const double value = deviation * random.normal();
    if (!fits<Scalar>(value)) {
      fail("initializer_range", deviation, "so small that weights are finite in their scalar");
    }
    return value;
  });
}
/// Uniform within 1 / sqrt(inputs) of 0.
template <class Scalar>
void fill_uniform(Matrix<Scalar>& array, Xorshift64& random) {
  const double bound = 1 / std::sqrt(static_cast<double>(array.cols()));
  fill(array, [&] { return bound * (2 * random.uniform() - 1); });
}

/// Where the step sizes of a decay gate begin.
struct StepRange {
  double smallest, largest, floor;

  void validate() const {
    require_positive_number("dt_min", smallest);
    require_positive_number("dt_max", largest);
    require_positive_number("dt_init_floor", floor);
    if (smallest > largest) fail("dt_min", smallest, "at most dt_max");
  }
};
template <class Options>
[[nodiscard]] StepRange steps_of(const Options& o) {
  return {.smallest = o.dt_min, .largest = o.dt_max, .floor = o.dt_init_floor};
}

/// What all mixers have as options.
template <class Scalar, class Options>
void require_common_options(const Options& o) {
  require_between("num_levels", o.num_levels, 2, max_level_limit + 1);
  require_positive("chunk_size", o.chunk_size);
  if (!fits<Scalar>(o.scale)) fail("scale", o.scale, "finite in the mixer's scalar");
  // A denormal number counts as zero.
  if (!fits<Scalar>(o.norm_eps) ||
      !(static_cast<Scalar>(o.norm_eps) >= (std::numeric_limits<Scalar>::min)())) {
    fail("norm_eps", o.norm_eps,
         "a finite and positive number, not denormal, in the mixer's scalar");
  }
  require_positive_number("initializer_range", o.initializer_range);
  steps_of(o).validate();
}

/// dt_bias such that softplus(dt_bias) is log-uniform in [smallest, largest], at least floor.
/// \throws std::invalid_argument for steps too large for Scalar
template <class Scalar>
void fill_step_bias(Matrix<Scalar>& array, const StepRange& range, Xorshift64& random) {
  const double most = (std::max)(range.largest, range.floor);
  if (!fits<Scalar>(most)) fail("dt_max or dt_init_floor", most, "finite in the mixer's scalar");
  fill(array, [&] {
    const double low = std::log(range.smallest), high = std::log(range.largest);
    const double step = (std::max)(std::exp(low + random.uniform() * (high - low)), range.floor);
    return step + std::log(-std::expm1(-step));
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_DRAW_WEIGHTS_HPP

// ---- loglinear/mixers/gates.hpp

#ifndef LOGLINEAR_MIXERS_GATES_HPP
#define LOGLINEAR_MIXERS_GATES_HPP

// What the mixers' projections pass through before they meet the hierarchy, for all tokens at once,
// each with its pullback: silu, the decay gate, the level weights, unit keys.

namespace loglinear::detail {

/// sg(z) = 1 / (1 + exp(-z)).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> sigmoid_of(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> out(z.rows(), z.cols());
  sigmoids(z.data(), z.size(), out.data());
  return out;
}
/// z sg(z).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> silu_of(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> out(z.rows(), z.cols());
  exp_of_negative(z.data(), z.size(), out.data());
  out = z.array() / (Scalar(1) + out.array());
  for (Index i = 0; i < z.size(); ++i) {  // where exp(-z) overflows the quotient is 0
    if (z.data()[i] < lowest_exponent<Scalar>) out.data()[i] = Scalar(0);
  }
  return out;
}
/// The derivative of z sg(z).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> silu_slope(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> s = sigmoid_of(z);
  s.array() *= Scalar(1) + z.array() * (Scalar(1) - s.array());
  return s;
}
/// log(1 + exp(z)), stable for any z.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> softplus_of(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> out(z.rows(), z.cols());
  softplus(z.data(), z.size(), out.data());
  return out;
}

/// sg(z) = 1 - exp(-softplus(z)), from softplus(z). Eigen's expm1 divides 0 by 0 on the way.
template <class Softplus>
[[nodiscard]] auto softplus_slope(const Eigen::ArrayBase<Softplus>& softplus) {
  using Scalar = typename Softplus::Scalar;
  return softplus.derived().unaryExpr([](Scalar value) { return -std::expm1(-value); });
}

/// The decay gate of Mamba-2 and Gated DeltaNet: a step size and the log decay it makes,
/// `step = softplus(raw + dt_bias)`, `g = -exp(A_log) step`; T x heads each.
template <class Scalar>
struct DecayGate {
  RowMajorMatrix<Scalar> step{}, g{};

  DecayGate() = default;
  DecayGate(const RowMajorMatrix<Scalar>& raw, const Matrix<Scalar>& dt_bias,
            const Matrix<Scalar>& a_log) {
    RowMajorMatrix<Scalar> shifted = raw;
    shifted.rowwise() += dt_bias.col(0).transpose();
    step = softplus_of(shifted);
    g = -(step.array().rowwise() * a_log.col(0).transpose().array().exp());
  }

  /// From the gradients with respect to `step` and `g`; adds to those of dt_bias and A_log.
  /// \return with respect to raw
  [[nodiscard]] RowMajorMatrix<Scalar> pullback(const RowMajorMatrix<Scalar>& d_step,
                                                const RowMajorMatrix<Scalar>& d_g,
                                                const Matrix<Scalar>& a_log,
                                                Matrix<Scalar>& d_dt_bias,
                                                Matrix<Scalar>& d_a_log) const {
    RowMajorMatrix<Scalar> d_raw = d_step;
    for (Index h = 0; h < g.cols(); ++h) {
      const Scalar rate = std::exp(a_log(h, 0));
      if (!is_finite(rate)) continue;  // exact forgetting, whatever the step
      d_raw.col(h) -= rate * d_g.col(h);
      for (Index t = 0; t < g.rows(); ++t) {
        if (is_finite(g(t, h))) d_a_log(h, 0) += d_g(t, h) * g(t, h);
      }
    }
    d_raw.array() *= softplus_slope(step.array());
    d_dt_bias += d_raw.colwise().sum().transpose();
    return d_raw;
  }
};

/// The paper's level weights, `lambda = softplus(L . dl)` coefficient by coefficient
/// (arXiv:2506.04761, appendix): L is heads x levels, dl and lambda T x (heads levels).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> scaled_levels(const RowMajorMatrix<Scalar>& dl,
                                                   const Matrix<Scalar>& scale) {
  RowMajorMatrix<Scalar> z = dl;
  for (Index h = 0; h < scale.rows(); ++h) {
    z.middleCols(h * scale.cols(), scale.cols()).array().rowwise() *= scale.row(h).array();
  }
  return softplus_of(z);
}
/// Its pullback; adds to the gradient of L. \return with respect to dl
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> scaled_levels_pullback(const RowMajorMatrix<Scalar>& dl,
                                                            const Matrix<Scalar>& scale,
                                                            const RowMajorMatrix<Scalar>& lambda,
                                                            const RowMajorMatrix<Scalar>& d_lambda,
                                                            Matrix<Scalar>& d_scale) {
  RowMajorMatrix<Scalar> d = d_lambda.array() * softplus_slope(lambda.array());
  for (Index h = 0; h < scale.rows(); ++h) {
    auto of_head = d.middleCols(h * scale.cols(), scale.cols());
    d_scale.row(h) +=
        of_head.cwiseProduct(dl.middleCols(h * scale.cols(), scale.cols())).colwise().sum();
    of_head.array().rowwise() *= scale.row(h).array();
  }
  return d;
}

/// Added to the squared length of a key or query before it is made a unit vector.
inline constexpr double unit_rows_epsilon = 1e-6;

/// `x / sqrt(|x|^2 + 1e-6)` for each run of `width` columns of a row. \throws
/// std::invalid_argument, which names a run `what`, where a square overflows
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> unit_rows(RowMajorMatrix<Scalar> x, Index width,
                                               std::string_view what) {
  Eigen::Map<RowMajorMatrix<Scalar>> runs(x.data(), x.size() / width, width);
  for (Index i = 0; i < runs.rows(); ++i) {
    const Scalar squared = runs.row(i).squaredNorm();
    if (!is_finite(squared)) fail("the squared length of " + std::string(what), squared, "finite");
    runs.row(i) /= std::sqrt(squared + Scalar(unit_rows_epsilon));
  }
  return x;
}
/// Its pullback. \return with respect to x
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> unit_rows_pullback(const RowMajorMatrix<Scalar>& x,
                                                        RowMajorMatrix<Scalar> d, Index width) {
  using Runs = Eigen::Map<const RowMajorMatrix<Scalar>>;
  const Runs from(x.data(), x.size() / width, width);
  Eigen::Map<RowMajorMatrix<Scalar>> runs(d.data(), d.size() / width, width);
  for (Index i = 0; i < runs.rows(); ++i) {
    const Scalar squared = from.row(i).squaredNorm() + Scalar(unit_rows_epsilon);
    const Scalar along = from.row(i).dot(runs.row(i)) / squared;
    runs.row(i) = (runs.row(i) - along * from.row(i)) / std::sqrt(squared);
  }
  return d;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_GATES_HPP

// ---- loglinear/mixers/gated_rms_norm.hpp

#ifndef LOGLINEAR_MIXERS_GATED_RMS_NORM_HPP
#define LOGLINEAR_MIXERS_GATED_RMS_NORM_HPP

// The gated norm before a mixer's output projection, over runs of n columns of a row:
//     rms(u)_i = w_i u_i / sqrt(mean(u^2) + eps)
//     gate first:  rms(y silu(z)),  as flash-linear-attention's RMSNormGated
//     norm first:  rms(y) silu(z),  as its FusedRMSNormGated; without z, rms(y)
// w has a number for each column of one run or of several; it repeats along the row.

namespace loglinear::detail {

enum class GateOrder { gate_first, norm_first };

template <class Scalar>
class GatedRmsNorm {
 public:
  using Rows = RowMajorMatrix<Scalar>;

  /// \param width   columns of a run, which divide the weight's rows
  /// \param weight  n x 1; the columns of what is normalised are a multiple of n. Is referred to
  GatedRmsNorm(GateOrder order, Index width, double eps, const Matrix<Scalar>& weight)
      : order_(order), width_(width), eps_(static_cast<Scalar>(eps)), weight_(weight) {}

  /// \param z  as y, or empty for no gate \throws std::invalid_argument where a square overflows
  [[nodiscard]] Rows operator()(const Rows& y, const Rows& z) const {
    if (z.size() == 0) return normalised(y);
    const Rows gate = silu_of(z);
    if (order_ == GateOrder::gate_first) return normalised(y.cwiseProduct(gate));
    return normalised(y).cwiseProduct(gate);
  }

  /// Adds to the gradient of the weight and sets that of z. \return with respect to y
  [[nodiscard]] Rows pullback(const Rows& y, const Rows& z, const Rows& d, Rows& d_z,
                              Matrix<Scalar>& d_weight) const {
    if (z.size() == 0) return normalised_pullback(y, d, d_weight);
    const Rows gate = silu_of(z), slope = silu_slope(z);
    if (order_ == GateOrder::gate_first) {
      const Rows d_u = normalised_pullback(y.cwiseProduct(gate), d, d_weight);
      d_z = d_u.cwiseProduct(y).cwiseProduct(slope);
      return d_u.cwiseProduct(gate);
    }
    d_z = d.cwiseProduct(normalised(y)).cwiseProduct(slope);
    return normalised_pullback(y, d.cwiseProduct(gate), d_weight);
  }

 private:
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

  /// The part of the weight that run i meets.
  template <class Weight>
  [[nodiscard]] auto of_run(Weight& weight, Index i) const {
    return weight.col(0).segment(i * width_ % weight.rows(), width_);
  }
  /// 1 / sqrt(mean(run^2) + eps)
  template <class Run>
  [[nodiscard]] Scalar inverse_root(const Run& run) const {
    const Scalar mean = run.squaredNorm() / static_cast<Scalar>(width_);
    if (!is_finite(mean)) fail("the mean square of the reads under the norm", mean, "finite");
    return Scalar(1) / std::sqrt(mean + eps_);
  }

  [[nodiscard]] Rows normalised(Rows u) const {
    Eigen::Map<Rows> runs(u.data(), u.size() / width_, width_);
    for (Index i = 0; i < runs.rows(); ++i) {
      const Scalar inverse = inverse_root(runs.row(i));
      runs.row(i).array() *= inverse * of_run(weight_, i).transpose().array();
    }
    return u;
  }
  /// Adds to the gradient of the weight. \return with respect to u
  [[nodiscard]] Rows normalised_pullback(const Rows& u, Rows d, Matrix<Scalar>& d_weight) const {
    const Eigen::Map<const Rows> from(u.data(), u.size() / width_, width_);
    Eigen::Map<Rows> runs(d.data(), d.size() / width_, width_);
    Row unit(width_), d_unit(width_);
    for (Index i = 0; i < runs.rows(); ++i) {
      const Scalar inverse = inverse_root(from.row(i));
      unit = inverse * from.row(i);
      of_run(d_weight, i) += runs.row(i).cwiseProduct(unit).transpose();
      d_unit = runs.row(i).cwiseProduct(of_run(weight_, i).transpose());
      const Scalar along = unit.dot(d_unit) / static_cast<Scalar>(width_);
      runs.row(i) = inverse * (d_unit - along * unit);
    }
    return d;
  }

  GateOrder order_;
  Index width_;
  Scalar eps_;
  const Matrix<Scalar>& weight_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_GATED_RMS_NORM_HPP

// ---- loglinear/mixers/linear.hpp

#ifndef LOGLINEAR_MIXERS_LINEAR_HPP
#define LOGLINEAR_MIXERS_LINEAR_HPP

// The projections of a mixer, y = x W^T + b with a row a token, and their pullback. Products of any
// size: tiles of the right operand are packed into the nearest caches and multiplied by the kernel
// of the sequence form. Never parallelises; a row's sums do not depend on the rows beside it, but
// a single row is read straight from the weights and may round differently.

namespace loglinear::detail {

/// Coefficient (p, j) at `data + p * row + j * column`.
template <class Scalar>
struct RightOperand {
  const Scalar* data;
  Index row, column;
};

/// c += a b, rows x depth times depth x columns, c row-major. A left operand that is a transpose is
/// packed too, some rows at a time.
template <class Scalar>
void add_large_product(LeftOperand<Scalar> a, Index rows, Index depth, RightOperand<Scalar> b,
                       Index columns, Scalar* c, Index c_stride) {
  constexpr Index most_rows = 96, most_depth = 256, most_columns = 64;
  const bool packs_left = a.column != 1;
  const Index rows_at_once = packs_left ? most_rows : (std::max)(rows, Index{1});
  RowMajorMatrix<Scalar> left(packs_left ? (std::min)(rows, most_rows) : 0,
                              (std::min)(depth, most_depth));
  RowMajorMatrix<Scalar> right((std::min)(depth, most_depth), (std::min)(columns, most_columns));
  for (Index p = 0; p < depth; p += most_depth) {
    const Index height = (std::min)(most_depth, depth - p);
    for (Index i = 0; i < rows; i += rows_at_once) {
      const Index count = (std::min)(rows_at_once, rows - i);
      LeftOperand<Scalar> block{a.data + i * a.row + p * a.column, a.row, a.column};
      if (packs_left) {
        for (Index m = 0; m < height; ++m) {
          for (Index n = 0; n < count; ++n) left(n, m) = block.data[n * a.row + m * a.column];
        }
        block = {left.data(), left.outerStride(), 1};
      }
      for (Index j = 0; j < columns; j += most_columns) {
        const Index width = (std::min)(most_columns, columns - j);
        const Scalar* const from = b.data + p * b.row + j * b.column;
        for (Index m = 0; m < height; ++m) {
          for (Index n = 0; n < width; ++n) right(m, n) = from[m * b.row + n * b.column];
        }
        product_kernel(Into::add, block, count, height, width, right.data(), right.outerStride(),
                       c + i * c_stride + j, c_stride);
      }
    }
  }
}

/// y = x W^T + b; W is outputs x inputs, b has `outputs` rows or is nullptr.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> linear(const RowMajorMatrix<Scalar>& x,
                                            const Matrix<Scalar>& weight,
                                            const Matrix<Scalar>* bias) {
  RowMajorMatrix<Scalar> y(x.rows(), weight.rows());
  if (bias == nullptr) {
    y.setZero();
  } else {
    y.rowwise() = bias->col(0).transpose();
  }
  if (x.rows() == 1) {
    Eigen::Map<Vector<Scalar>>(y.data(), y.cols()).noalias() +=
        weight * Eigen::Map<const Vector<Scalar>>(x.data(), x.cols());
  } else {
    add_large_product(LeftOperand<Scalar>{x.data(), x.outerStride(), 1}, x.rows(), x.cols(),
                      RightOperand<Scalar>{weight.data(), weight.rows(), 1}, weight.rows(),
                      y.data(), y.outerStride());
  }
  return y;
}

/// The pullback of `linear`: d_x += d_y W, d_weight += d_y^T x, d_bias += the sum of d_y's rows.
template <class Scalar>
void linear_pullback(const RowMajorMatrix<Scalar>& x, const Matrix<Scalar>& weight,
                     const RowMajorMatrix<Scalar>& d_y, RowMajorMatrix<Scalar>& d_x,
                     Matrix<Scalar>& d_weight, Matrix<Scalar>* d_bias) {
  add_large_product(LeftOperand<Scalar>{d_y.data(), d_y.outerStride(), 1}, d_y.rows(), d_y.cols(),
                    RightOperand<Scalar>{weight.data(), 1, weight.rows()}, weight.cols(),
                    d_x.data(), d_x.outerStride());
  add_large_product(LeftOperand<Scalar>{x.data(), 1, x.outerStride()}, x.cols(), x.rows(),
                    RightOperand<Scalar>{d_y.data(), d_y.outerStride(), 1}, d_y.cols(),
                    d_weight.data(), d_weight.rows());
  if (d_bias != nullptr) *d_bias += d_y.colwise().sum().transpose();
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_LINEAR_HPP

// ---- loglinear/mixers/log_linear_gated_delta_net_options.hpp

#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_OPTIONS_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_OPTIONS_HPP

namespace loglinear {

/// How to build a `LogLinearGatedDeltaNet`, under the names of flash-linear-attention.
///
/// The defaults are those of its *model* configuration, `GatedDeltaNetConfig`, which is also that
/// of the paper's `HGatedDeltaNet`, because published weights come out of models; `of_layer()` has
/// those of the bare layer. Take every option but `allow_neg_eigval` from the `config.json` beside
/// the weights: a file cannot tell `norm_eps`, `num_heads` with head_dim, and `scale`, and they
/// change the numbers.
struct LogLinearGatedDeltaNetOptions {
  Eigen::Index hidden_size = 2048;  ///< of inputs and outputs
  double expand_v = 2;              ///< expand_v * head_dim is d_v, a whole number
  Eigen::Index num_heads = 6;       ///< of queries and keys
  Eigen::Index num_v_heads = 0;  ///< of values and states, a multiple of num_heads; 0 for as many
  Eigen::Index head_dim = 256;   ///< keys of a head, d_k
  bool use_gate = true;          ///< whether there is an output gate, `g_proj`
  bool use_short_conv = true;    ///< without, silu alone
  /// beta in (0, 2) instead of (0, 1). The paper's `HGatedDeltaNet` ignores this option, whatever
  /// its configuration says: leave it false for weights of that layer, or the numbers are others.
  /// It is for mixers that were trained with it here.
  bool allow_neg_eigval = false;
  Eigen::Index conv_size = 4;       ///< taps of the short convolutions
  bool conv_bias = false;           ///< whether there are `q_conv1d.bias` and so on
  double norm_eps = 1e-6;           ///< of the gated norm, > 0 and normal as Scalar
  int num_levels = 15;              ///< level weights, 2 to 65; 15 hold 2^14 tokens apart
  double scale = 1;                 ///< of the unit queries, finite also as Scalar
  Eigen::Index chunk_size = 64;     ///< of the chunkwise form; changes rounding only
  double initializer_range = 0.02;  ///< standard deviation of projections and convolutions, > 0
  double dt_min = 0.001;            ///< where step sizes begin, > 0
  double dt_max = 0.1;              ///< and end
  double dt_init_floor = 1e-4;      ///< the least of them, > 0
  std::uint64_t seed = 42;          ///< of all weights, at least 1

  /// The defaults of flash-linear-attention's layer where it is built without a model: norm_eps is
  /// 1e-5.
  [[nodiscard]] static LogLinearGatedDeltaNetOptions of_layer() { return {.norm_eps = 1e-5}; }
};

namespace detail {

[[nodiscard]] inline Index value_heads(const LogLinearGatedDeltaNetOptions& o) {
  return o.num_v_heads == 0 ? o.num_heads : o.num_v_heads;
}
[[nodiscard]] inline Index value_dim(const LogLinearGatedDeltaNetOptions& o) {
  return expanded("expand_v", o.expand_v, "head_dim", o.head_dim);
}

/// \throws std::invalid_argument for an option out of its range
template <class Scalar>
const LogLinearGatedDeltaNetOptions& checked(const LogLinearGatedDeltaNetOptions& o) {
  require_dimension("hidden_size", o.hidden_size);
  require_dimension("num_heads", o.num_heads);
  require_dimension("head_dim", o.head_dim);
  require_dimension("conv_size", o.conv_size);
  require_between("num_v_heads", o.num_v_heads, Index{0}, largest_dimension);
  if (o.num_v_heads % o.num_heads != 0) {
    fail("num_v_heads", o.num_v_heads, "a multiple of num_heads, " + std::to_string(o.num_heads));
  }
  require_dimension("num_heads * head_dim", o.num_heads * o.head_dim);
  require_dimension("the number of value heads times expand_v * head_dim",
                    value_heads(o) * value_dim(o));
  require_common_options<Scalar>(o);
  return o;
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_OPTIONS_HPP

// ---- loglinear/mixers/heads.hpp

#ifndef LOGLINEAR_MIXERS_HEADS_HPP
#define LOGLINEAR_MIXERS_HEADS_HPP

// The heads of a mixer between its projections: each is one sequence of the sequence form, with
// queries and keys that the heads of a group share.

namespace loglinear::detail {

/// The inputs of all heads side by side, a row a token; or their gradients.
template <class Scalar>
struct HeadInputs {
  Index groups = 1, heads = 1;      // heads is a multiple of groups
  RowMajorMatrix<Scalar> q{}, k{};  // T x (groups d_k)
  RowMajorMatrix<Scalar> v{};       // T x (heads d_v)
  RowMajorMatrix<Scalar> lambda{};  // T x (heads levels)
  RowMajorMatrix<Scalar> g{};       // T x heads
  RowMajorMatrix<Scalar> beta{};    // T x heads, or empty: no delta rule

  [[nodiscard]] Index length() const { return v.rows(); }
  [[nodiscard]] Index d_k() const { return k.cols() / groups; }
  [[nodiscard]] Index d_v() const { return v.cols() / heads; }
  [[nodiscard]] Index group_of(Index head) const { return head / (heads / groups); }

  /// One head as a sequence: views of these arrays.
  [[nodiscard]] SequenceInputs<Scalar> head(Index h) const {
    SequenceInputs<Scalar> one;
    match_arrays(*this, h, one,
                 [](const auto& columns, auto& of_head, bool) { of_head = view_of(columns); });
    return one;
  }

  /// Calls `use(columns of head h, array of one, whether the heads of a group share them)` for the
  /// six arrays; `one` is a head's sequence or its gradients.
  template <class All, class One, class Use>
  static void match_arrays(All& all, Index h, One& one, Use use) {
    const auto match = [&](auto& array, Index parts, Index which, auto& of_head) {
      const Index width = array.cols() / parts;
      use(array.middleCols(which * width, width), of_head, parts < all.heads);
    };
    match(all.q, all.groups, all.group_of(h), one.q);
    match(all.k, all.groups, all.group_of(h), one.k);
    match(all.v, all.heads, h, one.v);
    match(all.lambda, all.heads, h, one.lambda);
    match(all.g, all.heads, h, one.g);
    match(all.beta, all.heads, h, one.beta);
  }
};

/// Calls `use(first, end)` for the heads [first, end) of each group, on threads: the calls share
/// nothing they write.
template <class Scalar, class Use>
void for_each_group(const HeadInputs<Scalar>& in, Use use) {
  const Index width = in.heads / in.groups;
  parallel_for<Scalar>(in.groups, thread_count(),
                       [&](Index group) { use(group * width, (group + 1) * width); });
}

/// What a gradient needs of each head, or nullptr where none will be asked for.
template <class Scalar>
using HeadTapes = std::vector<SequenceTape<Scalar>>*;

/// The reads of all heads, T x (heads d_v); `state_of(h)` is the state that head h goes on from, a
/// reference or a value.
template <class Scalar, class StateOf>
[[nodiscard]] RowMajorMatrix<Scalar> read_heads_from(const HeadInputs<Scalar>& in,
                                                     const ChunkwiseOptions& options,
                                                     HeadTapes<Scalar> tapes, StateOf state_of) {
  RowMajorMatrix<Scalar> reads(in.length(), in.v.cols());
  parallel_for<Scalar>(in.heads, thread_count(), [&](Index h) {
    auto&& state = state_of(h);
    reads.middleCols(h * in.d_v(), in.d_v()) =
        chunkwise(in.head(h), state, options,
                  tapes == nullptr ? nullptr : &(*tapes)[static_cast<std::size_t>(h)]);
  });
  return reads;
}

/// From given states; each goes on by T tokens.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> read_heads(const HeadInputs<Scalar>& in,
                                                std::vector<LogLinearState<Scalar>>& states,
                                                const ChunkwiseOptions& options,
                                                HeadTapes<Scalar> tapes = nullptr) {
  return read_heads_from<Scalar>(in, options, tapes, [&](Index h) -> LogLinearState<Scalar>& {
    return states[static_cast<std::size_t>(h)];
  });
}

/// From empty states of as many of `max_levels` levels as T tokens fill, which are not returned.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> read_heads(const HeadInputs<Scalar>& in, int max_levels,
                                                const ChunkwiseOptions& options,
                                                HeadTapes<Scalar> tapes = nullptr) {
  const int needed = levels_needed(static_cast<std::uint64_t>(in.length()));
  return read_heads_from<Scalar>(in, options, tapes, [&](Index) {
    return LogLinearState<Scalar>((std::min)(max_levels, needed), in.d_k(), in.d_v());
  });
}

/// The gradients of `sum(d_reads * reads)` with respect to the inputs of all heads; those of shared
/// queries and keys are summed over the heads of a group.
template <class Scalar>
[[nodiscard]] HeadInputs<Scalar> read_heads_gradient(
    const HeadInputs<Scalar>& in, const RowMajorMatrix<Scalar>& d_reads,
    const std::vector<SequenceTape<Scalar>>& tapes) {
  HeadInputs<Scalar> d = in;  // its shapes: every column is written
  for_each_group(in, [&](Index first, Index end) {
    for (Index h = first; h < end; ++h) {
      const SequenceGradients<Scalar> of_head =
          chunkwise_gradient<Scalar>(in.head(h), tapes[static_cast<std::size_t>(h)],
                                     view_of(d_reads.middleCols(h * in.d_v(), in.d_v())));
      HeadInputs<Scalar>::match_arrays(d, h, of_head,
                                       [&](auto columns, const auto& gradient, bool is_shared) {
                                         if (is_shared && h > first) {
                                           columns += gradient;
                                         } else {
                                           columns = gradient;
                                         }
                                       });
    }
  });
  return d;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_HEADS_HPP

// ---- loglinear/mixers/heads_token.hpp

#ifndef LOGLINEAR_MIXERS_HEADS_TOKEN_HPP
#define LOGLINEAR_MIXERS_HEADS_TOKEN_HPP

// One token through all heads, the decoding step. The transition A = e^g (I - beta k k^T) is read
// before it is written, by A^T q on the old levels, so that everything that can throw does so while
// the states are still whole.

namespace loglinear::detail {

template <class Scalar>
class HeadsToken {
 public:
  using State = LogLinearState<Scalar>;

  /// \param in  of one token \throws std::invalid_argument where a head's inputs are not finite or
  /// its state would overflow
  HeadsToken(const HeadInputs<Scalar>& in, std::vector<State>& states) : in_(in), states_(states) {
    heads_.reserve(states.size());
    for (Index h = 0; h < in.heads; ++h) {
      in.head(h).validate(state(h).size(), state(h).max_levels());
      Head& written = heads_.emplace_back(prepared(h));
      with_transition(h, [&](const auto& transition) {
        written.admitted =
            levels_of(state(h)).admit(transition.norm_bound(), written.key, written.value);
      });
    }
  }

  /// 1 x (heads d_v).
  [[nodiscard]] RowMajorMatrix<Scalar> reads() const {
    RowMajorMatrix<Scalar> out(1, in_.v.cols());
    for (Index h = 0; h < in_.heads; ++h) read(h, out.data() + h * in_.d_v());
    return out;
  }
  /// Every state undergoes its transition and takes its leaf. Neither allocates nor throws, so that
  /// all heads take the token or none.
  void write() {
    for (Index h = 0; h < in_.heads; ++h) {
      with_transition(h, [&](const auto& transition) {
        levels_of(state(h)).write(transition, head(h).key, head(h).value, head(h).admitted);
      });
    }
  }

 private:
  [[nodiscard]] State& state(Index h) const { return states_[static_cast<std::size_t>(h)]; }
  /// What a head writes.
  struct Head {
    Vector<Scalar> key, value;  // beta k or k, and v
    std::variant<ScalarDecay<Scalar>, RankOneUpdate<ScalarDecay<Scalar>>> transition;
    Admitted admitted{};
  };
  [[nodiscard]] const Head& head(Index h) const { return heads_[static_cast<std::size_t>(h)]; }

  [[nodiscard]] Head prepared(Index h) const {
    const Vector<Scalar> k =
        in_.k.row(0).segment(in_.group_of(h) * in_.d_k(), in_.d_k()).transpose();
    const Vector<Scalar> v = in_.v.row(0).segment(h * in_.d_v(), in_.d_v()).transpose();
    const Scalar decay = std::exp(in_.g(0, h));
    if (in_.beta.size() == 0) {
      ScalarDecay<Scalar> transition(in_.d_k(), in_.d_v());
      transition.decay = decay;
      return {k, v, std::move(transition)};
    }
    const Scalar strength = in_.beta(0, h);
    RankOneUpdate<ScalarDecay<Scalar>> transition(in_.d_k(), in_.d_v());
    transition.diagonal.decay = decay;
    transition.u = decay * (strength * k);  // the written key, decayed
    transition.p = k;
    return {strength * k, v, std::move(transition)};
  }

  template <class Use>
  void with_transition(Index h, Use use) const {
    std::visit(use, head(h).transition);
  }

  /// out = sum_l lambda_l S_l^T A^T q + lambda_0 (q . key) value
  void read(Index h, Scalar* out) const {
    const Index levels = in_.lambda.cols() / in_.heads;
    const auto lambda = in_.lambda.row(0).segment(h * levels, levels);
    Vector<Scalar> q = in_.q.row(0).segment(in_.group_of(h) * in_.d_k(), in_.d_k()).transpose();
    Eigen::Map<Vector<Scalar>>(out, in_.d_v()) = (lambda[0] * q.dot(head(h).key)) * head(h).value;
    with_transition(h, [&](const auto& transition) { transition.left_transposed(q); });
    Vector<Scalar> weighted(q.size());
    for (const int l : state(h).active_levels()) {
      weighted = lambda[l + 1] * q;
      weighted_rows<true>(state(h).level(l).data(), in_.d_k(), in_.d_v(), in_.d_v(),
                          weighted.data(), out);
    }
  }

  const HeadInputs<Scalar>& in_;
  std::vector<State>& states_;
  std::vector<Head> heads_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_HEADS_TOKEN_HPP

// ---- loglinear/mixers/mixer_cache.hpp

#ifndef LOGLINEAR_MIXERS_MIXER_CACHE_HPP
#define LOGLINEAR_MIXERS_MIXER_CACHE_HPP

namespace loglinear {

template <class Scalar, class Mixer>
class TokenMixer;

namespace detail {

/// What of a mixer's sizes its cache is made of.
struct MixerShape {
  Index hidden_size = 0, heads = 0, d_k = 0, d_v = 0;
  int num_levels = 0;                     // level weights, one more than the state's levels
  Index conv_kernel = 1;                  // taps
  std::vector<Index> conv_channels = {};  // of each short convolution
  Index chunk_size = 64;
};

}  // namespace detail

/// Where a stream through a mixer stands: the last inputs of its short convolutions and the
/// hierarchy of each head, the counterpart of flash-linear-attention's `conv_state` and
/// `recurrent_state`.
///
/// Made empty by `TokenMixer::make_cache`, for mixers of the same options. A plain value of
/// constant size: (K - 1) x channels numbers a convolution and levels x d_k x d_v a head; copy it
/// to branch a stream.
template <class Scalar>
class MixerCache {
 public:
  using Matrix = detail::RowMajorMatrix<Scalar>;

  /// Tokens seen since the cache was made or reset; 0 of one that was moved from.
  [[nodiscard]] std::uint64_t size() const { return states_.empty() ? 0 : states_.front().size(); }
  /// Number of heads, at least 1; 0 of one that was moved from, which every mixer refuses.
  [[nodiscard]] Eigen::Index num_heads() const { return static_cast<Eigen::Index>(states_.size()); }
  /// The hierarchy of one head. \throws std::invalid_argument unless 0 <= head < num_heads
  [[nodiscard]] const LogLinearState<Scalar>& state(Eigen::Index head) const {
    detail::require_between("head", head, Eigen::Index{0}, num_heads() - 1);
    return states_[static_cast<std::size_t>(head)];
  }
  /// The last K - 1 inputs of each short convolution, the newest in the last row.
  [[nodiscard]] const std::vector<Matrix>& convolution_inputs() const { return convolutions_; }

  /// Back to the beginning of a stream. Does not allocate.
  void reset() noexcept {
    for (auto& state : states_) state.reset();
    for (auto& inputs : convolutions_) inputs.setZero();
  }

  /// Whether both streams stand at the same place with the same numbers.
  [[nodiscard]] bool operator==(const MixerCache&) const = default;

 private:
  template <class, class>
  friend class TokenMixer;
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (std::size_t i = 0; i < self.convolutions_.size(); ++i) {
      part("convolution" + std::to_string(i), self.convolutions_[i]);
    }
    for (std::size_t h = 0; h < self.states_.size(); ++h) {
      part("head" + std::to_string(h), self.states_[h]);
      if (self.states_[h].size() != self.size()) {
        detail::fail("size of head " + std::to_string(h), self.states_[h].size(),
                     "that of head 0, " + std::to_string(self.size()));
      }
    }
  }

  MixerCache(std::vector<Matrix> convolutions, std::vector<LogLinearState<Scalar>> states)
      : convolutions_(std::move(convolutions)), states_(std::move(states)) {}

  std::vector<Matrix> convolutions_;
  std::vector<LogLinearState<Scalar>> states_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_MIXER_CACHE_HPP

// ---- loglinear/mixers/named_weights.hpp

#ifndef LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP
#define LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP

namespace loglinear {

/// The arrays of a mixer, or their gradients, under the names of a state_dict and in its order.
///
/// A matrix has the state_dict's shape, (outputs, inputs); a vector of n is n x 1; the weight of a
/// depthwise convolution, (channels, 1, taps) there, is channels x taps. Column-major, so that a
/// product `W x` runs along contiguous outputs.
template <class Scalar>
class NamedWeights {
 public:
  using Matrix = detail::Matrix<Scalar>;

  /// All names, in order.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, array] : arrays_) all.push_back(name);
    return all;
  }

  /// The array called `name`, or nullptr.
  [[nodiscard]] const Matrix* find(std::string_view name) const {
    for (const auto& entry : arrays_) {
      if (entry.first == name) return &entry.second;
    }
    return nullptr;
  }
  /// The same, to be written to.
  [[nodiscard]] Matrix* find(std::string_view name) {
    return const_cast<Matrix*>(std::as_const(*this).find(name));
  }

  /// The array called `name`. \throws std::invalid_argument, which lists the names there are
  [[nodiscard]] const Matrix& operator[](std::string_view name) const {
    if (const Matrix* array = find(name)) return *array;
    std::string legal = "one of";
    for (const auto& entry : arrays_) legal += ' ' + entry.first;
    detail::fail("weight name", name, legal);
  }
  /// The same, to be written to.
  [[nodiscard]] Matrix& operator[](std::string_view name) {
    return const_cast<Matrix&>(std::as_const(*this)[name]);
  }

  /// Appends an array of zeros.
  Matrix& append(std::string name, Eigen::Index rows, Eigen::Index columns) {
    return arrays_.emplace_back(std::move(name), Matrix::Zero(rows, columns)).second;
  }

  /// Arrays of the same names and shapes, all zero.
  [[nodiscard]] NamedWeights zeros() const {
    NamedWeights other;
    for (const auto& [name, array] : arrays_) other.append(name, array.rows(), array.cols());
    return other;
  }

 private:
  std::vector<std::pair<std::string, Matrix>> arrays_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_NAMED_WEIGHTS_HPP

// ---- loglinear/mixers/token_mixer.hpp

#ifndef LOGLINEAR_MIXERS_TOKEN_MIXER_HPP
#define LOGLINEAR_MIXERS_TOKEN_MIXER_HPP

namespace loglinear {

/// The gradients of `TokenMixer::gradient`.
template <class Scalar>
struct MixerGradients {
  using Matrix = detail::RowMajorMatrix<Scalar>;  ///< a row a token

  Matrix x;                      ///< with respect to the inputs, T x hidden_size
  NamedWeights<Scalar> weights;  ///< with respect to each weight, `weights["A_log"]`
};

namespace detail {

/// A gradient on its way back from a mixer's output to what `read_heads` read.
template <class Scalar>
struct ReadsGradient {
  RowMajorMatrix<Scalar> reads{};   // T x (heads d_v)
  RowMajorMatrix<Scalar> gate{};    // of the output gate before silu, likewise
  RowMajorMatrix<Scalar> direct{};  // of what reaches the output past the heads, likewise
};

}  // namespace detail

/// What the complete token mixers of the paper have in common: `LogLinearMamba2` and
/// `LogLinearGatedDeltaNet` are used through this interface.
///
///     x -> projections -> short causal convolution -> gates -> heads, each a log-linear hierarchy
///       -> gated RMS norm -> output projection
///
/// Sequences are T x hidden_size, a row a token; any T from 0 up. With n level weights a head's
/// hierarchy has n - 1 levels, read in the order `current_apart`: weight 0 is the token's own leaf,
/// weight l + 1 the bucket of 2^l tokens. Up to 2^(n - 1) tokens each bucket has a weight of its
/// own; what is older stays in the last level, under the last weight. More weights than a sequence
/// needs are never read.
///
/// Const member functions may run at the same time, on different caches. They allocate. Numbers
/// below std::numeric_limits<Scalar>::min() count as zero, see docs/numerics.md.
///
/// \tparam Scalar_  float or double
/// \tparam Mixer    the mixer, which derives from this class and supplies its two ends: `front` and
///                  `back` with their gradients
template <class Scalar_, class Mixer>
class TokenMixer {
 public:
  using Scalar = Scalar_;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = typename SequenceInputs<Scalar>::Rows;
  using Cache = MixerCache<Scalar>;

  /// \name Weights
  /// \{

  /// The names of all weights, as in flash-linear-attention's state_dict and in its order.
  [[nodiscard]] std::vector<std::string> weight_names() const { return weights_.names(); }
  /// One weight: a matrix in its state_dict shape, a vector as n x 1, a convolution's weight as
  /// channels x taps. \throws std::invalid_argument for an unknown name, listing those there are
  [[nodiscard]] const typename NamedWeights<Scalar>::Matrix& weight(std::string_view name) const {
    return weights_[name];
  }
  /// Replaces one weight; a vector may be given as a row or as a column. \throws
  /// std::invalid_argument for an unknown name, another shape or a coefficient that is not finite;
  /// nothing is changed then
  template <class Derived>
  void set_weight(std::string_view name, const Eigen::MatrixBase<Derived>& value) {
    const detail::FlushToZero<Scalar> flush;
    typename NamedWeights<Scalar>::Matrix& old = weights_[name];
    typename NamedWeights<Scalar>::Matrix given = value;
    if (old.cols() == 1 && given.rows() == 1) given.transposeInPlace();
    detail::require_size("the rows of " + std::string(name), given.rows(), old.rows());
    detail::require_size("the columns of " + std::string(name), given.cols(), old.cols());
    detail::require_finite(name, given);
    old = std::move(given);
  }
  /// \}

  /// \name Sequences
  /// \{

  /// All outputs of a sequence from an empty state.
  /// \param x  T x hidden_size, finite \return T x hidden_size
  /// \throws std::invalid_argument for a wrong size, a coefficient that is not finite, or where
  /// finite input overflows on the way. O(T log T), by the chunkwise form
  [[nodiscard]] Matrix forward(const Rows& x) const;

  /// The next outputs of a stream, for a prompt in pieces of any size: to rounding those of one
  /// pass. \param cache  where the stream stands; in the end after x
  /// \throws std::invalid_argument as above, for a cache of another shape, or where a state would
  /// overflow; the cache is unchanged then. A piece of more than one token copies the states.
  [[nodiscard]] Matrix forward(const Rows& x, Cache& cache) const;

  /// Decodes one token. \param x  length hidden_size \return the output, length hidden_size
  /// \throws std::invalid_argument as `forward`; the cache is unchanged then. Costs the projections
  /// and O(active levels x d_k x d_v) a head
  template <class In>
  [[nodiscard]] Vector step(const Eigen::MatrixBase<In>& x, Cache& cache) const {
    static_assert(In::IsVectorAtCompileTime, "step takes a vector; forward takes sequences");
    const Matrix row = detail::as_column(x).transpose();
    Vector out = row.transpose();  // of the output's size, before the cache changes
    out = forward(row, cache).row(0).transpose();
    return out;
  }

  /// An empty cache for this mixer's options.
  [[nodiscard]] Cache make_cache() const {
    return Cache(empty_convolutions(),
                 std::vector<LogLinearState<Scalar>>(
                     static_cast<std::size_t>(shape_.heads),
                     LogLinearState<Scalar>(max_levels(), shape_.d_k, shape_.d_v)));
  }

  /// The gradients of `sum(d_out * forward(x))` with respect to x and every weight; computes the
  /// forward pass on the way.
  /// \param x, d_out  T x hidden_size each
  /// \throws std::invalid_argument as `forward`, or where a gradient overflows. Memory O(T) beside
  /// the weights' gradients
  [[nodiscard]] MixerGradients<Scalar> gradient(const Rows& x, const Rows& d_out) const;

  /// The same for the next inputs of a stream, the cache before them held constant: of
  /// `sum(d_out * forward(x, copy of cache))`. A long sequence in pieces, each with its gradient
  /// and then `forward`, is truncated backpropagation in constant memory. \throws
  /// std::invalid_argument as above, or for a cache of another shape. Copies the states
  [[nodiscard]] MixerGradients<Scalar> gradient(const Rows& x, const Rows& d_out,
                                                const Cache& cache) const;
  /// \}

 protected:
  TokenMixer(detail::MixerShape shape, NamedWeights<Scalar> weights)
      : shape_(std::move(shape)), weights_(std::move(weights)) {}
  ~TokenMixer() = default;
  TokenMixer(const TokenMixer&) = default;
  TokenMixer(TokenMixer&&) = default;
  TokenMixer& operator=(const TokenMixer&) = default;
  TokenMixer& operator=(TokenMixer&&) = default;

  /// \name For the mixer
  /// \{

  /// All sizes.
  [[nodiscard]] const detail::MixerShape& shape() const { return shape_; }
  /// All weights, by name.
  [[nodiscard]] const NamedWeights<Scalar>& weights() const { return weights_; }
  /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints: the weights. Streams are in caches.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (const std::string& name : self.weights_.names()) {
      auto& array = self.weights_[name];
      if (array.cols() == 1) {
        part(name, array.col(0));
      } else {
        part(name, array);
      }
    }
  }

  [[nodiscard]] const Mixer& mixer() const { return static_cast<const Mixer&>(*this); }
  [[nodiscard]] int max_levels() const { return shape_.num_levels - 1; }
  [[nodiscard]] ChunkwiseOptions chunks() const { return {.chunk_size = shape_.chunk_size}; }

  [[nodiscard]] Matrix checked(const Rows& x) const {
    detail::require_matrix("x", x, x.rows(), shape_.hidden_size);
    return x;
  }
  template <class Front>
  [[nodiscard]] Matrix finished(const Front& front, const Matrix& reads) const {
    Matrix out = mixer().back(front, reads);
    detail::require_finite("coefficient # of the output", out);
    return out;
  }
  /// `read(heads, tapes)` reads the heads from where the stream stands.
  template <class Read>
  [[nodiscard]] MixerGradients<Scalar> gradient_of(const Rows& x, const Rows& d_out,
                                                   const std::vector<Matrix>& convolutions,
                                                   Read read) const {
    const detail::FlushToZero<Scalar> flush;
    const Matrix tokens = checked(x);
    detail::require_matrix("d_out", d_out, tokens.rows(), shape_.hidden_size);
    MixerGradients<Scalar> all{.x = Matrix::Zero(tokens.rows(), tokens.cols()),
                               .weights = weights_.zeros()};
    if (tokens.rows() == 0) return all;
    const auto front = mixer().front(tokens, convolutions);
    std::vector<SequenceTape<Scalar>> tapes(static_cast<std::size_t>(shape_.heads));
    const Matrix reads = read(front.heads, tapes);
    const detail::ReadsGradient<Scalar> d = mixer().back_gradient(front, reads, d_out, all.weights);
    detail::require_finite("coefficient # of the gradient of the reads", d.reads);
    const detail::HeadInputs<Scalar> d_heads =
        detail::read_heads_gradient(front.heads, d.reads, tapes);
    mixer().front_gradient(front, tokens, d, d_heads, all.x, all.weights);
    detail::require_finite("coefficient # of the gradient of x", all.x);
    for (const std::string& name : all.weights.names()) {
      detail::require_finite("coefficient # of the gradient of " + name, all.weights[name]);
    }
    return all;
  }
  [[nodiscard]] std::vector<Matrix> empty_convolutions() const {
    std::vector<Matrix> all;
    for (const Eigen::Index channels : shape_.conv_channels) {
      all.push_back(Matrix::Zero(shape_.conv_kernel - 1, channels));
    }
    return all;
  }
  void require_fitting(const Cache& cache) const {
    bool fits = cache.num_heads() == shape_.heads &&
                cache.convolutions_.size() == shape_.conv_channels.size();
    for (std::size_t i = 0; fits && i < shape_.conv_channels.size(); ++i) {
      fits = cache.convolutions_[i].rows() == shape_.conv_kernel - 1 &&
             cache.convolutions_[i].cols() == shape_.conv_channels[i];
    }
    if (fits) {
      const LogLinearState<Scalar>& state = cache.state(0);
      fits = state.max_levels() == max_levels() && state.d_k() == shape_.d_k &&
             state.d_v() == shape_.d_v;
    }
    if (!fits) detail::fail("cache", "of another shape", "made by make_cache of such a mixer");
  }

  detail::MixerShape shape_;
  NamedWeights<Scalar> weights_;
};

// Defined here, so that a program can have them compiled in one place (`extern template class`).

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::forward(const Rows& x) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  const auto front = mixer().front(tokens, empty_convolutions());
  return finished(front, detail::read_heads(front.heads, max_levels(), chunks()));
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::forward(const Rows& x, Cache& cache) const -> Matrix {
  const detail::FlushToZero<Scalar> flush;
  const Matrix tokens = checked(x);
  require_fitting(cache);
  if (tokens.rows() == 0) return tokens;
  const auto front = mixer().front(tokens, cache.convolutions_);
  Matrix out;
  if (tokens.rows() == 1) {
    detail::HeadsToken<Scalar> token(front.heads, cache.states_);
    out = finished(front, token.reads());
    token.write();
  } else {
    auto states = cache.states_;
    out = finished(front, detail::read_heads(front.heads, states, chunks()));
    cache.states_.swap(states);
  }
  for (std::size_t i = 0; i < cache.convolutions_.size(); ++i) {
    cache.convolutions_[i] = front.convolved[i].bottomRows(cache.convolutions_[i].rows());
  }
  return out;
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::gradient(const Rows& x, const Rows& d_out) const
    -> MixerGradients<Scalar> {
  return gradient_of(x, d_out, empty_convolutions(), [&](const auto& heads, auto& tapes) {
    return detail::read_heads(heads, max_levels(), chunks(), &tapes);
  });
}

template <class Scalar_, class Mixer>
auto TokenMixer<Scalar_, Mixer>::gradient(const Rows& x, const Rows& d_out,
                                          const Cache& cache) const -> MixerGradients<Scalar> {
  require_fitting(cache);
  return gradient_of(x, d_out, cache.convolutions_, [&](const auto& heads, auto& tapes) {
    auto states = cache.states_;
    return detail::read_heads(heads, states, chunks(), &tapes);
  });
}

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_TOKEN_MIXER_HPP

// ---- loglinear/mixers/log_linear_gated_delta_net.hpp

#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_HPP

namespace loglinear {

// clang-format off
/// Log-linear Gated DeltaNet, the paper's second case study as a complete token mixer.
///
///     q, k, v = silu(conv1d(W_q u)), silu(conv1d(W_k u)), silu(conv1d(W_v u))
///     q <- scale q / sqrt(|q|^2 + 1e-6),  k <- k / sqrt(|k|^2 + 1e-6),  head by head
///     beta = sg(W_b u), twice that with allow_neg_eigval
///     g = -exp(A_log) softplus(W_a u + dt_bias),   lambda = softplus(L . W_l u)
///     y = hierarchy(q, k, v, beta, g, lambda),  head by head
///     out = W_o (rms(y) . silu(W_g u)),  the norm over each head's values
///
/// Guo et al., arXiv:2506.04761, section 3.4 and appendix; Yang, Kautz, Hatamizadeh,
/// arXiv:2412.06464. Names, shapes and orders are those of flash-linear-attention's `GatedDeltaNet`
/// and, for `L` and `l_proj`, of `HGatedDeltaNet`, the paper's layer over it. With H = num_heads, V = num_v_heads,
/// n = num_levels, K = conv_size:
///
/// | name                           | shape                             | begins as                               |
/// |--------------------------------|-----------------------------------|-----------------------------------------|
/// | A_log                          | V                                 | log of uniform in 0 ... 16              |
/// | dt_bias                        | V                                 | step sizes log-uniform in 0.001 ... 0.1 |
/// | L                              | V x n                             | 1                                       |
/// | q_proj.weight, k_proj.weight   | H head_dim x hidden_size          | normal, initializer_range               |
/// | v_proj.weight                  | V d_v x hidden_size               | likewise                                |
/// | a_proj.weight, b_proj.weight   | V x hidden_size                   | likewise                                |
/// | q_conv1d.weight, k_conv1d.weight | H head_dim x K (.., 1, K)       | likewise                                |
/// | v_conv1d.weight                | V d_v x K (.., 1, K)              | likewise                                |
/// | *_conv1d.bias                  | its channels, with conv_bias      | 0                                       |
/// | g_proj.weight                  | V d_v x hidden_size, with use_gate | normal, initializer_range              |
/// | o_norm.weight                  | d_v                               | 1                                       |
/// | o_proj.weight                  | hidden_size x V d_v               | uniform within 1 / sqrt(V d_v)          |
/// | l_proj.weight                  | V n x hidden_size                 | normal, initializer_range               |
///
/// A query-key head serves num_v_heads / num_heads value heads, neighbours. A published model has
/// the weights under `model.layers.N.attn.`; docs/migration.md shows how to load them.
///
/// What differs from those layers: no attention mask and no packed sequences; the number of level
/// weights is an option and streams may be longer than it (the last level takes the rest); the
/// paper's layer ignores allow_neg_eigval, where this mixer and GatedDeltaNet obey it; with
/// num_v_heads above num_heads, which the paper's layer has not, L and l_proj go by value heads;
/// the paper's layer scales queries by 1 / sqrt(head_dim) and level weights by sqrt(head_dim),
/// which cancel, so that `scale` is 1 here, where GatedDeltaNet itself has 1 / sqrt(head_dim); a
/// model of N layers divides o_proj by sqrt(2 N) at the start, this does not; everything is
/// computed in Scalar.
///
/// Use and errors as `TokenMixer`:
///
///     loglinear::LogLinearGatedDeltaNet<float> mixer(
///         {.hidden_size = 64, .num_heads = 2, .head_dim = 32});
///     auto cache = mixer.make_cache();
///     auto prompt = mixer.forward(x, cache);      // x: T x 64
///     auto next = mixer.step(x_next, cache);      // one token
///     auto d = mixer.gradient(x, d_out);          // d.x, d.weights["A_log"]
///
/// \tparam Scalar_  float or double
// clang-format on
template <class Scalar_>
class LogLinearGatedDeltaNet : public TokenMixer<Scalar_, LogLinearGatedDeltaNet<Scalar_>> {
  using Base = TokenMixer<Scalar_, LogLinearGatedDeltaNet<Scalar_>>;

 public:
  using Scalar = Scalar_;
  using Matrix = typename Base::Matrix;
  using Options = LogLinearGatedDeltaNetOptions;

  /// Allocates and draws all weights, in the table's order. \throws std::invalid_argument for an
  /// option out of its range
  explicit LogLinearGatedDeltaNet(const Options& options)
      : Base(shape_of(detail::checked<Scalar>(options)),
             initial_weights(detail::checked<Scalar>(options))),
        options_(options) {}

  /// What the mixer was built with.
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  friend Base;
  using Index = Eigen::Index;
  /// The paths that a short convolution may lie on; the first letter of their weights' names.
  static constexpr std::array<const char*, 3> paths = {"q", "k", "v"};

  /// Everything of a forward pass that its gradient needs.
  struct Front {
    std::vector<Matrix> convolved{};  // inputs of the convolutions, history first
    std::array<Matrix, 3> mixed{};    // q, k and v before silu
    Matrix dl{}, output_gate{};
    detail::DecayGate<Scalar> gate{};
    detail::HeadInputs<Scalar> heads{};
  };

  /// Columns of q, k and v.
  static std::array<Index, 3> widths(const Options& o) {
    const Index keys = o.num_heads * o.head_dim;
    return {keys, keys, detail::value_heads(o) * detail::value_dim(o)};
  }
  static detail::MixerShape shape_of(const Options& o) {
    const auto columns = widths(o);
    detail::MixerShape shape{.hidden_size = o.hidden_size,
                             .heads = detail::value_heads(o),
                             .d_k = o.head_dim,
                             .d_v = detail::value_dim(o),
                             .num_levels = o.num_levels,
                             .conv_kernel = o.conv_size,
                             .chunk_size = o.chunk_size};
    if (o.use_short_conv) shape.conv_channels.assign(columns.begin(), columns.end());
    return shape;
  }

  static NamedWeights<Scalar> initial_weights(const Options& o) {
    const Index heads = detail::value_heads(o), d_v = detail::value_dim(o);
    const auto columns = widths(o);
    Xorshift64 random(o.seed);
    NamedWeights<Scalar> w;
    const auto normal = [&](const std::string& name, Index rows, Index inputs) {
      detail::fill_normal(w.append(name, rows, inputs), o.initializer_range, random);
    };
    detail::fill(w.append("A_log", heads, 1), [&] {
      double rate = 0;
      while (!(rate > 0)) rate = 16 * random.uniform();
      return std::log(rate);
    });
    detail::fill_step_bias(w.append("dt_bias", heads, 1), detail::steps_of(o), random);
    w.append("L", heads, o.num_levels).setOnes();
    for (std::size_t i = 0; i < paths.size(); ++i) {
      normal(paths[i] + std::string("_proj.weight"), columns[i], o.hidden_size);
    }
    normal("a_proj.weight", heads, o.hidden_size);
    normal("b_proj.weight", heads, o.hidden_size);
    for (std::size_t i = 0; o.use_short_conv && i < paths.size(); ++i) {
      const std::string name = paths[i] + std::string("_conv1d.");
      normal(name + "weight", columns[i], o.conv_size);
      if (o.conv_bias) w.append(name + "bias", columns[i], 1);
    }
    if (o.use_gate) normal("g_proj.weight", heads * d_v, o.hidden_size);
    w.append("o_norm.weight", d_v, 1).setOnes();
    detail::fill_uniform(w.append("o_proj.weight", o.hidden_size, heads * d_v), random);
    normal("l_proj.weight", heads * o.num_levels, o.hidden_size);
    return w;
  }

  [[nodiscard]] Matrix project(const Matrix& u, const char* name) const {
    Matrix y = detail::linear<Scalar>(u, this->weights()[name], nullptr);
    detail::require_finite(std::string("coefficient # of the product of x and ") + name, y);
    return y;
  }

  [[nodiscard]] Front front(const Matrix& u, const std::vector<Matrix>& history) const {
    const auto& w = this->weights();
    Front f;
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const std::string path = paths[i];
      f.mixed[i] = project(u, (path + "_proj.weight").c_str());
      if (!options_.use_short_conv) continue;
      f.convolved.push_back(detail::after(history[i], f.mixed[i]));
      f.mixed[i] = detail::convolve(f.convolved[i], w[path + "_conv1d.weight"],
                                    w.find(path + "_conv1d.bias"));
      detail::require_finite("coefficient # of the convolution of " + path, f.mixed[i]);
    }
    f.dl = project(u, "l_proj.weight");
    if (options_.use_gate) f.output_gate = project(u, "g_proj.weight");
    f.gate = detail::DecayGate<Scalar>(project(u, "a_proj.weight"), w["dt_bias"], w["A_log"]);
    f.heads.groups = options_.num_heads;
    f.heads.heads = detail::value_heads(options_);
    f.heads.q = Scalar(options_.scale) * detail::unit_rows<Scalar>(detail::silu_of(f.mixed[0]),
                                                                   options_.head_dim, "a query");
    f.heads.k = detail::unit_rows<Scalar>(detail::silu_of(f.mixed[1]), options_.head_dim, "a key");
    f.heads.v = detail::silu_of(f.mixed[2]);
    f.heads.beta = strongest() * detail::sigmoid_of(project(u, "b_proj.weight"));
    f.heads.g = f.gate.g;
    f.heads.lambda = detail::scaled_levels(f.dl, w["L"]);
    return f;
  }

  [[nodiscard]] Matrix back(const Front& f, const Matrix& reads) const {
    const Matrix normed = norm()(reads, f.output_gate);
    return detail::linear<Scalar>(normed, this->weights()["o_proj.weight"], nullptr);
  }

  [[nodiscard]] detail::ReadsGradient<Scalar> back_gradient(const Front& f, const Matrix& reads,
                                                            const Matrix& d_out,
                                                            NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const Matrix normed = norm()(reads, f.output_gate);
    Matrix d_normed = Matrix::Zero(normed.rows(), normed.cols());
    detail::linear_pullback<Scalar>(normed, w["o_proj.weight"], d_out, d_normed,
                                    d_w["o_proj.weight"], nullptr);
    detail::ReadsGradient<Scalar> d;
    d.reads = norm().pullback(reads, f.output_gate, d_normed, d.gate, d_w["o_norm.weight"]);
    return d;
  }

  void front_gradient(const Front& f, const Matrix& u, const detail::ReadsGradient<Scalar>& d,
                      const detail::HeadInputs<Scalar>& d_heads, Matrix& d_u,
                      NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const auto add_projection = [&](const std::string& name, const Matrix& d_y) {
      detail::linear_pullback<Scalar>(u, w[name], d_y, d_u, d_w[name], nullptr);
    };
    const std::array<Matrix, 3> d_active = {
        detail::unit_rows_pullback<Scalar>(detail::silu_of(f.mixed[0]),
                                           Scalar(options_.scale) * d_heads.q, options_.head_dim),
        detail::unit_rows_pullback<Scalar>(detail::silu_of(f.mixed[1]), d_heads.k,
                                           options_.head_dim),
        d_heads.v};
    for (std::size_t i = 0; i < paths.size(); ++i) {
      const std::string path = paths[i];
      Matrix d_mixed = d_active[i].cwiseProduct(detail::silu_slope(f.mixed[i]));
      if (options_.use_short_conv) {
        const std::string name = path + "_conv1d.weight";
        d_mixed = detail::convolve_pullback(f.convolved[i], w[name], d_mixed, d_w[name],
                                            d_w.find(path + "_conv1d.bias"));
      }
      add_projection(path + "_proj.weight", d_mixed);
    }
    const Matrix no_step = Matrix::Zero(f.gate.step.rows(), f.gate.step.cols());
    add_projection("a_proj.weight",
                   f.gate.pullback(no_step, d_heads.g, w["A_log"], d_w["dt_bias"], d_w["A_log"]));
    const Matrix closed = Scalar(1) - f.heads.beta.array() / strongest();
    add_projection("b_proj.weight", d_heads.beta.cwiseProduct(f.heads.beta).cwiseProduct(closed));
    add_projection("l_proj.weight", detail::scaled_levels_pullback(f.dl, w["L"], f.heads.lambda,
                                                                   d_heads.lambda, d_w["L"]));
    if (options_.use_gate) add_projection("g_proj.weight", d.gate);
  }

  /// Over each head's values.
  [[nodiscard]] detail::GatedRmsNorm<Scalar> norm() const {
    const auto& weight = this->weights()["o_norm.weight"];
    return {detail::GateOrder::norm_first, weight.rows(), options_.norm_eps, weight};
  }
  /// What beta stays below.
  [[nodiscard]] Scalar strongest() const { return Scalar(options_.allow_neg_eigval ? 2 : 1); }

  Options options_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_HPP

// ---- loglinear/mixers/log_linear_mamba2_options.hpp

#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_OPTIONS_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_OPTIONS_HPP

namespace loglinear {

/// How to build a `LogLinearMamba2`, under the names of flash-linear-attention.
///
/// The defaults are those of its *model* configuration, `LogLinearMamba2Config`, because published
/// weights come out of models; `of_layer()` has those of the bare layer. Take every option from the
/// `config.json` beside the weights: a file cannot tell `norm_eps`, `norm_before_gate`,
/// `norm_per_group`, `n_groups` with state_size, and `scale`, and they change the numbers.
struct LogLinearMamba2Options {
  Eigen::Index hidden_size = 2048;  ///< of inputs and outputs
  double expand = 2;                ///< expand * hidden_size is the inner size, a whole number
  Eigen::Index num_heads = 64;      ///< num_heads * head_dim is the inner size
  Eigen::Index head_dim = 64;       ///< values of a head, d_v
  Eigen::Index state_size = 128;    ///< keys of a head, d_k
  Eigen::Index n_groups = 1;        ///< heads / n_groups heads share B and C; divides num_heads
  Eigen::Index conv_kernel = 4;     ///< taps of the short convolution
  bool use_conv_bias = true;        ///< whether there is `conv1d.bias`
  bool use_bias = false;            ///< whether there are `in_proj.bias` and `out_proj.bias`
  bool D_has_hdim = false;          ///< whether D has a number for each value of a head
  bool norm_before_gate = false;    ///< rms(y) . silu(z) instead of rms(y . silu(z))
  /// Whether the norm's mean square is over the inner size / n_groups values of each group, as in
  /// flash-linear-attention since 5 April 2026 (commit 0a484709) and in mamba_ssm, instead of over
  /// all of a token's, as before and in the paper's code. The same where n_groups is 1.
  bool norm_per_group = true;
  double norm_eps = 1e-5;           ///< of the gated norm, > 0 and normal as Scalar
  int num_levels = 15;              ///< level weights, 2 to 65; 15 hold 2^14 tokens apart
  double scale = 1;                 ///< of the queries C, finite also as Scalar
  Eigen::Index chunk_size = 64;     ///< of the chunkwise form; changes rounding only
  double initializer_range = 0.02;  ///< standard deviation of projections and convolution, > 0
  double dt_min = 0.001;            ///< where step sizes begin, > 0
  double dt_max = 0.1;              ///< and end
  double dt_init_floor = 1e-4;      ///< the least of them, > 0
  std::uint64_t seed = 42;          ///< of all weights, at least 1

  /// The defaults of flash-linear-attention's layer where it is built without a model: biases in
  /// the projections, none in the convolution.
  [[nodiscard]] static LogLinearMamba2Options of_layer() {
    return {.use_conv_bias = false, .use_bias = true};
  }
};

namespace detail {

/// \throws std::invalid_argument for an option out of its range
template <class Scalar>
const LogLinearMamba2Options& checked(const LogLinearMamba2Options& o) {
  require_dimension("hidden_size", o.hidden_size);
  require_dimension("num_heads", o.num_heads);
  require_dimension("head_dim", o.head_dim);
  require_dimension("state_size", o.state_size);
  require_dimension("conv_kernel", o.conv_kernel);
  require_between("n_groups", o.n_groups, Index{1}, o.num_heads);
  if (o.num_heads % o.n_groups != 0) {
    fail("n_groups", o.n_groups, "a divisor of num_heads, " + std::to_string(o.num_heads));
  }
  const Index inner = expanded("expand", o.expand, "hidden_size", o.hidden_size);
  if (o.num_heads * o.head_dim != inner) {
    fail("num_heads * head_dim", o.num_heads * o.head_dim,
         "expand * hidden_size, " + std::to_string(inner));
  }
  require_dimension("n_groups * state_size", o.n_groups * o.state_size);
  require_common_options<Scalar>(o);
  return o;
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_OPTIONS_HPP

// ---- loglinear/mixers/log_linear_mamba2.hpp

#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_HPP

namespace loglinear {

// clang-format off
/// Log-linear Mamba-2, the paper's first case study as a complete token mixer.
///
///     [z | x | B | C | dt | dl] = W_in u + b_in
///     [x | B | C] <- silu(conv1d([x | B | C]))
///     Delta = softplus(dt + dt_bias),   g = -exp(A_log) Delta,   lambda = softplus(L . dl)
///     y = hierarchy(q = scale C, k = B, v = Delta x, g, lambda) + D x,  head by head
///     out = W_out rms(y . silu(z)) + b_out,  with norm_before_gate W_out (rms(y) . silu(z)) + b_out
///
/// Guo et al., arXiv:2506.04761, section 3.4 and appendix; Dao and Gu, arXiv:2405.21060. Names,
/// shapes and orders are those of flash-linear-attention's `LogLinearMamba2`, where a state_dict
/// holds, with I = num_heads * head_dim, H = num_heads, n = num_levels, K = conv_kernel and
/// channels = I + 2 n_groups state_size:
///
/// | name            | shape                          | begins as                              |
/// |-----------------|--------------------------------|----------------------------------------|
/// | dt_bias         | H                              | step sizes log-uniform in 0.001 ... 0.1 |
/// | A_log           | H                              | log(1), ..., log(H)                    |
/// | L               | H x n                          | 1                                      |
/// | D               | H, with D_has_hdim I           | 1                                      |
/// | conv1d.weight   | channels x K (channels, 1, K)  | normal, initializer_range              |
/// | conv1d.bias     | channels, with use_conv_bias   | 0                                      |
/// | in_proj.weight  | (I + channels + H + H n) x hidden_size | normal, initializer_range      |
/// | in_proj.bias    | likewise, with use_bias        | 0                                      |
/// | norm.weight     | I                              | 1                                      |
/// | out_proj.weight | hidden_size x I                | uniform within 1 / sqrt(I)             |
/// | out_proj.bias   | hidden_size, with use_bias     | 0                                      |
///
/// Rows of in_proj are z (I), x (I), B and C (n_groups * state_size each), dt (H), dl (H n).
///
/// A published model has them under `backbone.layers.N.mixer.`; docs/migration.md shows how to load
/// them. The paper's own `HAttentionMixer` is this mixer with norm_per_group = false.
///
/// What differs from that layer: no attention mask, no packed sequences and no cap on step sizes
/// (`dt_limit`, which it refuses as well); silu and the gated norm are not optional (`hidden_act`,
/// `rmsnorm`); the number of level weights is an option and streams may be longer than it (the last
/// level takes the rest), where that layer ends; a model of N layers divides out_proj by sqrt(2 N)
/// at the start, this does not; everything is computed in Scalar.
///
/// Use and errors as `TokenMixer`:
///
///     loglinear::LogLinearMamba2<float> mixer(
///         {.hidden_size = 64, .num_heads = 4, .head_dim = 32});
///     auto cache = mixer.make_cache();
///     auto prompt = mixer.forward(x, cache);      // x: T x 64
///     auto next = mixer.step(x_next, cache);      // one token
///     auto d = mixer.gradient(x, d_out);          // d.x, d.weights["A_log"]
///
/// \tparam Scalar_  float or double
// clang-format on
template <class Scalar_>
class LogLinearMamba2 : public TokenMixer<Scalar_, LogLinearMamba2<Scalar_>> {
  using Base = TokenMixer<Scalar_, LogLinearMamba2<Scalar_>>;

 public:
  using Scalar = Scalar_;
  using Matrix = typename Base::Matrix;
  using Options = LogLinearMamba2Options;

  /// Allocates and draws all weights, in the table's order. \throws std::invalid_argument for an
  /// option out of its range
  explicit LogLinearMamba2(const Options& options)
      : Base(shape_of(detail::checked<Scalar>(options)),
             initial_weights(detail::checked<Scalar>(options))),
        options_(options) {}

  /// What the mixer was built with.
  [[nodiscard]] const Options& options() const { return options_; }

 private:
  friend Base;
  using Index = Eigen::Index;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

  /// Everything of a forward pass that its gradient needs.
  struct Front {
    Matrix projected{};               // in_proj's output
    std::vector<Matrix> convolved{};  // inputs of the convolution, history first
    Matrix mixed{};                   // its output before silu
    Matrix x{};                       // T x inner
    detail::DecayGate<Scalar> gate{};
    detail::HeadInputs<Scalar> heads{};
  };

  /// Where the parts of in_proj's rows begin.
  struct Columns {
    Index inner, keys, conv, heads, levels;
    explicit Columns(const Options& o)
        : inner(o.num_heads * o.head_dim),
          keys(o.n_groups * o.state_size),
          conv(inner + 2 * keys),
          heads(o.num_heads),
          levels(o.num_heads * o.num_levels) {}
    [[nodiscard]] Index dt() const { return inner + conv; }
    [[nodiscard]] Index dl() const { return dt() + heads; }
    [[nodiscard]] Index total() const { return dl() + levels; }
  };

  static detail::MixerShape shape_of(const Options& o) {
    return {.hidden_size = o.hidden_size,
            .heads = o.num_heads,
            .d_k = o.state_size,
            .d_v = o.head_dim,
            .num_levels = o.num_levels,
            .conv_kernel = o.conv_kernel,
            .conv_channels = {Columns(o).conv},
            .chunk_size = o.chunk_size};
  }
  static NamedWeights<Scalar> initial_weights(const Options& o) {
    const Columns columns(o);
    Xorshift64 random(o.seed);
    NamedWeights<Scalar> w;
    detail::fill_step_bias(w.append("dt_bias", o.num_heads, 1), detail::steps_of(o), random);
    double rate = 0;
    detail::fill(w.append("A_log", o.num_heads, 1), [&] { return std::log(++rate); });
    w.append("L", o.num_heads, o.num_levels).setOnes();
    w.append("D", o.D_has_hdim ? columns.inner : columns.heads, 1).setOnes();
    detail::fill_normal(w.append("conv1d.weight", columns.conv, o.conv_kernel), o.initializer_range,
                        random);
    if (o.use_conv_bias) w.append("conv1d.bias", columns.conv, 1);
    detail::fill_normal(w.append("in_proj.weight", columns.total(), o.hidden_size),
                        o.initializer_range, random);
    if (o.use_bias) w.append("in_proj.bias", columns.total(), 1);
    w.append("norm.weight", columns.inner, 1).setOnes();
    detail::fill_uniform(w.append("out_proj.weight", o.hidden_size, columns.inner), random);
    if (o.use_bias) w.append("out_proj.bias", o.hidden_size, 1);
    return w;
  }

  [[nodiscard]] Front front(const Matrix& u, const std::vector<Matrix>& history) const {
    const auto& w = this->weights();
    const Columns columns(options_);
    Front f;
    f.projected = detail::linear(u, w["in_proj.weight"], w.find("in_proj.bias"));
    detail::require_finite("coefficient # of the projection of x", f.projected);
    f.convolved.push_back(
        detail::after(history[0], f.projected.middleCols(columns.inner, columns.conv)));
    f.mixed = detail::convolve(f.convolved[0], w["conv1d.weight"], w.find("conv1d.bias"));
    detail::require_finite("coefficient # of the convolution of x", f.mixed);
    const Matrix mixed = detail::silu_of(f.mixed);
    f.x = mixed.leftCols(columns.inner);
    f.gate = detail::DecayGate<Scalar>(f.projected.middleCols(columns.dt(), columns.heads),
                                       w["dt_bias"], w["A_log"]);
    f.heads.groups = options_.n_groups;
    f.heads.heads = options_.num_heads;
    f.heads.k = mixed.middleCols(columns.inner, columns.keys);
    f.heads.q = Scalar(options_.scale) * mixed.rightCols(columns.keys);
    f.heads.v = f.x;
    scale_heads(f.heads.v, f.gate.step);
    f.heads.g = f.gate.g;
    f.heads.lambda =
        detail::scaled_levels<Scalar>(f.projected.middleCols(columns.dl(), columns.levels), w["L"]);
    return f;
  }

  [[nodiscard]] Matrix back(const Front& f, const Matrix& reads) const {
    const auto& w = this->weights();
    const Matrix normed = norm()(with_skip(f, reads), output_gate(f));
    return detail::linear(normed, w["out_proj.weight"], w.find("out_proj.bias"));
  }

  [[nodiscard]] detail::ReadsGradient<Scalar> back_gradient(const Front& f, const Matrix& reads,
                                                            const Matrix& d_out,
                                                            NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const Matrix y = with_skip(f, reads), z = output_gate(f);
    const Matrix normed = norm()(y, z);
    Matrix d_normed = Matrix::Zero(normed.rows(), normed.cols());
    detail::linear_pullback(normed, w["out_proj.weight"], d_out, d_normed, d_w["out_proj.weight"],
                            d_w.find("out_proj.bias"));
    detail::ReadsGradient<Scalar> d;
    d.reads = norm().pullback(y, z, d_normed, d.gate, d_w["norm.weight"]);
    d.direct = d.reads.array().rowwise() * skips().array();
    const Row d_skips = d.reads.cwiseProduct(f.x).colwise().sum();
    d_w["D"] += summed_for_skips(d_skips);
    return d;
  }

  void front_gradient(const Front& f, const Matrix& u, const detail::ReadsGradient<Scalar>& d,
                      const detail::HeadInputs<Scalar>& d_heads, Matrix& d_u,
                      NamedWeights<Scalar>& d_w) const {
    const auto& w = this->weights();
    const Columns columns(options_);
    const Index width = options_.head_dim;
    Matrix d_step(f.gate.step.rows(), columns.heads), d_mixed(f.mixed.rows(), columns.conv);
    for (Index h = 0; h < columns.heads; ++h) {
      const auto d_v = d_heads.v.middleCols(h * width, width);
      d_step.col(h) = d_v.cwiseProduct(f.x.middleCols(h * width, width)).rowwise().sum();
    }
    Matrix d_x = d_heads.v;
    scale_heads(d_x, f.gate.step);
    d_mixed.leftCols(columns.inner) = d_x + d.direct;
    d_mixed.middleCols(columns.inner, columns.keys) = d_heads.k;
    d_mixed.rightCols(columns.keys) = Scalar(options_.scale) * d_heads.q;
    d_mixed = d_mixed.cwiseProduct(detail::silu_slope(f.mixed)).eval();

    Matrix d_projected(f.projected.rows(), columns.total());
    d_projected.leftCols(columns.inner) = d.gate;
    d_projected.middleCols(columns.inner, columns.conv) = detail::convolve_pullback(
        f.convolved[0], w["conv1d.weight"], d_mixed, d_w["conv1d.weight"], d_w.find("conv1d.bias"));
    d_projected.middleCols(columns.dt(), columns.heads) =
        f.gate.pullback(d_step, d_heads.g, w["A_log"], d_w["dt_bias"], d_w["A_log"]);
    d_projected.rightCols(columns.levels) = detail::scaled_levels_pullback<Scalar>(
        f.projected.rightCols(columns.levels), w["L"], f.heads.lambda, d_heads.lambda, d_w["L"]);
    detail::linear_pullback(u, w["in_proj.weight"], d_projected, d_u, d_w["in_proj.weight"],
                            d_w.find("in_proj.bias"));
  }

  /// Multiplies each head's columns by that head's column of `factors`.
  void scale_heads(Matrix& values, const Matrix& factors) const {
    const Index width = options_.head_dim;
    for (Index h = 0; h < factors.cols(); ++h) {
      values.middleCols(h * width, width).array().colwise() *= factors.col(h).array();
    }
  }
  /// D as one number for each column of x.
  [[nodiscard]] Row skips() const {
    const auto& skip = this->weights()["D"];
    return skip.transpose().replicate(columns_of_a_skip(), 1).reshaped(1, Columns(options_).inner);
  }
  /// The pullback of `skips`.
  [[nodiscard]] detail::Matrix<Scalar> summed_for_skips(const Row& d) const {
    return d.reshaped(columns_of_a_skip(), d.size() / columns_of_a_skip())
        .colwise()
        .sum()
        .transpose();
  }
  [[nodiscard]] Index columns_of_a_skip() const {
    return options_.D_has_hdim ? 1 : options_.head_dim;
  }
  /// reads + D x
  [[nodiscard]] Matrix with_skip(const Front& f, const Matrix& reads) const {
    return reads.array() + f.x.array().rowwise() * skips().array();
  }
  [[nodiscard]] detail::GatedRmsNorm<Scalar> norm() const {
    const auto order =
        options_.norm_before_gate ? detail::GateOrder::norm_first : detail::GateOrder::gate_first;
    const auto& weight = this->weights()["norm.weight"];
    const Index runs = options_.norm_per_group ? options_.n_groups : 1;
    return {order, weight.rows() / runs, options_.norm_eps, weight};
  }
  [[nodiscard]] Matrix output_gate(const Front& f) const {
    return f.projected.leftCols(Columns(options_).inner);
  }

  Options options_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_HPP

// ---- loglinear/mixers.hpp

#ifndef LOGLINEAR_MIXERS_HPP
#define LOGLINEAR_MIXERS_HPP

/// \file
/// The mixers of the paper: complete token mixers around the sequence form, with the weights of
/// flash-linear-attention's layers.

#endif  // LOGLINEAR_MIXERS_HPP

// ---- loglinear/parallel.hpp

#ifndef LOGLINEAR_PARALLEL_HPP
#define LOGLINEAR_PARALLEL_HPP

/// \file
/// Threads: how many there are, and who runs them.

#endif  // LOGLINEAR_PARALLEL_HPP

// ---- loglinear/pool/detail/level_arena.hpp

#ifndef LOGLINEAR_POOL_DETAIL_LEVEL_ARENA_HPP
#define LOGLINEAR_POOL_DETAIL_LEVEL_ARENA_HPP

namespace loglinear::detail {

/// Memory for matrices of one size, a block of them at a time, taken and given back by number. It
/// lies in one piece and never becomes smaller.
template <class Scalar>
class LevelArena {
 public:
  /// \param block  numbers of a block
  explicit LevelArena(Index block) : block_(block) {}

  [[nodiscard]] Scalar* data(Index number) { return numbers_.data() + number * block_; }
  [[nodiscard]] const Scalar* data(Index number) const { return numbers_.data() + number * block_; }

  /// Memory for so many blocks to be taken from now on, and for all to be given back. Moves the
  /// others where it has to grow; where it throws, nothing is changed.
  void reserve(std::size_t count) {
    free_.reserve(block_count());  // a copy has less
    if (free_.size() >= count) return;
    const std::size_t more = count - free_.size(), size = block_count();
    if (more > numbers_.max_size() / array_size(block_) - size) raise(std::bad_alloc());
    free_.reserve(size + more);
    numbers_.resize((size + more) * array_size(block_));
    for (std::size_t i = size + more; i-- > size;) free_.push_back(static_cast<Index>(i));
  }
  /// A block, with any numbers in it; does not throw if there is one.
  [[nodiscard]] Index take() {
    if (free_.empty()) reserve(block_count() / 2 + 1);
    const Index number = free_.back();
    free_.pop_back();
    return number;
  }
  /// After a call of `reserve`.
  void give_back(Index number) noexcept { free_.push_back(number); }

  [[nodiscard]] std::size_t block_count() const { return numbers_.size() / array_size(block_); }
  [[nodiscard]] std::size_t byte_count() const { return numbers_.size() * sizeof(Scalar); }

 private:
  Index block_;
  std::vector<Scalar> numbers_{};
  std::vector<Index> free_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_POOL_DETAIL_LEVEL_ARENA_HPP

// ---- loglinear/pool/detail/pool_token.hpp

#ifndef LOGLINEAR_POOL_DETAIL_POOL_TOKEN_HPP
#define LOGLINEAR_POOL_DETAIL_POOL_TOKEN_HPP

// One token of one head of a stream whose levels lie in an arena: what can be refused first, then
// the writing, which cannot fail.

namespace loglinear::detail {

template <class Scalar>
class PoolToken {
 public:
  /// Reads the levels, `level(l)` for l in `active`, and takes note of what is to be written.
  /// \return the read, 1 x d_v \throws std::invalid_argument where the levels would overflow or the
  /// read would not be finite
  template <class Level>
  [[nodiscard]] RowMajorMatrix<Scalar> read(const SequenceInputs<Scalar>& in, double magnitude,
                                            const ActiveLevels& active, Level level) {
    note(in);
    const SequenceTransition<Scalar> transition(in);
    const double leaf = leaf_magnitude(keys_, values_);
    const Index size = keys_.rows() * values_.rows();
    admitted_ = admit<Scalar>(magnitude, transition.norm_bound(), leaf, [&](bool exactly) {
      double sum = 0;
      for (const int l : active) {
        sum += exactly ? norm_of(level(l), size)
                       : max_abs(level(l), size) * std::sqrt(static_cast<double>(size));
      }
      return sum;
    });
    RowMajorMatrix<Scalar> query = in.q, out = RowMajorMatrix<Scalar>::Zero(1, in.d_v());
    const RowMajorMatrix<Scalar> from_keys = query * keys_;
    transition.left_transposed(query);
    for (const int l : active) {
      weighted_rows(level(l), in.d_k(), in.d_v(), in.d_v(), query.data(), found_.data());
      scaled_row<true>(in.lambda(0, l + 1), found_.data(), in.d_v(), out.data());
    }
    transition.right(out);
    out += (in.lambda(0, 0) * from_keys) * values_.transpose();
    require_finite_reads(out, 0);
    return out;
  }
  /// A level undergoes the token's transition.
  void undergo(Scalar* level) {
    const Index d_k = keys_.rows(), d_v = values_.rows(), updates = u_.rows();
    const Scalar common = decay_.size() == 1 ? decay_[0] : Scalar(1);
    const Scaling<Scalar> decay{common, decay_.size() > 1 ? decay_.data() : nullptr, nullptr};
    for (Index j = 0; j < updates; ++j) {
      weighted_rows(level, d_k, d_v, d_v, p_.data() + j * d_k, found_.data());
      const OuterProduct<Scalar> removed{u_.data() + j * d_k, found_.data()};
      step_rows<1, false>(level, d_k, d_v, d_v, j == 0 ? decay : Scaling<Scalar>{}, &removed, 1);
    }
    const bool scales_rows = updates == 0 && decay_.size() > 0;
    if (!scales_rows && value_decay_.size() == 0) return;
    scale(
        level, d_k, d_v, d_v, [&](Index i) { return scales_rows ? decay.row(i) : Scalar(1); },
        value_decay_.size() == 0 ? nullptr : value_decay_.data());
  }
  /// target = the leaf, added to what it holds if `adds`.
  void push(Scalar* target, bool adds) const {
    const Index d_v = values_.rows();
    for (Index i = 0; i < keys_.rows(); ++i) {
      for (Index n = 0; n < keys_.cols(); ++n) {
        const Scalar* const value = values_.data() + n * d_v;
        adds || n > 0 ? scaled_row<true>(keys_(i, n), value, d_v, target + i * d_v)
                      : scaled_row<false>(keys_(i, n), value, d_v, target + i * d_v);
      }
    }
  }
  /// The bound of the levels' norm with this token.
  [[nodiscard]] double magnitude() const { return admitted_.magnitude; }

 private:
  void note(const SequenceInputs<Scalar>& in) {
    leaves_of(in, 0, keys_, values_);
    found_.resize(in.d_v());
    decay_.resize(in.g.size());
    if (in.g.size() > 0) decays_of(in.g, decay_.transpose());
    value_decay_.resize(in.g_value.size());
    if (in.g_value.size() > 0) decays_of(in.g_value, value_decay_.transpose());
    // D - u p^T, to be added: u is kept negative.
    u_.resize(in.updates(), in.d_k());
    p_.resize(in.updates(), in.d_k());
    for (Index j = 0; j < in.updates(); ++j) {
      if (in.beta.size() == 0) {
        u_.row(j) = -in.u.row(j);
        p_.row(j) = in.p.row(j);
        continue;
      }
      u_.row(j) = -in.beta(0, j) * in.k.row(j);
      p_.row(j) = in.k.row(j);
      for (Index i = 0; j == 0 && decay_.size() > 0 && i < in.d_k(); ++i) {
        p_(0, i) *= decay_[decay_.size() == 1 ? 0 : i];  // the first finds the decayed state
      }
    }
  }

  Matrix<Scalar> keys_{}, values_{};  // the leaf
  RowMajorMatrix<Scalar> u_{}, p_{};
  Vector<Scalar> decay_{}, value_decay_{}, found_{};
  Admitted admitted_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_POOL_DETAIL_POOL_TOKEN_HPP

// ---- loglinear/pool/stream_pool.hpp

#ifndef LOGLINEAR_POOL_STREAM_POOL_HPP
#define LOGLINEAR_POOL_STREAM_POOL_HPP

namespace loglinear {

/// Many streams at once, as a server has them: each a hierarchy of H heads of one shape, stepped
/// together for any subset (continuous batching), added, removed, forked, taken out and put back at
/// any time. A pool that has been moved from is one without streams.
///
/// A stream takes memory for its active levels alone, `active_level_count(size)` blocks of
/// `H d_k d_v` numbers, from one arena that all streams share; what a merge or a removal leaves is
/// used again. Streams are known by numbers; those of removed streams are used again, too.
///
/// \tparam Scalar_  float or double
template <class Scalar_>
class StreamPool {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;

  /// The shape of all streams.
  struct Options {
    Index heads = 0;      ///< H, 1 to 2^26; heads * d_k * d_v at most 2^52
    Index d_k = 0;        ///< length of keys, 1 to 2^26
    Index d_v = 0;        ///< length of values, 1 to 2^26
    int max_levels = 32;  ///< of every head, 1 to 64; what overflows is folded into the last
  };

  /// No streams. \throws std::invalid_argument for an option out of its range
  explicit StreamPool(const Options& options)
      : options_(checked(options)), arena_(options.heads * options.d_k * options.d_v) {}

  [[nodiscard]] const Options& options() const { return options_; }  ///< the shape
  /// How many streams there are.
  [[nodiscard]] Index count() const {
    return std::count_if(streams_.begin(), streams_.end(),
                         [](const Stream& stream) { return stream.is_used; });
  }
  /// Bytes of the arena, those in use and those to be used again.
  [[nodiscard]] std::size_t byte_count() const { return arena_.byte_count(); }
  /// Tokens of a stream. \throws std::invalid_argument for a number that no stream has
  [[nodiscard]] std::uint64_t size(Index stream) const { return at(stream).size; }

  /// An empty stream. \return its number
  Index add() {
    Index number = (std::min)(first_free_, slots());  // none before it is free
    while (number < slots() && slot(number).is_used) ++number;
    if (number == slots()) streams_.emplace_back(empty());
    slot(number).is_used = true;
    first_free_ = number + 1;
    return number;
  }
  /// Ends a stream; does not allocate, but the first time in a copy of a pool. \throws
  /// std::invalid_argument for a number that no stream has
  void remove(Index stream) {
    Stream& old = at(stream);
    arena_.reserve(0);
    for (const int l : active(old)) arena_.give_back(old.blocks[array_index(l)]);
    old.is_used = false;
    old.size = 0;
    std::fill(old.magnitudes.begin(), old.magnitudes.end(), 0.0);
    first_free_ = (std::min)(first_free_, stream);
  }
  /// A second stream that goes on from where one stands. \return its number \throws
  /// std::invalid_argument for a number that no stream has
  Index fork(Index stream) {
    arena_.reserve(level_count(at(stream)));
    const Index copy = add();
    const Stream& from = slot(stream);
    Stream& to = slot(copy);
    to.size = from.size;
    to.magnitudes = from.magnitudes;
    for (const int l : active(from)) {
      const Index block = to.blocks[array_index(l)] = arena_.take();
      std::copy_n(arena_.data(from.blocks[array_index(l)]), block_size(), arena_.data(block));
    }
    return copy;
  }
  /// A moment of a stream: the states of its heads, plain values that `chunkwise` of a batch takes,
  /// and `restore`. \throws std::invalid_argument for a number that no stream has
  [[nodiscard]] BatchStates<Scalar> snapshot(Index stream) const {
    const Stream& from = at(stream);
    BatchStates<Scalar> heads(
        array_index(options_.heads),
        LogLinearState<Scalar>(options_.max_levels, options_.d_k, options_.d_v));
    for (Index h = 0; h < options_.heads; ++h) {
      heads[array_index(h)].replace(from.size, [&](int l) {
        return detail::RowsView<Scalar>(level(from, l, h), options_.d_k, options_.d_v,
                                        Eigen::OuterStride<>(options_.d_v));
      });
    }
    return heads;
  }
  /// A stream becomes what these states are: a snapshot, or what a prompt has left in the states of
  /// a batch. \throws std::invalid_argument for a number that no stream has and for states of
  /// another number, shape or of different sizes; nothing is changed then
  void restore(Index stream, const BatchStates<Scalar>& heads) {
    Stream& old = at(stream);
    detail::require_size("the heads of the stream", static_cast<Index>(heads.size()),
                         options_.heads);
    for (const LogLinearState<Scalar>& head : heads) {
      detail::require_size("max_levels of a head", head.max_levels(), options_.max_levels);
      detail::require_size("d_k of a head", head.d_k(), options_.d_k);
      detail::require_size("d_v of a head", head.d_v(), options_.d_v);
      if (head.size() != heads[0].size()) {
        detail::fail("size() of a head", head.size(), heads[0].size(), ", as of the first head");
      }
    }
    Stream fresh = empty();
    fresh.is_used = true;
    fresh.size = heads[0].size();
    arena_.reserve(level_count(fresh));
    for (const int l : active(fresh)) fresh.blocks[array_index(l)] = arena_.take();
    for (Index h = 0; h < options_.heads; ++h) {
      const auto& levels = detail::levels_of(heads[array_index(h)]);
      fresh.magnitudes[array_index(h)] = levels.magnitude();
      for (const int l : active(fresh)) {
        std::copy_n(levels.data(l), level_size(), level(fresh, l, h));
      }
    }
    for (const int l : active(old)) arena_.give_back(old.blocks[array_index(l)]);
    old = std::move(fresh);
  }

  /// One token of each of some streams, in any order: sequence b of the arrays belongs to stream
  /// `streams[b]`. Reads and states are those of `step` of a batch to rounding, and the same to the
  /// bit whichever streams go together and on however many threads.
  ///
  /// \param in   T = 1, B = streams.size(); lambda has at least one column for each level that a
  ///             token sees. A pool of max_levels 1 needs none
  /// \param out  where reads go, [B, 1, H, d_v]; must not overlap any input
  /// \throws std::invalid_argument as `chunkwise` of a batch, for a number that no stream has or
  /// that is given twice; where a result would leave the range of the scalar type, all streams are
  /// unchanged, and `out` may hold some of the reads
  void step(const std::vector<Index>& streams, const BatchInputs<Scalar>& in,
            const HeadArray<Scalar>& out) {
    const detail::BatchHeads<Scalar> heads(in, detail::Views::on_demand);
    require_token(streams, heads, out, in);
    tokens_.resize(array_index(heads.count()));
    const auto stream = [&](Index n) -> Stream& {
      return slot(streams[array_index(n / options_.heads)]);
    };
    heads.for_each([&](Index n) {
      const Stream& now = stream(n);
      const Index h = n % options_.heads;
      const SequenceInputs<Scalar> head = heads.sequence(n);
      head.validate(now.size, options_.max_levels);
      detail::put_rows(
          tokens_[array_index(n)].read(head, now.magnitudes[array_index(h)], active(now),
                                       [&](int l) { return level(now, l, h); }),
          out, heads.rows(n));
    });
    arena_.reserve(streams.size());  // the last that can fail
    std::vector<Index> targets;
    targets.reserve(streams.size());
    for (const Index number : streams) targets.push_back(target_of(slot(number)));
    heads.for_each([&](Index n) {
      write(stream(n), n % options_.heads, tokens_[array_index(n)],
            targets[array_index(n / options_.heads)]);
    });
    for (std::size_t b = 0; b < streams.size(); ++b) carry(slot(streams[b]), targets[b]);
  }

 private:
  struct Stream {
    bool is_used = false;
    std::uint64_t size = 0;
    std::vector<double> magnitudes{};  // bounds of each head's norm
    std::vector<Index> blocks{};       // of each level, all heads one after the other
  };

  static const Options& checked(const Options& options) {
    detail::require_length("heads", options.heads);
    detail::require_length("d_k", options.d_k);
    detail::require_length("d_v", options.d_v);
    constexpr Index most = (std::numeric_limits<Index>::max)() / 2048;
    if (options.heads > most / options.d_k / options.d_v) {
      detail::fail("heads", options.heads, "such that heads * d_k * d_v is at most ", most);
    }
    detail::require_level_count(options.max_levels);
    return options;
  }
  template <class Number>
  [[nodiscard]] static std::size_t array_index(Number n) {
    return static_cast<std::size_t>(n);
  }
  [[nodiscard]] Index level_size() const { return options_.d_k * options_.d_v; }
  [[nodiscard]] Index block_size() const { return options_.heads * level_size(); }
  [[nodiscard]] Stream empty() const {
    return {false, 0, std::vector<double>(array_index(options_.heads)),
            std::vector<Index>(array_index(options_.max_levels))};
  }
  [[nodiscard]] Index slots() const { return static_cast<Index>(streams_.size()); }
  [[nodiscard]] Stream& slot(Index n) { return streams_[array_index(n)]; }
  [[nodiscard]] const Stream& slot(Index n) const { return streams_[array_index(n)]; }
  [[nodiscard]] const Stream& at(Index stream) const {
    if (stream < 0 || stream >= slots() || !slot(stream).is_used) {
      detail::fail("the stream", stream, "a number that add or fork has returned");
    }
    return slot(stream);
  }
  [[nodiscard]] Stream& at(Index stream) {
    return const_cast<Stream&>(std::as_const(*this).at(stream));
  }
  [[nodiscard]] ActiveLevels active(const Stream& stream) const {
    return {stream.size, options_.max_levels};
  }
  [[nodiscard]] std::size_t level_count(const Stream& stream) const {
    return array_index(active_level_count(stream.size, options_.max_levels));
  }
  [[nodiscard]] const Scalar* level(const Stream& stream, int l, Index head) const {
    return arena_.data(stream.blocks[array_index(l)]) + head * level_size();
  }
  [[nodiscard]] Scalar* level(const Stream& stream, int l, Index head) {
    return arena_.data(stream.blocks[array_index(l)]) + head * level_size();
  }

  void require_token(const std::vector<Index>& streams, const detail::BatchHeads<Scalar>& heads,
                     const HeadArray<Scalar>& out, const BatchInputs<Scalar>& in) {
    const detail::BatchShape& shape = heads.shape();
    detail::require_size("the batch", shape.batch, static_cast<Index>(streams.size()));
    if (streams.empty()) return;
    detail::require_size("the number of tokens (rows of q)", shape.tokens, 1);
    detail::require_size("cu_seqlens", static_cast<Index>(in.cu_seqlens.size()), 0);
    detail::require_size("the heads", shape.heads, options_.heads);
    detail::require_size("d_k (columns of q)", shape.d_k, options_.d_k);
    detail::require_size("d_v (columns of v)", shape.d_v, options_.d_v);
    if (in.lambda.is_absent()) {
      detail::require_size("max_levels, without lambda,", options_.max_levels, 1);
    }
    detail::require_reads("out", out, shape);
    detail::require_writable("out", out);
    std::vector<bool> is_given(streams_.size());
    for (const Index number : streams) {
      static_cast<void>(at(number));
      if (is_given[array_index(number)]) detail::fail("the stream", number, "given once");
      is_given[array_index(number)] = true;
    }
  }

  [[nodiscard]] int landing(const Stream& stream) const {
    return landed_level(stream.size, options_.max_levels);
  }
  /// The block that the token's carry ends in.
  [[nodiscard]] Index target_of(const Stream& stream) {
    const int landed = landing(stream);
    const bool keeps = is_active_level(stream.size, landed, options_.max_levels);
    return keeps ? stream.blocks[array_index(landed)] : arena_.take();
  }
  /// One head undergoes the token's transition and takes its leaf; all levels below the landed one
  /// are merged into it.
  void write(Stream& stream, Index head, detail::PoolToken<Scalar>& token, Index target) {
    for (const int l : active(stream)) token.undergo(level(stream, l, head));
    const int landed = landing(stream);
    Scalar* const sum = arena_.data(target) + head * level_size();
    token.push(sum, is_active_level(stream.size, landed, options_.max_levels));
    for (int l = 0; l < landed; ++l) {
      detail::add(sum, level(stream, l, head), level_size(), sum);
    }
    stream.magnitudes[array_index(head)] = token.magnitude();
  }
  /// The same in the books.
  void carry(Stream& stream, Index target) {
    const int landed = landing(stream);
    for (int l = 0; l < landed; ++l) arena_.give_back(stream.blocks[array_index(l)]);
    stream.blocks[array_index(landed)] = target;
    ++stream.size;
  }

  Options options_;
  detail::LevelArena<Scalar> arena_;
  std::vector<Stream> streams_{};
  std::vector<detail::PoolToken<Scalar>> tokens_{};  // scratch
  Index first_free_ = 0;
};

}  // namespace loglinear

#endif  // LOGLINEAR_POOL_STREAM_POOL_HPP

// ---- loglinear/pool.hpp

#ifndef LOGLINEAR_POOL_HPP
#define LOGLINEAR_POOL_HPP

/// \file
/// Many streams at once.

#endif  // LOGLINEAR_POOL_HPP

// ---- loglinear/readout/cascade_readout.hpp

#ifndef LOGLINEAR_READOUT_CASCADE_READOUT_HPP
#define LOGLINEAR_READOUT_CASCADE_READOUT_HPP

namespace loglinear {

/// The cascade: one weighted mean out of the reads of all levels, without a choice of time scale.
///
/// Where every token's value is (y, 1), the read of a level is a numerator and a mass,
/// `num_l = sum_s (k_s . q) y_s` and `mass_l = sum_s (k_s . q)` over the tokens s of its bucket.
/// From the oldest level to the newest the estimate moves towards what the level says, the further
/// the more mass there is:
///
///     e_M = prior        e_l = (num_l + kappa e_(l+1)) / (mass_l + kappa),   l = M - 1 ... 0
///
/// An empty level passes the older estimate on as it is. e_0 is the last estimate; e_l leaves the
/// 2^l newest tokens or so out. `Cascade` keeps such a stream; the reads of a layer come from its
/// `forward_levels`, the last of its d_v values being 1.
///
/// All keys and queries should be at least 0 in every coefficient (one-hot, softmax, squares): then
/// no mass is negative, and each estimate lies between the values. Others are accepted as long as
/// `mass_l + kappa > 0`.
///
/// Errors: std::invalid_argument with name, value and legal range; the estimates are as they were
/// then. Nothing allocates but the constructor and copies.
template <class Scalar_ = double>
class CascadeReadout {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Vector = detail::Vector<Scalar>;

  /// How to build one.
  struct Options {
    Index outputs = 1;    ///< length of y, 1 to 2^26 - 1
    int max_levels = 32;  ///< rows of the reads, 1 to 65: lambda().size() of a layer
    double kappa = 1;     ///< the mass of the older estimate, positive and not denormal
    double prior = 0;     ///< what every output starts from, finite
  };

  /// Allocates everything. \throws std::invalid_argument for an option out of its range
  explicit CascadeReadout(const Options& options) {
    detail::require_length("outputs", options.outputs);
    detail::require_length("outputs + 1", options.outputs + 1);
    detail::require_between("max_levels", options.max_levels, 1, max_level_limit + 1);
    set_kappa(options.kappa);
    const Index rows = options.max_levels, columns = options.outputs;
    if (!detail::is_finite(static_cast<Scalar>(options.prior))) {
      detail::fail("prior", options.prior, "finite in the readout's scalar");
    }
    prior_ = detail::filled<Scalar>(columns, static_cast<Scalar>(options.prior));
    estimates_ = detail::zeros<Matrix>(rows, columns);
    for (Index l = 0; l < rows; ++l) estimates_.row(l) = prior_.transpose();
    next_ = estimates_;
    totals_ = detail::filled<Scalar>(rows, kappa_);
    oldest_ = prior_;
    estimated_kappa_ = kappa_;
    d_prior_ = next_d_prior_ = detail::zeros<Scalar>(columns);
  }

  [[nodiscard]] int max_levels() const noexcept {
    return static_cast<int>(estimates_.rows());
  }                                                                           ///< M
  [[nodiscard]] Index outputs() const noexcept { return estimates_.cols(); }  ///< length of y
  [[nodiscard]] Scalar kappa() const noexcept { return kappa_; }              ///< as rounded
  [[nodiscard]] const Vector& prior() const noexcept { return prior_; }       ///< length outputs
  /// \throws std::invalid_argument unless finite, positive and not denormal in the scalar
  void set_kappa(double kappa) {
    const auto rounded = static_cast<Scalar>(kappa);
    if (!(detail::is_finite(rounded) && rounded >= (std::numeric_limits<Scalar>::min)())) {
      detail::fail("kappa", kappa, "finite, positive and not denormal in the readout's scalar");
    }
    kappa_ = rounded;
  }
  /// What the next estimates start from. \param prior length outputs, finite
  template <class Derived>
  void set_prior(const Eigen::MatrixBase<Derived>& prior) {
    detail::require_size("the prior", prior.size(), outputs());
    detail::require_finite("the prior", prior);
    prior_.noalias() = detail::as_column(prior);
  }

  /// All estimates of one token: row l is e_l, row 0 the last one. \param reads  M x (outputs + 1),
  /// in each row the numerators of a level and its mass. \throws std::invalid_argument for another
  /// shape, where a mass + kappa is not positive, or an estimate is not finite
  template <class Derived>
  const Matrix& estimate(const Eigen::MatrixBase<Derived>& reads) {
    const detail::FlushToZero<Scalar> flush;
    require_shape("the reads", reads);
    const Index m = outputs();
    for (Index l = max_levels(); l-- > 0;) {
      const Scalar* const older = l + 1 < max_levels() ? row(next_, l + 1) : prior_.data();
      Scalar* const newer = row(next_, l);
      const Scalar mass = reads.coeff(l, m), total = mass + kappa_;
      if (!(total > Scalar(0)) || !detail::is_finite(total)) {
        detail::fail(detail::Text("the mass of level ", l), detail::to_double(mass),
                     "finite and above -kappa, which keys of coefficients >= 0 ensure");
      }
      bool is_empty = detail::is_exactly(mass, Scalar(0));
      for (Index j = 0; j < m; ++j) {
        is_empty = is_empty && detail::is_exactly(reads.coeff(l, j), Scalar(0));
      }
      for (Index j = 0; j < m; ++j) {
        newer[j] = is_empty ? older[j] : (reads.coeff(l, j) + kappa_ * older[j]) / total;
        if (detail::is_finite(newer[j])) continue;
        detail::fail(detail::Text("the estimate after level ", l), detail::to_double(newer[j]),
                     "finite: a result leaves the range of the scalar type");
      }
    }
    for (Index l = 0; l < max_levels(); ++l) totals_[l] = reads.coeff(l, m) + kappa_;
    estimates_.swap(next_);
    detail::copy(prior_.data(), m, oldest_.data());
    estimated_kappa_ = kappa_;
    return estimates_;
  }
  /// What the last call gave, M x outputs.
  [[nodiscard]] const Matrix& estimates() const noexcept { return estimates_; }

  /// The same as features of `RecursiveLeastSquares`, e_0 first, length M outputs; a view.
  [[nodiscard]] Eigen::Map<const Vector> features() const noexcept {
    return {estimates_.data(), estimates_.size()};
  }

  /// The pullback of the last `estimate`, from the gradient with respect to all estimates to that
  /// with respect to the reads:
  ///
  ///     g_l = d_l + kappa g_(l-1) / (mass_(l-1) + kappa),   l = 0 ... M,   d_M = 0
  ///     d num_l = g_l / (mass_l + kappa)         d mass_l = -g_l . e_l / (mass_l + kappa)
  ///     d kappa = sum_l g_l . (e_(l+1) - e_l) / (mass_l + kappa)         d prior = g_M
  ///
  /// where g_l is the gradient with respect to e_l. \param d_estimates  M x outputs; zeros but for
  /// row 0 where only the last estimate counts \param d_reads  M x (outputs + 1), overwritten.
  /// \throws std::invalid_argument also where a gradient would not be finite; d_reads is 0 then
  template <class Derived, class Out>
  void pull_back(const Eigen::MatrixBase<Derived>& d_estimates,
                 Eigen::MatrixBase<Out> const& d_reads) {
    const detail::FlushToZero<Scalar> flush;
    detail::require_size("the gradient of the estimates (rows)", d_estimates.rows(), max_levels());
    detail::require_size("the gradient of the estimates (columns)", d_estimates.cols(), outputs());
    detail::require_finite("the gradient of the estimates", d_estimates);
    require_shape("the gradient of the reads", d_reads);
    auto& out = const_cast<Eigen::MatrixBase<Out>&>(d_reads).derived();
    const Index m = outputs();
    std::fill_n(next_d_prior_.data(), m, Scalar(0));
    Scalar d_kappa(0);
    for (Index l = 0; l < max_levels(); ++l) {
      const Scalar* const older = l + 1 < max_levels() ? row(estimates_, l + 1) : oldest_.data();
      const Scalar* const newer = row(estimates_, l);
      Scalar d_total(0);
      for (Index j = 0; j < m; ++j) {
        const Scalar g = (next_d_prior_[j] + d_estimates.coeff(l, j)) / totals_[l];
        out(l, j) = g;
        d_total -= g * newer[j];
        d_kappa += g * older[j];
        next_d_prior_[j] = estimated_kappa_ * g;
      }
      out(l, m) = d_total;
      d_kappa += d_total;
    }
    if (!detail::all_finite(out)) {
      out.setZero();
      detail::fail("the gradient of the reads", "beyond the range of the scalar type", "finite");
    }
    detail::require_finite("the gradient of the prior", next_d_prior_);
    detail::require_finite("the gradient of kappa", &d_kappa, 1);
    d_prior_.swap(next_d_prior_);
    d_kappa_ = d_kappa;
  }
  /// \name Of the last `pull_back`
  /// \{
  [[nodiscard]] Scalar d_kappa() const noexcept { return d_kappa_; }  ///< with respect to kappa
  [[nodiscard]] const Vector& d_prior() const noexcept {
    return d_prior_;
  }  ///< with respect to the prior, length outputs
     /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints: what the next estimates depend on.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("kappa", self.kappa_);
    part("prior", self.prior_);
    if constexpr (detail::is_written<Self>) {
      self.set_kappa(detail::to_double(self.kappa_));
      detail::require_finite("the prior", self.prior_);
    }
  }

  template <class Derived>
  void require_shape(std::string_view name, const Eigen::MatrixBase<Derived>& reads) const {
    static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                  "the reads must have the readout's scalar: convert them with .cast<Scalar>()");
    if (reads.rows() != max_levels()) {
      detail::fail(detail::Text(name, " (rows, one a level)"), reads.rows(), max_levels());
    }
    if (reads.cols() != outputs() + 1) {
      detail::fail(detail::Text(name, " (columns, outputs + 1)"), reads.cols(), outputs() + 1);
    }
  }
  [[nodiscard]] static Scalar* row(Matrix& m, Index l) { return m.data() + l * m.cols(); }
  [[nodiscard]] static const Scalar* row(const Matrix& m, Index l) {
    return m.data() + l * m.cols();
  }

  Scalar kappa_{1}, d_kappa_{0};
  Vector prior_{}, d_prior_{}, next_d_prior_{};
  Matrix estimates_{}, next_{};
  // What the last estimates are made of: mass_l + kappa, kappa, and the prior.
  Vector totals_{}, oldest_{};
  Scalar estimated_kappa_{1};
};

}  // namespace loglinear

#endif  // LOGLINEAR_READOUT_CASCADE_READOUT_HPP

// ---- loglinear/stream/level_reads.hpp

#ifndef LOGLINEAR_STREAM_LEVEL_READS_HPP
#define LOGLINEAR_STREAM_LEVEL_READS_HPP

/// \file
/// The levels of a state read apart: `S_l^T q` of each, where `query_mixed` gives their weighted
/// sum.

namespace loglinear {

/// Every level's own read: row l of `reads` becomes `q^T S_l`, 0 where the level is empty, so that
/// `lambda^T reads` is what `query_mixed` gives.
///
/// \param state  as it stands (`before_push`)
/// \param q      length d_k
/// \param reads  max_levels x d_v, overwritten; must not overlap q or the state
///
/// \throws std::invalid_argument for a wrong size, a coefficient of q that is not finite, or where
/// a read would not be finite; `reads` is as it was then. Costs what `query_mixed` does. Does not
/// allocate, except to copy an argument that is not contiguous in memory.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow, class Query,
          class Reads>
void level_reads(const LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>& state,
                 const Eigen::MatrixBase<Query>& q, Eigen::MatrixBase<Reads> const& reads) {
  using Accumulator = detail::Accumulator<Scalar>;
  static_assert(Query::IsVectorAtCompileTime, "level_reads takes a vector q: a row or a column");
  static_assert(std::is_same_v<typename Reads::Scalar, Accumulator>,
                "the reads must have the state's scalar, or float where that is narrower");
  const detail::FlushToZero<Accumulator> flush;
  detail::require_size("q", q.size(), state.d_k());
  detail::require_size("the reads (rows, one a level)", reads.rows(), state.max_levels());
  detail::require_size("the reads (columns, d_v)", reads.cols(), state.d_v());
  detail::with_columns<Accumulator, KeyDim>(
      detail::as_column(q), state.d_k(), "q", state.flat_state(), [&](const auto& query) {
        detail::read_levels_apart(detail::levels_of(state), query.data(),
                                  const_cast<Eigen::MatrixBase<Reads>&>(reads).derived());
      });
}

/// The pullback of `level_reads`, the state held constant: d_q = sum_l S_l d_l, row l of `d_reads`
/// being the gradient d_l with respect to row l of the reads.
///
/// \param d_reads  max_levels x d_v; rows of empty levels have no part in it
/// \param d_q      length d_k, overwritten; must not overlap d_reads or the state
///
/// \throws std::invalid_argument for a wrong size, a coefficient that is not finite, or where the
/// result would not be finite. Costs what `level_reads` does. Does not allocate for `d_reads` that
/// lie in memory row by row.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow, class DReads,
          class DQuery>
void level_reads_pullback(
    const LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>& state,
    const Eigen::MatrixBase<DReads>& d_reads, Eigen::MatrixBase<DQuery> const& d_q) {
  using Accumulator = detail::Accumulator<Scalar>;
  static_assert(std::is_same_v<typename DReads::Scalar, Accumulator>,
                "the gradient must have the state's scalar, or float where that is narrower");
  const detail::FlushToZero<Accumulator> flush;
  detail::require_size("the gradient of the reads (rows, one a level)", d_reads.rows(),
                       state.max_levels());
  detail::require_size("the gradient of the reads (columns, d_v)", d_reads.cols(), state.d_v());
  detail::require_size("d_q", d_q.size(), state.d_k());
  detail::require_finite("the gradient of the reads", d_reads);
  const Eigen::Ref<const detail::RowMajorMatrix<Accumulator>> rows(d_reads.derived());
  detail::pull_back_levels_apart(detail::levels_of(state), rows.data(), rows.outerStride(),
                                 detail::as_writable_column(d_q));
}

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_LEVEL_READS_HPP

// ---- loglinear/readout/cascade.hpp

#ifndef LOGLINEAR_READOUT_CASCADE_HPP
#define LOGLINEAR_READOUT_CASCADE_HPP

namespace loglinear {

/// A stream of keys and values, and what it expects for a key on all time scales at once: a
/// hierarchy whose values are (y, 1), read level by level through a `CascadeReadout`.
///
///     read:   num_l, mass_l = S_l^T q for every level l
///             e_M = prior        e_l = (num_l + kappa e_(l+1)) / (mass_l + kappa)
///     write:  push the leaf q (y, 1)^T
///
/// It is a table of means per key that chooses no decay: the last estimate e_0 leans on the recent
/// past as far as that has seen the key, and on the older past for the rest. As features of
/// `RecursiveLeastSquares` all estimates together are as good as a bank of tables with well-chosen
/// decays, not better; on a stream whose one best decay is known they gain nothing over it.
///
///     predict:  rls.predict(cascade.features(key))
///     learn:    rls.update(cascade.features(key), y);  cascade.write(key, y);
///
/// Coefficients of keys should be at least 0 (one-hot, softmax, squares), see `CascadeReadout`.
/// Errors: std::invalid_argument with name, value and legal range, before anything has changed. A
/// read costs one pass over the active levels, or over the rows of them where the key is not zero;
/// a write O(1) amortised passes over a level. Neither allocates.
template <class Scalar_ = double>
class Cascade {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Readout = CascadeReadout<Scalar>;
  using Matrix = typename Readout::Matrix;
  using Vector = typename Readout::Vector;
  using State = LogLinearState<Scalar>;

  /// How to build one; d_k must be given.
  struct Options {
    Index d_k = 0;        ///< length of keys, 1 to 2^26
    Index outputs = 1;    ///< length of y, 1 to 2^26 - 1
    int max_levels = 24;  ///< 1 to 64; floor(log2 T) + 1 resolve T tokens
    double kappa = 1;     ///< the mass of the older estimate, positive and not denormal
    double prior = 0;     ///< what every output starts from, finite
  };

  /// Allocates everything. \throws std::invalid_argument for an option out of its range
  explicit Cascade(const Options& options)
      : readout_({.outputs = options.outputs,
                  .max_levels = checked(options).max_levels,
                  .kappa = options.kappa,
                  .prior = options.prior}),
        state_(options.max_levels, options.d_k, options.outputs + 1),
        reads_(detail::zeros<Matrix>(options.max_levels, options.outputs + 1)),
        key_(detail::zeros<Scalar>(options.d_k)),
        value_(detail::ones<Scalar>(options.outputs + 1)),
        features_(detail::zeros<Scalar>(options.max_levels * options.outputs)),
        last_(detail::zeros<Scalar>(options.outputs)),
        places_(options.d_k) {}

  /// \name A token
  /// \{

  /// The estimates for a key, which nothing has to have been written for: row l is e_l, row 0 the
  /// last. Nothing of the stream changes. \param key length d_k, finite \return max_levels x
  /// outputs, overwritten by the next call
  template <class Key>
  const Matrix& read(const Key& key) {
    const detail::FlushToZero<Scalar> flush;
    detail::load_vector(key, "key", key_);
    read_levels();
    return readout_.estimate(reads_);
  }
  /// The last estimate, e_0. \return length outputs, overwritten by the next call
  template <class Key>
  const Vector& predict(const Key& key) {
    const Matrix& estimates = read(key);
    detail::copy(estimates.data(), outputs(), last_.data());
    return last_;
  }
  /// All estimates as features, the newest first. \return length `feature_count()`, overwritten by
  /// the next call
  template <class Key>
  const Vector& features(const Key& key) {
    const Matrix& estimates = read(key);
    detail::copy(estimates.data(), estimates.size(), features_.data());
    return features_;
  }
  /// The next token of the stream: under this key there was y. \param y length outputs, finite
  template <class Key, class Value>
  void write(const Key& key, const Value& y) {
    const detail::FlushToZero<Scalar> flush;
    detail::load_vector(key, "key", key_);
    detail::require_vector_type<Scalar, Value>();
    detail::require_size("y", y.size(), outputs());
    detail::require_finite("y", y);
    for (Index j = 0; j < outputs(); ++j) value_[j] = y.coeff(j);
    state_.push_leaf(key_, value_);
  }
  /// Forgets every token.
  void reset() noexcept { state_.reset(); }
  /// Makes keys longer: what was written stays under their first coefficients, and nothing is under
  /// the new ones. Keys can thus be one-hot over values that are numbered as they come. \param d_k
  /// the new length, d_k() to 2^26 \throws std::invalid_argument out of that range; nothing is
  /// changed then, nor where it throws std::bad_alloc. Copies all levels; allocates
  void grow_keys(Index d_k) {
    detail::require_between("d_k to grow to", d_k, this->d_k(), Index{1} << 26);
    State grown(state_.max_levels(), d_k, state_.d_v());
    typename State::LevelMatrix level = detail::zeros<Matrix>(d_k, state_.d_v());
    grown.replace(state_.size(), [&](int l) -> const typename State::LevelMatrix& {
      const auto before = state_.level(l);
      detail::copy(before.data(), before.size(), level.data());
      return level;
    });
    Vector key = detail::zeros<Scalar>(d_k);
    places_ = decltype(places_)(d_k);
    state_ = std::move(grown);
    key_ = std::move(key);
  }
  /// \}

  /// T tokens at once, a row each: reads each key before it is written with its y. The numbers of T
  /// calls, to the bit. \param keys T x d_k \param y T x outputs \return the features, T x
  /// feature_count(); allocates, and copies the state
  template <class Keys, class Values>
  Matrix forward_span(const Eigen::MatrixBase<Keys>& keys, const Eigen::MatrixBase<Values>& y) {
    detail::require_size("keys (columns)", keys.cols(), d_k());
    detail::require_size("y (rows)", y.rows(), keys.rows());
    detail::require_size("y (columns)", y.cols(), outputs());
    detail::require_finite("keys", keys);
    detail::require_finite("y", y);
    Cascade after(*this);
    Matrix out(keys.rows(), feature_count());
    for (Index t = 0; t < keys.rows(); ++t) {
      out.row(t) = after.features(keys.row(t)).transpose();
      after.write(keys.row(t), y.row(t));
    }
    *this = std::move(after);
    return out;
  }

  [[nodiscard]] Index d_k() const noexcept { return key_.size(); }             ///< length of keys
  [[nodiscard]] Index outputs() const noexcept { return readout_.outputs(); }  ///< length of y
  [[nodiscard]] Index feature_count() const noexcept {
    return features_.size();
  }  ///< max_levels * outputs
  [[nodiscard]] std::uint64_t size() const noexcept { return state_.size(); }  ///< tokens so far
  /// The hierarchy; column `outputs()` of a level is its mass.
  [[nodiscard]] const State& state() const noexcept { return state_; }
  /// The recurrence with kappa, the prior, and the gradients of the last `read`: `pull_back` leads
  /// to that of the level reads, and `level_reads_pullback` from there to that of the key.
  [[nodiscard]] Readout& readout() noexcept { return readout_; }
  [[nodiscard]] const Readout& readout() const noexcept { return readout_; }  ///< read-only

 private:
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("", self.readout_);
    part("state", self.state_);
  }

  static const Options& checked(const Options& options) {
    detail::require_length("d_k", options.d_k);
    detail::require_between("max_levels", options.max_levels, 1, max_level_limit);
    return options;
  }

  /// Where few coefficients of the key are not zero, only their rows are read.
  void read_levels() {
    Index count = 0;
    for (Index i = 0; i < d_k(); ++i) {
      if (!detail::is_exactly(key_[i], Scalar(0))) places_[count++] = i;
    }
    if (count > d_k() / 4) return level_reads(state_, key_, reads_);
    const Index columns = reads_.cols();
    std::fill_n(reads_.data(), reads_.size(), Scalar(0));
    for (int l : state_.active_levels()) {
      const Scalar* const level = detail::levels_of(std::as_const(state_)).data(l);
      for (Index n = 0; n < count; ++n) {
        const Index i = places_[n];
        detail::axpy(key_[i], level + i * columns, columns, reads_.data() + l * columns);
      }
    }
    detail::require_finite("a read of a level", reads_);
  }

  Readout readout_;
  State state_;
  Matrix reads_;
  Vector key_, value_, features_, last_;
  detail::Vector<Index> places_;  // of the key, where it is not zero
};

}  // namespace loglinear

#endif  // LOGLINEAR_READOUT_CASCADE_HPP

// ---- loglinear/readout/recursive_least_squares.hpp

#ifndef LOGLINEAR_READOUT_RECURSIVE_LEAST_SQUARES_HPP
#define LOGLINEAR_READOUT_RECURSIVE_LEAST_SQUARES_HPP

namespace loglinear {

/// Recursive least squares: the linear readout that, after every sample, minimises
/// `sum_s f^(t-s) |y_s - Theta^T phi_s|^2 + f^t |Theta|^2 / p0` exactly, for any feature vector.
///
///     K = P phi / (f + phi^T P phi)    Theta <- Theta + K (y - Theta^T phi)^T
///     P <- (P - K phi^T P) / f
///
/// (Haykin, *Adaptive Filter Theory*, chapter on the RLS algorithm.) The covariance is kept as
/// `P = U D U^T`, U unit upper triangular and D a positive diagonal, and updated by Bierman's
/// algorithm (*Factorization Methods for Discrete Sequential Estimation*, 1977): it stays symmetric
/// and positive by construction, however many updates. Forgetting would let P grow without bound in
/// directions that the features never take; therefore no coefficient of D grows beyond
/// `max_covariance`.
///
/// `phi` has length `features`, `y` length `outputs`. Errors: std::invalid_argument with name,
/// value and legal range, before anything has changed. `predict` costs features x outputs
/// multiplications, `update` about 3 features^2; neither allocates. Numbers below
/// std::numeric_limits<Scalar>::min() count as zero, see docs/numerics.md.
template <class Scalar_ = double>
class RecursiveLeastSquares {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;

  /// How to build one; `features` must be given.
  struct Options {
    Index features = 0;               ///< length of phi, 1 to 2^26
    Index outputs = 1;                ///< length of y, 1 to 2^26
    double forgetting = 1;            ///< f in (0, 1]; samples count over some 1 / (1 - f) steps
    double initial_covariance = 100;  ///< p0 > 0; the smaller, the stronger the pull towards 0
    double max_covariance = 0;        ///< bound of D, >= p0; 0 stands for p0
  };

  /// Allocates everything. \throws std::invalid_argument for an option out of its range
  explicit RecursiveLeastSquares(const Options& options) : options_(options) {
    detail::require_length("features", options.features);
    detail::require_length("outputs", options.outputs);
    const double p0 = options.initial_covariance;
    const double limit = detail::magnitude_limit<Scalar>();
    if (!(options.forgetting > 0 && detail::is_at_most(options.forgetting, 1))) {
      detail::fail("forgetting", options.forgetting, "in (0, 1]");
    }
    if (!(p0 > 0 && detail::is_at_most(p0, limit))) {
      detail::fail("initial_covariance", p0, "finite and positive");
    }
    // Below its smallest normal number a scalar rounds to 0 or divides to infinity.
    const double smallest = detail::to_double((std::numeric_limits<Scalar>::min)());
    detail::require_between("forgetting", options.forgetting, smallest, 1.0);
    detail::require_between("initial_covariance", p0, smallest, limit);
    if (detail::is_exactly(options.max_covariance, 0.0)) options_.max_covariance = p0;
    detail::require_between("max_covariance", options_.max_covariance, p0, limit);
    const Index n = options.features;
    weights_.resize(n, options.outputs);
    upper_.resize(n, n);
    diagonal_.resize(n);
    phi_.resize(n);
    seen_.resize(n);
    scaled_.resize(n);
    gain_.resize(n);
    target_.resize(options.outputs);
    prediction_.resize(options.outputs);
    reset();
  }

  RecursiveLeastSquares(const RecursiveLeastSquares&) = default;  ///< allocates
  RecursiveLeastSquares(RecursiveLeastSquares&&) =
      default;  ///< leaves one that can only be assigned to or destroyed
  RecursiveLeastSquares& operator=(const RecursiveLeastSquares& other) {
    return *this = RecursiveLeastSquares(other);
  }                                                                     ///< all or nothing
  RecursiveLeastSquares& operator=(RecursiveLeastSquares&&) = default;  ///< as the constructor

  /// Forgets every sample: Theta = 0, P = p0 I.
  void reset() {
    weights_.setZero();
    upper_.setIdentity();
    diagonal_.setConstant(Scalar(options_.initial_covariance));
    prediction_.setZero();
    updates_ = 0;
  }

  /// Theta^T phi. \return a reference, overwritten by the next call; length outputs
  template <class Features>
  const Vector& predict(const Eigen::MatrixBase<Features>& phi) {
    const detail::FlushToZero<Scalar> flush;
    load(phi, "phi", phi_);
    predict_loaded();
    return prediction_;
  }

  /// Learns one sample. \return the prediction from before it, as `predict(phi)` would have given
  template <class Features, class Target>
  const Vector& update(const Eigen::MatrixBase<Features>& phi, const Eigen::MatrixBase<Target>& y) {
    const detail::FlushToZero<Scalar> flush;
    load(phi, "phi", phi_);
    load(y, "y", target_);
    predict_loaded();
    const Scalar denominator = find_gain();
    target_ -= prediction_;  // the error
    const double largest = detail::max_abs(gain_) / detail::to_double(denominator);
    detail::require_between("the largest weight after this update",
                            detail::max_abs(weights_) + largest * detail::max_abs(target_), 0.0,
                            detail::magnitude_limit<Scalar>());

    gain_ /= denominator;  // the error over the denominator may be too large a number
    for (Index j = 0; j < outputs(); ++j) weights_.col(j) += target_[j] * gain_;
    update_factors();
    ++updates_;
    return prediction_;
  }

  /// \name What has been learnt
  /// \{
  [[nodiscard]] const Matrix& weights() const noexcept { return weights_; }  ///< Theta, n x outputs
  [[nodiscard]] std::uint64_t update_count() const noexcept { return updates_; }  ///< samples
  [[nodiscard]] const Options& options() const noexcept { return options_; }      ///< as resolved
  [[nodiscard]] Index features() const noexcept { return weights_.rows(); }       ///< length of phi
  [[nodiscard]] Index outputs() const noexcept { return weights_.cols(); }        ///< length of y
  /// P = U D U^T, symmetric and positive definite; allocates, features^3 operations.
  [[nodiscard]] Matrix covariance() const {
    const detail::FlushToZero<Scalar> flush;
    const Matrix u = upper_.template triangularView<Eigen::UnitUpper>();
    return u * diagonal_.asDiagonal() * u.transpose();
  }
  /// The smallest coefficient of D: positive as long as P is.
  [[nodiscard]] Scalar smallest_pivot() const { return diagonal_.minCoeff(); }
  /// \}

 private:
  friend struct detail::Parts;

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("weights", self.weights_);
    part("upper", self.upper_);
    part("diagonal", self.diagonal_);
    part("update_count", self.updates_);
    if constexpr (detail::is_written<Self>) {
      constexpr Scalar smallest = (std::numeric_limits<Scalar>::min)();
      const double limit = detail::magnitude_limit<Scalar>();
      detail::require_between("the largest weight", detail::max_abs(self.weights_), 0.0, limit);
      detail::require_between("the largest of U", detail::max_abs(self.upper_), 0.0, limit);
      detail::require_between("the smallest of D", self.diagonal_.minCoeff(), smallest,
                              Scalar(self.options_.max_covariance));
      detail::require_between("the largest of D", self.diagonal_.maxCoeff(), smallest,
                              Scalar(self.options_.max_covariance));
      const Matrix expected = self.upper_.template triangularView<Eigen::UnitUpper>();
      if (self.upper_ != expected) detail::fail("U", "another matrix", "unit upper triangular");
    }
  }

  template <class Derived>
  void load(const Eigen::MatrixBase<Derived>& in, const char* name, Vector& into) const {
    static_assert(Derived::IsVectorAtCompileTime, "phi and y must be Eigen vectors");
    static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                  "the vector must have the readout's scalar: convert it with .cast<Scalar>()");
    detail::require_size(name, in.size(), into.size());
    into.noalias() = detail::as_column(in);
    detail::require_finite(name, into);
  }

  void predict_loaded() {
    prediction_.noalias() = weights_.transpose() * phi_;
    detail::require_finite("coefficient # of the prediction", prediction_);
  }

  /// seen = U^T phi, scaled = D seen, gain = U scaled = P phi. \return f + phi^T P phi
  ///
  /// Sums over a row of U may be far larger on the way than in the end, here and in
  /// `update_factors`: they are bounded, not looked at.
  Scalar find_gain() {
    const Scalar forgetting = Scalar(options_.forgetting);  // rounded: what is added below
    const double f = detail::to_double(forgetting), limit = detail::magnitude_limit<Scalar>();
    const double sum = 1 + static_cast<double>(features() - 1) * detail::max_abs(upper_);
    detail::require_between("the magnitude of U^T phi", detail::max_abs(phi_) * sum, 0.0, limit);
    for (Index j = 0; j < features(); ++j) {
      seen_[j] = phi_[j] + upper_.col(j).head(j).dot(phi_.head(j));
      scaled_[j] = diagonal_[j] * seen_[j];
    }
    detail::require_between("the magnitude of D U^T phi",
                            detail::max_abs(diagonal_) * detail::max_abs(seen_), 0.0, limit);
    detail::require_between(
        "the magnitude of the gain before scaling",
        (std::max)(1.0, detail::max_abs(seen_) / f) * detail::max_abs(scaled_) * sum, 0.0, limit);
    gain_.setZero();
    for (Index j = 0; j < features(); ++j) {
      gain_.head(j) += scaled_[j] * upper_.col(j).head(j);
      gain_[j] += scaled_[j];
    }
    const Scalar denominator = forgetting + seen_.dot(scaled_);
    detail::require_between("phi^T P phi", detail::to_double(denominator), f, limit);
    return denominator;
  }

  /// Bierman's update of U and D by one sample, column by column, then forgetting.
  void update_factors() {
    const Scalar f = Scalar(options_.forgetting), ceiling = Scalar(options_.max_covariance);
    const Scalar smallest =
        (std::numeric_limits<Scalar>::min)();  // underflow would freeze a direction
    Scalar before = f;
    gain_.setZero();
    for (Index j = 0; j < features(); ++j) {
      const Scalar after = before + seen_[j] * scaled_[j];
      diagonal_[j] = std::clamp<Scalar>(diagonal_[j] * (before / after) / f, smallest, ceiling);
      const Scalar correction = seen_[j] / before;
      for (Index i = 0; i < j; ++i) {
        const Scalar old = upper_(i, j);
        upper_(i, j) = old - correction * gain_[i];
        gain_[i] += scaled_[j] * old;
      }
      gain_[j] = scaled_[j];
      before = after;
    }
  }

  Options options_;
  Matrix weights_{};
  Matrix upper_{};  // U; its diagonal is 1, what lies below is never read
  Vector diagonal_{};
  Vector phi_{}, seen_{}, scaled_{}, gain_{}, target_{}, prediction_{};
  std::uint64_t updates_ = 0;
};

}  // namespace loglinear

#endif  // LOGLINEAR_READOUT_RECURSIVE_LEAST_SQUARES_HPP

// ---- loglinear/rules/detail/leaf.hpp

#ifndef LOGLINEAR_RULES_DETAIL_LEAF_HPP
#define LOGLINEAR_RULES_DETAIL_LEAF_HPP

// The leaf of rules that write one a token, `a k v^T`, and the way back from its gradient.

namespace loglinear::detail {

/// token's leaf = k v^T
template <class Vec, class Kind>
void write_leaf(const Projections<Vec>& in, Token<Kind>& token) {
  copy(in.k.data(), in.k.size(), token.keys.data());
  copy(in.v.data(), in.v.size(), token.values.data());
}
/// token's leaf = scale k v^T
template <class Scalar, class Vec, class Kind>
void write_leaf(const Scalar& scale, const Projections<Vec>& in, Token<Kind>& token) {
  scale_to(scale, in.k.data(), in.k.size(), token.keys.data());
  copy(in.v.data(), in.v.size(), token.values.data());
}

/// Its pullback to k and v.
template <class Kind, class Vec>
void pull_back_leaf(const Token<Kind>& d_token, Projections<Vec>& d_in) {
  copy(d_token.keys.data(), d_in.k.size(), d_in.k.data());
  copy(d_token.values.data(), d_in.v.size(), d_in.v.data());
}
template <class Scalar, class Kind, class Vec>
void pull_back_leaf(const Scalar& scale, const Token<Kind>& d_token, Projections<Vec>& d_in) {
  scale_to(scale, d_token.keys.data(), d_in.k.size(), d_in.k.data());
  copy(d_token.values.data(), d_in.v.size(), d_in.v.data());
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_RULES_DETAIL_LEAF_HPP

// ---- loglinear/rules/key_only.hpp

#ifndef LOGLINEAR_RULES_KEY_ONLY_HPP
#define LOGLINEAR_RULES_KEY_ONLY_HPP

namespace loglinear {

/// A rule reduced to its key: `S <- S + k v^T`, with `k / |k|` (0 below 1e-12) iff `Rule`
/// normalises its key. No transition, no gates, no weights of its own, `d_k x d_v` states always.
///
/// This is all that the Rust crate irithyll takes of an inner rule; it is kept exact so that its
/// numbers can be reproduced. Wrap the rule itself to have it applied in full.
template <class Rule>
struct KeyOnly {
  static constexpr bool normalizes_key = detail::normalizes_key<Rule>();

  template <class Scalar>
  using Transition = Identity<Scalar>;

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    detail::write_leaf(in, token);
    if constexpr (normalizes_key) {
      detail::unit_vector(in.k.data(), in.k.size(), token.keys.data());
    }
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    detail::pull_back_leaf(d_token, d_in);
    if constexpr (normalizes_key) {
      detail::unit_vector_pullback(in.k.data(), token.keys.data(), d_in.k.data(), in.k.size(),
                                   d_in.k.data());
    }
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const KeyOnly&) const = default;
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_KEY_ONLY_HPP

// ---- loglinear/rules/delta_net.hpp

#ifndef LOGLINEAR_RULES_DELTA_NET_HPP
#define LOGLINEAR_RULES_DELTA_NET_HPP

namespace loglinear {

/// The delta rule: what the key retrieves is replaced by the value,
/// `S <- S + k^ (v - S^T k^)^T = (I - k^ k^^T) S + k^ v^T` with `k^ = k / |k|` (0 below 1e-12).
///
/// Schlag, Irie, Schmidhuber, *Linear Transformers Are Secretly Fast Weight Programmers*,
/// arXiv:2102.11174, with write strength 1; Yang et al., arXiv:2406.06484. Transition: the identity
/// minus a matrix of rank one. No weights beyond W_k, W_v and W_q.
struct DeltaNet {
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<Identity<Scalar>>;

  static constexpr RuleInfo info{.name = "DeltaNet",
                                 .text = "delta_net",
                                 .paper = "2102.11174",
                                 .equation = "S <- (I - k^ k^^T) S + k^ v^T"};
  static constexpr void hyperparameters(auto&, auto&&) {}

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    const auto n = in.k.size();
    detail::unit_vector(in.k.data(), n, token.keys.data());
    detail::copy(in.v.data(), in.v.size(), token.values.data());
    detail::copy(token.keys.data(), n, token.transition.u.data());
    detail::copy(token.keys.data(), n, token.transition.p.data());
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    const auto n = in.k.size();
    const auto& d = d_token.transition;
    detail::pull_back_leaf(d_token, d_in);
    detail::add(d_in.k.data(), d.u.data(), n, d_in.k.data());
    detail::add(d_in.k.data(), d.p.data(), n, d_in.k.data());
    detail::unit_vector_pullback(in.k.data(), token.transition.p.data(), d_in.k.data(), n,
                                 d_in.k.data());
  }

  /// Always: it has no hyperparameters.
  [[nodiscard]] bool operator==(const DeltaNet&) const = default;
};

static_assert(InnerRule<DeltaNet, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_NET_HPP

// ---- loglinear/rules/delta_product.hpp

#ifndef LOGLINEAR_RULES_DELTA_PRODUCT_HPP
#define LOGLINEAR_RULES_DELTA_PRODUCT_HPP

namespace loglinear {

struct DeltaProductMode;

/// DeltaProduct: forget once, then n steps of the delta rule at every token: `S <- a S`, then for
/// j = 1..n `S <- S + b_j k_j (v_j - S^T k_j)^T`, each with its own unit key, value and strength.
///
///     a = sg(w_gate . x + gate_bias)    b_j = sg(w_comp_betas_j . x + beta_bias), twice that with
///     H_j = I - b_j k_j k_j^T           `reflections`
///     S <- H_n ... H_1 a S + sum_j H_n ... H_{j+1} b_j k_j v_j^T
///
/// Siems et al., *DeltaProduct: Improving State-Tracking in Linear RNNs via Householder Products*,
/// arXiv:2502.10297, equation 5. Transition: a product of one decay and n matrices of rank-one
/// update; n leaves a token. Own weights: `w_gate` (1 x d_model), `w_comp_keys` (n d_k x d_model),
/// `w_comp_values` (n d_v x d_model), `w_comp_betas` (n x d_model); W_k and W_v have no effect.
template <int Compositions = 2>
struct DeltaProduct {
  static_assert(Compositions >= 1 && Compositions <= 16,
                "DeltaProduct takes 1 to 16 steps a token");

  bool reflections = false;  ///< strengths up to 2, so that a key's component can change sign
  double gate_bias = 0;      ///< added before the gate's sigmoid; 0 forgets half at every token
  double beta_bias = 0;      ///< added before the sigmoid of every strength

  using Mode = DeltaProductMode;  ///< what texts and run-time modes have for it
  static constexpr int leaves = Compositions;
  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RepeatedProduct<ScalarDecay<Scalar>, RankOneUpdate<Identity<Scalar>>,
                                     detail::array_size(Compositions)>;

  static constexpr RuleInfo info{.name = "DeltaProduct",
                                 .text = "delta_product",
                                 .paper = "2502.10297",
                                 .equation =
                                     "S <- H_2 H_1 a S + beta_1 H_2 k^_1 v_1^T + beta_2 k^_2 "
                                     "v_2^T, H_j = I - beta_j k^_j k^_j^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "reflections"}, self.reflections);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "beta_bias", .example = 0.2, .slow = -1}, self.beta_bias);
  }

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    return {projection("w_gate", 1), projection("w_comp_keys", Compositions * d_k),
            projection("w_comp_values", Compositions * d_v),
            projection("w_comp_betas", Compositions)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Eigen::Index d_k = in.k.size(), d_v = in.v.size();
    auto& factors = token.transition.factors;
    std::get<0>(factors).decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    for_each_step([&](auto j) {
      auto& step = std::get<j + 1>(factors);
      Scalar* const leaf = token.keys.data() + j * d_k;
      detail::unit_vector(key(in.own, d_k, j), d_k, step.p.data());
      detail::scale_to(strength<Scalar>(in, j), step.p.data(), d_k, leaf);
      detail::copy(leaf, d_k, step.u.data());
      detail::copy(value(in.own, d_k, d_v, j), d_v, token.values.data() + j * d_v);
      for (int i = 0; i < j; ++i) undergo(step, d_k, token.keys.data() + i * d_k);
    });
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Eigen::Index d_k = in.k.size(), d_v = in.v.size();
    const auto& factors = token.transition.factors;
    auto& d_factors = d_token.transition.factors;
    Scalar* const earlier = d_in.k.data();  // scratch: W_k is not used, its gradient is zero

    for_each_step([&](auto i) {
      constexpr int j = Compositions - 1 - i;  // backwards
      const auto& step = std::get<j + 1>(factors);
      auto& d_step = std::get<j + 1>(d_factors);
      const Scalar *const u = step.u.data(), *const p = step.p.data();
      Scalar *const d_u = d_step.u.data(), *const d_p = d_step.p.data();
      const Scalar b = strength<Scalar>(in, j);
      // What H_j did to the earlier leaves, each as it was when it met H_j.
      for (int leaf = 0; leaf < j; ++leaf) {
        rebuild_leaf(factors, leaf, j, d_k, earlier);
        Scalar* const d_leaf = d_token.keys.data() + leaf * d_k;
        const Scalar along_u = detail::dot(u, d_leaf, d_k);
        detail::axpy(Scalar(-detail::dot(p, earlier, d_k)), d_leaf, d_k, d_u);
        detail::axpy(Scalar(-along_u), earlier, d_k, d_p);
        detail::axpy(Scalar(-along_u), p, d_k, d_leaf);  // d_leaf = H_j^T d_leaf
      }
      // u = b k and p = k, and the own leaf is b k v^T.
      detail::add(d_u, d_token.keys.data() + j * d_k, d_k, d_u);
      Scalar* const d_key = key(d_in.own, d_k, j);
      detail::scale_to(b, d_u, d_k, d_key);
      detail::add(d_key, d_p, d_k, d_key);
      const Scalar d_b = detail::dot(p, d_u, d_k);
      detail::unit_vector_pullback(key(in.own, d_k, j), p, d_key, d_k, d_key);
      detail::copy(d_token.values.data() + j * d_v, d_v, value(d_in.own, d_k, d_v, j));
      d_in.own[d_in.own.size() - Compositions + j] =
          d_b * b * (1 - b / Scalar(reflections ? 2 : 1));
    });
    const Scalar a = std::get<0>(factors).decay;
    d_in.own[0] = std::get<0>(d_factors).decay * a * (1 - a);
    std::fill_n(d_in.k.data(), d_k, Scalar(0));
    std::fill_n(d_in.v.data(), d_v, Scalar(0));
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const DeltaProduct&) const = default;

 private:
  static void for_each_step(auto visit) {
    [&]<int... J>(std::integer_sequence<int, J...>) {
      (visit(std::integral_constant<int, J>{}), ...);
    }
    (std::make_integer_sequence<int, Compositions>{});
  }

  [[nodiscard]] static auto* key(auto& own, Eigen::Index d_k, int j) {
    return own.data() + 1 + j * d_k;
  }
  [[nodiscard]] static auto* value(auto& own, Eigen::Index d_k, Eigen::Index d_v, int j) {
    return own.data() + 1 + Compositions * d_k + j * d_v;
  }
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in, int j) const {
    const Scalar z = in.own[in.own.size() - Compositions + j] + Scalar(beta_bias);
    return Scalar(reflections ? 2 : 1) * detail::sigmoid<Scalar>(z);
  }

  /// leaf = H leaf = leaf - u (p . leaf)
  template <class Scalar>
  static void undergo(const auto& step, Eigen::Index d_k, Scalar* leaf) {
    detail::axpy(Scalar(-detail::dot<Scalar>(step.p.data(), leaf, d_k)), step.u.data(), d_k, leaf);
  }

  /// leaf = H_{end-1} ... H_{begin+1} b k of step `begin`.
  template <class Scalar>
  static void rebuild_leaf(const auto& factors, int begin, int end, Eigen::Index d_k,
                           Scalar* leaf) {
    for_each_step([&](auto i) {
      const auto& step = std::get<i + 1>(factors);
      if (i == begin) detail::copy(step.u.data(), d_k, leaf);
      if (i > begin && i < end) undergo(step, d_k, leaf);
    });
  }
};

static_assert(InnerRule<DeltaProduct<2>, double>);

/// `DeltaProduct<n_compositions>` with the number of compositions chosen at run time.
struct DeltaProductMode {
  int n_compositions = 2;    ///< steps of the delta rule a token, 1 to 4
  bool reflections = false;  ///< as in `DeltaProduct`
  double gate_bias = 0;      ///< as in `DeltaProduct`
  double beta_bias = 0;      ///< as in `DeltaProduct`

  static constexpr bool normalizes_key = true;

  static constexpr RuleInfo info = DeltaProduct<>::info;
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "n_compositions", .range = Range::between(1, 4), .example = 3},
          self.n_compositions);
    DeltaProduct<>::hyperparameters(self, visit);
  }

  /// The rules that it can stand for.
  using Rules =
      detail::TypeList<DeltaProduct<1>, DeltaProduct<2>, DeltaProduct<3>, DeltaProduct<4>>;

  /// Calls `visit` with the rule that it stands for, and returns what it returns. \throws
  /// std::invalid_argument unless n_compositions is 1 to 4
  template <class Visitor>
  decltype(auto) visit_rule(Visitor&& visit) const {
    switch (n_compositions) {
      case 1:
        return visit(rule<1>());
      case 2:
        return visit(rule<2>());
      case 3:
        return visit(rule<3>());
      case 4:
        return visit(rule<4>());
      default:
        detail::fail("DeltaProduct::n_compositions", n_compositions, "between 1 and 4");
    }
  }
  /// The mode of a rule.
  template <int Compositions>
  [[nodiscard]] static DeltaProductMode of(const DeltaProduct<Compositions>& rule) {
    return {Compositions, rule.reflections, rule.gate_bias, rule.beta_bias};
  }

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const DeltaProductMode&) const = default;

 private:
  template <int Compositions>
  [[nodiscard]] DeltaProduct<Compositions> rule() const {
    return {.reflections = reflections, .gate_bias = gate_bias, .beta_bias = beta_bias};
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_DELTA_PRODUCT_HPP

// ---- loglinear/rules/gated_delta_net.hpp

#ifndef LOGLINEAR_RULES_GATED_DELTA_NET_HPP
#define LOGLINEAR_RULES_GATED_DELTA_NET_HPP

namespace loglinear {

/// How strongly a gated delta rule writes.
enum class Beta {
  fixed,      ///< `beta_scale` at every token
  per_token,  ///< `sg(w_beta_scalar . x + beta_bias)`, the paper's form
};
[[nodiscard]] constexpr std::array<std::string_view, 2> words_of(Beta) {
  return {"fixed", "per_token"};
}  ///< their names in a text

/// The gated delta rule: forget, then replace what the key retrieves,
/// `S <- a (I - b k^ k^^T) S + b k^ v^T`, `a = sg(w_gate . x + gate_bias)`, `k^ = k / |k|` (0 below
/// 1e-12), `b = beta_scale` or `sg(w_beta_scalar . x + beta_bias)`.
///
/// Yang, Kautz, Hatamizadeh, *Gated Delta Networks: Improving Mamba2 with Delta Rule*,
/// arXiv:2412.06464, equation 10. Transition: a scalar minus a matrix of rank one. Own weights:
/// `w_gate` (1 x d_model), and `w_beta_scalar` (1 x d_model) with `Beta::per_token`.
struct GatedDeltaNet {
  double beta_scale = 1;    ///< b for `Beta::fixed`, in [0, 2]; 1 replaces, 2 reflects
  Beta beta = Beta::fixed;  ///< where b comes from
  double gate_bias = 0;     ///< added before the gate's sigmoid; 0 forgets half at every token
  double beta_bias = 0;     ///< added before the sigmoid of a per-token b

  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<ScalarDecay<Scalar>>;

  static constexpr RuleInfo info{.name = "GatedDeltaNet",
                                 .text = "gated_delta_net",
                                 .paper = "2412.06464",
                                 .equation = "S <- a (I - beta k^ k^^T) S + beta k^ v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "beta_scale", .range = Range::between(0, 2), .example = 0.8, .slow = 0.5},
          self.beta_scale);
    visit({.name = "beta"}, self.beta);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "beta_bias", .example = -0.5}, self.beta_bias);
  }

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1), projection("w_beta_scalar", beta == Beta::per_token ? 1 : 0)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    auto& t = token.transition;
    const Scalar a = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
    const Scalar b = strength<Scalar>(in);
    detail::unit_vector(in.k.data(), n, t.p.data());
    t.diagonal.decay = a;
    detail::scale_to(Scalar(a * b), t.p.data(), n, t.u.data());
    detail::scale_to(b, t.p.data(), n, token.keys.data());
    detail::copy(in.v.data(), in.v.size(), token.values.data());
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    const auto* const key = token.transition.p.data();
    const auto* const d_written = d_token.keys.data();
    const Scalar a = token.transition.diagonal.decay;
    const Scalar b = strength<Scalar>(in);
    const auto& d = d_token.transition;
    const Scalar key_du = detail::dot(key, d.u.data(), n);
    detail::pull_back_leaf(b, d_token, d_in);
    detail::axpy(Scalar(a * b), d.u.data(), n, d_in.k.data());
    detail::add(d_in.k.data(), d.p.data(), n, d_in.k.data());
    detail::unit_vector_pullback(in.k.data(), key, d_in.k.data(), n, d_in.k.data());
    d_in.own[0] = (d.diagonal.decay + b * key_du) * a * (1 - a);
    if (beta == Beta::per_token) {
      d_in.own[1] = (detail::dot(key, d_written, n) + a * key_du) * b * (1 - b);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GatedDeltaNet&) const = default;

 private:
  template <class Scalar>
  [[nodiscard]] Scalar strength(const auto& in) const {
    return beta == Beta::fixed ? Scalar(beta_scale)
                               : detail::sigmoid<Scalar>(in.own[1] + Scalar(beta_bias));
  }
};

static_assert(InnerRule<GatedDeltaNet, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GATED_DELTA_NET_HPP

// ---- loglinear/rules/gla.hpp

#ifndef LOGLINEAR_RULES_GLA_HPP
#define LOGLINEAR_RULES_GLA_HPP

namespace loglinear {

/// Gated linear attention with one gate for the state, `S <- a S + k v^T`,
/// `a = sg(w_gate . x + gate_bias)`.
///
/// Yang et al., *Gated Linear Attention Transformers with Hardware-Efficient Training*,
/// arXiv:2312.06635, section 4.1, with the gate shared by all key rows. Transition: one decay for
/// the state. Own weights: `w_gate` (1 x d_model).
struct GLA {
  double gate_bias = 0;  ///< added before the sigmoid; 0 forgets half at every token, 6 some 0.25 %

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{
      .name = "GLA", .text = "gla", .paper = "2312.06635", .equation = "S <- sg(w.x) S + k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    detail::write_leaf(in, token);
    token.transition.decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto& a = token.transition.decay;
    detail::pull_back_leaf(d_token, d_in);
    d_in.own[0] = d_token.transition.decay * a * (1 - a);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GLA&) const = default;
};

static_assert(InnerRule<GLA, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GLA_HPP

// ---- loglinear/rules/gla_vector.hpp

#ifndef LOGLINEAR_RULES_GLA_VECTOR_HPP
#define LOGLINEAR_RULES_GLA_VECTOR_HPP

namespace loglinear {

/// Gated linear attention with a gate for each key row, `S <- diag(w) S + k v^T`,
/// `w = sg(W_gate x + gate_bias)`.
///
/// Yang et al., *Gated Linear Attention Transformers with Hardware-Efficient Training*,
/// arXiv:2312.06635, equation 3. Transition: a decay per key row. Own weights: `w_gate_vec`
/// (d_k x d_model).
struct GLAVector {
  double gate_bias = 0;  ///< added before every sigmoid; 0 forgets half at every token

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  static constexpr RuleInfo info{.name = "GLAVector",
                                 .text = "gla_vector",
                                 .paper = "2312.06635",
                                 .equation = "S <- diag(sg(W x)) S + k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_gate_vec", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    detail::write_leaf(in, token);
    detail::sigmoid(in.own.data(), gate_bias, in.own.size(), token.transition.decay.data());
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    const auto& w = token.transition.decay;
    detail::pull_back_leaf(d_token, d_in);
    for (Eigen::Index i = 0; i < w.size(); ++i) {
      d_in.own[i] = d_token.transition.decay[i] * w[i] * (1 - w[i]);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const GLAVector&) const = default;
};

static_assert(InnerRule<GLAVector, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_GLA_VECTOR_HPP

// ---- loglinear/rules/hawk.hpp

#ifndef LOGLINEAR_RULES_HAWK_HPP
#define LOGLINEAR_RULES_HAWK_HPP

namespace loglinear {

/// Hawk: a gated recurrence on a vector, `h <- a * h + b * v`, `a = sg(W_alpha x + gate_bias)`,
/// `b = sg(W_beta x + input_bias)`, column by column.
///
/// De et al., *Griffin: Mixing Gated Linear Recurrences with Local Attention for Efficient Language
/// Models*, arXiv:2402.19427, with sigmoid gates. Its state is one key row, with key and query 1:
/// the projections W_k and W_q are drawn but not used. Transition: a decay per value column. Own
/// weights: `w_alpha` and `w_beta` (d_v x d_model each).
struct Hawk {
  double gate_bias = 0;   ///< added before the forget gate's sigmoid; 0 forgets half at every token
  double input_bias = 0;  ///< added before the input gate's sigmoid

  template <class Scalar>
  using Transition = ValueDecay<Scalar>;

  static constexpr RuleInfo info{.name = "Hawk",
                                 .text = "hawk",
                                 .paper = "2402.19427",
                                 .equation = "h <- sg(W x) * h + sg(W' x) * v"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "input_bias", .example = 0.5}, self.input_bias);
  }

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index d_v) const {
    return {projection("w_alpha", d_v), projection("w_beta", d_v)};
  }

  [[nodiscard]] Eigen::Index key_rows(Eigen::Index) const { return 1; }

  void prepare_query(const auto&, auto& query) const {
    using Scalar = typename std::decay_t<decltype(query)>::Scalar;
    std::fill_n(query.data(), query.size(), Scalar(1));
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.v.size();
    auto* const value = token.values.data();
    std::fill_n(token.keys.data(), token.keys.size(), Scalar(1));
    detail::sigmoid(in.own.data(), gate_bias, n, token.transition.decay.data());
    detail::sigmoid(in.own.data() + n, input_bias, n, value);
    detail::multiply(value, in.v.data(), n, value);
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.v.size();
    const auto *const a = token.transition.decay.data(),
                      *const d_a = d_token.transition.decay.data(),
                      *const d_value = d_token.values.data();
    auto *const through_a = d_in.own.data(), *const through_b = through_a + n;
    detail::sigmoid(in.own.data() + n, input_bias, n, through_b);
    std::fill_n(d_in.k.data(), d_in.k.size(), Scalar(0));
    std::fill_n(d_in.q.data(), d_in.q.size(), Scalar(0));
    for (Eigen::Index i = 0; i < n; ++i) {
      const Scalar b = through_b[i];
      d_in.v[i] = d_value[i] * b;
      through_b[i] = b * (d_value[i] * in.v[i] * (1 - b));
      through_a[i] = d_a[i] * a[i] * (1 - a[i]);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const Hawk&) const = default;
};

static_assert(InnerRule<Hawk, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HAWK_HPP

// ---- loglinear/rules/hgrn2.hpp

#ifndef LOGLINEAR_RULES_HGRN2_HPP
#define LOGLINEAR_RULES_HGRN2_HPP

namespace loglinear {

/// HGRN2: a forget gate with a lower bound for each key row, `S <- diag(w) S + k v^T`,
/// `w = lower_bound + (1 - lower_bound) sg(W_gate x + gate_bias)`.
///
/// Qin et al., *HGRN2: Gated Linear RNNs with State Expansion*, arXiv:2404.07904, with the key
/// projected rather than tied to the gate. Transition: a decay per key row. Own weights:
/// `w_hgrn2_gate` (d_k x d_model).
struct HGRN2 {
  double lower_bound = 0.9;  ///< the fastest forgetting, in [0, 1)
  double gate_bias = 0;      ///< added before every sigmoid

  template <class Scalar>
  using Transition = KeyDecay<Scalar>;

  static constexpr RuleInfo info{.name = "HGRN2",
                                 .text = "hgrn2",
                                 .paper = "2404.07904",
                                 .equation = "S <- diag(l + (1 - l) sg(W x)) S + k v^T",
                                 .bounds_output = true};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "lower_bound",
           .range = Range::from_to_below(0, 1),
           .example = 0.8,
           .slow = 0.9998},
          self.lower_bound);
    visit({.name = "gate_bias"}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_hgrn2_gate", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    auto& w = token.transition.decay;
    detail::write_leaf(in, token);
    detail::sigmoid(in.own.data(), gate_bias, w.size(), w.data());
    for (Eigen::Index i = 0; i < w.size(); ++i) w[i] = low + (1 - low) * w[i];
  }

  void pullback(const auto&, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto low = static_cast<Scalar>(lower_bound);
    const auto& w = token.transition.decay;
    detail::pull_back_leaf(d_token, d_in);
    // dw/dz = (1 - low) s (1 - s) with s = (w - low) / (1 - low)
    for (Eigen::Index i = 0; i < w.size(); ++i) {
      d_in.own[i] = d_token.transition.decay[i] * (w[i] - low) * (1 - w[i]) / (1 - low);
    }
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const HGRN2&) const = default;
};

static_assert(InnerRule<HGRN2, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_HGRN2_HPP

// ---- loglinear/rules/mamba2.hpp

#ifndef LOGLINEAR_RULES_MAMBA2_HPP
#define LOGLINEAR_RULES_MAMBA2_HPP

namespace loglinear {

/// Mamba-2's rule: a step size discretises both the decay and the input,
/// `D = softplus(w_dt . x + dt_bias)`, `S <- exp(-D exp(A_log)) S + D k v^T`.
///
/// Dao and Gu, *Transformers are SSMs*, arXiv:2405.21060, section 7; lifted in Guo et al.,
/// arXiv:2506.04761, section 3.4. Transition: one decay for the state. Own weights: `w_dt`
/// (1 x d_model) and the free scalars `A_log` and `dt_bias`, which start at constants.
struct Mamba2 {
  double initial_a_log = 0;     ///< where A_log starts; the rate of decay is exp(A_log) a unit step
  double initial_dt_bias = -4;  ///< where dt_bias starts; -4 is a step of 0.018

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{
      .name = "Mamba2",
      .text = "mamba2",
      .paper = "2405.21060",
      .equation = "S <- exp(-D exp A) S + D k v^T, D = softplus(w.x + b)"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "initial_a_log", .example = -0.5}, self.initial_a_log);
    visit({.name = "initial_dt_bias", .example = -1, .slow = -9}, self.initial_dt_bias);
  }

  [[nodiscard]] std::array<Parameter, 3> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_dt", 1), free_vector("A_log", 1, initial_a_log),
            free_vector("dt_bias", 1, initial_dt_bias)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const Scalar step = detail::softplus<Scalar>(in.own[0] + in.free[1]);
    detail::write_leaf(step, in, token);
    token.transition.decay = exp(-step * exp(in.free[0]));
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    const Scalar z = in.own[0] + in.free[1], rate = exp(in.free[0]);
    const Scalar step = detail::softplus<Scalar>(z);
    const Scalar d_exponent = d_token.transition.decay * token.transition.decay;
    const Scalar d_step =
        detail::dot(d_token.keys.data(), in.k.data(), in.k.size()) - d_exponent * rate;
    detail::pull_back_leaf(step, d_token, d_in);
    d_in.own[0] = d_step * detail::sigmoid<Scalar>(z);
    d_in.free[0] = -d_exponent * step * rate;
    d_in.free[1] = d_in.own[0];
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const Mamba2&) const = default;
};

static_assert(InnerRule<Mamba2, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_MAMBA2_HPP

// ---- loglinear/rules/mlstm.hpp

#ifndef LOGLINEAR_RULES_MLSTM_HPP
#define LOGLINEAR_RULES_MLSTM_HPP

namespace loglinear {

/// The matrix memory of xLSTM with sigmoid gates, `S <- f S + i k v^T`,
/// `f = sg(w_gate . x + gate_bias)`, `i = sg(w_gate2 . x + input_bias)`.
///
/// Beck et al., *xLSTM: Extended Long Short-Term Memory*, arXiv:2405.04517, section 2.3, without
/// the normaliser state. Transition: one decay for the state. Own weights: `w_gate` and `w_gate2`
/// (1 x d_model each).
struct MLSTM {
  double gate_bias = 0;   ///< added before the forget gate's sigmoid; 0 forgets half at every token
  double input_bias = 0;  ///< added before the input gate's sigmoid

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{.name = "MLSTM",
                                 .text = "mlstm",
                                 .paper = "2405.04517",
                                 .equation = "S <- sg(w.x) S + sg(w'.x) k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "input_bias", .example = 0.5}, self.input_bias);
  }

  [[nodiscard]] std::array<Parameter, 2> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_gate", 1), projection("w_gate2", 1)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    detail::write_leaf(detail::sigmoid<Scalar>(in.own[1] + Scalar(input_bias)), in, token);
    token.transition.decay = detail::sigmoid<Scalar>(in.own[0] + Scalar(gate_bias));
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const Scalar f = token.transition.decay;
    const Scalar i = detail::sigmoid<Scalar>(in.own[1] + Scalar(input_bias));
    const Scalar d_i = detail::dot(d_token.keys.data(), in.k.data(), in.k.size());
    detail::pull_back_leaf(i, d_token, d_in);
    d_in.own[0] = d_token.transition.decay * f * (1 - f);
    d_in.own[1] = d_i * i * (1 - i);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const MLSTM&) const = default;
};

static_assert(InnerRule<MLSTM, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_MLSTM_HPP

// ---- loglinear/rules/retnet.hpp

#ifndef LOGLINEAR_RULES_RETNET_HPP
#define LOGLINEAR_RULES_RETNET_HPP

namespace loglinear {

/// RetNet: a fixed exponential decay, `S <- gamma S + k v^T`.
///
/// Sun et al., *Retentive Network: A Successor to Transformer for Large Language Models*,
/// arXiv:2307.08621, equation 5 (per head, without the rotation of queries and keys). Transition:
/// one decay for the state. No weights beyond W_k, W_v and W_q.
struct RetNet {
  double gamma = 0.95;  ///< decay a token, in (0, 1]; half of a leaf is left after ln 2 / -ln gamma

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{.name = "RetNet",
                                 .text = "retnet",
                                 .paper = "2307.08621",
                                 .equation = "S <- gamma S + k v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "gamma", .range = Range::above_to(0, 1), .example = 0.9, .slow = 0.9999},
          self.gamma);
  }

  [[nodiscard]] std::array<Parameter, 0> parameters(Eigen::Index, Eigen::Index) const { return {}; }

  void prepare(const auto& in, auto& token) const {
    detail::write_leaf(in, token);
    token.transition.decay = static_cast<typename std::decay_t<decltype(token)>::Scalar>(gamma);
  }

  void pullback(const auto&, const auto&, const auto& d_token, auto& d_in) const {
    detail::pull_back_leaf(d_token, d_in);
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RetNet&) const = default;
};

static_assert(InnerRule<RetNet, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RETNET_HPP

// ---- loglinear/rules/rwkv.hpp

#ifndef LOGLINEAR_RULES_RWKV_HPP
#define LOGLINEAR_RULES_RWKV_HPP

namespace loglinear {

/// RWKV: an exponential decay with a learned rate and exponential keys,
/// `S <- exp(-(initial_decay + softplus(w_decay . x - gate_bias))) S + exp(k) v^T`.
///
/// Peng et al., *RWKV: Reinventing RNNs for the Transformer Era*, arXiv:2305.13048, and *Eagle and
/// Finch*, arXiv:2404.05892, with one decay for the state. Transition: one decay. Own weights:
/// `w_decay` (1 x d_model). Keys above some 88 (float) or 700 (double) overflow and are refused.
struct RWKV {
  double initial_decay = 0.5;  ///< the slowest rate of forgetting a token, >= 0
  double gate_bias = 0;        ///< the larger, the slower the learned part forgets

  template <class Scalar>
  using Transition = ScalarDecay<Scalar>;

  static constexpr RuleInfo info{.name = "RWKV",
                                 .text = "rwkv",
                                 .paper = "2305.13048",
                                 .equation = "S <- exp(-d - softplus(w.x)) S + exp(k) v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "initial_decay", .range = Range::at_least(0), .example = 0.05, .slow = 0},
          self.initial_decay);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
  }

  [[nodiscard]] std::array<Parameter, 1> parameters(Eigen::Index, Eigen::Index) const {
    return {projection("w_decay", 1)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    using std::exp;
    detail::write_leaf(in, token);
    detail::exp_of(token.keys.data(), token.keys.size(), token.keys.data());
    token.transition.decay =
        exp(-(Scalar(initial_decay) + detail::softplus<Scalar>(in.own[0] - Scalar(gate_bias))));
  }

  void pullback(const auto& in, const auto& token, const auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto& t = token.transition;
    detail::pull_back_leaf(d_token, d_in);
    detail::multiply(d_in.k.data(), token.keys.data(), d_in.k.size(), d_in.k.data());
    d_in.own[0] = -d_token.transition.decay * t.decay *
                  detail::sigmoid<Scalar>(in.own[0] - Scalar(gate_bias));
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RWKV&) const = default;
};

static_assert(InnerRule<RWKV, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RWKV_HPP

// ---- loglinear/rules/rwkv7.hpp

#ifndef LOGLINEAR_RULES_RWKV7_HPP
#define LOGLINEAR_RULES_RWKV7_HPP

namespace loglinear {

/// RWKV-7: a decay per key row, a vector of in-context learning rates, and separate keys for
/// removal and replacement.
///
///     w = exp(ln(0.6) sg(W_decay x - gate_bias))      a = sg(W_iclr x + iclr_bias)
///     kappa = unit(k * xi)                            k~ = k * (1 + alpha * (a - 1))
///     S <- (diag(w) - (a * kappa) kappa^T) S + k~ v^T
///
/// Peng et al., *RWKV-7 "Goose" with Expressive Dynamic State Evolution*, arXiv:2503.14456,
/// equations 9 to 17. With `decay_first` what is removed has already decayed: the transition is
/// then
/// `(I - (a * kappa) kappa^T) diag(w)`. Transition: a diagonal minus a matrix of rank one. Own
/// weights: `w_decay_vec` and `w_iclr` (d_k x d_model each), and the free vectors `w_xi` and
/// `w_alpha_rk` (d_k).
struct RWKV7 {
  bool decay_first = false;  ///< remove from the decayed state instead of the older one
  double gate_bias = 0;  ///< the larger, the slower the decay; 0 keeps 0.77 at seed-size weights
  double iclr_bias = 0;  ///< added before the sigmoid of the in-context learning rates

  static constexpr bool normalizes_key = true;

  template <class Scalar>
  using Transition = RankOneUpdate<KeyDecay<Scalar>>;

  static constexpr RuleInfo info{.name = "RWKV7",
                                 .text = "rwkv7",
                                 .paper = "2503.14456",
                                 .equation = "S <- (diag(w) - (a * kappa) kappa^T) S + k~ v^T"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "decay_first"}, self.decay_first);
    visit({.name = "gate_bias", .slow = 9}, self.gate_bias);
    visit({.name = "iclr_bias", .example = 0.3}, self.iclr_bias);
  }

  [[nodiscard]] std::array<Parameter, 4> parameters(Eigen::Index d_k, Eigen::Index) const {
    return {projection("w_decay_vec", d_k), projection("w_iclr", d_k), free_vector("w_xi", d_k),
            free_vector("w_alpha_rk", d_k)};
  }

  void prepare(const auto& in, auto& token) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    const Scalar *const k = in.k.data(), *const xi = in.free.data(), *const alpha = xi + n;
    Scalar *const w = token.transition.diagonal.decay.data(), *const u = token.transition.u.data(),
                  *const p = token.transition.p.data(), *const key = token.keys.data();
    detail::sigmoid(in.own.data(), -gate_bias, n, w);
    detail::scale_by(static_cast<Scalar>(log_slowest), w, n);
    detail::exp_of(w, n, w);
    detail::sigmoid(in.own.data() + n, iclr_bias, n, u);
    for (Eigen::Index i = 0; i < n; ++i) key[i] = k[i] * (1 + alpha[i] * (u[i] - 1));
    detail::copy(in.v.data(), in.v.size(), token.values.data());
    detail::multiply(k, xi, n, p);
    detail::unit_vector(p, n, p);
    detail::multiply(u, p, n, u);
    if (decay_first) detail::multiply(p, w, n, p);
  }

  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    using Scalar = typename std::decay_t<decltype(token)>::Scalar;
    const auto n = in.k.size();
    const auto log_w = static_cast<Scalar>(log_slowest);
    const Scalar *const k = in.k.data(), *const xi = in.free.data(), *const alpha = xi + n,
                        *const w = token.transition.diagonal.decay.data();
    Scalar *const d_w = d_token.transition.diagonal.decay.data(),
                  *const d_u = d_token.transition.u.data(),
                  *const d_p = d_token.transition.p.data(), *const d_key = d_token.keys.data();
    Scalar *const d_decay_raw = d_in.own.data(), *const d_rate_raw = d_decay_raw + n,
                  *const d_xi = d_in.free.data(), *const d_alpha = d_xi + n;
    Scalar *const kappa = d_in.k.data(), *const a = d_rate_raw;  // until their gradients are known

    detail::multiply(k, xi, n, kappa);
    detail::unit_vector(kappa, n, kappa);
    detail::sigmoid(in.own.data() + n, iclr_bias, n, a);
    detail::sigmoid(in.own.data(), -gate_bias, n, d_decay_raw);
    for (Eigen::Index i = 0; i < n; ++i) {
      if (decay_first) {  // p is kappa times the decay
        d_w[i] += d_p[i] * kappa[i];
        d_p[i] *= w[i];
      }
      d_p[i] += d_u[i] * a[i];  // now with respect to kappa
      d_alpha[i] = d_key[i] * k[i] * (a[i] - 1);
      // Through the decay, w = exp(log_w s): dw/dz = log_w w s (1 - s).
      d_decay_raw[i] *= log_w * w[i] * d_w[i] * (1 - d_decay_raw[i]);
      d_u[i] = d_u[i] * kappa[i] + d_key[i] * k[i] * alpha[i];  // now with respect to a
    }
    // Through kappa = unit(k * xi), then through both keys, last through a.
    detail::multiply(k, xi, n, d_w);  // scratch from here on
    detail::unit_vector_pullback(d_w, kappa, d_p, n, d_xi);
    for (Eigen::Index i = 0; i < n; ++i) {
      d_in.k[i] = d_key[i] * (1 + alpha[i] * (a[i] - 1)) + d_xi[i] * xi[i];
      d_xi[i] *= k[i];
      d_rate_raw[i] *= d_u[i] * (1 - a[i]);
    }
    detail::copy(d_token.values.data(), in.v.size(), d_in.v.data());
  }

  /// Whether all hyperparameters are equal.
  [[nodiscard]] bool operator==(const RWKV7&) const = default;

 private:
  static constexpr double log_slowest = -0.51082562376599068;  // ln(0.6)
};

static_assert(InnerRule<RWKV7, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_RWKV7_HPP

// ---- loglinear/rules/list.hpp

#ifndef LOGLINEAR_RULES_LIST_HPP
#define LOGLINEAR_RULES_LIST_HPP

/// \file
/// All inner rules, in one list. A new one is a file in `rules/`, its include and its line here:
/// modes and their texts, the run-time factory, the loops of the tests, the benchmark of all rules
/// and the table of them are made from the list and from what each rule says of itself
/// (hyperparameters.hpp). The order is that of the alternatives of `InnerMode`.

namespace loglinear {

/// Every rule, as it is chosen at run time.
using Rules = detail::TypeList<  //
    RetNet,                      //
    Hawk,                        //
    GLA,                         //
    GLAVector,                   //
    DeltaNet,                    //
    GatedDeltaNet,               //
    RWKV,                        //
    MLSTM,                       //
    DeltaProductMode,            //
    RWKV7,                       //
    HGRN2,                       //
    Mamba2>;

namespace detail {

/// The rules that a mode stands for: it is a rule itself or says which it can stand for.
template <class Mode>
struct RulesOf {
  using Type = TypeList<Mode>;
};
template <class Mode>
requires requires {
  typename Mode::Rules;
}
struct RulesOf<Mode> {
  using Type = typename Mode::Rules;
};
template <class... Modes>
[[nodiscard]] auto rules_of_all(TypeList<Modes...>)
    -> decltype((typename RulesOf<Modes>::Type{} + ...));

}  // namespace detail

/// The same as types of rules: `DeltaProduct<1>` to `DeltaProduct<4>` for `DeltaProductMode`.
using RuleTypes = decltype(detail::rules_of_all(Rules{}));

}  // namespace loglinear

#endif  // LOGLINEAR_RULES_LIST_HPP

// ---- loglinear/rules.hpp

#ifndef LOGLINEAR_RULES_HPP
#define LOGLINEAR_RULES_HPP

/// \file
/// All inner rules.

#endif  // LOGLINEAR_RULES_HPP

// ---- loglinear/sequence/dense.hpp

#ifndef LOGLINEAR_SEQUENCE_DENSE_HPP
#define LOGLINEAR_SEQUENCE_DENSE_HPP

namespace loglinear {

/// The sequence form by its definition, every query against every earlier token: the oracle.
///
/// For each t the query walks back, `q <- A_s^T q` from token to token, and reads each leaf under
/// `lambda[t][bit_width(t ^ s)]` as it passes (arXiv:2506.04761, equations 4 and 5). Shares nothing
/// with `recurrent` and `chunkwise` but the level arithmetic.
///
/// \param in       the tokens
/// \param initial  the state before them, which is read, not changed; its size says where the
///                 stream stands
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `SequenceInputs::validate`, or where a read would not be
/// finite. O(T^2 (d_k + d_v)); allocates.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix dense(const SequenceInputs<Scalar>& in,
                                                            const LogLinearState<Scalar>& initial) {
  using Eigen::Index;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  constexpr auto order = ReadOrder::current_apart;
  const detail::FlushToZero<Scalar> flush;
  const std::uint64_t start = initial.size();
  const int max_levels = initial.max_levels();
  if (in.length() > 0) {
    detail::require_size("q (columns, d_k of the state)", in.d_k(), initial.d_k());
    detail::require_size("v (columns, d_v of the state)", in.d_v(), initial.d_v());
  }
  in.validate(start, max_levels);
  detail::RowMajorMatrix<Scalar> out = detail::RowMajorMatrix<Scalar>::Zero(in.length(), in.d_v());
  const Index leaves = in.leaves(), updates = in.updates();
  for (Index t = 0; t < in.length(); ++t) {
    const std::uint64_t now = start + static_cast<std::uint64_t>(t);
    Row query = in.q.row(t), decay = Row::Ones(in.d_v());  // of the value columns
    Row key_factors(in.d_k()), value_factors(in.d_v());
    for (Index s = t; s >= 0; --s) {
      const Scalar weight =
          in.lambda(t, level_of(start + static_cast<std::uint64_t>(s), now, order, max_levels));
      // Token s backwards: leaves and updates, the newest first, and the decay last.
      const bool is_delta = in.beta.size() > 0;
      for (Index j = leaves; j-- > 0;) {
        const Row key = in.k.row(s * leaves + j) * (is_delta ? in.beta(s, j) : Scalar(1));
        out.row(t) += weight * query.dot(key) * decay.cwiseProduct(in.v.row(s * leaves + j));
        if (is_delta) query -= query.dot(key) * in.k.row(s * leaves + j);
      }
      Row removed = Row::Zero(in.d_k());
      for (Index j = updates; !is_delta && j-- > 0;) {
        // D - u p^T with D = I for all updates but the first, whose decay follows below.
        removed = query.dot(in.u.row(s * updates + j)) * in.p.row(s * updates + j);
        if (j > 0) query -= removed;
      }
      if (!in.g.is_absent() && in.g.cols() == 1) query *= std::exp(in.g(s, 0));
      if (!in.g.is_absent() && in.g.cols() > 1) {
        detail::decays_of(in.g.row(s), key_factors);
        query.array() *= key_factors.array();
      }
      if (in.g_value.size() > 0) {
        detail::decays_of(in.g_value.row(s), value_factors);
        decay.array() *= value_factors.array();
      }
      query -= removed;
    }
    for (int l : initial.active_levels()) {
      const Bucket bucket = bucket_of(start, l, max_levels);
      const Scalar weight = in.lambda(t, level_of(bucket.first, now, order, max_levels));
      out.row(t) += weight * decay.cwiseProduct(Row(query * initial.level(l)));
    }
  }
  detail::require_finite_reads(out, 0);
  return out;
}

/// The same from an empty state with as many levels as the sequence needs.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix dense(const SequenceInputs<Scalar>& in) {
  const auto width = [&](Eigen::Index columns) {  // of tokens; without any, no memory is needed
    return in.length() == 0 ? Eigen::Index{1} : (std::max<Eigen::Index>)(1, columns);
  };
  return dense(in, LogLinearState<Scalar>(levels_needed(static_cast<std::uint64_t>(in.length())),
                                          width(in.d_k()), width(in.d_v())));
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_DENSE_HPP

// ---- loglinear/sequence/instantiations.hpp

#ifndef LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP
#define LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP

// The sequence forms for float and double, as chunks/instantiations.hpp has the chunkwise
// algorithm: declared with LOGLINEAR_RUNTIME, defined in runtime/sequence.cpp.

/// LOGLINEAR_SEQUENCE(extern, double) declares the instantiations, LOGLINEAR_SEQUENCE(, double)
/// makes them.
#define LOGLINEAR_SEQUENCE(EXTERN, SCALAR)                                                \
  namespace loglinear {                                                                   \
  EXTERN template SequenceInputs<SCALAR>::Matrix dense(const SequenceInputs<SCALAR>&,     \
                                                       const LogLinearState<SCALAR>&);    \
  EXTERN template SequenceInputs<SCALAR>::Matrix recurrent(const SequenceInputs<SCALAR>&, \
                                                           LogLinearState<SCALAR>&);      \
  EXTERN template SequenceInputs<SCALAR>::Matrix chunkwise(const SequenceInputs<SCALAR>&, \
                                                           LogLinearState<SCALAR>&,       \
                                                           const ChunkwiseOptions&,       \
                                                           SequenceTape<SCALAR>*);        \
  EXTERN template SequenceInputs<SCALAR>::Matrix chunkwise(const SequenceInputs<SCALAR>&, \
                                                           const ChunkwiseOptions&,       \
                                                           SequenceTape<SCALAR>*);        \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                           \
      const SequenceInputs<SCALAR>&, const SequenceTape<SCALAR>&,                         \
      const SequenceInputs<SCALAR>::Rows&, const SequenceInputs<SCALAR>::Rows&);          \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                           \
      const SequenceInputs<SCALAR>&, const LogLinearState<SCALAR>&,                       \
      const SequenceInputs<SCALAR>::Rows&, const ChunkwiseOptions&,                       \
      const SequenceInputs<SCALAR>::Rows&);                                               \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                           \
      const SequenceInputs<SCALAR>&, const SequenceInputs<SCALAR>::Rows&,                 \
      const ChunkwiseOptions&);                                                           \
  }

#ifdef LOGLINEAR_RUNTIME
LOGLINEAR_SEQUENCE(extern, float)
LOGLINEAR_SEQUENCE(extern, double)
#endif

#endif  // LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP

// ---- loglinear/sequence.hpp

#ifndef LOGLINEAR_SEQUENCE_HPP
#define LOGLINEAR_SEQUENCE_HPP

/// \file
/// The sequence form: whole sequences at once, in three ways to the same numbers, with gradients.

#endif  // LOGLINEAR_SEQUENCE_HPP

// ---- loglinear/stream/rewindable.hpp

#ifndef LOGLINEAR_STREAM_REWINDABLE_HPP
#define LOGLINEAR_STREAM_REWINDABLE_HPP

namespace loglinear {

/// A layer whose last tokens can be taken back, any number of them up to `depth`, bit for bit: for
/// speculative decoding, where a draft of several tokens is tried and its wrong end dropped, and
/// for late corrections of a stream.
///
/// It keeps a snapshot every `snapshot_every` tokens and the inputs since, `x_t`: to take tokens
/// back it restores the last snapshot before them and repeats the tokens in between. That is exact
/// because the weights cannot change meanwhile: the layer inside is read-only but for `forward`.
///
/// With E = `snapshot_every`, N = `depth` and a state of A active levels:
///
/// * `forward` costs what the layer's does, and a snapshot every E tokens: A/E matrices are copied
///   a token;
/// * `rewind` costs a snapshot, another restored, and up to E - 1 tokens repeated, (E - 1)/2 on
///   average;
/// * memory holds ceil(N/E) + 2 snapshots and (N + E) d_model numbers, or those of the tokens so
///   far where these are fewer.
///
/// Neither allocates once every snapshot, that of a rewind included, has been taken with as many
/// active levels as there are. For any N and E up to 2^63 - 1, room for up to 1024 tokens is made
/// by the constructor, more as they come. So "never" is an E like any other: a rewind then repeats
/// the stream from its beginning, of which every input is kept.
///
/// \tparam Layer_  `LogLinearAttention<...>`, `LinearAttention<...>` or `MultiHeadAttention<...>`
template <class Layer_>
class Rewindable {
 public:
  using Layer = Layer_;
  using Scalar = typename Layer::Scalar;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;

  /// How much is kept; depth must be given.
  struct Options {
    Index depth = 0;            ///< tokens that can be taken back at any time, at least 1
    Index snapshot_every = 16;  ///< tokens from one snapshot to the next, at least 1, no bound
  };

  /// Takes over a layer with its stream, of which nothing can be taken back yet. \throws
  /// std::invalid_argument for an option out of its range
  Rewindable(Layer layer, const Options& options)
      : layer_(std::move(layer)), depth_(options.depth), every_(options.snapshot_every) {
    detail::require_positive("depth", depth_);
    detail::require_positive("snapshot_every", every_);
    snapshots_.resize(static_cast<std::size_t>((std::min)(most_snapshots(), first_room)));
    inputs_.resize(layer_.d_model(), static_cast<Index>((std::min)(most_inputs(), first_room)));
    x_.resize(layer_.d_model());
  }

  Rewindable(const Rewindable&) = default;  ///< allocates
  Rewindable(Rewindable&&) = default;  ///< leaves one that can only be assigned to or destroyed
  Rewindable& operator=(const Rewindable& other) { return *this = Rewindable(other); }  ///< a copy
  Rewindable& operator=(Rewindable&&) = default;  ///< as the constructor

  /// `forward` of the layer. \return the output, overwritten by the next call. \throws
  /// std::invalid_argument as the layer; nothing is changed then
  template <class In>
  const Vector& forward(const In& x) {
    detail::load_vector(x, "x", x_);
    make_room();
    if (position_ % count(every_) == 0) layer_.snapshot(snapshot_at(position_));
    const Vector& output = layer_.forward(x_);
    detail::copy(x_.data(), x_.size(), input(position_));
    ++position_;
    if (position_ - earliest_ > count(depth_)) ++earliest_;
    return output;
  }

  /// `query_readonly` of the layer: reads the state as it stands. \return as `forward`
  template <class In>
  const Vector& query_readonly(const In& x) {
    return layer_.query_readonly(x);
  }

  /// Takes the last `tokens` tokens back: the stream is, to the bit, what it was before them.
  /// \throws std::invalid_argument unless 0 <= tokens <= rewindable(); nothing is changed then
  void rewind(Index tokens) {
    detail::require_between("tokens to take back", tokens, Index{0}, rewindable());
    if (tokens > 0) rewind_to(position_ - count(tokens));
  }

  /// How many tokens can be taken back now: `depth`, or fewer where fewer have been taken in, or
  /// others have been taken back already.
  [[nodiscard]] Index rewindable() const noexcept {
    return static_cast<Index>(position_ - earliest_);
  }

  /// The layer as it is now.
  [[nodiscard]] const Layer& layer() const noexcept { return layer_; }

  /// Empties the stream; nothing can be taken back then.
  void reset() noexcept {
    layer_.reset();
    position_ = earliest_ = 0;
  }

 private:
  static constexpr std::uint64_t first_room = 1024;

  /// The width of the ring of inputs, and the length of that of snapshots, in the end.
  [[nodiscard]] std::uint64_t most_inputs() const { return count(depth_) + count(every_); }
  [[nodiscard]] std::uint64_t most_snapshots() const {
    return (count(depth_) - 1) / count(every_) + 2;
  }
  /// Lets the rings grow before the next token where they are full for the first time, and so not
  /// yet bent: every input and every snapshot stays at its place.
  void make_room() {
    const auto doubled = [](std::uint64_t room, std::uint64_t most) {
      return (std::min)(2 * room, most);
    };
    const auto inputs = count(inputs_.cols());
    if (position_ >= inputs && inputs < most_inputs()) {
      detail::Matrix<Scalar> more(inputs_.rows(),
                                  static_cast<Index>(doubled(inputs, most_inputs())));
      detail::copy(inputs_.data(), inputs_.size(), more.data());
      inputs_.swap(more);
    }
    const std::uint64_t snapshots = snapshots_.size();
    if (position_ / count(every_) >= snapshots && snapshots < most_snapshots()) {
      snapshots_.resize(static_cast<std::size_t>(doubled(snapshots, most_snapshots())));
    }
  }

  [[nodiscard]] static std::uint64_t count(Index tokens) {
    return static_cast<std::uint64_t>(tokens);
  }
  /// Where the input of the token at `position` is kept.
  [[nodiscard]] Scalar* input(std::uint64_t position) {
    return inputs_.data() + static_cast<Index>(position % count(inputs_.cols())) * inputs_.rows();
  }
  [[nodiscard]] typename Layer::Snapshot& snapshot_at(std::uint64_t position) {
    return snapshots_[static_cast<std::size_t>(position / count(every_) % snapshots_.size())];
  }

  /// Restores the last snapshot at or before `position`, and repeats the tokens since; everything
  /// stays where a token, which the layer has taken before, is refused.
  void rewind_to(std::uint64_t position) {
    layer_.snapshot(present_);
    const std::uint64_t kept = position / count(every_) * count(every_);
    layer_.restore(snapshot_at(kept));
    const std::exception_ptr failure = detail::caught([&] {
      for (std::uint64_t t = kept; t < position; ++t) {
        detail::copy(input(t), x_.size(), x_.data());
        layer_.forward(x_);
      }
    });
    if (failure) {
      layer_.restore(present_);
      std::rethrow_exception(failure);
    }
    position_ = position;
  }

  Layer layer_;
  Index depth_, every_;
  std::uint64_t position_ = 0, earliest_ = 0;  // tokens since construction; how far back one can go
  std::vector<typename Layer::Snapshot> snapshots_{};
  typename Layer::Snapshot present_{};  // what a rewind goes back to where it fails
  detail::Matrix<Scalar> inputs_{};     // column t mod its width: x_t
  Vector x_{};
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_REWINDABLE_HPP

// ---- loglinear/stream/stream_part.hpp

#ifndef LOGLINEAR_STREAM_STREAM_PART_HPP
#define LOGLINEAR_STREAM_STREAM_PART_HPP

namespace loglinear {

template <class Layer>
class MultiHeadAttention;

/// How large the product of a part's transitions may be.
enum class PartProduct {
  compact,  ///< nothing, a number or a vector: kinds whose products are of the kind, the diagonal
  matrix,   ///< any kind; for others than those a key_rows x key_rows matrix is carried along
};

/// A part of a stream that is computed apart from what comes before it, to be appended to it: parts
/// of a long prompt on several threads or machines, or a stream of which one part is used again
/// and again.
///
/// A state is linear in what was there before, `S -> P S diag(r) + own`, P the product of the
/// part's transitions. So the part starts at its absolute count with empty levels and carries P and
/// r along; a level of the earlier part, having undergone them, falls whole into the level that
/// holds its tokens at the end. Appending is exact for every pair of counts, also past the last
/// level: the state is that of one stream to the rounding of sums, and to the bit where nothing is
/// rounded differently.
///
/// A token costs what `forward` costs and the product: O(1), O(key_rows) or O(d_v) where
/// transitions are diagonal. Others, the delta rules, need `PartProduct::matrix`: key_rows^2
/// numbers and O(key_rows^2) a token.
///
/// \tparam Layer_   `LogLinearAttention<...>`, `LinearAttention<...>` or `MultiHeadAttention<...>`
/// \tparam product  what may be carried along
template <class Layer_, PartProduct product = PartProduct::compact>
class StreamPart {
  using Kind = typename Layer_::Head::Kind;
  using Flush = detail::FlushToZero<typename Layer_::Scalar>;
  static_assert(HasOwnProducts<Kind> || product == PartProduct::matrix,
                "the transitions of this rule multiply to a d_k x d_k matrix, which a part of a "
                "stream must carry along: say so by StreamPart<Layer, PartProduct::matrix>");

 public:
  using Layer = Layer_;

  /// An empty part that begins after `first` tokens, with the weights and options of `layer`, whose
  /// own stream does not matter. Copies the layer, allocates.
  StreamPart(Layer layer, std::uint64_t first)
      : layer_(std::move(layer)), product_(layer_.key_rows(), layer_.output_dim()), first_(first) {
    layer_.reset();
    layer_.advance_to(first);
  }

  StreamPart(const StreamPart&) = default;  ///< allocates
  StreamPart(StreamPart&&) = default;  ///< leaves one that can only be assigned to or destroyed
  StreamPart& operator=(const StreamPart& other) { return *this = StreamPart(other); }  ///< a copy
  StreamPart& operator=(StreamPart&&) = default;  ///< as the constructor

  /// Takes the next token: writes without an output, which would depend on the tokens before the
  /// part. \param x length d_model. \throws std::invalid_argument as `forward`; nothing is changed
  /// then. Does not allocate
  template <class In>
  void write(const In& x) {
    const Flush flush;
    stage(x);
    commit();
  }

  [[nodiscard]] std::uint64_t first() const noexcept { return first_; }  ///< tokens before the part
  [[nodiscard]] std::uint64_t size() const noexcept {
    return layer_.size();
  }  ///< tokens before it and in it

  /// The part and the one after it become one. \throws std::invalid_argument unless `later` begins
  /// where this one ends, for another shape, or where numbers get out of range; nothing is changed
  /// then. Allocates
  void append(const StreamPart& later) {
    const Flush flush;
    detail::Vector<typename Kind::Scalar> scratch(product_.scratch_size(layer_.key_rows()));
    later.append_to(layer_);
    product_.follow(later.product_, scratch.data());
  }

  /// Appends the part to a stream that has taken exactly the tokens before it: `stream` is then the
  /// one that has taken its tokens, too. \throws std::invalid_argument unless
  /// `stream.size() == first()`, for another shape, or where numbers get out of range; nothing is
  /// changed then. Allocates
  void append_to(Layer& stream) const {
    if (stream.size() != first_) {
      detail::fail("the first token of the part to append", first_,
                   std::to_string(stream.size()) + ", where the stream ends");
    }
    const Flush flush;
    stream.as_head().append(layer_.as_head(), product_);
  }

  /// \name `write` in two halves, for several heads
  /// \{

  /// Checks the next token; nothing is changed but what `commit` is to write.
  template <class In>
  void stage(const In& x) {
    const Flush flush;
    layer_.as_head().stage(x, ReadOrder::before_push);
  }
  /// Writes what was staged.
  void commit() {
    const Flush flush;
    layer_.as_head().commit();
    product_.follow(layer_.as_head().workspace().token.transition);
  }
  /// \}

 private:
  Layer layer_;
  detail::PendingProduct<Kind> product_;
  std::uint64_t first_;
};

/// A part of the stream of several heads: one of each, that are written and appended together.
/// Members as above; what throws for one head changes none of them.
template <class Head, PartProduct product>
class StreamPart<MultiHeadAttention<Head>, product> {
 public:
  using Layer = MultiHeadAttention<Head>;

  /// As above; of the layer only the heads are copied.
  StreamPart(const Layer& layer, std::uint64_t first) {
    for (int h = 0; h < layer.n_heads(); ++h) heads_.emplace_back(layer.head(h), first);
  }

  /// Takes the next token, with every head. \param x length d_model \throws std::invalid_argument
  template <class In>
  void write(const In& x) {
    for (auto& head : heads_) head.stage(x);
    for (auto& head : heads_) head.commit();
  }

  [[nodiscard]] std::uint64_t first() const noexcept {
    return heads_.front().first();
  }  ///< tokens before the part
  [[nodiscard]] std::uint64_t size() const noexcept {
    return heads_.front().size();
  }  ///< tokens before it and in it

  /// The part and the one after it become one. \throws std::invalid_argument as for one head, and
  /// for another number of heads
  void append(const StreamPart& later) {
    detail::require_size("the heads of the part to append",
                         static_cast<detail::Index>(later.heads_.size()),
                         static_cast<detail::Index>(heads_.size()));
    std::vector<StreamPart<Head, product>> whole(heads_);
    for (std::size_t h = 0; h < whole.size(); ++h) whole[h].append(later.heads_[h]);
    heads_.swap(whole);
  }

  /// Appends the part to a stream. \throws std::invalid_argument as for one head, and for another
  /// number of heads
  void append_to(Layer& stream) const { stream.append(heads_); }

 private:
  std::vector<StreamPart<Head, product>> heads_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_STREAM_PART_HPP

// ---- loglinear/version.hpp

#ifndef LOGLINEAR_VERSION_HPP
#define LOGLINEAR_VERSION_HPP

/// \file
/// The library's version; CMake reads it from here.

#define LOGLINEAR_VERSION_MAJOR 0         ///< of semantic versioning
#define LOGLINEAR_VERSION_MINOR 1         ///< likewise
#define LOGLINEAR_VERSION_PATCH 0         ///< likewise
#define LOGLINEAR_VERSION_STRING "0.1.0"  ///< all three

#endif  // LOGLINEAR_VERSION_HPP

// ---- loglinear/loglinear.hpp

#ifndef LOGLINEAR_LOGLINEAR_HPP
#define LOGLINEAR_LOGLINEAR_HPP

/// \file
/// Everything.

#endif  // LOGLINEAR_LOGLINEAR_HPP

// ---- loglinear/mode/mode.hpp

#ifndef LOGLINEAR_MODE_MODE_HPP
#define LOGLINEAR_MODE_MODE_HPP

/// \file
/// Attention chosen at run time, as a value: which rule with which hyperparameters, in one state or
/// in the hierarchy, and how that weighs its levels. `mode/attention.hpp` makes a layer of it,
/// `mode_text.hpp` a text and back.

namespace loglinear {

/// A rule and its hyperparameters: the rules themselves, in a variant.
using InnerMode = Rules::Into<std::variant>;

/// How levels are weighed, with its hyperparameters: the policies of level_weights.hpp.
using LevelWeighting = LevelWeightings::Into<std::variant>;

/// A rule in the hierarchy of log-linear attention. It cannot hold another `LogLinear`.
struct LogLinear {
  InnerMode inner{};               ///< the rule
  int max_levels = 32;             ///< 1 to 64
  LevelWeighting level_weights{};  ///< `NormalizedMixture` unless given
  bool key_only = false;  ///< `KeyOnly<Rule>` instead of the rule in full: no gates, no transition

  static constexpr RuleInfo info{.name = "LogLinear", .text = "log_linear"};
  static constexpr void hyperparameters(auto& self, auto&& visit) {
    visit({.name = "max_levels", .range = Range::between(1, max_level_limit), .example = 3},
          self.max_levels);
    visit({.name = "level_weights"}, self.level_weights);
    visit({.name = "key_only"}, self.key_only);
  }

  /// \throws std::invalid_argument unless max_levels is 1 to 64 and level weights and rule are
  /// valid
  void validate() const;

  /// Whether all members are equal.
  [[nodiscard]] bool operator==(const LogLinear&) const = default;
};

/// Every mode: the alternatives of `InnerMode`, each a rule in one state, and `LogLinear`.
using AttentionMode = decltype(Rules{} + detail::TypeList<LogLinear>{})::Into<std::variant>;

namespace detail {

/// Whether a type is one of the alternatives that texts know.
template <class Type>
concept Listed =
    Rules::contains<Type> || LevelWeightings::contains<Type> || std::is_same_v<Type, LogLinear>;

}  // namespace detail

inline void LogLinear::validate() const {
  detail::require_legal(*this);
  std::visit([](const auto& rule) { detail::require_legal(rule); }, inner);
}

/// The mode that applies a rule to one state.
[[nodiscard]] inline AttentionMode one_state(const InnerMode& inner) {
  return std::visit([](const auto& rule) -> AttentionMode { return rule; }, inner);
}

/// The rule of a mode, in one state or in the hierarchy.
[[nodiscard]] inline InnerMode inner_of(const AttentionMode& mode) {
  return std::visit(
      []<class Mode>(const Mode& one) -> InnerMode {
        if constexpr (std::is_same_v<Mode, LogLinear>) {
          return one.inner;
        } else {
          return one;
        }
      },
      mode);
}

/// Calls `visit(rule)` with the rule type that one alternative of an inner mode stands for.
template <class Mode, class Visitor>
requires(Rules::contains<Mode>)  //
    decltype(auto) visit_rule(const Mode& mode, Visitor&& visit) {
  if constexpr (requires { typename Mode::Rules; }) {
    return mode.visit_rule(visit);
  } else {
    return visit(mode);
  }
}
/// Calls `visit(rule)` with the rule type that an inner mode stands for, and returns what it
/// returns: `DeltaProductMode` becomes one of `DeltaProduct<1>` to `DeltaProduct<4>`, all others
/// are rules already. \throws std::invalid_argument for a number of compositions that is not 1 to 4
template <class Visitor>
decltype(auto) visit_rule(const InnerMode& mode, Visitor&& visit) {
  return std::visit([&](const auto& one) -> decltype(auto) { return visit_rule(one, visit); },
                    mode);
}

/// Calls `visit(rule)` with what is left of an inner mode when only its key counts, and returns
/// what it returns: `KeyOnly<DeltaNet>` for a rule that normalises its key, else `KeyOnly<RetNet>`;
/// all others behave as one of the two.
template <class Visitor>
decltype(auto) visit_key_only(const InnerMode& mode, Visitor&& visit) {
  const bool normalizes = std::visit(
      [](const auto& rule) { return detail::normalizes_key<std::decay_t<decltype(rule)>>(); },
      mode);
  return normalizes ? visit(KeyOnly<DeltaNet>{}) : visit(KeyOnly<RetNet>{});
}

/// Checks every hyperparameter of a mode. \throws std::invalid_argument naming the first that is
/// out of its range
inline void validate(const AttentionMode& mode) {
  std::visit([](const auto& alternative) { detail::validate_rule(alternative); }, mode);
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_HPP

// ---- loglinear/mode/any_level_weights.hpp

#ifndef LOGLINEAR_MODE_ANY_LEVEL_WEIGHTS_HPP
#define LOGLINEAR_MODE_ANY_LEVEL_WEIGHTS_HPP

/// \file
/// Level weights chosen at run time.

namespace loglinear {

/// One of the level weightings; a policy of level weights itself, with the numbers of the one that
/// it holds, bit for bit. A call costs one indirection.
class AnyLevelWeights {
 public:
  AnyLevelWeights() = default;  ///< `NormalizedMixture`
  /// A layer that is chosen at run time may have one level.
  static constexpr bool is_chosen_at_run_time = true;

  /// One of the weightings.
  AnyLevelWeights(const LevelWeighting& weighting) : weighting_(weighting) {}

  /// The weighting that it holds.
  [[nodiscard]] const LevelWeighting& weighting() const noexcept { return weighting_; }

  [[nodiscard]] std::vector<Parameter> parameters(Eigen::Index n) const {
    return std::visit(
        [&](const auto& weights) {
          const auto own = weights.parameters(n);
          return std::vector<Parameter>(own.begin(), own.end());
        },
        weighting_);
  }
  /// \throws std::invalid_argument as the weighting that it holds
  template <class Scalar>
  void resolve(int max_levels) {
    std::visit([&](auto& weights) { weights.template resolve<Scalar>(max_levels); }, weighting_);
  }
  void weigh(const auto& raw, const auto& free, auto& lambda) const {
    std::visit([&](const auto& weights) { weights.weigh(raw, free, lambda); }, weighting_);
  }
  void pullback(const auto& raw, const auto& free, const auto& lambda, const auto& d_lambda,
                auto& d_raw, auto& d_free) const {
    std::visit(
        [&](const auto& weights) { weights.pullback(raw, free, lambda, d_lambda, d_raw, d_free); },
        weighting_);
  }

  /// Whether both hold the same weighting with the same hyperparameters.
  [[nodiscard]] bool operator==(const AnyLevelWeights&) const = default;

 private:
  LevelWeighting weighting_{};
};

static_assert(LevelWeights<AnyLevelWeights, double>);

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ANY_LEVEL_WEIGHTS_HPP

// ---- loglinear/mode/any_rule.hpp

#ifndef LOGLINEAR_MODE_ANY_RULE_HPP
#define LOGLINEAR_MODE_ANY_RULE_HPP

/// \file
/// A rule chosen at run time among those that have one kind of transition. It is a rule itself, so
/// that a layer is compiled once for a kind and not once for a rule: of the rules no more than
/// `prepare` and `pullback` are then compiled apart.

namespace loglinear {

/// One of several rules with the same transition and the same number of leaves; a rule itself, with
/// the numbers of the one that it holds, bit for bit. A call costs one indirection.
template <class First, class... Others>
class AnyRule {
  static_assert((std::is_same_v<typename First::template Transition<double>,
                                typename Others::template Transition<double>> &&
                 ...),
                "rules in one layer need one kind of transition");
  static_assert(((detail::leaves_of<First>() == detail::leaves_of<Others>()) && ...),
                "rules in one layer need the same number of leaves");

 public:
  static constexpr int leaves = detail::leaves_of<First>();

  template <class Scalar>
  using Transition = typename First::template Transition<Scalar>;

  AnyRule() = default;  ///< the first rule
  /// One of the rules.
  template <class Rule>
  requires(std::same_as<Rule, First> || (std::same_as<Rule, Others> || ...))  //
      AnyRule(const Rule& rule)
      : rule_(rule) {}

  /// The rule that it holds.
  [[nodiscard]] const std::variant<First, Others...>& rule() const noexcept { return rule_; }

  [[nodiscard]] std::vector<Parameter> parameters(Eigen::Index d_k, Eigen::Index d_v) const {
    return visit([&](const auto& rule) {
      const auto own = rule.parameters(d_k, d_v);
      return std::vector<Parameter>(own.begin(), own.end());
    });
  }
  [[nodiscard]] Eigen::Index key_rows(Eigen::Index d_k) const {
    return visit([&](const auto& rule) { return detail::key_rows_of(rule, d_k); });
  }
  void validate() const {
    visit([](const auto& rule) { detail::validate_rule(rule); });
  }

  void prepare_query(const auto& in, auto& query) const {
    visit([&](const auto& rule) { detail::prepare_query(rule, in, query); });
  }
  void prepare(const auto& in, auto& token) const {
    visit([&](const auto& rule) { rule.prepare(in, token); });
  }
  void pullback(const auto& in, const auto& token, auto& d_token, auto& d_in) const {
    visit([&](const auto& rule) {
      if constexpr (!requires { rule.prepare_query(d_in, d_in.q); }) d_in.q = d_token.query;
      rule.pullback(in, token, d_token, d_in);
    });
  }

  /// Whether both hold the same rule with the same hyperparameters.
  [[nodiscard]] bool operator==(const AnyRule&) const = default;

 private:
  decltype(auto) visit(auto&& work) const { return std::visit(work, rule_); }

  std::variant<First, Others...> rule_{};
};

namespace detail {

/// All rules, and what is left of them when only their key counts.
using RuntimeRules = decltype(RuleTypes{} + TypeList<KeyOnly<RetNet>, KeyOnly<DeltaNet>>{});

/// Whether two rules can share a layer.
template <class One>
struct SameKind {
  template <class Other>
  using As = std::bool_constant<leaves_of<One>() == leaves_of<Other>() &&
                                std::is_same_v<typename One::template Transition<double>,
                                               typename Other::template Transition<double>>>;
};
template <class... Rules>
struct OneOf {
  using Type = AnyRule<Rules...>;
};
template <class Rule>
struct OneOf<Rule> {
  using Type = Rule;
};

}  // namespace detail

/// The rule that layers made at run time have for `Rule`: `AnyRule` of all rules of its kind, or
/// the rule itself where it is the only one.
template <class Rule>
using RuntimeRule =
    typename detail::Filter<detail::RuntimeRules, detail::SameKind<Rule>::template As>::Type::
        template Into<detail::OneOf>::Type;

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ANY_RULE_HPP

// ---- loglinear/mode/attention_config.hpp

#ifndef LOGLINEAR_MODE_ATTENTION_CONFIG_HPP
#define LOGLINEAR_MODE_ATTENTION_CONFIG_HPP

/// \file
/// A layer chosen at run time, as a value.

namespace loglinear {

/// Where a layer of this mode bounds its output unless told otherwise: a log-linear layer always,
/// rules that normalise their key or say so (`RuleInfo::bounds_output`, HGRN2) in `forward` and
/// `train_one`, the others nowhere.
[[nodiscard]] inline OutputBound output_bound_of(const AttentionMode& mode) {
  return std::visit(
      []<class Mode>(const Mode&) {
        if (std::is_same_v<Mode, LogLinear>) return OutputBound::always;
        const bool bounded = detail::normalizes_key<Mode>() || Mode::info.bounds_output;
        return bounded ? OutputBound::forward : OutputBound::none;
      },
      mode);
}

/// A multi-head layer as a value: the names of `MultiHeadAttention::Options`, with a mode in place
/// of rule, level weights and max_levels. Each of these lists all of its members, since in C++20
/// designators cannot reach those of a base.
struct AttentionConfig {
  Eigen::Index d_model = 16;                     ///< length of x and of the output, 1 to 2^26
  int n_heads = 4;                               ///< at least 1; n_heads d_v at most 2^26
  Eigen::Index d_k = 4;                          ///< length of a head's keys, 1 to 2^26
  Eigen::Index d_v = 4;                          ///< length of a head's values, 1 to 2^26
  AttentionMode mode = RetNet{};                 ///< the rule and what it is applied to
  std::uint64_t seed = 42;                       ///< of all weights, at least 1
  ReadOrder read_order = ReadOrder::after_push;  ///< what `forward` reads
  std::optional<double> learning_rate{};         ///< finite, >= 0; that of `step` unless given
  std::optional<Step> step{};                    ///< as in `LogLinearAttention::Options`
  std::optional<bool> bias{};                    ///< as there
  double weight_scale = 0.01;                    ///< as there
  std::optional<OutputBound> bound{};            ///< `output_bound_of(mode)` unless given
  int threads = 1;                               ///< at least 1; see `Attention::threads_used`

  /// \throws std::invalid_argument naming the first member that is out of its range
  void validate() const {
    detail::require_length("d_model", d_model);
    detail::require_positive("n_heads", n_heads);
    detail::require_length("d_k", d_k);
    detail::require_length("d_v", d_v);
    detail::require_length("n_heads * d_v", n_heads * d_v);
    detail::require_positive("threads", threads);
    loglinear::validate(mode);
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ATTENTION_CONFIG_HPP

// ---- loglinear/mode/attention_interface.hpp

#ifndef LOGLINEAR_MODE_ATTENTION_INTERFACE_HPP
#define LOGLINEAR_MODE_ATTENTION_INTERFACE_HPP

/// \file
/// What a layer whose mode was chosen at run time can do.

namespace loglinear {

template <class Scalar>
class Attention;

namespace detail {
template <class Layer>
class ErasedAttention;
}

/// A moment of the stream of an `Attention`, as `StreamSnapshot`: a value that refers to no layer.
/// Made by `Attention::snapshot`.
class AttentionSnapshot {
 public:
  AttentionSnapshot() = default;  ///< holds nothing yet, and no layer can be restored to it

 private:
  template <class Layer>
  friend class detail::ErasedAttention;

  std::any moment_{};  // a MultiHeadAttention<Layer>::Snapshot
};

/// A layer whose mode was chosen at run time: `MultiHeadAttention` behind virtual functions, with
/// its guarantees. A call costs one indirection; a vector argument that is not an Eigen column
/// vector of the layer's own type is copied once more. It has many members, those of the layer.
template <class Scalar_>
class Attention {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  using Vector = detail::Vector<Scalar>;
  using Matrix = detail::Matrix<Scalar>;               ///< a weight array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< the same where it lies

  /// Memory for `query_readonly` const: one for each thread, from `make_workspace`.
  class Workspace {
   private:
    friend class Attention;
    template <class Layer>
    friend class detail::ErasedAttention;

    Vector x_;         // where x is copied to, unless it is a Vector
    std::any memory_;  // a MultiHeadAttention<Layer>::Workspace
  };

  virtual ~Attention() = default;
  Attention& operator=(const Attention&) = delete;

  /// \name A token
  /// What is returned is the layer's own output, length d_model, overwritten by the next call.
  /// None of these allocates. Errors as in `LogLinearAttention`: std::invalid_argument before
  /// anything has changed.
  /// \{

  /// All heads read and write. \param x any Eigen vector of length d_model, finite
  template <class In>
  const Vector& forward(const In& x) {
    return do_forward(as_vector(x, "x", x_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void forward(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = forward(x);
  }
  /// All heads read the state as it stands; nothing changes.
  template <class In>
  const Vector& query_readonly(const In& x) {
    return do_query(as_vector(x, "x", x_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Out>
  void query_readonly(const In& x, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = query_readonly(x);
  }
  /// The same with the caller's memory; safe from several threads, a workspace each. \return the
  /// output, which lies in the workspace. \throws std::invalid_argument also for a workspace of a
  /// layer of another kind or shape
  template <class In>
  const Vector& query_readonly(const In& x, Workspace& workspace) const {
    detail::require_size("the workspace's x", workspace.x_.size(), output_dim());
    return do_query(as_vector(x, "x", workspace.x_), workspace);
  }
  /// Memory for it; allocates.
  [[nodiscard]] virtual Workspace make_workspace() const = 0;
  /// One step of gradient descent on `1/2 |o - y|^2` and one token of the stream. \param y target,
  /// length d_model, finite \return the output o from before the step
  template <class In, class Target>
  const Vector& train_one(const In& x, const Target& y) {
    return do_train_one(as_vector(x, "x", x_), as_vector(y, "y", y_));
  }
  /// The same, into the caller's vector of length d_model.
  template <class In, class Target, class Out>
  void train_one(const In& x, const Target& y, Eigen::MatrixBase<Out> const& out) {
    require_output(out);
    detail::as_writable_column(out) = train_one(x, y);
  }
  /// Empties all states; weights stay.
  virtual void reset() noexcept = 0;
  /// Jumps to a later count, as `LogLinearAttention::advance_to`. \throws std::invalid_argument
  /// unless count >= size(); nothing is changed then
  virtual void advance_to(std::uint64_t count) = 0;

  /// This moment of the stream; allocates.
  [[nodiscard]] AttentionSnapshot snapshot() const {
    AttentionSnapshot moment;
    snapshot(moment);
    return moment;
  }
  /// The same into a snapshot that exists. Does not allocate where that is one of this layer and
  /// has grown to size; where it does and throws std::bad_alloc, the snapshot is what it was.
  virtual void snapshot(AttentionSnapshot& moment) const = 0;
  /// Goes back, or on, to a moment of this stream or of that of another layer, as
  /// `MultiHeadAttention::restore`: hyperparameters and weights are no part of it and stay. Does
  /// not allocate. \throws std::invalid_argument for a snapshot of another shape or kind of
  /// transition, or one that holds nothing; nothing is changed then
  virtual void restore(const AttentionSnapshot& moment) = 0;
  /// \}

  /// \name Shape and state
  /// \{

  /// What the layer was made from.
  [[nodiscard]] const AttentionConfig& config() const noexcept { return config_; }
  [[nodiscard]] Index output_dim() const noexcept { return config_.d_model; }  ///< d_model
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;               ///< tokens so far
  /// As `MultiHeadAttention::threads_used`.
  [[nodiscard]] virtual int threads_used() const noexcept = 0;
  /// The states of all heads one after the other, of constant length; allocates.
  [[nodiscard]] virtual Vector state() const = 0;
  /// The same layer with the same state and weights; allocates.
  [[nodiscard]] virtual std::unique_ptr<Attention> clone() const = 0;
  /// \}

  /// \name Weights and learning
  /// \{

  /// `head0.w_key`, ..., `w_out`, in the order in which they are drawn.
  [[nodiscard]] virtual std::vector<std::string> weight_names() const = 0;
  /// One weight array; a read-only view, valid as long as the layer. \throws std::invalid_argument
  /// for an unknown name
  [[nodiscard]] virtual MatrixView weight(std::string_view name) const = 0;
  /// Replaces one weight array; allocates. \throws std::invalid_argument for an unknown name,
  /// another shape or coefficients that are not finite
  virtual void set_weight(std::string_view name, const Eigen::Ref<const Matrix>& value) = 0;
  [[nodiscard]] virtual double learning_rate() const noexcept = 0;  ///< present
  /// \throws std::invalid_argument unless finite and >= 0
  virtual void set_learning_rate(double learning_rate) = 0;
  /// \}

 protected:
  explicit Attention(const AttentionConfig& config)
      : config_(config), x_(config.d_model), y_(config.d_model) {}
  Attention(const Attention&) = default;

 private:
  virtual const Vector& do_forward(const Vector& x) = 0;
  virtual const Vector& do_query(const Vector& x) = 0;
  virtual const Vector& do_query(const Vector& x, Workspace& workspace) const = 0;
  virtual const Vector& do_train_one(const Vector& x, const Vector& y) = 0;

  template <class Out>
  void require_output(const Eigen::MatrixBase<Out>& out) const {
    detail::require_vector_type<Scalar, Out>();
    detail::require_size("out", out.size(), output_dim());
  }

  /// The argument itself where it has the right type, else a copy of it.
  template <class In>
  static const Vector& as_vector(const In& in, const char* name, Vector& copy) {
    if constexpr (std::is_same_v<In, Vector>) {
      return in;
    } else {
      detail::load_vector(in, name, copy);
      return copy;
    }
  }

  AttentionConfig config_;
  Vector x_, y_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ATTENTION_INTERFACE_HPP

// ---- loglinear/mode/detail/erased_attention.hpp

#ifndef LOGLINEAR_MODE_DETAIL_ERASED_ATTENTION_HPP
#define LOGLINEAR_MODE_DETAIL_ERASED_ATTENTION_HPP

// A layer of some type behind the interface of those made at run time.

namespace loglinear::detail {

/// The layer type behind the interface.
template <class Layer>
class ErasedAttention final : public Attention<typename Layer::Scalar> {
 public:
  using Base = Attention<typename Layer::Scalar>;
  using typename Base::Matrix;
  using typename Base::MatrixView;
  using typename Base::Vector;
  using typename Base::Workspace;

  ErasedAttention(const AttentionConfig& config,
                  const typename MultiHeadAttention<Layer>::Options& options)
      : Base(config), layer_(options) {}

  void reset() noexcept override { layer_.reset(); }
  void advance_to(std::uint64_t count) override { layer_.advance_to(count); }
  using Base::snapshot;
  void snapshot(AttentionSnapshot& moment) const override {
    if (auto* own = std::any_cast<Moment>(&moment.moment_)) {
      layer_.snapshot(*own);
    } else {
      moment.moment_ = layer_.snapshot();
    }
  }
  void restore(const AttentionSnapshot& moment) override {
    const auto* own = std::any_cast<Moment>(&moment.moment_);
    if (own == nullptr) {
      fail("the snapshot", moment.moment_.has_value() ? "one of another kind of layer" : "empty",
           "one that was taken from a layer with the same kind of transition");
    }
    layer_.restore(*own);
  }
  Workspace make_workspace() const override {
    Workspace workspace;
    workspace.x_ = Vector::Zero(this->output_dim());
    workspace.memory_ = layer_.make_workspace();
    return workspace;
  }
  std::uint64_t size() const noexcept override { return layer_.size(); }
  int threads_used() const noexcept override { return layer_.threads_used(); }
  Vector state() const override { return layer_.state(); }
  std::unique_ptr<Base> clone() const override { return std::make_unique<ErasedAttention>(*this); }
  std::vector<std::string> weight_names() const override { return layer_.weight_names(); }
  MatrixView weight(std::string_view name) const override { return layer_.weight(name); }
  void set_weight(std::string_view name, const Eigen::Ref<const Matrix>& value) override {
    layer_.set_weight(name, value);
  }
  double learning_rate() const noexcept override { return layer_.learning_rate(); }
  void set_learning_rate(double learning_rate) override { layer_.set_learning_rate(learning_rate); }
  MultiHeadAttention<Layer>& layer() noexcept { return layer_; }
  const MultiHeadAttention<Layer>& layer() const noexcept { return layer_; }

 private:
  using Moment = typename MultiHeadAttention<Layer>::Snapshot;

  const Vector& do_forward(const Vector& x) override { return layer_.forward(x); }
  const Vector& do_query(const Vector& x) override { return layer_.query_readonly(x); }
  const Vector& do_query(const Vector& x, Workspace& workspace) const override {
    auto* const own =
        std::any_cast<typename MultiHeadAttention<Layer>::Workspace>(&workspace.memory_);
    if (own == nullptr) {
      fail("the workspace",
           workspace.memory_.has_value() ? "one of another kind of layer" : "empty",
           "made by make_workspace of such a layer");
    }
    return layer_.query_readonly(x, *own);
  }
  const Vector& do_train_one(const Vector& x, const Vector& y) override {
    return layer_.train_one(x, y);
  }

  MultiHeadAttention<Layer> layer_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_ERASED_ATTENTION_HPP

// ---- loglinear/mode/attention.hpp

#ifndef LOGLINEAR_MODE_ATTENTION_HPP
#define LOGLINEAR_MODE_ATTENTION_HPP

/// \file
/// Attention chosen at run time, as a layer: `make_attention(config)`.
///
/// A call of `make_attention` compiles a layer for each kind of transition, 11 of them, which takes
/// some half a minute; hence this header is not part of loglinear.hpp. Link the target
/// `loglinear::runtime`, and it is compiled for float and double once and for all. Without it, a
/// program with several source files defines `LOGLINEAR_RUNTIME`, so that none of them compiles it,
/// and says in one of them, after including this header,
///
///     template std::unique_ptr<loglinear::Attention<double>>
///     loglinear::make_attention<double>(const loglinear::AttentionConfig&);
///
/// and the same for float where it is used.

namespace loglinear {

/// The layer of heads that a mode with `Rule` stands for.
template <class Rule, class Scalar>
using RuntimeHeads =
    MultiHeadAttention<LogLinearAttention<RuntimeRule<Rule>, Scalar, AnyLevelWeights>>;

namespace detail {

/// Calls `work(std::type_identity<Heads>{}, rule)` with the type of heads that a mode stands for
/// and its rule, and returns what it returns.
template <class Scalar, class Work>
auto with_layer_type(const AttentionMode& mode, const Work& work) {
  const auto with_rule = [&]<class Rule>(const Rule& rule) {
    return work(std::type_identity<RuntimeHeads<Rule, Scalar>>{}, RuntimeRule<Rule>(rule));
  };
  if (const auto* log_linear = std::get_if<LogLinear>(&mode)) {
    return log_linear->key_only ? visit_key_only(log_linear->inner, with_rule)
                                : visit_rule(log_linear->inner, with_rule);
  }
  return visit_rule(inner_of(mode), with_rule);
}

}  // namespace detail

/// The layer that a config describes: `MultiHeadAttention<LinearAttention<Rule, Scalar>>`, or
/// `MultiHeadAttention<LogLinearAttention<Rule, Scalar, Weights>>` for `LogLinear`, behind the
/// interface; outputs, states, weights and checkpoints are the same bits. \throws
/// std::invalid_argument for a config that is not valid
///
///     auto layer = make_attention<float>({.d_model = 8, .mode = parse_mode("log_linear(gla)")});
///     const Eigen::VectorXf& output = layer->forward(x);
template <class Scalar = double>
[[nodiscard]] std::unique_ptr<Attention<Scalar>> make_attention(const AttentionConfig& config) {
  config.validate();
  const auto* const log_linear = std::get_if<LogLinear>(&config.mode);
  return detail::with_layer_type<Scalar>(
      config.mode,
      [&]<class Heads>(std::type_identity<Heads>,
                       const auto& rule) -> std::unique_ptr<Attention<Scalar>> {
        return std::make_unique<detail::ErasedAttention<typename Heads::Layer>>(
            config, typename Heads::Options{
                        .inner = rule,
                        .d_model = config.d_model,
                        .d_k = config.d_k,
                        .d_v = config.d_v,
                        .n_heads = config.n_heads,
                        .max_levels = log_linear != nullptr ? log_linear->max_levels : 1,
                        .level_weights = log_linear != nullptr ? log_linear->level_weights
                                                               : LevelWeighting(UnitWeights{}),
                        .read_order = config.read_order,
                        .learning_rate = config.learning_rate,
                        .step = config.step,
                        .bias = config.bias,
                        .weight_scale = config.weight_scale,
                        .seed = config.seed,
                        .bound = config.bound.value_or(output_bound_of(config.mode)),
                        .threads = config.threads});
      });
}

#ifdef LOGLINEAR_RUNTIME
extern template std::unique_ptr<Attention<float>> make_attention<float>(const AttentionConfig&);
extern template std::unique_ptr<Attention<double>> make_attention<double>(const AttentionConfig&);
#endif

/// Calls `work(heads)` with the `RuntimeHeads` behind the interface, for what a
/// `MultiHeadAttention` offers and the interface does not, such as whole spans of tokens. `work`
/// is compiled for every type of layer, 11 of them.
///
///     visit_layer(*attention, [&](auto& heads) { outputs = heads.forward_span(x); });
template <class Scalar, class Work>
void visit_layer(Attention<Scalar>& attention, Work work) {
  detail::with_layer_type<Scalar>(
      attention.config().mode, [&]<class Heads>(std::type_identity<Heads>, const auto&) {
        work(static_cast<detail::ErasedAttention<typename Heads::Layer>&>(attention).layer());
      });
}
/// The same, read-only.
template <class Scalar, class Work>
void visit_layer(const Attention<Scalar>& attention, Work work) {
  detail::with_layer_type<Scalar>(
      attention.config().mode, [&]<class Heads>(std::type_identity<Heads>, const auto&) {
        work(static_cast<const detail::ErasedAttention<typename Heads::Layer>&>(attention).layer());
      });
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ATTENTION_HPP

// ---- loglinear/mode/detail/writer.hpp

#ifndef LOGLINEAR_MODE_DETAIL_WRITER_HPP
#define LOGLINEAR_MODE_DETAIL_WRITER_HPP

// From a mode to its text.

namespace loglinear::detail {

/// The default of `lambda_init`: a word, since it follows the number of levels.
inline constexpr std::string_view inverse_levels = "1/max_levels";

template <Listed Mode>
[[nodiscard]] std::string mode_to_text(const Mode& mode, bool with_defaults);

[[nodiscard]] inline std::string value_to_text(double value) {
  std::array<char, 32> buffer;
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value).ptr;
  return {buffer.data(), end};
}
[[nodiscard]] inline std::string value_to_text(int value) {
  return std::to_string(value);
}
[[nodiscard]] inline std::string value_to_text(const std::optional<double>& value) {
  return value ? value_to_text(*value) : std::string(inverse_levels);
}
template <class... Modes>
[[nodiscard]] std::string value_to_text(const std::variant<Modes...>& value) {
  return std::visit([](const auto& mode) { return mode_to_text(mode, false); }, value);
}
template <class Value>
requires(std::is_enum_v<Value> || std::is_same_v<Value, bool>)  //
    [[nodiscard]] std::string value_to_text(Value value) {
  return std::string(words_of(value)[static_cast<std::size_t>(value)]);
}

/// The values of all hyperparameters.
template <class Mode>
[[nodiscard]] std::vector<std::string> values_of(const Mode& mode) {
  std::vector<std::string> values;
  Mode::hyperparameters(mode, [&](const Hyperparameter&, const auto& value) {
    values.push_back(value_to_text(value));
  });
  return values;
}

/// A mode as text, with all its arguments or only with those that do not print as the defaults do.
template <Listed Mode>
[[nodiscard]] std::string mode_to_text(const Mode& mode, bool with_defaults) {
  std::string arguments;
  const auto add = [&](const std::string& argument) {
    arguments += (arguments.empty() ? "" : ", ") + argument;
  };
  if constexpr (std::is_same_v<Mode, LogLinear>) add(value_to_text(mode.inner));
  const std::vector<std::string> values = values_of(mode), defaults = values_of(Mode{});
  std::size_t next = 0;
  Mode::hyperparameters(mode, [&](const Hyperparameter& parameter, const auto&) {
    const std::size_t i = next++;
    if (with_defaults || values[i] != defaults[i]) {
      add(std::string(parameter.name) + '=' + values[i]);
    }
  });
  std::string text(Mode::info.text);
  return arguments.empty() ? text : text + '(' + arguments + ')';
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_WRITER_HPP

// ---- loglinear/mode/mode_syntax_error.hpp

#ifndef LOGLINEAR_MODE_MODE_SYNTAX_ERROR_HPP
#define LOGLINEAR_MODE_MODE_SYNTAX_ERROR_HPP

/// \file
/// What is wrong with the text of a mode.

namespace loglinear {

/// What `parse_mode` throws: a std::invalid_argument whose message says at which column what was
/// found and what would have been legal there.
class ModeSyntaxError : public std::invalid_argument {
 public:
  /// \param column as `column()` \param what what was found and what would have been legal
  ModeSyntaxError(std::size_t column, const std::string& what)
      : std::invalid_argument("loglinear: mode, column " + std::to_string(column) + ": " + what),
        column_(column) {}

  /// Where in the text: 1 is its first byte, its size + 1 its end.
  [[nodiscard]] std::size_t column() const noexcept { return column_; }

 private:
  std::size_t column_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_SYNTAX_ERROR_HPP

// ---- loglinear/mode/detail/reader.hpp

#ifndef LOGLINEAR_MODE_DETAIL_READER_HPP
#define LOGLINEAR_MODE_DETAIL_READER_HPP

// From a text to the mode that it describes; the grammar stands at the top of mode_text.hpp.

namespace loglinear::detail {

/// "one of a, b, c", or the only name.
[[nodiscard]] inline std::string one_of(const std::vector<std::string_view>& names) {
  std::string list(names.size() > 1 ? "one of " : "");
  for (const std::string_view& name : names) {
    list.append(&name == names.data() ? "" : ", ").append(name);
  }
  return list;
}

/// The names of a variant's modes.
template <class... Modes>
[[nodiscard]] std::vector<std::string_view> names_of(std::type_identity<std::variant<Modes...>>) {
  return {Modes::info.text...};
}

/// What a variant is one of, in a message.
[[nodiscard]] constexpr const char* noun_of(std::type_identity<AttentionMode>) {
  return "a mode: ";
}
[[nodiscard]] constexpr const char* noun_of(std::type_identity<InnerMode>) {
  return "a mode: ";
}
[[nodiscard]] constexpr const char* noun_of(std::type_identity<LevelWeighting>) {
  return "level weights: ";
}

/// Reads one text from left to right.
class ModeReader {
 public:
  explicit ModeReader(std::string_view text) : text_(text) { advance(); }

  /// The whole text as one of the variant's modes.
  template <class Variant>
  [[nodiscard]] Variant read_all() {
    Variant mode = read_mode(std::type_identity<Variant>{});
    if (!token_.empty()) fail("the end");
    return mode;
  }

 private:
  template <class... Modes>
  [[nodiscard]] std::variant<Modes...> read_mode(std::type_identity<std::variant<Modes...>> type) {
    std::optional<std::variant<Modes...>> mode;
    const auto try_mode = [&]<class Mode>(std::type_identity<Mode>) {
      if (mode || token_ != Mode::info.text) return;
      advance();
      mode = read_arguments<Mode>();
    };
    (try_mode(std::type_identity<Modes>{}), ...);
    if (mode) return *mode;
    if (token_ == LogLinear::info.text &&
        !TypeList<Modes...>::template contains<NormalizedMixture>) {
      fail("an inner mode, since log_linear cannot be inside log_linear: " +
           one_of(names_of(type)));
    }
    fail(noun_of(type) + one_of(names_of(type)));
  }

  template <class Mode>
  [[nodiscard]] Mode read_arguments() {
    constexpr bool has_inner = std::is_same_v<Mode, LogLinear>;
    Mode mode{};
    if (!accept("(")) {
      if constexpr (has_inner) fail("\"(\" and an inner mode");
      return mode;
    }
    if constexpr (has_inner) mode.inner = read_mode(std::type_identity<InnerMode>{});
    if (!has_inner && accept(")")) return mode;
    std::vector<std::string_view> given;
    bool first = !has_inner;
    while (first || !accept(")")) {
      if (!first && !accept(",")) fail("\",\" or \")\"");
      read_argument(mode, given);
      first = false;
    }
    return mode;
  }

  template <class Mode>
  void read_argument(Mode& mode, std::vector<std::string_view>& given) {
    std::vector<std::string_view> open;  // arguments that may still come
    bool is_read = false;
    Mode::hyperparameters(mode, [&](const Hyperparameter& parameter, auto& value) {
      const bool is_given = std::find(given.begin(), given.end(), parameter.name) != given.end();
      if (!is_given) open.push_back(parameter.name);
      if (is_read || is_given || token_ != parameter.name) return;
      given.push_back(parameter.name);
      advance();
      if (!accept("=")) fail("\"=\" and a value");
      read_value(value, Mode::info.name, parameter);
      is_read = true;
    });
    if (is_read) return;
    const std::string expected = open.empty() ? "\")\"" : "an argument: " + one_of(open);
    const bool again = std::find(given.begin(), given.end(), token_) != given.end();
    fail(again ? "each argument once, now " + expected : expected);
  }

  /// The value of one of the members of `owner`.
  template <class Value>
  void read_value(Value& value, std::string_view owner, const Hyperparameter& parameter) {
    parse(value);
    handling<std::invalid_argument>(
        [&] { require_legal(owner, parameter, value); },
        [&](const auto& error) {
          raise(ModeSyntaxError(column(), std::string(error.what()).substr(prefix.size())));
        });
    advance();
  }
  template <class... Modes>
  void read_value(std::variant<Modes...>& value, std::string_view, const Hyperparameter&) {
    value = read_mode(std::type_identity<std::variant<Modes...>>{});
  }

  void parse(double& value) const { parse_number(value, "a number"); }
  void parse(int& value) const { parse_number(value, "a whole number"); }
  void parse(std::optional<double>& value) const {
    value.reset();
    if (token_ == inverse_levels) return;
    parse_number(value.emplace(), "a number or 1/max_levels");
  }
  template <class Value>
  void parse(Value& value) const {
    const auto& words = words_of(value);
    const auto word = std::find(words.begin(), words.end(), token_);
    if (word == words.end()) fail(one_of({words.begin(), words.end()}));
    value = static_cast<Value>(word - words.begin());
  }
  template <class Number>
  void parse_number(Number& value, const char* expected) const {
    const char* const end = token_.data() + token_.size();
    const auto [stop, error] = std::from_chars(token_.data(), end, value);
    if (error == std::errc::result_out_of_range) fail(std::string(expected) + " within its range");
    if (error != std::errc{} || stop != end) fail(expected);
  }

  /// Goes to the next token: a word or number, one other character, or empty at the end.
  void advance() {
    const char* const word_characters =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-/";
    position_ =
        (std::min)(text_.find_first_not_of(" \t\n\v\f\r", position_ + token_.size()), text_.size());
    const std::string_view rest = text_.substr(position_);
    const std::size_t word = (std::min)(rest.find_first_not_of(word_characters), rest.size());
    token_ = rest.substr(0, (std::max<std::size_t>)(word, 1));
  }
  bool accept(std::string_view wanted) {
    if (token_ != wanted) return false;
    advance();
    return true;
  }

  [[nodiscard]] std::size_t column() const { return position_ + 1; }
  [[noreturn]] void fail(const std::string& expected) const {
    raise(ModeSyntaxError(column(), "found " + quoted(token_) + "; expected " + expected));
  }

  /// A token for a message: printable and short.
  [[nodiscard]] static std::string quoted(std::string_view token) {
    constexpr std::size_t longest = 40;
    if (token.empty()) return "the end";
    std::string text = "\"";
    for (const char c : token.substr(0, longest)) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte < 0x7F) {
        text += c;
      } else {
        text.append("\\x").append({"0123456789ABCDEF"[byte >> 4], "0123456789ABCDEF"[byte & 15]});
      }
    }
    return text + (token.size() > longest ? "...\"" : "\"");
  }

  static constexpr std::string_view prefix = "loglinear: ";

  std::string_view text_, token_{};
  std::size_t position_ = 0;  // of the token
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_READER_HPP

// ---- loglinear/mode/mode_text.hpp

#ifndef LOGLINEAR_MODE_MODE_TEXT_HPP
#define LOGLINEAR_MODE_MODE_TEXT_HPP

/// \file
/// Modes as text, both ways: `"gla"`, `"gated_delta_net(beta=per_token, gate_bias=6)"`,
/// `"log_linear(delta_product(n_compositions=3), max_levels=20)"`.
///
///     mode     = name [ "(" [ argument { "," argument } ] ")" ]
///     argument = name "=" value
///     value    = number | "true" | "false" | "fixed" | "per_token" | "1/max_levels" | weights
///     weights  = name [ "(" [ argument { "," argument } ] ")" ]
///
/// with space anywhere between those. `log_linear` has its inner mode in front of its arguments;
/// the value of its `level_weights` is one of `normalized_mixture`, `mean_mixture`,
/// `softplus_weights` and `unit_weights` with its own arguments, as in
/// `"log_linear(gla, level_weights=mean_mixture(tau=0.5))"`. What is not mentioned has its default;
/// that of `lambda_init` is no number but the word `1/max_levels`. Names and ranges are what each
/// rule and each weighting says of itself, `info` and `hyperparameters`.

namespace loglinear {

/// A mode as text, with those arguments that differ from their defaults; `parse_mode` reads the
/// same mode back, bit for bit, if it is valid.
[[nodiscard]] inline std::string to_text(const AttentionMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for an inner mode.
[[nodiscard]] inline std::string to_text(const InnerMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for one alternative, such as `to_text(GLA{.gate_bias = 6})`.
template <detail::Listed Mode>
[[nodiscard]] std::string to_text(const Mode& mode) {
  return detail::mode_to_text(mode, false);
}

/// The mode that a text describes; the grammar stands at the top of this file. \throws
/// ModeSyntaxError where the text breaks the grammar, names what does not exist, repeats an
/// argument or gives a value that is out of its range
[[nodiscard]] inline AttentionMode parse_mode(std::string_view text) {
  return detail::ModeReader(text).read_all<AttentionMode>();
}
/// The same for an inner mode: `log_linear` is refused.
[[nodiscard]] inline InnerMode parse_inner_mode(std::string_view text) {
  return detail::ModeReader(text).read_all<InnerMode>();
}

/// The name of a mode in its text, such as `"gated_delta_net"`.
[[nodiscard]] inline std::string_view mode_name(const AttentionMode& mode) {
  return std::visit([]<class Mode>(const Mode&) { return Mode::info.text; }, mode);
}

/// Level weights as text, as in the text of a mode.
[[nodiscard]] inline std::string to_text(const LevelWeighting& weights) {
  return detail::value_to_text(weights);
}
/// The level weights that a text describes. \throws ModeSyntaxError as `parse_mode`
[[nodiscard]] inline LevelWeighting parse_level_weights(std::string_view text) {
  return detail::ModeReader(text).read_all<LevelWeighting>();
}

namespace detail {

template <class... Modes>
[[nodiscard]] std::vector<std::string> signatures_of(std::type_identity<std::variant<Modes...>>) {
  return {mode_to_text(Modes{}, true)...};
}

}  // namespace detail

/// One line a mode, with all arguments and their defaults, for a help text:
/// `"retnet(gamma=0.95)"`, ... `parse_mode` reads each as the mode with its defaults.
[[nodiscard]] inline std::vector<std::string> mode_signatures() {
  return detail::signatures_of(std::type_identity<AttentionMode>{});
}
/// The same for level weights: `"normalized_mixture(lambda_init=1/max_levels, tau=1)"`, ...
[[nodiscard]] inline std::vector<std::string> level_weights_signatures() {
  return detail::signatures_of(std::type_identity<LevelWeighting>{});
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_TEXT_HPP
