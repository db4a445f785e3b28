// SPDX-License-Identifier: MIT
// Streams made of parts, and jumps of the count: for every kind of transition the state is that of
// one stream, taken token by token, at random splits, past the last level and up to the last count.
#include "loglinear/stream/detail/stream_parts.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "catch.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "random_kinds.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using namespace loglinear::test;

struct Shape {
  Index key_rows, d_v;
  int max_levels, tokens;
};
// Buffers of 1, 2, 4 and 16 leaves; levels of several tiers; one level; overflow.
constexpr Shape shapes[] = {
    {2, 3, 1, 20}, {2, 1, 9, 100}, {3, 2, 3, 90}, {5, 4, 4, 130}, {17, 21, 9, 400}};

/// A stream with the memory in which it works.
template <class Kind_, class Stored, LastLevel overflow>
struct Stream {
  using Kind = Kind_;
  using Scalar = typename Kind::Scalar;
  using State = detail::StreamState<Kind, Stored, overflow>;
  using Plain = LogLinearState<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, overflow>;

  Stream(int max_levels, Index key_rows, Index d_v)
      : state(max_levels, key_rows, d_v, 1),
        memory(state.read_shape()),
        lambda(detail::Vector<Scalar>::Ones(max_levels)),
        query(key_rows),
        read(d_v) {}
  void push(const Token<Kind>& token) {
    query = token.query;
    state.read({query.data(), lambda.data(), ReadOrder::before_push}, memory, read.data(),
               token.transition, memory.looked_up);
    state.write(token, state.admit(token), memory.looked_up);
  }
  /// Not inlined: GCC 12 would see a pointer used after free where there is none.
  [[nodiscard, gnu::noinline]] Plain plain() const {
    Plain out(state.max_levels(), state.key_rows(), state.d_v());
    state.copy_to(detail::levels_of(out));
    return out;
  }

  State state;
  detail::ReadMemory<Kind> memory;
  detail::Vector<Scalar> lambda, query, read;
};

template <class Kind>
std::vector<Token<Kind>> random_tokens(Random& random, const Shape& shape) {
  using Scalar = typename Kind::Scalar;
  RandomKind fill{random, true};
  std::vector<Token<Kind>> tokens;
  for (int n = 0; n < shape.tokens; ++n) {
    Token<Kind> token(shape.key_rows, shape.d_v, 1);
    token.keys = random.matrix<Scalar>(shape.key_rows, 1);
    token.values = random.matrix<Scalar>(shape.d_v, 1);
    token.query = random.vector<Scalar>(shape.key_rows);
    fill.fill(token.transition);
    tokens.push_back(token);
  }
  return tokens;
}

/// The greatest difference of two states of the same count, NaN of two others, over the size of
/// their leaves.
template <class State>
double difference_of(const State& a, const State& b) {
  if (a.size() != b.size()) return NAN;
  double worst = 0, size = 1;
  for (int l = 0; l < a.max_levels(); ++l) {
    const auto left = a.level(l).template cast<double>().eval();
    const auto right = b.level(l).template cast<double>().eval();
    worst = std::max(worst, (left - right).cwiseAbs().maxCoeff());
    size += right.norm();
  }
  return worst / size;
}

/// A part of a stream and the product of its transitions.
template <class Stream>
struct Part {
  using Kind = typename Stream::Kind;
  template <class Tokens>
  Part(const Shape& shape, const Tokens& tokens, std::size_t first, std::size_t last)
      : stream(shape.max_levels, shape.key_rows, shape.d_v), product(shape.key_rows, shape.d_v) {
    detail::StreamParts::advance(stream.state, first);
    for (std::size_t n = first; n < last; ++n) {
      stream.push(tokens[n]);
      product.follow(tokens[n].transition);
    }
  }
  void append(const Part& later) {
    detail::StreamParts::append(stream.state, later.stream.state, later.product);
    detail::Vector<typename Kind::Scalar> scratch(product.scratch_size(stream.state.key_rows()));
    product.follow(later.product, scratch.data());
  }
  Stream stream;
  detail::PendingProduct<Kind> product;
};

template <template <class> class KindOf, class Scalar, class Stored = Scalar,
          LastLevel overflow = LastLevel::fold>
