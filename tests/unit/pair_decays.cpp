// SPDX-License-Identifier: MIT
// The decays between pairs of moments against products of them one by one, and their pullback
// against the sum over all pairs of each moment, for whole and partial packets.
#include "loglinear/chunks/pair_decays.hpp"

#include <cstddef>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace {

using namespace loglinear::detail;
namespace test = loglinear::test;

/// D(b+1..a) for b <= a, else 0.
double product_between(const std::vector<double>& decays, Index b, Index a) {
  double product = b <= a ? 1 : 0;
  for (Index t = b + 1; t <= a; ++t) product *= decays[static_cast<std::size_t>(t)];
  return product;
}

}  // namespace

TEMPLATE_TEST_CASE("decays between pairs of moments, and their pullback", "", float, double) {
  using Scalar = TestType;
  using Matrix = RowMajorMatrix<Scalar>;
  test::Random random(8);
  for (const Index capacity : {1, 5, 16, 21, 64, 70}) {
    PairDecays<Scalar> pairs(capacity);
    // A long chunk, a shorter one after it, and a long one again.
    for (const Index moments : {capacity, (capacity + 1) / 2, capacity}) {
      INFO("capacity " << capacity << ", moments " << moments);
      std::vector<Scalar> decays(static_cast<std::size_t>(moments));
      for (Scalar& decay : decays) decay = static_cast<Scalar>(random.number(0.5, 1));
      if (moments > 3) decays[3] = Scalar(0);
      const std::vector<double> exact(decays.begin(), decays.end());
      pairs.prepare(decays.data(), moments);
      const double tolerance = test::rounding<Scalar>(2, moments);
      for (Index a = -1; a < moments; ++a) {
        for (Index b = 0; b < moments; ++b) {
          const double expected = product_between(exact, b, a);
          CHECK(std::abs(static_cast<double>(pairs.until(a)[b]) - expected) <= tolerance);
        }
      }
      // Left rows see their own moment, or what lies before it; a right row is written at each
      // moment, or two of them at every other.
      for (const Moments left : {Moments{0, 1}, Moments{-1, 1}}) {
        for (const Moments right : {Moments{0, 1}, Moments{1, 2, 2}}) {
          const Index columns = right.count_before(moments, 2 * moments);
          if (columns > capacity) continue;
          const Matrix plain = random.matrix<Scalar>(moments, columns),
                       d_decayed = random.matrix<Scalar>(moments, columns);
          Matrix decayed = plain;
          pairs.decay(decayed, left, right);
          for (const bool is_decayed : {true, false}) {
            Matrix d_plain = d_decayed;
            std::vector<Scalar> d_log(static_cast<std::size_t>(moments), Scalar(1));
            pairs.pull_back(is_decayed ? decayed : plain, is_decayed, d_plain, left, right,
                            d_log.data());
            std::vector<double> sums(static_cast<std::size_t>(moments), 1.0);
            for (Index i = 0; i < moments; ++i) {
              for (Index j = 0; j < columns; ++j) {
                const double by = product_between(exact, right[j], left[i]);
                const double pair = static_cast<double>(plain(i, j)) * by,
                             d = static_cast<double>(d_decayed(i, j));
                CHECK(std::abs(static_cast<double>(decayed(i, j)) - pair) <= tolerance);
                CHECK(std::abs(static_cast<double>(d_plain(i, j)) - d * by) <= tolerance);
                for (Index t = right[j] + 1; t <= left[i]; ++t) {
                  sums[static_cast<std::size_t>(t)] += pair * d;
                }
              }
            }
            for (std::size_t t = 0; t < sums.size(); ++t) {
              CHECK(std::abs(static_cast<double>(d_log[t]) - sums[t]) <=
                    test::rounding<Scalar>(4, moments * columns));
            }
          }
        }
      }
    }
  }
}
