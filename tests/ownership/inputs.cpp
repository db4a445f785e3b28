// SPDX-License-Identifier: MIT
// The inputs of a sequence as a value: made of anything, copied, kept in containers, returned, cut.

#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "sequence/tokens.hpp"

namespace test = loglinear::test;

using Eigen::Index;
using loglinear::LogLinearState;
using loglinear::SequenceArray;
using loglinear::SequenceInputs;
using test::Array;
using test::Tokens;

namespace {

constexpr Index length = 33, d_k = 4, d_v = 3;

/// Two kinds, so that every array is given by one of them.
template <class Scalar>
Tokens<Scalar> tokens_of(bool is_delta) {
  test::Random random(is_delta ? 71 : 72);
  const test::Kind kind{.decay = is_delta ? test::Decay::scalar : test::Decay::key_rows,
                        .decays_values = true,
                        .update = is_delta ? test::Update::delta : test::Update::rank_one,
                        .leaves = 2,
                        .updates = is_delta ? 0 : 2};
  return test::random_tokens<Scalar>(random, kind, length, d_k, d_v, 7);
}

/// Made of column-major matrices that are gone by the time it is used.
template <class Scalar>
SequenceInputs<Scalar> from_columns(const Tokens<Scalar>& t) {
  using Columns = test::Matrix<Scalar>;
  const Columns q = t.q, k = t.k, v = t.v, lambda = t.lambda, g = t.g, g_value = t.g_value,
                beta = t.beta, u = t.u, p = t.p;
  return {.q = q,
          .k = k,
          .v = v,
          .lambda = lambda,
          .g = g,
          .g_value = g_value,
          .beta = beta,
          .u = u,
          .p = p};
}
/// Made of temporaries.
template <class Scalar>
SequenceInputs<Scalar> from_temporaries(const Tokens<Scalar>& t) {
  const auto temporary = [](const Array<Scalar>& rows) { return Array<Scalar>(rows); };
  return {.q = temporary(t.q),
          .k = temporary(t.k),
          .v = t.v * Scalar(1),
          .lambda = temporary(t.lambda),
          .g = temporary(t.g),
          .g_value = -(-t.g_value),
          .beta = t.beta.size() > 0 ? t.beta : Array<Scalar>(),
          .u = t.u.size() > 0 ? t.u : Array<Scalar>(),
          .p = temporary(t.p)};
}

/// The numbers of another, in every form.
template <class Scalar>
void check_same(const SequenceInputs<Scalar>& in, const Tokens<Scalar>& t) {
  const SequenceInputs<Scalar> expected = t.inputs();
  CHECK(test::same_bits(chunkwise(in), chunkwise(expected)));
  CHECK(test::same_bits(dense(in), dense(expected)));
  LogLinearState<Scalar> state(6, d_k, d_v), other = state;
  CHECK(test::same_bits(recurrent(in, state), recurrent(expected, other)));
  const auto gradients = chunkwise_gradient(in, Array<Scalar>::Ones(length, d_v));
  const auto wanted = chunkwise_gradient(expected, Array<Scalar>::Ones(length, d_v));
  test::visit_arrays(gradients, wanted, [](const char* name, const auto& a, const auto& b) {
    INFO(name);
    CHECK(test::same_bits(a, b));
  });
}

}  // namespace

TEMPLATE_TEST_CASE("inputs: returned, copied, moved and assigned", "", float, double) {
  for (const bool is_delta : {false, true}) {
    const auto t = tokens_of<TestType>(is_delta);
    for (const auto make : {&from_columns<TestType>, &from_temporaries<TestType>}) {
      const SequenceInputs<TestType> in = make(t);
      check_same(in, t);
      std::optional<SequenceInputs<TestType>> original = make(t);
      SequenceInputs<TestType> copy = *original, assigned = t.inputs();
      assigned = *original;
      original.reset();
      check_same(copy, t);
      check_same(assigned, t);
      auto& same = assigned;
      assigned = same;
      check_same(assigned, t);
      const SequenceInputs<TestType> moved = std::move(assigned);
      check_same(moved, t);
      CHECK((assigned.length() == 0 && assigned.q.is_absent() && assigned.k.is_absent()));
      assigned = std::move(copy);
      check_same(assigned, t);
      std::swap(copy, assigned);
      check_same(copy, t);
    }
  }
}

TEMPLATE_TEST_CASE("inputs: a vector of heads", "", float, double) {
  std::vector<Tokens<TestType>> tokens;
  std::vector<SequenceInputs<TestType>> heads;
  for (int h = 0; h < 9; ++h) {
    tokens.push_back(tokens_of<TestType>(h % 2 == 0));
    tokens.back().v *= TestType(h + 1);
    heads.push_back(h % 3 == 0 ? from_columns(tokens.back()) : from_temporaries(tokens.back()));
  }
  for (std::size_t h = 0; h < heads.size(); ++h) check_same(heads[h], tokens[h]);
  const std::vector<SequenceInputs<TestType>> copies = heads;
  heads.clear();
  for (std::size_t h = 0; h < copies.size(); ++h) check_same(copies[h], tokens[h]);
}

TEMPLATE_TEST_CASE("inputs: one array for another", "", float, double) {
  auto t = tokens_of<TestType>(true);
  SequenceInputs<TestType> in = from_columns(t);
  t.g = Array<TestType>::Constant(length, 1, TestType(-0.5));
  in.g = Array<TestType>::Constant(length, 1, TestType(-0.5));
  t.v *= 2;
  in.v = 2 * in.v;  // reads what it replaces
  check_same(in, t);
  in.g = {};
  in.g_value = in.g;
  t.g.resize(0, 0);
  t.g_value.resize(0, 0);
  check_same(in, t);
}

