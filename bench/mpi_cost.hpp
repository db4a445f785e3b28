// SPDX-License-Identifier: MIT
#ifndef BENCH_MPI_COST_HPP
#define BENCH_MPI_COST_HPP

// What one call of mpi::chunkwise costs a rank beside the tokens themselves: the model of
// docs/many_heads.md, which tests/mpi/counts.cpp holds to what is counted.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "loglinear/fenwick.hpp"

namespace bench {

/// H heads of T tokens on P ranks, cut as evenly as can be; numbers of `bytes` bytes.
struct MpiCost {
  std::int64_t ranks = 1, tokens = 0, heads = 1, d_k = 64, d_v = 64, bytes = 4;
  bool is_dense = true;  // rank-one updates: P is a matrix
  int max_levels = 64;

  /// Tokens before those of a rank.
  [[nodiscard]] std::uint64_t start(std::int64_t rank) const {
    return static_cast<std::uint64_t>(rank * (tokens / ranks) + std::min(rank, tokens % ranks));
  }
  /// Levels that a rank has from before its tokens: log2 P at most where T / P is a power of two.
  [[nodiscard]] int levels(std::int64_t rank) const {
    return loglinear::active_level_count(start(rank), max_levels);
  }
  /// The most of them on any rank, A.
  [[nodiscard]] int most_levels() const {
    int most = 0;
    for (std::int64_t rank = 1; rank < ranks; ++rank) most = std::max(most, levels(rank));
    return most;
  }

  /// Bytes that each rank gives to the one exclusive scan of a call: for every head P, the levels,
  /// and 64 that say what they are.
  [[nodiscard]] std::int64_t scan_bytes() const {
    const std::int64_t product = is_dense ? d_k * d_k : d_k;
    return heads * (64 + bytes * (product + most_levels() * d_k * d_v));
  }
  /// Bytes of the one message for each head that a rank takes from the one before it where they are
  /// in turn: the levels, and one that says that all is well.
  [[nodiscard]] std::int64_t turn_bytes(std::int64_t rank) const {
    return rank == 0 ? 0 : heads * (1 + bytes * levels(rank) * d_k * d_v);
  }

  /// Multiplications and additions of a rank that one process does not have: queries go through P.
  /// P itself goes through the chunks in the place of a level that came in, and what came in is
  /// read once instead of chunk by chunk.
  [[nodiscard]] double more_operations() const {
    const auto of_rank = static_cast<double>(heads * tokens) / static_cast<double>(ranks);
    const auto d = static_cast<double>(d_k);
    return of_rank * (is_dense ? 2 * d * d : d);
  }
  /// Of one merge of two elements, for all heads.
  [[nodiscard]] double merge_operations() const {
    const auto k = static_cast<double>(d_k), v = static_cast<double>(d_v);
    const double level = is_dense ? 2 * k * k * v : 2 * k * v;
    return static_cast<double>(heads) * (most_levels() * level + (is_dense ? 2 * k * k * k : k));
  }
};

/// A network and processors, and what follows for a call.
struct MpiMachine {
  double latency = 20e-6, bytes_a_second = 1.25e9;  // 10 Gbit/s
  double seconds_a_token = 1e-6;                    // of one head, measured
  double operations_a_second = 4e10;                // of products of 64 x 64 floats

  /// Seconds of one call with the schedule `scan`. The scan takes `steps` exchanges one after the
  /// other, P - 1 where elements are passed on from rank to rank, log2 P where they double. Six
  /// more collectives of a few bytes take log2 P latencies each.
  [[nodiscard]] double seconds(const MpiCost& cost, double steps) const {
    const auto heads = static_cast<double>(cost.heads), ranks = static_cast<double>(cost.ranks);
    const double own = heads * static_cast<double>(cost.tokens) / ranks * seconds_a_token;
    if (cost.ranks == 1) return own;
    const double step = latency + static_cast<double>(cost.scan_bytes()) / bytes_a_second +
                        cost.merge_operations() / operations_a_second;
    return own + cost.more_operations() / operations_a_second + steps * step +
           6 * std::ceil(std::log2(ranks)) * latency;
  }
  /// One process's time over P times that.
  [[nodiscard]] double efficiency(const MpiCost& cost, double steps) const {
    MpiCost one = cost;
    one.ranks = 1;
    return seconds(one, 0) / (static_cast<double>(cost.ranks) * seconds(cost, steps));
  }
};

}  // namespace bench

#endif  // BENCH_MPI_COST_HPP
