// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_SUM_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_SUM_HPP

#include <algorithm>
#include <array>
#include <cstddef>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// out = sum_l weights[l] S_l^T query over the active levels, for any vector `out`.
template <class Levels, class Out>
void read_levels(const Levels& levels, const typename Levels::Accumulator* query,
                 const typename Levels::Accumulator* weights, Out&& out) {
  using Scalar = typename Levels::Accumulator;
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

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_SUM_HPP
