// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP

// Reads of the levels of a StreamState, and their pullback: all levels in one pass, each under the
// query that what is pending for its tier makes of the token's.

#include <array>
#include <cstddef>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/dotted_rows.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/pending.hpp"
#include "loglinear/stream/detail/read_memory.hpp"

namespace loglinear::detail {

/// A friend of StreamState.
template <class Kind, class Stored>
struct LevelReads {
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = PendingProduct<Kind>::is_diagonal;

  /// out, from the levels alone: the query goes down through the tiers, the newest first.
  template <class Stream>
  static void read(const Stream& stream, const LevelQuery<Scalar>& query, const SeenLevels& seen,
                   ReadMemory<Kind>& memory, Scalar* out, [[maybe_unused]] const Kind* next,
                   [[maybe_unused]] LookUp<Kind>* looked_up) {
    const Index rows = stream.key_rows(), columns = stream.d_v();
    std::array<WeightedRows<Stored, Scalar>, max_level_limit> terms;
    std::size_t count = 0;
    int tier = -1;
    Scalar factor(1);
    if constexpr (scales_values<Kind>) std::fill_n(out, columns, Scalar(0));
    for (int l : stream.levels_.active_levels()) {
      while (tier < stream.tier_of(l)) {
        ++tier;
        stream.with_tier(tier, [&](const auto& product) {
          if constexpr (OneFactor<Kind>) {
            factor *= product.factor();
          } else {
            pull(product, query.query, memory, tier, next, looked_up);
          }
          if constexpr (scales_values<Kind>) {
            auto scales = memory.tier_scales.col(tier);
            if (tier == 0) scales.setOnes();
            if (tier > 0) scales = memory.tier_scales.col(tier - 1);
            product.right(scales.transpose());
          }
        });
      }
      terms[count] = {stream.levels_.data(l),
                      rows,
                      {query_of(query.query, memory, tier)},
                      query.lambda[seen(l)] * (static_cast<Scalar>(seen.kept(l)) * factor)};
      if constexpr (scales_values<Kind>) {
        Scalar* const share = memory.level_read.data();
        weighted_rows(&terms[count], 1, columns, columns, share);
        if (tier >= 0) {
          multiply(share, memory.tier_scales.data() + tier * columns, columns, share);
        }
        add(out, share, columns, out);
      }
      ++count;
    }
    if constexpr (looks_up<Kind>) {
      if (next != nullptr && tier < 0 && stream.buffer_level_ > 0) {
        stream.recent_.pull(next->p.data(), looked_up->pulled_p, memory.scores);
      }
    }
    if constexpr (!scales_values<Kind>) {
      weighted_rows<false, 8>(terms.data(), static_cast<int>(count), columns, columns, out);
    }
  }

  /// t.d_old_query and d_lambda from the levels alone: sums of S_l d come up through the tiers, the
  /// oldest first, or where products are diagonal all at once, their rows weighted.
  template <class Stream>
  static void pull_back(const Stream& stream, const LevelQuery<Scalar>& query,
                        const SeenLevels& seen, const ReadMemory<Kind>& memory,
                        PullbackMemory<Kind>& t, Scalar* d_lambda) {
    const Index rows = stream.key_rows(), columns = stream.d_v();
    std::array<DottedRows<Stored, Scalar>, max_level_limit> terms;
    std::array<LevelTerm, max_level_limit> of_level;
    std::size_t count = 0;
    int tier = -1;
    Scalar factor(1);
    constexpr bool weighs_rows = is_diagonal && !OneFactor<Kind>;
    if constexpr (weighs_rows) t.row_weights.setOnes();
    for (int l : stream.levels_.active_levels()) {
      while (tier < stream.tier_of(l)) {
        stream.with_tier(++tier, [&]([[maybe_unused]] const auto& product) {
          if constexpr (OneFactor<Kind>) factor *= product.factor();
          if constexpr (weighs_rows) product.push(t.row_weights, t.pushed);
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
      const Scalar* vector = t.d_old_read.data();
      if constexpr (scales_values<Kind>) {
        if (tier >= 0) {
          Scalar* const scaled = t.level_cotangents.data() + l * columns;
          multiply(memory.tier_scales.data() + tier * columns, vector, columns, scaled);
          vector = scaled;
        }
      }
      terms[count] = {stream.levels_.data(l), vector, weights, query_of(query.query, memory, tier),
                      Scalar(0)};
      of_level[count++] = {tier, at, left};
    }
    const auto add_dotted = [&](std::size_t first, std::size_t end) {
      dotted_rows(terms.data() + first, static_cast<int>(end - first), rows, columns, columns,
                  t.d_old_query.data());
    };
    t.d_old_query.setZero();
    std::size_t last = count;
    for (; tier >= 0 && !is_diagonal; --tier) {
      std::size_t first = last;
      while (first > 0 && of_level[first - 1].tier == tier) --first;
      add_dotted(first, last);
      stream.with_tier(tier, [&](const auto& product) { product.push(t.d_old_query, t.pushed); });
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
    if constexpr (looks_up<Kind> && std::is_same_v<Pulling, RecentProduct<Kind>>) {
      if (next != nullptr) {
        product.pull(before, next->p.data(), memory.tier_queries.col(tier), looked_up->pulled_p,
                     memory.scores, looked_up->found);
        return;
      }
    }
    product.pull(before, memory.tier_queries.col(tier), memory.scores);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP
