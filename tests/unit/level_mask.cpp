// SPDX-License-Identifier: MIT
#include "loglinear/chunks/level_mask.hpp"

#include <vector>

#include "catch.hpp"
#include "loglinear/detail/base/product.hpp"
#include "read_orders.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using namespace loglinear::detail;

constexpr auto orders = test::read_orders;

/// The level under which query t of a chunk sees its token s, or -1 where it does not; by the
/// definition of the orders.
int seen_under(const LevelMask& mask, Index s, Index t) {
  if (s > t || (s == t && mask.order == ReadOrder::before_push)) return -1;
  return level_of(mask.first + static_cast<std::uint64_t>(s),
                  mask.first + static_cast<std::uint64_t>(t), mask.order, mask.max_levels);
}

}  // namespace

TEST_CASE("stretches of a chunk hold every token once, at its level") {
  for (const ReadOrder order : orders) {
    for (const int max_levels : {1, 2, 3, 5, 64}) {
      // Chunks at multiples of 16, the ends of which need not be filled, and any first token
      // within.
      for (const std::uint64_t first :
           {std::uint64_t{0}, std::uint64_t{3}, std::uint64_t{15}, std::uint64_t{16},
            std::uint64_t{40}, std::uint64_t{48}, (std::uint64_t{1} << 50) - 16,
            (std::uint64_t{1} << 63) - 5}) {
        const LevelMask mask{order, max_levels, first};
        for (Index t = 0; t < 33; ++t) {
          INFO("order " << static_cast<int>(order) << ", max_levels " << max_levels << ", first "
                        << first << ", query " << t);
          std::vector<int> levels(34, -1);
          Index next = 0;  // stretches come oldest first, without a gap
          mask.for_each_stretch(t, [&](int level, Index begin, Index size) {
            REQUIRE(size > 0);
            REQUIRE(begin >= 0);
            CHECK(begin == next);
            next = begin + size;
            for (Index s = begin; s < begin + size; ++s) {
              levels[static_cast<std::size_t>(s)] = level;
            }
          });
          CHECK(next == (order == ReadOrder::before_push ? t : t + 1));
          for (Index s = 0; s < 34; ++s) {
            CHECK(levels[static_cast<std::size_t>(s)] == seen_under(mask, s, t));
          }
        }
      }
    }
  }
}

TEST_CASE("a bucket from before the chunk is seen under the level of its first token") {
  for (const ReadOrder order : orders) {
    const LevelMask mask{order, 5, 24};
    for (const std::uint64_t bucket : {0u, 8u, 16u, 23u}) {
      for (Index t = 0; t < 20; ++t) {
        CHECK(mask.level(bucket, t) ==
              level_of(bucket, 24 + static_cast<std::uint64_t>(t), order, 5));
      }
    }
  }
}

TEST_CASE("the runs of a chunk are its stretches, whichever chunk came before") {
  for (const ReadOrder order : orders) {
    for (const int max_levels : {1, 3, 5, 64}) {
      LevelRuns runs;
      for (const std::uint64_t first : {0u, 16u, 32u, 35u, 48u, 64u}) {
        for (const Index tokens : {16, 13, 16}) {
          const LevelMask mask{order, max_levels, first};
          runs.prepare(mask, tokens);
          for (Index t = 0; t < tokens; ++t) {
            INFO("order " << static_cast<int>(order) << ", max_levels " << max_levels << ", first "
                          << first << ", query " << t);
            auto run = runs.of(t).begin();
            mask.for_each_stretch(t, [&](int level, Index begin, Index size) {
              REQUIRE(run != runs.of(t).end());
              CHECK(run->level == level);
              CHECK(run->begin == begin);
              CHECK(run->size == size);
              ++run;
            });
            CHECK(run == runs.of(t).end());
          }
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("scores are weighted by the level of each pair, and their gradients too", "",
                   float, double, long double) {
  using Scalar = TestType;
  using Matrix = RowMajorMatrix<Scalar>;
  test::Random random(5);
  for (const Index tokens : {1, 5, 21, 64}) {
    for (const ReadOrder order : orders) {
      for (const Index leaves : {1, 3}) {
        const LevelMask mask{order, 4, 10};
        LevelRuns runs;
        runs.prepare(mask, tokens);
        const Matrix scores = random.matrix<Scalar>(tokens, tokens * leaves);
        const Matrix factors = random.matrix<Scalar>(tokens, tokens * leaves);
        const Matrix lambda = random.matrix<Scalar>(tokens, 5);
        const Matrix d_weighted = random.matrix<Scalar>(tokens, tokens * leaves);
        Matrix weighted = random.matrix<Scalar>(tokens, tokens * leaves), decayed = weighted;
        Matrix d_scores = d_weighted, d_lambda = lambda;  // the gradient is added to what is there
        Matrix d_decayed = d_weighted, d_lambda_decayed = lambda;
        weight_scores<Scalar>(
            mask, runs, 0, leaves, scores, lambda, weighted,
            [](Index) -> const Scalar* { return nullptr; }, 0);
        const auto factors_of = [&](Index t) { return factors.data() + t * tokens * leaves; };
        weight_scores<Scalar>(mask, runs, 0, leaves, scores, lambda, decayed, factors_of, 0);
        pull_back_weighted_scores(mask, runs, leaves, scores, lambda, d_scores, d_lambda,
                                  [](Index) -> const Scalar* { return nullptr; });
        pull_back_weighted_scores(mask, runs, leaves, scores, lambda, d_decayed, d_lambda_decayed,
                                  factors_of);
        CHECK(d_decayed == d_scores);  // of the scores under their factors
        // A few rows alone, with room behind them, are the same to the bit.
        const Index first = tokens / 2, rows = tokens - first;
        Matrix some_scores = Matrix::Zero(rows + 16, tokens * leaves), some = some_scores,
               some_factors = Matrix::Zero(tokens + 16, tokens * leaves);
        some_scores.topRows(rows) = scores.bottomRows(rows);
        some_factors.topRows(tokens) = factors;
        weight_scores<Scalar>(
            mask, runs, first, leaves, block_of(some_scores).topRows(rows), lambda,
            RowBlock<Scalar>(some).topRows(rows),
            [&](Index t) { return some_factors.data() + t * tokens * leaves; },
            packet_size<Scalar>);
        CHECK(some.topRows(rows) == decayed.bottomRows(rows));
        for (Index t = 0; t < tokens; ++t) {
          test::Vector<Scalar> sums = lambda.row(t), decayed_sums = sums;
          for (Index j = 0; j < tokens * leaves; ++j) {
            const int level = seen_under(mask, j / leaves, t);
            const Scalar weight = level < 0 ? 0 : lambda(t, level);
            CHECK(weighted(t, j) == weight * scores(t, j));
            CHECK(decayed(t, j) == weight * Scalar(scores(t, j) * factors(t, j)));
            CHECK(d_scores(t, j) == weight * d_weighted(t, j));
            if (level < 0) continue;
            sums[level] += d_weighted(t, j) * scores(t, j);
            decayed_sums[level] += d_weighted(t, j) * scores(t, j) * factors(t, j);
          }
          // The sums are of so many terms that they are not of order 1 any more.
          CHECK(test::difference(d_lambda.row(t).transpose(), sums) <=
                (1 + sums.norm()) * test::rounding<Scalar>(2, tokens * leaves));
          CHECK(test::difference(d_lambda_decayed.row(t).transpose(), decayed_sums) <=
                (1 + decayed_sums.norm()) * test::rounding<Scalar>(3, tokens * leaves));
        }
      }
    }
  }
}
