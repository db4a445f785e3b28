// SPDX-License-Identifier: MIT
// How sequences are handed over: any storage order, parts of larger matrices, vectors, more level
// weights than are read, no tokens at all, and the forms that begin with an empty state.

#include <limits>

#include "catch.hpp"
#include "sequence/settings.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

/// One of every array: a delta product with both decays, or diagonal plus rank one.
Kind with_every_array(bool is_delta) {
  return {test::Decay::key_rows, true, is_delta ? test::Update::delta : test::Update::rank_one, 2,
          is_delta ? 0 : 2};
}

/// The same numbers in the middle of a larger matrix, surrounded by NaN.
Array<double> surrounded(const Array<double>& array) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Array<double> large = Array<double>::Constant(array.rows() + 2, array.cols() + 3, nan);
  large.block(1, 2, array.rows(), array.cols()) = array;
  return large;
}

/// All three forms and the gradient give the same bits for both.
void check_same(const SequenceInputs<double>& a, const SequenceInputs<double>& b,
                const LogLinearState<double>& initial) {
  LogLinearState<double> state_a = initial, state_b = initial;
  CHECK(test::same_bits(dense(a, initial), dense(b, initial)));
  CHECK(test::same_bits(recurrent(a, state_a), recurrent(b, state_b)));
  CHECK(state_a == state_b);
  state_a = state_b = initial;
  CHECK(test::same_bits(chunkwise(a, state_a, {16}), chunkwise(b, state_b, {16})));
  CHECK(state_a == state_b);
  const Array<double> d_out = Array<double>::Ones(a.length(), a.d_v());
  const auto gradients_a = chunkwise_gradient(a, initial, d_out, {16});
  const auto gradients_b = chunkwise_gradient(b, initial, d_out, {16});
  test::visit_arrays(gradients_a, gradients_b,
                     [](const char* name, const auto& of_a, const auto& of_b) {
                       INFO(name);
                       CHECK(test::same_bits(of_a, of_b.leftCols(of_a.cols()).eval()));
                     });
  CHECK(test::same_bits(gradients_a.state, gradients_b.state));
}

}  // namespace

TEST_CASE("sequences in any storage order", "[law]") {
  for (const bool is_delta : {false, true}) {
    test::Random random(31);
    const auto t = test::random_tokens<double>(random, with_every_array(is_delta), 50, 4, 3, 8);
    const auto initial = test::random_state<double>(random, 11, 7, 4, 3);
    using ColumnMajor = test::Matrix<double>;
    const ColumnMajor q = t.q, k = t.k, v = t.v, lambda = t.lambda, g = t.g, g_value = t.g_value,
                      beta = t.beta, u = t.u, p = t.p;
    const SequenceInputs<double> columns{.q = q,
                                         .k = k,
                                         .v = v,
                                         .lambda = lambda,
                                         .g = g,
                                         .g_value = g_value,
                                         .beta = beta,
                                         .u = u,
                                         .p = p};
    check_same(t.inputs(), columns, initial);
    const SequenceInputs<double> mixed{.q = t.q,
                                       .k = k,
                                       .v = t.v,
                                       .lambda = lambda,
                                       .g = t.g,
                                       .g_value = g_value,
                                       .beta = t.beta,
                                       .u = u,
                                       .p = t.p};
    check_same(t.inputs(), mixed, initial);
  }
}

TEST_CASE("sequences that are parts of larger matrices", "[law]") {
  for (const bool is_delta : {false, true}) {
    test::Random random(32);
    const auto t = test::random_tokens<double>(random, with_every_array(is_delta), 50, 4, 3, 8);
    const auto initial = test::random_state<double>(random, 11, 7, 4, 3);
    Tokens<double> large;
    test::visit_arrays(large, t, [](const char*, auto& to, const auto& from) {
      if (from.size() > 0) to = surrounded(from);
    });
    const auto middle = [](const Array<double>& part, const Array<double>& all) {
      return all.block(all.size() > 0 ? 1 : 0, all.size() > 0 ? 2 : 0, part.rows(), part.cols());
    };
    // By name: a part without one is copied.
    const auto q = middle(t.q, large.q), k = middle(t.k, large.k), v = middle(t.v, large.v),
               lambda = middle(t.lambda, large.lambda), g = middle(t.g, large.g),
               g_value = middle(t.g_value, large.g_value), beta = middle(t.beta, large.beta),
               u = middle(t.u, large.u), p = middle(t.p, large.p);
    const SequenceInputs<double> parts{.q = q,
                                       .k = k,
                                       .v = v,
                                       .lambda = lambda,
                                       .g = g,
                                       .g_value = g_value,
                                       .beta = beta,
                                       .u = u,
                                       .p = p};
    CHECK(parts.q.data() == &large.q(1, 2));  // nothing is copied
    check_same(t.inputs(), parts, initial);
  }
}

TEST_CASE("one gate and one strength a token may be vectors", "[law]") {
  test::Random random(33);
  const Kind kind{.decay = test::Decay::scalar, .update = test::Update::delta};
  const auto t = test::random_tokens<double>(random, kind, 50, 4, 3, 8);
  const Eigen::VectorXd g = t.g, beta = t.beta;
  check_same(t.inputs(), {.q = t.q, .k = t.k, .v = t.v, .lambda = t.lambda, .g = g, .beta = beta},
             test::random_state<double>(random, 11, 7, 4, 3));
}

