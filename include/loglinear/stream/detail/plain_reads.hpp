// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_PLAIN_READS_HPP
#define LOGLINEAR_STREAM_DETAIL_PLAIN_READS_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/dotted_rows.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"

namespace loglinear::detail {

/// Whether the bound of the levels' norm alone ensures that a read is finite.
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
