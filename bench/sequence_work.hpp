// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_SEQUENCE_WORK_HPP
#define LOGLINEAR_BENCH_SEQUENCE_WORK_HPP

// How many operations the reads of a sequence need at least, whatever an implementation does: a
// multiplication and an addition each count as one.

#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cstdint>

namespace bench {

using Eigen::Index;

inline constexpr Index chunk = 64;

/// Chunks of a sequence, and how many older levels they see: the set bits of the chunk's index.
template <class PerChunk>
double mean_over_chunks(Index length, PerChunk per_chunk) {
  const Index chunks = std::max<Index>(1, length / chunk);
  double sum = 0;
  for (Index c = 0; c < chunks; ++c) {
    sum += per_chunk(static_cast<double>(std::popcount(static_cast<std::uint64_t>(c))));
  }
  return sum / static_cast<double>(chunks);
}

/// Operations a token without updates: scores and their sum of values over half a chunk each, the
/// chunk's own K^T V, and a read of every older level.
inline double useful_work(Index length, Index d_k, Index d_v) {
  const double own = 2.0 * static_cast<double>(d_k + d_v) * 32.5;
  const double state = 2.0 * static_cast<double>(d_k * d_v);
  return mean_over_chunks(length, [&](double levels) { return own + state * (1 + levels); });
}

/// Operations a token of the delta rule in WY form, with the names of
/// loglinear/chunks/chunk_map.hpp, for chunks of C = 64 tokens that see m older levels:
///
///     <q, k>  and queries -= scores P, keys = T^T K, each half of C x C x d_k  3 * 2 d_k (C + 1)/2
///     <p, k>, strictly below the diagonal                                      2 d_k (C - 1)/2
///     T, and the product of two lower triangles <q, k> T, C^3/3 a chunk each   2 C^2/3
///     scores V, half                                                           2 d_v (C + 1)/2
///     keys^T V and a read of each older level                                  2 d_k d_v (1 + m)
///     S <- A S of each older level, the cheaper of: A formed once, d_k x d_k,
///         then applied to m levels                             2 d_k^2 + m 2 d_k^2 d_v / C
///         m times S - keys^T (P S)                             m 4 d_k d_v
inline double delta_work(Index length, Index key_size, Index value_size) {
  const auto c = static_cast<double>(chunk), d_k = static_cast<double>(key_size),
             d_v = static_cast<double>(value_size);
  const double own =
      3 * d_k * (c + 1) + d_k * (c - 1) + 2 * c * c / 3 + d_v * (c + 1) + 2 * d_k * d_v;
  return mean_over_chunks(length, [&](double m) {
    const double formed = m > 0 ? 2 * d_k * d_k * (1 + m * d_v / c) : 0;
    return own + 2 * d_k * d_v * m + std::min(formed, m * 4 * d_k * d_v);
  });
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_SEQUENCE_WORK_HPP
