// SPDX-License-Identifier: MIT
// A pool of streams: each stream is what it would be alone, whatever happens to the others.

#include "loglinear/pool/stream_pool.hpp"

#include <cmath>
#include <limits>
#include <map>
#include <new>
#include <stdexcept>
#include <utility>

#include "catch.hpp"
#include "law/batch.hpp"
#include "refused_allocations.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr Index heads = 4, d_k = 5, d_v = 3;
using Pool = StreamPool<double>;

int levels_of(const Recipe& recipe) {
  return recipe.has_levels ? 4 : 1;
}
Pool pool_of(const Recipe& recipe) {
  return Pool({.heads = heads, .d_k = d_k, .d_v = d_v, .max_levels = levels_of(recipe)});
}
BatchStates<double> empty_states(const Recipe& recipe) {
  return BatchStates<double>(heads, LogLinearState<double>(levels_of(recipe), d_k, d_v));
}

/// One token of some streams; the reads.
Values step(Pool& pool, const std::vector<Index>& streams, Arrays& tokens, Layout layout) {
  Values out{tokens.q.batch, 1, heads, d_v,
             std::vector<double>(static_cast<std::size_t>(tokens.q.batch * heads * d_v))};
  const LaidArrays laid = lay(tokens, layout);
  Laid to(out, Layout::bthd);
  pool.step(streams, inputs(laid), to.array());
  to.read(out);
  return out;
}
/// The tokens of one stream of those that go together.
Arrays alone(const Arrays& tokens, Index b) {
  Arrays one = tokens;
  detail::for_each_array(
      [&](const char*, Values& values) {
        if (values.numbers.empty()) return;
        const auto size = static_cast<std::ptrdiff_t>(values.rows * values.heads * values.columns);
        values.numbers = std::vector<double>(values.numbers.begin() + b * size,
                                             values.numbers.begin() + (b + 1) * size);
        values.batch = 1;
      },
      one);
  return one;
}
double apart(const BatchStates<double>& a, const BatchStates<double>& b) {
  double most = 0;
  for (std::size_t h = 0; h < a.size(); ++h) {
    REQUIRE(a[h].size() == b[h].size());
    most = std::max(most, test::difference(a[h].flat_state(), b[h].flat_state()));
  }
  return most;
}

}  // namespace

TEST_CASE("a stream of a pool is what it would be alone, whatever happens to the others", "[law]") {
  test::Random random(1);
  for (const Recipe& recipe : recipes) {
    CAPTURE(recipe.name);
    Pool pool = pool_of(recipe);
    std::map<Index, BatchStates<double>> expected;  // by the recurrent form, head by head
    std::map<Index, Pool> single;                   // a pool for each stream
    std::map<Index, Index> number_in_single;
    for (int round = 0; round < 200; ++round) {
      set_thread_count(1 + random.below(3));
      const int what = random.below(12);
      std::vector<Index> streams;
      for (const auto& [number, states] : expected) streams.push_back(number);
      if (what == 0 || streams.empty()) {
        const Index number = pool.add();
        REQUIRE(expected.count(number) == 0);
        expected.emplace(number, empty_states(recipe));
        number_in_single[number] = single.emplace(number, pool_of(recipe)).first->second.add();
        continue;
      }
      const Index chosen =
          streams[static_cast<std::size_t>(random.below(static_cast<int>(streams.size())))];
      if (what == 1 && streams.size() > 3) {
        pool.remove(chosen);
        expected.erase(chosen);
        single.erase(chosen);
        continue;
      }
      if (what == 2 && streams.size() < 9) {
        const Index copy = pool.fork(chosen);
        REQUIRE(expected.count(copy) == 0);
        expected.emplace(copy, expected.at(chosen));
        single.emplace(copy, single.at(chosen));
        number_in_single[copy] = number_in_single.at(chosen);
        continue;
      }
      if (what == 3) {  // a snapshot of one into another
        const Index other = streams.front();
        pool.restore(other, pool.snapshot(chosen));
        expected.at(other) = expected.at(chosen);
        single.at(other) = single.at(chosen);
        number_in_single[other] = number_in_single.at(chosen);
        continue;
      }
      // Any of them, in any order.
      std::vector<Index> subset;
      for (const Index number : streams) {
        if (random.below(3) > 0)
          subset.insert(subset.begin() + random.below(static_cast<int>(subset.size()) + 1), number);
      }
      const auto batch = static_cast<Index>(subset.size());
      if (batch == 0) continue;
      Arrays tokens = arrays(random, recipe, batch, 1);
      Values out = step(pool, subset, tokens, layouts[random.below(5)]);
      for (Index b = 0; b < batch; ++b) {
        const Index number = subset[static_cast<std::size_t>(b)];
        Arrays one = alone(tokens, b);
        Values own = step(single.at(number), {number_in_single.at(number)}, one, Layout::bthd);
        for (Index h = 0; h < heads; ++h) {
          const Rows read =
              recurrent(head(one, 0, h, 0, 1), expected.at(number)[static_cast<std::size_t>(h)]);
          CHECK(test::difference(out.head(b, h, heads, 0, 1), read) <=
                test::rounding<double>(3000));
          CHECK(test::same_bits(out.head(b, h, heads, 0, 1), own.head(0, h, heads, 0, 1)));
        }
      }
      for (const Index number : streams) {  // also those that have rested
        CHECK(apart(pool.snapshot(number), expected.at(number)) <= test::rounding<double>(3000));
        CHECK(apart(pool.snapshot(number),
                    single.at(number).snapshot(number_in_single.at(number))) == 0);
        CHECK(pool.size(number) == expected.at(number)[0].size());
      }
      CHECK(pool.count() == static_cast<Index>(streams.size()));
    }
  }
}

