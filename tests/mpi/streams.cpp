// SPDX-License-Identifier: MIT
// A stream from parts that many ranks have ingested is the stream of one pass; many streams with
// keys are those of one pool, wherever they have been moved.

#include <cmath>
#include <cstdint>
#include <map>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/mpi.hpp"
#include "loglinear/rules.hpp"
#include "mpi/cuts.hpp"
#include "support.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr int length = 70;

/// The parts of all ranks, appended to a stream of `before` tokens, against one pass.
template <PartProduct product, class Layer>
void check_parts(const Layer& layer, const mpi::Ranks& ranks, int before, std::uint64_t seed) {
  test::Random random(seed);
  const test::Matrix<double> x = random.matrix<double>(4, length + 20);
  const std::vector<Index> cuts = random_cuts(random, length - before, ranks.count());
  const Stretch mine = stretch_of(cuts, ranks.rank());
  Layer one = layer, stream = layer;
  for (int t = 0; t < length; ++t) one.forward(x.col(t));
  for (int t = 0; t < before && ranks.is_first(); ++t) stream.forward(x.col(t));

  const std::uint64_t first = static_cast<std::uint64_t>(before) +
                              mpi::count_before(static_cast<std::uint64_t>(mine.count), ranks);
  CHECK(first == static_cast<std::uint64_t>(before + mine.first));
  StreamPart<Layer, product> part(layer, first);
  for (Index t = 0; t < mine.count; ++t) part.write(x.col(before + mine.first + t));
  mpi::append(stream, part, ranks);
  CHECK(stream.size() == (ranks.is_first() ? length : 0));
  mpi::broadcast(stream, 0, ranks);
  CHECK(stream.size() == length);
  for (int t = length; t < length + 20; ++t) {  // the live stream goes on, on every rank
    const auto expected = one.forward(x.col(t)).eval();
    CHECK(difference(stream.forward(x.col(t)), expected) <= rounding<double>(64 * length, 5));
  }
}

}  // namespace

TEST_CASE("parts that many ranks have ingested make the stream of one pass", "[mpi]") {
  const mpi::Ranks ranks;
  std::uint64_t seed = 90;
  for (const int before : {0, 13}) {
    const auto check = [&]<PartProduct product, class Layer>(const char* name) {
      INFO(name << ", " << before << " tokens before, rank " << ranks.rank() << " of "
                << ranks.count());
      typename Layer::Options options{};
      options.d_model = 4;
      options.d_k = 5;
      options.d_v = 6;
      options.max_levels = 5;
      check_parts<product>(Layer(options), ranks, before, ++seed);
    };
    constexpr auto compact = PartProduct::compact, matrix = PartProduct::matrix;
    check.operator()<compact, LogLinearAttention<GLA>>("a number");
    check.operator()<compact, LogLinearAttention<HGRN2>>("a decay of key rows");
    check.operator()<compact, LogLinearAttention<Hawk>>("a decay of value columns");
    check.operator()<matrix, LogLinearAttention<GatedDeltaNet>>("a delta rule");
    using Heads = MultiHeadAttention<LogLinearAttention<GLA>>;
    check_parts<compact>(Heads({.d_model = 4, .d_k = 5, .d_v = 6, .n_heads = 3, .max_levels = 5}),
                         ranks, before, ++seed);
  }
}

TEST_CASE("parts that do not meet are refused on all ranks", "[mpi]") {
  const mpi::Ranks ranks;
  using Layer = LogLinearAttention<GLA>;
  const Layer layer({.d_model = 4, .d_k = 5, .d_v = 6});
  test::Random random(3);
  const test::Vector<double> x = random.vector<double>(4);
  for (int guilty = 0; guilty < ranks.count(); ++guilty) {
    Layer stream = layer, narrow({.d_model = 4, .d_k = 2, .d_v = 6});
    const auto rank = static_cast<std::uint64_t>(ranks.rank());
    StreamPart<Layer> part(layer, ranks.rank() == guilty ? rank + 1 : rank);
    part.write(x);
    INFO("rank " << ranks.rank() << " of " << ranks.count() << ", spoilt " << guilty);
    CHECK(mentions(error_of([&] { mpi::append(stream, part, ranks); }),
                   {"on rank ", "the first token of the part to append"}));
    CHECK(stream.size() == 0);
    if (ranks.count() == 1) continue;
    const std::string error =
        error_of([&] { mpi::broadcast(ranks.rank() == guilty ? narrow : stream, 0, ranks); });
    CHECK(mentions(error, {"on rank ", "d_k is ", "as in the object that is sent"}));
  }
  Layer stream = layer;
  CHECK(mentions(error_of([&] { mpi::broadcast(stream, ranks.count(), ranks); }),
                 {"the rank to broadcast from"}));
}