void merge() {
  using Kind = KindOf<Scalar>;
  using AnyStream = Stream<Kind, Stored, overflow>;
  for (const Shape& shape : shapes) {
    Random random(21);
    const auto tokens = random_tokens<Kind>(random, shape);
    // As in unit_stream_state: sums of key_rows terms, rewritten so often; here by two paths, with
    // a product of transitions beside a state that undergoes them one by one.
    const double rewritten = detail::is_narrow<Stored> ? 24 : 8 * std::sqrt(shape.tokens);
    const double rounding = 2 * rewritten * std::sqrt(static_cast<double>(shape.key_rows)) *
                            static_cast<double>(Eigen::NumTraits<Stored>::epsilon());
    double worst = 0;
    for (int round = 0; round < 24; ++round) {
      const int parts = 2 + random.below(3);
      std::vector<std::size_t> ends{0};
      for (int i = 0; i < parts; ++i) {
        ends.push_back(static_cast<std::size_t>(random.below(shape.tokens + 1)));
      }
      std::sort(ends.begin(), ends.end());
      const std::size_t end = ends.back();
      AnyStream one(shape.max_levels, shape.key_rows, shape.d_v);
      for (std::size_t n = 0; n < end; ++n) one.push(tokens[n]);
      std::vector<Part<AnyStream>> all;
      for (std::size_t i = 1; i < ends.size(); ++i) {
        all.emplace_back(shape, tokens, ends[i - 1], ends[i]);
      }
      if (round % 2 == 0) {  // the last parts first
        while (all.size() > 1) {
          all[all.size() - 2].append(all.back());
          all.pop_back();
        }
      }
      Part<AnyStream> whole(shape, tokens, 0, 0);
      for (const auto& part : all) whole.append(part);
      CAPTURE(shape.key_rows, shape.max_levels, ends);
      worst = std::max(worst, difference_of(whole.stream.plain(), one.plain()));
      // And the stream goes on.
      for (std::size_t n = end; n < end + 20; ++n) {
        one.push(tokens[n % tokens.size()]);
        whole.stream.push(tokens[n % tokens.size()]);
      }
      const double after = difference_of(whole.stream.plain(), one.plain());
      CHECK(after <= rounding);
      const auto scale =
          static_cast<double>(one.plain().flat_state().template cast<double>().norm() + 1) *
          static_cast<double>(one.query.norm() + 1);
      CHECK(static_cast<double>(difference(whole.stream.read, one.read)) <= rounding * scale);
    }
    CHECK(worst <= rounding);
  }
}

}  // namespace

TEST_CASE("parts of a stream make the stream: diagonal kinds") {
  merge<Identity, double>();
  merge<ScalarDecay, double>();
  merge<KeyDecay, double>();
  merge<ValueDecay, double>();
  merge<KeyDecay, float>();
  merge<ScalarDecay, float, Eigen::bfloat16>();
}

TEST_CASE("parts of a stream make the stream: dense kinds") {
  merge<PlainDelta, double>();
  merge<Delta, double>();
  merge<RowDelta, double>();
  merge<TwoLeaves, double>();
  merge<RowsAndColumns, double>();
  merge<DeltaAndColumns, double>();
  merge<Turn, double>();
  merge<Delta, float, Eigen::bfloat16>();
}

TEST_CASE("parts of a stream make the stream, whatever the last level does") {
  merge<ScalarDecay, double, double, LastLevel::forget>();
  merge<ScalarDecay, double, double, LastLevel::halve>();
  merge<Delta, double, double, LastLevel::forget>();
  merge<RowsAndColumns, double, double, LastLevel::halve>();
}

TEMPLATE_TEST_CASE("where nothing is rounded parts make the stream to the bit", "", double, float) {
  using Kind = Identity<TestType>;
  using AnyStream = Stream<Kind, TestType, LastLevel::fold>;
  for (const Shape& shape : shapes) {
    Random random(22);
    auto tokens = random_tokens<Kind>(random, shape);
    for (auto& token : tokens) {
      token.keys = (4 * token.keys).array().round();
      token.values = (4 * token.values).array().round();
    }
    bool exact = true;
    for (std::size_t first = 0; first <= tokens.size(); ++first) {
      for (const std::size_t more :
           {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{23}, tokens.size()}) {
        const std::size_t end = std::min(first + more, tokens.size());
        AnyStream one(shape.max_levels, shape.key_rows, shape.d_v);
        for (std::size_t n = 0; n < end; ++n) one.push(tokens[n]);
        Part<AnyStream> whole(shape, tokens, 0, first);
        whole.append(Part<AnyStream>(shape, tokens, first, end));
        exact &= whole.stream.plain() == one.plain();
      }
    }
    CHECK(exact);
  }
}

TEST_CASE("a jump is zero leaves without transitions") {
  const auto jump = []<template <class> class KindOf, LastLevel overflow>() {
    using Kind = KindOf<double>;
    for (const Shape& shape : shapes) {
      Random random(23);
      const auto tokens = random_tokens<Kind>(random, shape);
      const Token<Kind> nothing(shape.key_rows, shape.d_v, 1);
      Stream<Kind, double, overflow> jumps(shape.max_levels, shape.key_rows, shape.d_v);
      auto waits = jumps;
      auto plain = jumps.plain();
      double worst = 0, worst_plain = 0;
      for (std::size_t n = 0; n < tokens.size(); ++n) {
        jumps.push(tokens[n]);
        waits.push(tokens[n]);
        plain = jumps.plain();
        if (random.below(6) != 0) continue;
        const auto by =
            static_cast<std::uint64_t>(random.below(3) == 0 ? random.below(300) : random.below(9));
        detail::StreamParts::advance(jumps.state, jumps.state.size() + by);
        plain.advance_to(plain.size() + by);
        for (std::uint64_t i = 0; i < by; ++i) waits.push(nothing);
        worst = std::max(worst, difference_of(jumps.plain(), waits.plain()));
        worst_plain = std::max(worst_plain, difference_of(plain, waits.plain()));
      }
      const double bound = rounding<double>(16 * std::sqrt(shape.tokens), shape.key_rows);
      CHECK(worst <= bound);
      CHECK(worst_plain <= bound);
    }
  };
  jump.operator()<Identity, LastLevel::fold>();
  jump.operator()<ScalarDecay, LastLevel::forget>();
  jump.operator()<KeyDecay, LastLevel::halve>();
  jump.operator()<Delta, LastLevel::fold>();
  jump.operator()<Turn, LastLevel::halve>();
}
