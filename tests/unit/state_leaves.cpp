// SPDX-License-Identifier: MIT
#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "catch.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "oracles/dense_transition.hpp"
#include "oracles/leaf_list.hpp"
#include "support.hpp"

// The levels of a state against the list of all its leaves.

namespace {

using namespace loglinear;
using Eigen::Index;

constexpr int dynamic = Eigen::Dynamic;
using State = LogLinearState<double>;
using test::row_major;
using Vec = test::Vector<double>;
using Mat = test::Matrix<double>;

/// Whether a state holds what the list of leaves says, to rounding.
template <class AnyState>
bool agrees(const AnyState& state, const test::LeafList& leaves) {
  using Scalar = typename AnyState::Scalar;
  if (state.size() != leaves.size()) return false;
  const auto expected = leaves.levels();
  const auto flat = state.flat_state();
  if (flat.size() != static_cast<Index>(expected.size())) return false;
  // The list itself is in double.
  const double epsilon = std::max(static_cast<double>(std::numeric_limits<Scalar>::epsilon()),
                                  std::numeric_limits<double>::epsilon());
  for (Index i = 0; i < flat.size(); ++i) {
    const double error = static_cast<double>(flat[i]) - expected[static_cast<std::size_t>(i)];
    if (!(std::abs(error) <= leaves.tolerance(epsilon))) return false;
  }
  return true;
}

template <class Kind>
Kind contraction(test::Random& random, Index d_k, Index d_v) {
  Kind kind(d_k, d_v);
  test::visit_members(kind, [&](auto& member) {
    member = static_cast<std::decay_t<decltype(member)>>(0.5 * random.number());
  });
  return kind;
}

}  // namespace

TEMPLATE_TEST_CASE("Levels are the sums of their leaves, each through its own transitions", "",
                   State, LogLinearState<float>, LogLinearState<long double>,
                   (LogLinearState<double, 3, 4>)) {
  using Scalar = typename TestType::Scalar;
  for (const int max_levels : {1, 2, 3, 10}) {
    test::Random random(31);
    TestType state(max_levels, 3, 4);
    test::LeafList leaves(max_levels, 3, 4);
    const auto undergo = [&](const auto& kind) {
      state.undergo(kind);
      const auto [l, r] = test::dense(kind, 3, 4);
      leaves.undergo(row_major<Scalar>(l), row_major<Scalar>(r));
    };
    for (int token = 0; token < 140; ++token) {
      switch (token % 8) {
        case 0:
          undergo(Identity<Scalar>(3, 4));
          break;
        case 1:
          undergo(contraction<ScalarDecay<Scalar>>(random, 3, 4));
          break;
        case 2:
          undergo(contraction<KeyDecay<Scalar>>(random, 3, 4));
          break;
        case 3:
          undergo(contraction<ValueDecay<Scalar>>(random, 3, 4));
          break;
        case 4:
          undergo(contraction<RankOneUpdate<ScalarDecay<Scalar>>>(random, 3, 4));
          break;
        case 5:
          undergo(contraction<RankOneUpdate<KeyDecay<Scalar>>>(random, 3, 4));
          break;
        case 6:
          undergo(contraction<TransitionProduct<RankOneUpdate<Identity<Scalar>>, ValueDecay<Scalar>,
                                                RankOneUpdate<ScalarDecay<Scalar>>>>(random, 3, 4));
          break;
        default:
          break;
      }
      const Index columns = 1 + token % 3;
      const auto k = random.matrix<Scalar>(3, columns), v = random.matrix<Scalar>(4, columns);
      state.push_leaf(k, v);
      leaves.push(row_major<Scalar>(k * v.transpose()), static_cast<double>(k.norm() * v.norm()));
      CAPTURE(max_levels, token);
      REQUIRE(agrees(state, leaves));
    }
  }
}

TEST_CASE("Overflow loses resolution, never a leaf") {
  for (const int max_levels : {1, 2, 3, 5}) {
    test::Random random(32);
    State state(max_levels, 2, 3);
    Mat sum = Mat::Zero(2, 3);
    double norms = 0;
    for (int token = 1; token <= 300; ++token) {
      const auto k = random.vector<double>(2), v = random.vector<double>(3);
      state.push_leaf(k, v);
      sum += k * v.transpose();
      norms += k.norm() * v.norm();
      Mat levels = Mat::Zero(2, 3);
      for (int level = 0; level < max_levels; ++level) levels += state.level(level);
      REQUIRE(test::difference(levels, sum) <= test::rounding<double>(token) * norms);
    }
  }
}