TEST_CASE("an object of other options than the one that is sent is refused by their name",
          "[mpi]") {
  const mpi::Ranks ranks;
  if (ranks.count() == 1) return;
  const auto check = [&](auto layer, auto other, const char* option, const char* value) {
    for (const int guilty : {0, ranks.count() - 1}) {
      auto& own = ranks.rank() == guilty ? other : layer;
      const std::string error = error_of([&] { mpi::broadcast(own, 0, ranks); });
      INFO("rank " << ranks.rank() << ", spoilt " << guilty << ": " << error);
      const std::string named = std::to_string(guilty == 0 ? 1 : guilty);
      CHECK(mentions(error, {"on rank " + named + ": " + option, value, "that is sent"}));
      CHECK(own.size() == 0);
    }
  };
  using Fading = LogLinearAttention<RetNet>;
  const auto fading = [](double gamma) {
    return Fading({.inner = {.gamma = gamma}, .d_model = 4, .d_k = 4, .d_v = 4});
  };
  check(fading(0.9), fading(0.5), "inner is ", "gamma=0.5");
  Fading stream = fading(0.9);
  const StreamPart<Fading> part(ranks.is_last() ? fading(0.5) : stream, 0);
  CHECK(mentions(error_of([&] { mpi::append(stream, part, ranks); }), {"stream.inner is "}));
  using Layer = LogLinearAttention<GLA>;
  const auto bounded = [](OutputBound bound) {
    return MultiHeadAttention<Layer>(
        {.d_model = 4, .d_k = 4, .d_v = 4, .n_heads = 2, .bound = bound});
  };
  check(bounded(OutputBound::none), bounded(OutputBound::always), "bound is ", "always");
  const auto seeded = [](std::uint64_t seed) {
    return Layer({.d_model = 4, .d_k = 4, .d_v = 4, .seed = seed});
  };
  Layer layer = seeded(static_cast<std::uint64_t>(ranks.rank()) + 1), first = seeded(1);
  mpi::broadcast(layer, 0, ranks);  // the seed is not compared
  const test::Vector<double> x = test::Random(4).vector<double>(4);
  CHECK(difference(layer.forward(x), first.forward(x)) <= 0);
}

namespace {

/// An object that cannot be copied on some ranks.
struct Heavy {
  explicit Heavy(bool is_too_heavy) : is_heavy(is_too_heavy) {}
  Heavy(const Heavy& other) : is_heavy(other.is_heavy), number(other.number) {
    if (is_heavy) throw std::bad_alloc();
  }
  Heavy& operator=(const Heavy&) = default;

  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("number", self.number);
  }

  bool is_heavy;
  double number = 0;
};

}  // namespace

TEST_CASE("where one rank has no memory for a copy, none waits for it", "[mpi]") {
  const mpi::Ranks ranks;
  if (ranks.count() == 1) return;
  Heavy heavy(ranks.is_last()), light(false);
  heavy.number = light.number = ranks.rank() + 1;
  std::string error;
  try {
    mpi::broadcast(heavy, 0, ranks);
  } catch (const std::runtime_error& thrown) {
    error = thrown.what();
  }
  CHECK(mentions(error, {"on rank " + std::to_string(ranks.count() - 1), "bad_alloc"}));
  CHECK(heavy.number == ranks.rank() + 1);
  mpi::broadcast(light, 0, ranks);
  CHECK(light.number == 1);
}

TEST_CASE("bytes beyond what one message takes go in pieces", "[mpi]") {
  const mpi::Ranks ranks;
  for (const std::size_t size : {0u, 1u, 6u, 7u, 8u, 70u, 75u}) {
    const std::size_t most = 7;
    std::vector<std::byte> bytes, own(size);
    for (std::size_t i = 0; i < size; ++i) bytes.push_back(static_cast<std::byte>(3 * i + size));
    if (ranks.is_first()) own = bytes;
    detail::broadcast_bytes(own, 0, ranks, most);
    CHECK(own == bytes);
    if (ranks.count() == 1) continue;
    if (ranks.is_first()) detail::send_bytes(bytes, ranks.count() - 1, ranks, most);
    if (ranks.is_last()) CHECK(detail::receive_bytes(0, ranks, most) == bytes);
  }
}