TEST_CASE("what streams leave is used again", "[law]") {
  test::Random random(2);
  const Recipe& recipe = recipes[0];
  Pool pool = pool_of(recipe);
  std::size_t bytes = 0;
  for (int round = 0; round < 20; ++round) {
    std::vector<Index> streams;
    for (int b = 0; b < 6; ++b) streams.push_back(pool.add());
    for (int t = 0; t < 25; ++t) {
      Arrays tokens = arrays(random, recipe, 6, 1);
      step(pool, streams, tokens, Layout::bthd);
    }
    if (round == 0) bytes = pool.byte_count();
    CHECK(pool.byte_count() == bytes);
    for (const Index number : streams) {
      pool.restore(number, pool.snapshot(number));
      pool.remove(number);
    }
    CHECK(pool.count() == 0);
  }
  // Active levels, and one block a stream to write to.
  CHECK(bytes <= 6 * 5 * heads * d_k * d_v * sizeof(double));
}

TEST_CASE("a prompt by chunks goes on in the pool", "[law]") {
  test::Random random(3);
  const Recipe& recipe = recipes[4];
  Arrays prompt = arrays(random, recipe, 1, 37), token = arrays(random, recipe, 1, 1);
  BatchStates<double> states = empty_states(recipe);
  Values reads{1, 37, heads, d_v, std::vector<double>(37 * heads * d_v)};
  const LaidArrays laid = lay(prompt, Layout::bthd);
  const Laid to(reads, Layout::bthd);
  chunkwise(inputs(laid), to.array(), states);
  Pool pool = pool_of(recipe);
  const Index number = pool.add();
  pool.restore(number, states);
  CHECK(pool.snapshot(number) == states);
  Values out = step(pool, {number}, token, Layout::bhtd);
  for (Index h = 0; h < heads; ++h) {
    const Rows read = recurrent(head(token, 0, h, 0, 1), states[static_cast<std::size_t>(h)]);
    CHECK(test::difference(out.head(0, h, heads, 0, 1), read) <= test::rounding<double>(100));
  }
}