TEST_CASE("level weights that no token reads are never looked at", "[law]") {
  test::Random random(34);
  for (const int max_levels : {2, 7}) {
    for (const Index length : {1, 3, 50}) {
      const std::uint64_t start = 5;
      const int read = SequenceInputs<double>::levels_read(start, length, max_levels);
      auto t = test::random_tokens<double>(random, with_every_array(true), length, 4, 3, read);
      const auto initial = test::random_state<double>(random, start, max_levels, 4, 3);
      auto more = t;
      more.lambda =
          Array<double>::Constant(length, read + 5, std::numeric_limits<double>::quiet_NaN());
      more.lambda.leftCols(read) = t.lambda;
      check_same(t.inputs(), more.inputs(), initial);
      const auto gradients =
          chunkwise_gradient(more.inputs(), initial, Array<double>::Ones(length, 3).eval(), {16});
      CHECK(gradients.lambda.rightCols(5).isZero(0));
    }
  }
}

TEST_CASE("as many level weights are read as tokens see levels", "[law]") {
  // Counted one by one: the highest level under which any token sees any earlier one.
  for (const int max_levels : {1, 2, 3, 5, 64}) {
    for (std::uint64_t start = 0; start < 20; ++start) {
      for (Index length = 1; length <= 20; ++length) {
        int highest = 0;
        for (std::uint64_t t = start; t < start + static_cast<std::uint64_t>(length); ++t) {
          for (std::uint64_t s = 0; s <= t; ++s) {
            highest = std::max(highest, level_of(s, t, ReadOrder::current_apart, max_levels));
          }
        }
        CHECK(SequenceInputs<double>::levels_read(start, length, max_levels) == highest + 1);
      }
    }
  }
  CHECK(SequenceInputs<double>::levels_read(5, 0, 7) == 0);
}

TEST_CASE("no tokens", "[law]") {
  test::Random random(35);
  const auto initial = test::random_state<double>(random, 11, 7, 4, 3);
  const Array<double> no_keys(0, 4), no_values(0, 3), no_weights(0, 9), no_strengths(0, 1), none;
  for (const auto& in :
       {SequenceInputs<double>{.q = no_keys, .k = no_keys, .v = no_values, .lambda = none},
        SequenceInputs<double>{.q = no_keys,
        .k = no_keys,
        .v = no_values,
        .lambda = no_weights,
        .g = no_keys,
        .beta = no_strengths}}) {
    LogLinearState<double> state = initial;
    CHECK(dense(in, initial).rows() == 0);
    CHECK(dense(in, initial).cols() == 3);
    CHECK(dense(in).rows() == 0);
    CHECK(recurrent(in, state).rows() == 0);
    CHECK(chunkwise(in, state).rows() == 0);
    CHECK(chunkwise(in, state).cols() == 3);
    CHECK(chunkwise(in).rows() == 0);
    CHECK(state == initial);
    // The gradient of the final state is that of the initial one.
    const Array<double> d_out(0, 3), d_final = random.matrix<double>(7, 12);
    const auto gradients = chunkwise_gradient(in, initial, d_out, {}, d_final);
    CHECK(gradients.q.rows() == 0);
    for (int l = 0; l < 7; ++l) {
      INFO("level " << l);
      const double share = initial.is_active(l) ? 1 : 0;
      CHECK(gradients.state.row(l) == share * d_final.row(l));
    }
    CHECK(chunkwise_gradient(in, initial, d_out).state.isZero(0));
    CHECK(chunkwise_gradient(in, d_out).state.size() == 0);
  }
}

TEST_CASE("forms without a state begin with an empty one", "[law]") {
  test::Random random(36);
  for (const Index length : {1, 2, 64, 100}) {
    const auto t = test::random_tokens<double>(random, with_every_array(true), length, 4, 3, 8);
    const LogLinearState<double> empty(8, 4, 3);
    LogLinearState<double> state = empty;
    const Array<double> d_out = random.matrix<double>(length, 3);
    CHECK(test::same_bits(dense(t.inputs()), dense(t.inputs(), empty)));
    CHECK(test::same_bits(chunkwise(t.inputs(), {16}), chunkwise(t.inputs(), state, {16})));
    const auto gradients = chunkwise_gradient(t.inputs(), d_out, {16});
    test::visit_arrays(gradients, chunkwise_gradient(t.inputs(), empty, d_out, {16}),
                       [](const char* name, const auto& a, const auto& b) {
                         INFO(name);
                         CHECK(test::same_bits(a, b));
                       });
    CHECK(gradients.state.size() == 0);
  }
}

TEST_CASE("chunk sizes are rounded down to powers of two", "[law]") {
  test::Random random(37);
  const auto t = test::random_tokens<double>(random, with_every_array(true), 150, 4, 3, 9);
  CHECK(test::same_bits(chunkwise(t.inputs(), {100}), chunkwise(t.inputs(), {64})));
  CHECK(test::same_bits(chunkwise(t.inputs(), {127}), chunkwise(t.inputs(), {64})));
  CHECK(test::same_bits(chunkwise(t.inputs(), {3}), chunkwise(t.inputs(), {2})));
  CHECK(test::same_bits(chunkwise(t.inputs(), {}), chunkwise(t.inputs(), {64})));
  // A chunk that the sequence does not fill is as good as one that it does.
  CHECK(test::same_bits(chunkwise(t.inputs(), {Index{1} << 60}), chunkwise(t.inputs(), {256})));
}