namespace {

constexpr Index heads = 2, d = 3;

/// One token of each of some keys, a function of the key and the time; the reads.
std::vector<double> step(StreamPool<double>& pool, const std::vector<std::uint64_t>& keys,
                         const std::vector<Index>& streams, int time) {
  const auto count = static_cast<Index>(keys.size());
  std::vector<double> numbers, ones(keys.size() * heads * 7, 1), out(keys.size() * heads * d);
  for (const std::uint64_t key : keys) {
    test::Random random(1000 * key + static_cast<std::uint64_t>(time));
    for (Index i = 0; i < heads * d; ++i) numbers.push_back(random.number());
  }
  const auto tokens = HeadArray<const double>::bthd(numbers.data(), count, 1, heads, d);
  const auto weights = HeadArray<const double>::bthd(ones.data(), count, 1, heads, 7);
  pool.step(streams, {.q = tokens, .k = tokens, .v = tokens, .lambda = weights},
            HeadArray<double>::bthd(out.data(), count, 1, heads, d));
  return out;
}

}  // namespace

TEST_CASE("many streams with keys are those of one pool, wherever they have been moved", "[mpi]") {
  const mpi::Ranks ranks;
  const StreamPool<double>::Options options{.heads = heads, .d_k = d, .d_v = d, .max_levels = 6};
  StreamPool<double> one(options);
  mpi::SharedPool<double> shared(options, ranks);
  std::map<std::uint64_t, Index> numbers;
  for (std::uint64_t key = 0; key < 20; ++key) numbers[key] = one.add();

  test::Random random(5);  // the same on all ranks
  for (int time = 0; time < 40; ++time) {
    std::vector<std::uint64_t> mine;
    std::vector<Index> here, there;
    for (std::uint64_t key = 0; key < 20; ++key) {
      if (random.below(3) == 0) continue;  // not every stream has a token
      const std::vector<double> unused = step(one, {key}, {numbers[key]}, time);
      if (!shared.is_mine(key)) continue;
      mine.push_back(key);
      here.push_back(shared.stream(key));
      there.push_back(numbers[key]);
    }
    if (!mine.empty()) static_cast<void>(step(shared.local(), mine, here, time));
    for (std::size_t i = 0; i < mine.size(); ++i) {
      CHECK(shared.local().snapshot(here[i]) == one.snapshot(there[i]));
    }
    const auto key = static_cast<std::uint64_t>(random.below(20));
    const int to = random.below(ranks.count());
    const int from = shared.owner(key);
    shared.move(key, to);
    CHECK(shared.owner(key) == to);
    CHECK(shared.is_mine(key) == (ranks.rank() == to));
    if (ranks.rank() == from && from != to) {
      for (const std::uint64_t kept : shared.keys()) CHECK(kept != key);
    }
  }
  std::uint64_t streams = shared.keys().size(), all = 0;
  MPI_Allreduce(&streams, &all, 1, MPI_UINT64_T, MPI_SUM, ranks.comm());
  CHECK(all == 20);
  CHECK(static_cast<std::uint64_t>(shared.local().count()) == streams);
  for (const std::uint64_t key : shared.keys()) shared.remove(key);
  CHECK(shared.local().count() == 0);
}

TEST_CASE("keys are refused where they are not, and moves that differ", "[mpi]") {
  const mpi::Ranks ranks;
  mpi::SharedPool<double> shared({.heads = 1, .d_k = 2, .d_v = 2, .max_levels = 4}, ranks);
  for (std::uint64_t key = 0; key < 8; ++key) {
    const std::string error = error_of([&] { static_cast<void>(shared.stream(key)); });
    CHECK(error.empty() == shared.is_mine(key));
    CHECK((shared.is_mine(key) || mentions(error, {"the rank of key " + std::to_string(key)})));
  }
  const int before = shared.owner(3);
  CHECK(mentions(error_of([&] { shared.move(3, ranks.count()); }), {"on rank 0", "to move to"}));
  if (ranks.count() > 1) {
    CHECK(mentions(error_of([&] { shared.move(3, ranks.is_first() ? 0 : 1); }),
                   {"on rank 1: the rank to move to", "as on rank 0"}));
    CHECK(mentions(error_of([&] { shared.move(ranks.is_last() ? 4 : 3, 0); }),
                   {"the key to move", "as on rank 0"}));
  }
  CHECK(shared.owner(3) == before);
  const auto options =
      StreamPool<double>::Options{.heads = 1, .d_k = ranks.is_last() ? 0 : 2, .d_v = 2};
  CHECK(mentions(error_of([&] { mpi::SharedPool<double> none(options, ranks); }),
                 {"on rank " + std::to_string(ranks.count() - 1), "d_k"}));
}