TEST_CASE("a pool refuses by name, and nothing changes", "[law]") {
  test::Random random(4);
  set_thread_count(2);
  const Recipe& recipe = recipes[0];
  Pool pool = pool_of(recipe);
  const std::vector<Index> streams = {pool.add(), pool.add(), pool.add()};
  for (int t = 0; t < 5; ++t) {
    Arrays tokens = arrays(random, recipe, 3, 1);
    step(pool, streams, tokens, Layout::bthd);
  }
  std::vector<BatchStates<double>> before;
  for (const Index number : streams) before.push_back(pool.snapshot(number));
  const auto refused = [&](auto&& work, std::initializer_list<std::string_view> parts) {
    const std::string message = test::error_of(work);
    CAPTURE(message);
    CHECK(test::mentions(message, parts));
    for (std::size_t b = 0; b < 3; ++b) CHECK(pool.snapshot(streams[b]) == before[b]);
  };
  Arrays good = arrays(random, recipe, 3, 1);
  refused([&] { step(pool, {0, 1}, good, Layout::bthd); }, {"batch", "is 3", "be 2"});
  refused([&] { step(pool, {0, 1, 7}, good, Layout::bthd); }, {"stream is 7", "add or fork"});
  refused([&] { step(pool, {0, 1, 0}, good, Layout::bthd); }, {"stream is 0", "given once"});
  refused([&] { pool.remove(-1); }, {"stream is -1"});
  refused([&] { pool.fork(3); }, {"stream is 3"});
  refused([&] { pool.restore(0, {}); }, {"heads of the stream", "is 0", "be 4"});
  refused([&] { pool.restore(0, BatchStates<double>(4, LogLinearState<double>(5, d_k, d_v))); },
          {"max_levels", "5", "4"});
  BatchStates<double> uneven = before[0];
  uneven[2].push_leaf(random.vector<double>(d_k), random.vector<double>(d_v));
  refused([&] { pool.restore(0, uneven); }, {"size() of a head", "is 6", "be 5"});
  for (const double bad : {std::numeric_limits<double>::quiet_NaN(), 1e308}) {
    Arrays wrong = good;
    for (Index d = 0; d < d_v; ++d) wrong.v.at(2, 0, 3, d) = bad;
    refused([&] { step(pool, streams, wrong, Layout::bthd); }, {"(batch 2, head 3)"});
  }
  Arrays two = arrays(random, recipe, 3, 2);
  refused([&] { step(pool, streams, two, Layout::bthd); }, {"tokens", "is 2", "be 1"});
  pool.remove(1);
  CHECK_THROWS_AS(pool.size(1), std::invalid_argument);
  CHECK(pool.add() == 1);
  CHECK(pool.size(1) == 0);
  CHECK_THROWS_AS(Pool({.heads = 0, .d_k = 1, .d_v = 1}), std::invalid_argument);
  CHECK_THROWS_AS(Pool({.heads = 1, .d_k = 1, .d_v = 1, .max_levels = 65}), std::invalid_argument);
  const Index most = Index{1} << 26;
  for (const typename Pool::Options& options :
       {typename Pool::Options{.heads = 4096, .d_k = most, .d_v = most},
        typename Pool::Options{.heads = most, .d_k = most, .d_v = most},
        typename Pool::Options{.heads = 2, .d_k = most, .d_v = most}}) {
    CHECK(test::mentions(test::error_of([&] { Pool wide(options); }),
                         {"heads is", "heads * d_k * d_v is at most"}));
  }
}

TEST_CASE("no memory for an end of a stream changes nothing, and an end needs none", "[law]") {
  test::Random random(5);
  const Recipe& recipe = recipes[0];
  Pool pool = pool_of(recipe);
  const std::vector<Index> streams = {pool.add(), pool.add()};
  for (int t = 0; t < 7; ++t) {
    Arrays tokens = arrays(random, recipe, 2, 1);
    step(pool, streams, tokens, Layout::bthd);
  }
  Pool copy = pool;
  for (Pool* each : {&pool, &copy}) {
    const BatchStates<double> kept = each->snapshot(1);
    int refusals = 0;
    for (int granted = 0; each->count() == 2; ++granted) {
      bool is_refused = false;
      allocations_left = granted;
      try {
        each->remove(0);
      } catch (const std::bad_alloc&) {
        is_refused = true;
      }
      allocations_left = -1;
      CHECK((each->count() == 2) == is_refused);
      if (!is_refused) break;
      ++refusals;
      CHECK(each->size(0) == 7);
    }
    CHECK(refusals == (each == &copy && refuses_allocations ? 1 : 0));
    CHECK(each->count() == 1);
    CHECK(each->snapshot(1) == kept);
    const Index next = each->add();
    CHECK(next == 0);
    CHECK(each->size(next) == 0);
    for (int t = 0; t < 7; ++t) {  // what it takes now is nobody else's
      Arrays token = arrays(random, recipe, 1, 1);
      step(*each, {next}, token, Layout::bthd);
      CHECK(each->snapshot(1) == kept);
    }
  }
}

