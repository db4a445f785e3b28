// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_CARRY_HPP
#define LOGLINEAR_STREAM_DETAIL_CARRY_HPP

// The binary-counter carry that merges buckets, in one pass over the memory of their levels.

#include <algorithm>
#include <array>
#include <cstddef>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"

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

/// The keys of some leaves, wherever they lie: coefficient i of leaf n, times the factor of leaf n
/// where there are factors. One type, so that a program compiles one carry.
template <class Scalar>
struct LeafKeys {
  const Scalar* first;
  Index of_row, of_leaf;  // strides
  const Scalar* factors = nullptr;

  [[nodiscard]] Scalar operator()(Index i, Index n) const {
    const Scalar& key = first[i * of_row + n * of_leaf];
    return factors == nullptr ? key : factors[n] * key;
  }
};

/// One carry: matrix `landed` of the `landed + 1` contiguous ones at `levels` becomes the sum of
/// the bucket `sum_n key(., n) value_n^T` of `count` leaves, of itself if `keeps`, and of all those
/// below it, which become zero. `value_n` begins at `values + n * columns`. One pass over the
/// memory: a row of the target stays in the nearest cache, and is rounded once if it is narrow.
template <class Stored, class Scalar>
void carry(Stored* levels, int landed, bool keeps, Index rows, Index columns, Index count,
           const LeafKeys<Scalar>& key, const Scalar* values) {
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

#define LOGLINEAR_CARRY(EXTERN, SCALAR)                                                            \
  EXTERN template void detail::carry(SCALAR*, int, bool, Eigen::Index, Eigen::Index, Eigen::Index, \
                                     const detail::LeafKeys<SCALAR>&, const SCALAR*);              \
  EXTERN template void detail::carry(SCALAR*, int, bool, Eigen::Index, const SCALAR*);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_CARRY)

#endif  // LOGLINEAR_STREAM_DETAIL_CARRY_HPP