TEMPLATE_TEST_CASE("inputs: named row-major arrays are viewed, not copied", "", float, double) {
  const auto t = tokens_of<TestType>(false);
  const SequenceInputs<TestType> in = t.inputs(), copy = in, part = in.slice(5, 7);
  for (const SequenceInputs<TestType>* one : {&in, &copy}) {
    CHECK((one->q.data() == t.q.data() && one->k.data() == t.k.data()));
    CHECK((one->v.data() == t.v.data() && one->lambda.data() == t.lambda.data()));
    CHECK((one->g.data() == t.g.data() && one->g_value.data() == t.g_value.data()));
    CHECK((one->u.data() == t.u.data() && one->p.data() == t.p.data()));
  }
  CHECK((part.q.data() == &t.q(5, 0) && part.k.data() == &t.k(10, 0)));
  CHECK((part.lambda.data() == &t.lambda(5, 0) && part.u.data() == &t.u(10, 0)));
}

TEMPLATE_TEST_CASE("inputs: parts of what is owned, and of a temporary", "", float, double) {
  for (const bool is_delta : {false, true}) {
    const auto t = tokens_of<TestType>(is_delta);
    const SequenceInputs<TestType> in = from_columns(t);
    const SequenceInputs<TestType> of_named = in.slice(3, 20).slice(2, 9);
    CHECK(of_named.q.data() == in.q.data() + 5 * d_k);
    const SequenceInputs<TestType> of_temporary = from_temporaries(t).slice(3, 20).slice(2, 9);
    CHECK(test::same_bits(chunkwise(of_named), chunkwise(t.inputs().slice(5, 9))));
    CHECK(test::same_bits(chunkwise(of_temporary), chunkwise(t.inputs().slice(5, 9))));
    const auto constant = [&]() -> const SequenceInputs<TestType> { return from_columns(t); };
    const SequenceInputs<TestType> of_constant = constant().slice(5, 9);
    CHECK(test::same_bits(chunkwise(of_constant), chunkwise(t.inputs().slice(5, 9))));
  }
}

TEMPLATE_TEST_CASE("inputs: arrays made of parts of another's", "", float, double) {
  const auto t = tokens_of<TestType>(true);
  SequenceInputs<TestType> in = from_columns(t);
  in.q = from_columns(t).q.topRows(length);
  in.k = from_temporaries(t).k.block(0, 0, 2 * length, d_k);
  in.v = from_columns(t).v.leftCols(d_v).middleRows(0, 2 * length);
  in.g = from_columns(t).g.col(0);
  in.beta = from_columns(t).beta.transpose().transpose();
  check_same(in, t);
  const SequenceArray<TestType> whole = test::Matrix<TestType>(t.q);
  const auto named = whole.middleRows(3, 4);
  CHECK(SequenceArray<TestType>(named).data() == whole.data() + 3 * d_k);
  CHECK(SequenceArray<TestType>(whole.middleRows(3, 4)).owns());
}

TEST_CASE("inputs: a part that is not there") {
  const auto t = tokens_of<double>(false);
  const SequenceInputs<double> in = t.inputs();
  constexpr Index most = std::numeric_limits<Index>::max(),
                  least = std::numeric_limits<Index>::min();
  const auto error = [&](Index first, Index count) {
    return test::error_of([&] { static_cast<void>(in.slice(first, count)); });
  };
  CHECK(error(0, length).empty());
  CHECK(error(length, 0).empty());
  for (const Index first : {Index{-1}, least, length + 1, most}) {
    CHECK(test::mentions(error(first, 1), {"first token of the slice is " + std::to_string(first),
                                           "between 0 and 33"}));
  }
  for (const Index count : {Index{-1}, least, Index{29}, most, most - 4}) {
    CHECK(test::mentions(error(5, count),
                         {"tokens of the slice is " + std::to_string(count), "between 0 and 28"}));
  }
  auto uneven = t;
  uneven.k.conservativeResize(2 * length + 1, d_k);
  CHECK(test::mentions(test::error_of([&] { static_cast<void>(uneven.inputs().slice(0, 1)); }),
                       {"number of rows of k is 67", "a multiple", "33"}));
}

TEST_CASE("inputs: cotangents of any order, temporary or not") {
  const auto t = tokens_of<double>(true);
  const SequenceInputs<double> in = t.inputs();
  test::Random random(73);
  const test::Matrix<double> d_out = random.matrix<double>(length, d_v),
                             d_final = random.matrix<double>(7, d_k * d_v);
  const Array<double> rows = d_out, final_rows = d_final;
  const LogLinearState<double> initial(7, d_k, d_v);
  const auto expected = chunkwise_gradient(in, initial, rows, {}, final_rows);
  const auto check = [&](const auto& gradients) {
    test::visit_arrays(gradients, expected, [](const char* name, const auto& a, const auto& b) {
      INFO(name);
      CHECK(test::same_bits(a, b));
    });
  };
  check(chunkwise_gradient(in, initial, d_out, {}, d_final));
  check(chunkwise_gradient(in, initial, d_out * 1, {}, -(-d_final)));
  check(chunkwise_gradient(from_temporaries(t), initial, Array<double>(rows), {},
                           Array<double>(final_rows)));
  check(chunkwise_gradient(from_columns(t), initial, test::Matrix<double>(d_out).topRows(length),
                           {}, d_final));
}
