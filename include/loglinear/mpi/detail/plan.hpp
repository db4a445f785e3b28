// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_PLAN_HPP
#define LOGLINEAR_MPI_DETAIL_PLAN_HPP

// What all ranks know of each other before they compute.

#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/mpi/detail/stretch_element.hpp"
#include "loglinear/mpi/options.hpp"
#include "loglinear/mpi/ranks.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"
#include "loglinear/sequence/inputs.hpp"

namespace loglinear::detail {

/// What one rank says of its part.
struct RankFacts {
  std::int64_t tokens = 0;
  // As on all other ranks. `heads` are those of all sequences.
  std::int64_t sequences = 0, heads = 0, d_k = 0, d_v = 0, max_levels = 0;
  std::int64_t chunk_size = 0, schedule = 0, scalar_bytes = 0;
  std::int64_t is_dense = 0, decays_values = 0;  // of its tokens
  [[nodiscard]] bool operator==(const RankFacts&) const = default;
};
inline constexpr int fact_count = sizeof(RankFacts) / sizeof(std::int64_t);

struct RankPlan {
  std::vector<RankFacts> facts{};        // of each rank
  std::vector<std::uint64_t> starts{};   // of each head, the tokens before all of these
  std::vector<std::uint64_t> offsets{};  // of each rank, the tokens of those before it; and all
  StretchLayout layout{};

  /// The tokens of a head before a rank's own.
  [[nodiscard]] std::uint64_t start(int rank, std::size_t head) const {
    return starts[head] + offsets[static_cast<std::size_t>(rank)];
  }
  [[nodiscard]] bool operator==(const RankPlan& other) const {
    return facts == other.facts && starts == other.starts;
  }
};

/// Throws unless every rank says what rank 0 says, and rank 0 names a schedule that exists.
inline void require_same(const std::vector<RankFacts>& facts) {
  for (std::size_t rank = 1; rank < facts.size(); ++rank) {
    const auto require = [&](const char* what, std::int64_t RankFacts::*fact) {
      if (facts[rank].*fact == facts[0].*fact) return;
      fail("on rank " + std::to_string(rank) + ": " + what,
           static_cast<long long>(facts[rank].*fact), static_cast<long long>(facts[0].*fact),
           ", as on rank 0");
    };
    require("the bytes of a number", &RankFacts::scalar_bytes);
    require("the number of sequences", &RankFacts::sequences);
    require("the number of heads of all sequences", &RankFacts::heads);
    require("d_k", &RankFacts::d_k);
    require("d_v", &RankFacts::d_v);
    require("max_levels", &RankFacts::max_levels);
    require("the chunk size, a power of two,", &RankFacts::chunk_size);
    require("the number of the schedule", &RankFacts::schedule);
  }
  require_between("the number of the schedule", facts[0].schedule,
                  static_cast<std::int64_t>(mpi::Schedule::scan),
                  static_cast<std::int64_t>(mpi::Schedule::pipelined));
}

/// Every rank's facts, and where its tokens lie in the streams, which begin where those of rank 0
/// do. Throws on all ranks where they do not fit together.
[[nodiscard]] inline RankPlan plan_of(const mpi::Ranks& ranks, const RankFacts& own,
                                      std::vector<std::uint64_t> starts) {
  RankPlan plan;
  plan.facts.resize(static_cast<std::size_t>(ranks.count()));
  plan.starts = std::move(starts);
  require_mpi(MPI_Allgather(&own, fact_count, MPI_INT64_T, plan.facts.data(), fact_count,
                            MPI_INT64_T, ranks.comm()),
              "MPI_Allgather");
  require_same(plan.facts);
  require_mpi(
      MPI_Bcast(plan.starts.data(), static_cast<int>(own.heads), MPI_UINT64_T, 0, ranks.comm()),
      "MPI_Bcast");
  plan.layout = {own.max_levels, own.d_k, own.d_v, 0, 0, 0};
  std::uint64_t tokens = 0;
  for (const RankFacts& facts : plan.facts) {
    plan.offsets.push_back(tokens);
    tokens += static_cast<std::uint64_t>(facts.tokens);
    plan.layout.is_dense |= facts.is_dense;
    plan.layout.decays_values |= facts.decays_values;
  }
  plan.offsets.push_back(tokens);
  for (const std::uint64_t start : plan.starts) {
    if (tokens > (std::numeric_limits<std::uint64_t>::max)() - start) {
      fail("the number of tokens of all ranks", tokens, "such that a stream has less than 2^64");
    }
    // A run ends where a rank begins, and holds no more levels than are active there.
    for (std::size_t rank = 1; rank < plan.facts.size(); ++rank) {
      const int active =
          active_level_count(start + plan.offsets[rank], static_cast<int>(own.max_levels));
      plan.layout.capacity = (std::max)(plan.layout.capacity, std::int64_t{active});
    }
  }
  return plan;
}

/// What this rank says of its heads, those of `sequences` sequences.
template <class Scalar>
[[nodiscard]] RankFacts facts_of(const std::vector<const SequenceInputs<Scalar>*>& heads,
                                 Index sequences, Index d_k, Index d_v, int max_levels,
                                 Index chunk_size, mpi::Schedule schedule) {
  RankFacts facts{.tokens = heads.empty() ? 0 : heads[0]->length(),
                  .sequences = sequences,
                  .heads = static_cast<std::int64_t>(heads.size()),
                  .d_k = d_k,
                  .d_v = d_v,
                  .max_levels = max_levels,
                  .chunk_size = chunk_size,
                  .schedule = static_cast<std::int64_t>(schedule),
                  .scalar_bytes = sizeof(Scalar)};
  for (const SequenceInputs<Scalar>* head : heads) {
    if (head->updates() > 0) facts.is_dense = 1;
    if (!head->g_value.is_absent()) facts.decays_values = 1;
  }
  return facts;
}

/// Calls `work()`, which is about head n of `heads`; an error names the head.
template <class Work>
void about_head(std::size_t n, std::size_t heads, Work work) {
  handling<std::invalid_argument>(work, [&](const std::invalid_argument& error) {
    const std::string which = heads > 1 ? " (head " + std::to_string(n) + ")" : "";
    raise(std::invalid_argument(error.what() + which));
  });
}
/// Calls `work(n)` for each head of this rank, on its threads.
template <class Scalar, class Work>
void for_each_head(std::size_t heads, Work work) {
  parallel_for<Scalar>(static_cast<Index>(heads), thread_count(), [&](Index i) {
    const auto n = static_cast<std::size_t>(i);
    about_head(n, heads, [&] { work(n); });
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_PLAN_HPP
