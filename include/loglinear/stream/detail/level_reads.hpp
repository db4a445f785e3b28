// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP

// Reads of the levels of a stream, and their pullback: all levels in one pass, each with the
// token's query taken through what is pending for the level's tier.

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/dotted_rows.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/pending_tiers.hpp"
#include "loglinear/stream/detail/read_memory.hpp"

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
