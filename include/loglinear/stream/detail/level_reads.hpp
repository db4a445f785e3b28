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
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/pending.hpp"
#include "loglinear/stream/detail/workspace.hpp"

namespace loglinear::detail {

/// Whether a write takes products of the state with p: a read then forms them on the way.
template <class Kind>
inline constexpr bool looks_up = is_rank_one_update<Kind>;

/// A friend of StreamState.
template <class Kind, class Stored>
struct LevelReads {
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = PendingProduct<Kind>::is_diagonal;

  /// w.old_read from the levels alone: the query goes down through the tiers, the newest first.
  template <class Stream, class WeightOf>
  static void read(const Stream& stream, Workspace<Kind>& w, WeightOf weight_of,
                   [[maybe_unused]] const Token<Kind>* next) {
    const Index rows = stream.key_rows(), columns = stream.d_v();
    std::array<WeightedRows<Stored, Scalar>, max_level_limit> terms;
    std::size_t count = 0;
    int tier = -1;
    Scalar factor(1);
    if constexpr (scales_values<Kind>) w.old_read.setZero();
    for (int l : stream.levels_.active_levels()) {
      while (tier < stream.tier_of(l)) {
        ++tier;
        stream.with_tier(tier, [&](const auto& product) {
          if constexpr (OneFactor<Kind>) {
            factor *= product.factor();
          } else {
            pull(product, w, tier, next);
          }
          if constexpr (scales_values<Kind>) {
            auto scales = w.tier_scales.col(tier);
            if (tier == 0) scales.setOnes();
            if (tier > 0) scales = w.tier_scales.col(tier - 1);
            product.right(scales.transpose());
          }
        });
      }
      terms[count] = {stream.levels_.data(l),
                      rows,
                      {query_of(w, tier)},
                      w.lambda[weight_of(l)] * kept(weight_of, l, factor)};
      if constexpr (scales_values<Kind>) {
        weighted_rows(&terms[count], 1, columns, columns, w.level_read.data());
        if (tier >= 0) w.level_read.array() *= w.tier_scales.col(tier).array();
        w.old_read += w.level_read;
      }
      ++count;
    }
    if constexpr (looks_up<Kind>) {
      if (next != nullptr && tier < 0 && stream.buffer_level_ > 0) {
        stream.recent_.pull(next->transition.p.data(), w.pulled_p, w.scores);
      }
    }
    if constexpr (!scales_values<Kind>) {
      weighted_rows<false, 8>(terms.data(), static_cast<int>(count), columns, columns,
                              w.old_read.data());
    }
  }

  /// t.d_old_query and t.d_lambda from the levels alone: sums of S_l d come up through the tiers,
  /// the oldest first, or where products are diagonal all at once, their rows weighted.
  template <class Stream, class WeightOf>
  static void pull_back(const Stream& stream, const Workspace<Kind>& w, TrainingWorkspace<Kind>& t,
                        WeightOf weight_of) {
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
      const int seen = weight_of(l);
      auto weights = t.level_weights.col(l);
      const Scalar left = kept(weight_of, l, factor);
      weights.setConstant(w.lambda[seen] * left);
      if constexpr (weighs_rows) weights.array() *= t.row_weights.array();
      const Scalar* vector = t.d_old_read.data();
      if constexpr (scales_values<Kind>) {
        if (tier >= 0) {
          auto scaled = t.level_cotangents.col(l);
          scaled = w.tier_scales.col(tier).cwiseProduct(t.d_old_read);
          vector = scaled.data();
        }
      }
      terms[count] = {stream.levels_.data(l), vector, weights.data(), query_of(w, tier), Scalar(0)};
      of_level[count++] = {tier, seen, left};
    }
    const auto add_dotted = [&](std::size_t first, std::size_t end) {
      dotted_rows(terms.data() + first, static_cast<int>(end - first), stream.key_rows(),
                  stream.d_v(), stream.d_v(), t.d_old_query.data());
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
      t.d_lambda[of_level[i].seen] += of_level[i].factor * terms[i].found;
    }
  }

 private:
  struct LevelTerm {
    int tier, seen;
    Scalar factor;
  };

  /// The factor of a level's share of a read, where the last level may have to give way before it.
  template <class WeightOf>
  static Scalar kept(const WeightOf& weight_of, int level, const Scalar& factor) {
    if constexpr (requires { weight_of.kept(level); }) {
      return static_cast<Scalar>(weight_of.kept(level)) * factor;
    } else {
      return factor;
    }
  }

  /// The query as tier `tier` sees it, but for a common factor.
  [[nodiscard]] static const Scalar* query_of(const Workspace<Kind>& w, int tier) {
    return OneFactor<Kind> || tier < 0 ? w.old_query.data() : w.tier_queries.col(tier).data();
  }

  /// The query as `tier` sees it from that of the tier before; and p of the next token, too.
  template <class Pulling>
  static void pull(const Pulling& product, Workspace<Kind>& w, int tier,
                   [[maybe_unused]] const Token<Kind>* next) {
    if constexpr (looks_up<Kind> && std::is_same_v<Pulling, RecentProduct<Kind>>) {
      if (next != nullptr) {
        product.pull(query_of(w, tier - 1), next->transition.p.data(), w.tier_queries.col(tier),
                     w.pulled_p, w.scores, w.found);
        return;
      }
    }
    product.pull(query_of(w, tier - 1), w.tier_queries.col(tier), w.scores);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVEL_READS_HPP