TEST_CASE("a pool that has been moved from has no streams and takes new ones", "[law]") {
  test::Random random(6);
  const Recipe& recipe = recipes[0];
  Pool pool = pool_of(recipe);
  const std::vector<Index> streams = {pool.add(), pool.add(), pool.add()};
  Arrays tokens = arrays(random, recipe, 3, 1);
  step(pool, streams, tokens, Layout::bthd);
  const BatchStates<double> kept = pool.snapshot(2);
  Pool other = std::move(pool);
  CHECK(other.count() == 3);
  CHECK(other.snapshot(2) == kept);
  CHECK(pool.count() == 0);
  CHECK_THROWS_AS(pool.size(0), std::invalid_argument);
  CHECK(pool.add() == 0);
  CHECK(pool.add() == 1);
  CHECK(pool.count() == 2);
  Arrays two = arrays(random, recipe, 2, 1);
  step(pool, {0, 1}, two, Layout::bthd);
  CHECK(pool.size(1) == 1);
  CHECK(other.snapshot(2) == kept);
}

TEST_CASE("a step reads what the recurrent form does, where lambda q leaves the range", "[law]") {
  const double one = 1, zero = 0;
  const auto of = [](const double& number, Index columns = 1) {
    return HeadArray<const double>::bthd(&number, 1, 1, 1, columns);
  };
  for (const auto& [large, state] : {std::pair(1e200, 1e-100), std::pair(1e-200, 1e300)}) {
    CAPTURE(large, state);
    const double lambda[] = {0, large};
    const BatchInputs<double> in = {
        .q = of(large), .k = of(one), .v = of(zero), .lambda = of(lambda[0], 2)};
    LogLinearState<double> before(1, 1, 1);
    before.push_leaf(test::Vector<double>::Ones(1), test::Vector<double>::Constant(1, state));
    BatchStates<double> by_recurrent{before}, by_step{before};
    Pool pool({.heads = 1, .d_k = 1, .d_v = 1, .max_levels = 1});
    pool.restore(pool.add(), by_step);
    double expected = 0, stepped = 0, pooled = 0;
    recurrent(in, HeadArray<double>::bthd(&expected, 1, 1, 1, 1), by_recurrent);
    step(in, HeadArray<double>::bthd(&stepped, 1, 1, 1, 1), by_step);
    pool.step({0}, in, HeadArray<double>::bthd(&pooled, 1, 1, 1, 1));
    CHECK(std::abs(expected / (large * state * large) - 1) < 1e-12);
    CHECK(stepped == expected);
    CHECK(pooled == expected);
  }
}

TEST_CASE("an executor that fails leaves no stream with half a token", "[law]") {
  test::Random random(7);
  for (const Recipe& recipe : recipes) {
    CAPTURE(recipe.name);
    Pool pool = pool_of(recipe), same = pool_of(recipe);
    const std::vector<Index> streams = {pool.add(), pool.add(), pool.add()};
    for (int b = 0; b < 3; ++b) static_cast<void>(same.add());
    for (int t = 0; t < 9; ++t) {
      Arrays tokens = arrays(random, recipe, 3, 1);
      set_thread_count(1);
      const Values expected = step(same, streams, tokens, Layout::bthd);
      set_thread_count(3);
      int loops = 0;
      set_executor([&](Index n, const LoopBody& body) {
        const Index most = ++loops % 2 == t % 2 ? n : 1 + t % n;
        for (Index i = 0; i < most; ++i) body(i);
        for (Index i = 0; i < most; i += 2) body(i);
        if (most < n) throw std::runtime_error("no more");
      });
      const Values found = step(pool, streams, tokens, Layout::bthd);
      set_executor({});
      CHECK(loops == 2);
      CHECK(found.numbers == expected.numbers);
      for (const Index number : streams) CHECK(pool.snapshot(number) == same.snapshot(number));
    }
  }
}