TEMPLATE_TEST_CASE("One row, one column and one coefficient are shapes like any other", "", State,
                   (LogLinearState<double, dynamic, 1>), (LogLinearState<double, 1, dynamic>),
                   (LogLinearState<double, 1, 1>), (LogLinearState<double, 1, 1, 3>),
                   (LogLinearState<double, 5, 1, 3>), (LogLinearState<double, 1, 5, 3>)) {
  constexpr int rows = std::is_same_v<TestType, LogLinearState<double, 5, 1, 3>> ||
                               std::is_same_v<TestType, LogLinearState<double, dynamic, 1>>
                           ? 5
                           : 1;
  constexpr int columns = std::is_same_v<TestType, LogLinearState<double, 1, 5, 3>> ||
                                  std::is_same_v<TestType, LogLinearState<double, 1, dynamic>>
                              ? 5
                              : 1;
  test::Random random(33);
  TestType state(3, rows, columns);
  test::LeafList leaves(3, rows, columns);
  for (int token = 0; token < 20; ++token) {
    const auto kind =
        contraction<TransitionProduct<RankOneUpdate<KeyDecay<double>>, ValueDecay<double>>>(
            random, rows, columns);
    const auto [l, r] = test::dense(kind, rows, columns);
    const Index n = 1 + token % 2;
    const auto k = random.matrix<double>(rows, n), v = random.matrix<double>(columns, n);
    state.undergo(kind);
    leaves.undergo(row_major<double>(l), row_major<double>(r));
    state.push_leaf(k, v);
    leaves.push(row_major<double>(k * v.transpose()), k.norm() * v.norm());
    REQUIRE(agrees(state, leaves));

    const auto q = random.vector<double>(rows), lambdas = random.vector<double>(3);
    Vec out(columns), expected = Vec::Zero(columns);
    state.query_mixed(q, lambdas, out);
    for (int level = 0; level < 3; ++level) {
      expected += lambdas[level] * (Mat(state.level(level)).transpose() * q);
    }
    CHECK(test::difference(out, expected) <= test::rounding<double>(8, rows) * 40);
  }
  // Rows where columns are expected: with one key row, a row of n keys is n leaves.
  if (rows == 1) {
    TestType wide(3, 1, columns), narrow(3, 1, columns);
    const Eigen::RowVector3d keys(1, -2, 3);
    const auto values = random.matrix<double>(columns, 3);
    wide.push_leaf(keys, values);
    narrow.push_leaf(Mat(keys), values);
    CHECK(wide == narrow);
  }
}

// The inner loops take columns in blocks of several sizes, rows in pairs and leaves 64 at a time.
TEMPLATE_TEST_CASE("Every number of columns, rows and leaves a token", "", float, double,
                   long double) {
  using Scalar = TestType;
  test::Random random(44);
  const auto check = [&](Index d_k, Index d_v, Index n) {
    LogLinearState<Scalar> state(3, d_k, d_v);
    std::vector<test::Matrix<double>> leaves;
    for (int token = 0; token < 5; ++token) {
      const auto k = random.matrix<Scalar>(d_k, n), v = random.matrix<Scalar>(d_v, n);
      state.push_leaf(k, v);
      leaves.push_back(k.template cast<double>() * v.template cast<double>().transpose());
    }
    const test::Matrix<double> four = leaves[0] + leaves[1] + leaves[2] + leaves[3];
    const double epsilon = std::max(static_cast<double>(std::numeric_limits<Scalar>::epsilon()),
                                    std::numeric_limits<double>::epsilon());
    const double tolerance = 4 * static_cast<double>(n) * 4 * epsilon;  // 4 n terms of at most 1
    CAPTURE(d_k, d_v, n);
    CHECK(test::difference(state.level(0).template cast<double>(), leaves[4]) <= tolerance);
    CHECK(state.level(1).isZero(0));
    CHECK(test::difference(state.level(2).template cast<double>(), four) <= tolerance);

    const auto q = random.vector<Scalar>(d_k), lambdas = random.vector<Scalar>(3);
    test::Vector<Scalar> out(d_v);
    state.query_mixed(q, lambdas, out);
    const test::Matrix<double> mixed =
        static_cast<double>(lambdas[0]) * leaves[4] + static_cast<double>(lambdas[2]) * four;
    CHECK(test::difference(out.template cast<double>(),
                           mixed.transpose() * q.template cast<double>()) <=
          tolerance * static_cast<double>(2 * d_k));
  };
  for (Index d_v = 1; d_v <= 80; ++d_v) check(1 + d_v % 5, d_v, 1);
  for (Index d_k = 1; d_k <= 20; ++d_k) check(d_k, 7, 2);
  for (const Index n : {3, 63, 64, 65, 130}) check(3, 5, n);
}
