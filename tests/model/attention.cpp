// SPDX-License-Identifier: MIT
// Softmax attention on its own: what its cache takes, keeps and refuses.

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/model.hpp"
#include "support.hpp"

namespace test = loglinear::test;

namespace {

using Eigen::Index;
using Cache = loglinear::AttentionCache<double>;
using Layer = loglinear::SlidingWindowAttention<double>;
using Matrix = Cache::Matrix;
using test::error_of;
using test::mentions;

Layer layer_of(Index window) {
  loglinear::Xorshift64 random(1);
  return Layer({.layers = {0}, .num_heads = 2, .window_size = window}, 8, 0.3, random);
}

}  // namespace

TEST_CASE("A cache of attention keeps the last tokens of its window, oldest first") {
  test::Random random(1);
  for (const Index window : {0, 1, 2, 5, 40}) {
    for (const Index piece : {1, 3, 7, 20}) {
      CAPTURE(window, piece);
      Cache cache(window, 3);
      std::vector<Eigen::RowVectorXd> all_keys, all_values;
      for (int i = 0; i < 9; ++i) {
        const Matrix keys = random.matrix<double>(piece, 3), values = -2 * keys;
        cache.append(keys, values);
        for (Index t = 0; t < piece; ++t) {
          all_keys.push_back(keys.row(t));
          all_values.push_back(values.row(t));
        }
        const auto seen = Index(all_keys.size());
        const Index kept = window == 0 ? seen : (std::min)(seen, window - 1);
        REQUIRE(cache.size() == std::uint64_t(seen));
        REQUIRE(cache.kept() == kept);
        const Matrix ordered_keys = cache.keys_in_order(), ordered_values = cache.values_in_order();
        REQUIRE(ordered_keys.rows() == kept);
        bool is_same = true;
        for (Index t = 0; t < kept; ++t) {
          const auto at = std::size_t(seen - kept + t);
          is_same = is_same && ordered_keys.row(t) == all_keys[at] &&
                    ordered_values.row(t) == all_values[at];
        }
        CHECK(is_same);
      }
    }
  }
}

TEST_CASE("A cache of attention grows up to its window and no further") {
  Cache cache(Index{1} << 40, 4);
  CHECK(cache.memory_bytes() == 0);
  const Matrix row = Matrix::Ones(1, 4);
  for (int i = 0; i < 100; ++i) cache.append(row, row);
  CHECK(cache.memory_bytes() <= 2 * 200 * 4 * sizeof(double));
  Cache small(9, 4);
  for (int i = 0; i < 100; ++i) small.append(row, row);
  CHECK(small.memory_bytes() == 2 * 8 * 4 * sizeof(double));
}

TEST_CASE("A cache of attention refuses by name what does not fit it") {
  CHECK(mentions(error_of([] { Cache(-1, 4); }), {"window", "-1", "between 0 and"}));
  CHECK(mentions(error_of([] { Cache(4, -3); }), {"columns", "-3", "between 1 and"}));
  Cache cache(0, 4);
  const Matrix row = Matrix::Ones(1, 4);
  cache.append(row, row);
  const Cache before = cache;
  const auto refused = [&](const Matrix& keys, const Matrix& values) {
    return error_of([&] { cache.append(keys, values); });
  };
  CHECK(mentions(refused(Matrix::Ones(1, 3), row), {"columns of keys", "3", "4"}));
  CHECK(mentions(refused(row, Matrix::Ones(1, 5)), {"columns of values", "5", "4"}));
  CHECK(mentions(refused(row, Matrix::Ones(2, 4)), {"rows of values", "2", "1"}));
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(mentions(refused(infinity * row, row), {"keys", "finite"}));
  CHECK(mentions(refused(row, infinity * row), {"values", "finite"}));
  CHECK(mentions(error_of([&] { cache.reserve(-1); }), {"reserve", "-1"}));
  CHECK(cache == before);
}

TEST_CASE("A cache of attention that was moved from is empty and refused") {
  for (const Index window : {0, 6}) {
    const Layer layer = layer_of(window);
    Cache cache = layer.make_cache();
    const Layer::Matrix x = Layer::Matrix::Ones(3, 8);
    (void)layer.forward(x, cache);
    Cache taken(std::move(cache));
    CHECK(taken.size() == 3);
    CHECK(cache.size() == 0);
    CHECK(cache.columns() == 0);
    CHECK(cache.kept() == 0);
    CHECK(cache.memory_bytes() == 0);
    CHECK(mentions(error_of([&] { (void)layer.forward(x, cache); }), {"cache", "make_cache"}));
    CHECK(mentions(error_of([&] { cache.append(Matrix::Ones(1, 8), Matrix::Ones(1, 8)); }),
                   {"columns of the cache", "0"}));
    cache.reset();
    cache = taken;  // usable again
    CHECK(cache == taken);
    Cache assigned(2, 2);
    assigned = std::move(taken);
    CHECK(assigned == cache);
    CHECK(taken.columns() == 0);
    Cache& itself = assigned;
    assigned = std::move(itself);
    CHECK(assigned == cache);
  }
}

TEST_CASE("Attention refuses x of another width and caches that are none") {
  const Layer layer = layer_of(0);
  Cache cache = layer.make_cache();
  for (const Index columns : {0, 7, 9}) {
    CAPTURE(columns);
    const Layer::Matrix x = Layer::Matrix::Ones(1, columns);
    CHECK(mentions(error_of([&] { (void)layer.forward(x, cache); }), {"x (columns)", "8"}));
    Cache* const only = &cache;
    CHECK(mentions(error_of([&] { (void)layer.stage(x, {&only, 1}); }), {"x (columns)", "8"}));
  }
  const Layer::Matrix two = Layer::Matrix::Ones(2, 8);
  const std::vector<Cache*> caches{&cache, nullptr};
  CHECK(mentions(error_of([&] { (void)layer.stage(two, caches); }), {"caches[1]", "null"}));
  CHECK(cache.size() == 0);
}

TEST_CASE("A null pointer among the streams of a mixer is refused by name") {
  const loglinear::LogLinearMamba2<double> mixer(
      {.hidden_size = 8, .num_heads = 4, .head_dim = 4, .state_size = 3, .num_levels = 5});
  auto cache = mixer.make_cache();
  const std::vector<loglinear::MixerCache<double>*> caches{nullptr, &cache};
  const loglinear::detail::RowMajorMatrix<double> x = Eigen::MatrixXd::Ones(2, 8);
  CHECK(mentions(error_of([&] { (void)mixer.step_streams(x, caches); }), {"caches[0]", "null"}));
  CHECK(cache.size() == 0);
}
