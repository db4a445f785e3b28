// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_HEAD_ARRAY_HPP
#define LOGLINEAR_BATCH_HEAD_ARRAY_HPP

#include <array>
#include <initializer_list>
#include <limits>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"

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
/// and four strides, counted in numbers. It owns and copies nothing. Without a pointer the array is
/// absent.
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

  /// A read-only view of the same numbers.
  operator HeadArray<const Scalar>() const requires(!std::is_const_v<Number>) {
    return {data_, sizes_, strides_};
  }

  [[nodiscard]] Index batch() const { return sizes_[0]; }     ///< B
  [[nodiscard]] Index rows() const { return sizes_[1]; }      ///< T, or n rows a token
  [[nodiscard]] Index heads() const { return sizes_[2]; }     ///< H
  [[nodiscard]] Index columns() const { return sizes_[3]; }   ///< D
  [[nodiscard]] Number* data() const { return data_; }        ///< the first number
  [[nodiscard]] const Four& sizes() const { return sizes_; }  ///< B, T, H, D
  /// The distances of neighbours in each of these directions, in numbers.
  [[nodiscard]] const Four& strides() const { return strides_; }
  /// How many numbers there are; the largest Index where they are more.
  [[nodiscard]] Index size() const {
    return detail::count_of({sizes_[0], sizes_[1], sizes_[2], sizes_[3]});
  }
  /// Whether there is nothing: no pointer, or no number.
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
