// SPDX-License-Identifier: MIT
#include "loglinear/transitions/transition.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "catch.hpp"
#include "oracles/dense_transition.hpp"
#include "support.hpp"

namespace {

using Eigen::Index;
using namespace loglinear;
using test::dense;
using test::visit_members;

template <class Kind>
Kind random_transition(test::Random& random, Index key_rows, Index d_v) {
  using Scalar = typename Kind::Scalar;
  Kind kind(key_rows, d_v);
  const double scale = 1 / std::sqrt(static_cast<double>(key_rows));  // keeps L of order 1
  visit_members(kind, [&](Scalar& c) { c = static_cast<Scalar>(scale * random.number()); });
  return kind;
}

struct Shape {
  Index key_rows, d_v;
};
// One row, one column, column_block = 64 exactly, and more than two blocks.
constexpr Shape shapes[] = {{1, 1}, {1, 5}, {4, 1}, {3, 5}, {5, 64}, {7, 130}};

// Sums of key_rows terms and at most this many roundings one after the other in any kind below.
constexpr double operations = 32;

using ThreeRankOnes =
    TransitionProduct<RankOneUpdate<ScalarDecay<double>>, RankOneUpdate<Identity<double>>,
                      RankOneUpdate<KeyDecay<double>>>;
using KeyThenValue = TransitionProduct<KeyDecay<double>, ValueDecay<double>>;
using Mixed = TransitionProduct<ValueDecay<double>, RankOneUpdate<ScalarDecay<double>>,
                                KeyDecay<double>, ValueDecay<double>>;
using OneFactor = TransitionProduct<RankOneUpdate<KeyDecay<double>>>;
using Nested = TransitionProduct<KeyThenValue, ThreeRankOnes>;

struct ThreePerLeaf : UpdatePerLeaf<double> {
  ThreePerLeaf(Index key_rows, Index d_v) : UpdatePerLeaf(key_rows, d_v, 3) {}
};

}  // namespace

#define ALL_KINDS                                                                             \
  Identity<double>, ScalarDecay<double>, KeyDecay<double>, ValueDecay<double>,                \
      RankOneUpdate<Identity<double>>, RankOneUpdate<ScalarDecay<double>>,                    \
      RankOneUpdate<KeyDecay<double>>, ThreeRankOnes, KeyThenValue, Mixed, OneFactor, Nested, \
      UpdatePerLeaf<double>, ThreePerLeaf

TEMPLATE_TEST_CASE("A transition is the dense matrices that its members spell", "", ALL_KINDS,
                   KeyDecay<float>, ValueDecay<float>, RankOneUpdate<ScalarDecay<float>>,
                   RankOneUpdate<KeyDecay<long double>>) {
  using Scalar = typename TestType::Scalar;
  static_assert(Transition<TestType, Scalar>);
  using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  test::Random random(1);
  for (const auto [key_rows, d_v] : shapes) {
    CAPTURE(key_rows, d_v);
    const auto tolerance = test::rounding<Scalar>(operations, key_rows);
    const auto kind = random_transition<TestType>(random, key_rows, d_v);
    const auto [l, r] = dense(kind, key_rows, d_v);
    const auto m = random.matrix<Scalar>(key_rows, d_v);
    const auto q = random.vector<Scalar>(key_rows), z = random.vector<Scalar>(d_v);

    RowMajor changed = m;  // as the levels of a state are stored
    kind.left(changed);
    CHECK(test::difference(changed, l * m) <= tolerance);
    kind.right(changed);
    CHECK(test::difference(changed, l * m * r.asDiagonal()) <= tolerance);

    test::Matrix<Scalar> other_order = m;  // left and right act on different sides
    kind.right(other_order);
    kind.left(other_order);
    CHECK(test::difference(other_order, changed) <= tolerance);

    test::Vector<Scalar> s = q;  // a vector is a matrix of one column
    kind.left(s);
    CHECK(test::difference(s, l * q) <= tolerance);
    s = q;
    kind.left_transposed(s);
    CHECK(test::difference(s, l.transpose() * q) <= tolerance);
    test::Vector<Scalar> read = z;
    kind.right(read.transpose());
    CHECK(test::difference(read, r.cwiseProduct(z)) <= tolerance);

    RowMajor wide = RowMajor::Zero(key_rows + 2, d_v + 2);  // inside something larger
    wide.block(1, 1, key_rows, d_v) = m;
    auto inner = wide.block(1, 1, key_rows, d_v);
    kind.left(inner);
    kind.right(inner);
    CHECK(test::difference(inner, changed) <= tolerance);
    inner.setZero();
    CHECK(wide.isZero(0));  // nothing outside the block was touched
  }
}

TEMPLATE_TEST_CASE("left_transposed is the adjoint of left: q.(L s) = (L^T q).s", "", ALL_KINDS) {
  test::Random random(2);
  for (const auto [key_rows, d_v] : shapes) {
    const auto kind = random_transition<TestType>(random, key_rows, d_v);
    const auto q = random.vector<double>(key_rows), s = random.vector<double>(key_rows);
    test::Vector<double> forward = s, backward = q;
    kind.left(forward);
    kind.left_transposed(backward);
    CHECK(std::abs(q.dot(forward) - backward.dot(s)) <=
          test::rounding<double>(operations, key_rows));
  }
}

// q^T L s + d.(r z) is affine in every single member, so that the central difference has no
// truncation error and a step of order 1 only rounds.
TEMPLATE_TEST_CASE("A pullback is the derivative of q^T L s + d.(r z) by every member", "",
                   ALL_KINDS) {
  test::Random random(3);
  for (const auto [key_rows, d_v] : shapes) {
    CAPTURE(key_rows, d_v);
    auto kind = random_transition<TestType>(random, key_rows, d_v);
    const auto q = random.vector<double>(key_rows), s = random.vector<double>(key_rows);
    const auto z = random.vector<double>(d_v), d = random.vector<double>(d_v);
    const auto value = [&] {
      test::Vector<double> left = s, right = z;
      kind.left(left);
      kind.right(right.transpose());
      return q.dot(left) + d.dot(right);
    };
    // What a gradient held before must not matter.
    auto gradient = random_transition<TestType>(random, key_rows, d_v);
    kind.pullback(q, s, z, d, gradient);

    constexpr double step = 0.5;
    std::vector<double> expected, actual;
    visit_members(kind, [&](double& member) {
      const double held = member;
      member = held + step;
      const double above = value();
      member = held - step;
      const double below = value();
      member = held;
      expected.push_back((above - below) / (2 * step));
    });
    visit_members(gradient, [&](double& member) { actual.push_back(member); });
    REQUIRE(actual.size() == expected.size());
    const double tolerance =
        test::rounding<double>(operations, key_rows + d_v) * (1 + std::abs(value()));
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      CHECK(std::abs(actual[i] - expected[i]) <= tolerance);
    }
  }
}

TEMPLATE_TEST_CASE("norm_bound bounds the growth of the matrix that grows most", "", ALL_KINDS) {
  test::Random random(4);
  for (const auto [key_rows, d_v] : shapes) {
    for (int repetition = 0; repetition < 20; ++repetition) {
      auto kind = random_transition<TestType>(random, key_rows, d_v);
      if (repetition % 2 == 1) visit_members(kind, [](double& member) { member *= 10; });
      const auto [l, r] = dense(kind, key_rows, d_v);
      const double bound = kind.norm_bound() * (1 + test::rounding<double>(operations, key_rows));
      const auto m = random.matrix<double>(key_rows, d_v);
      CHECK((l * m * r.asDiagonal()).norm() <= bound * m.norm());

      test::Vector<double> worst = random.vector<double>(key_rows);  // by power iteration
      for (int i = 0; i < 50 && worst.norm() > 0; ++i) {
        worst = (l.transpose() * (l * worst)).eval();
        if (worst.norm() > 0) worst.normalize();
      }
      const double largest_r = r.cwiseAbs().maxCoeff();
      CHECK((l * worst).norm() * largest_r <= bound * worst.norm());
    }
  }
}

TEMPLATE_TEST_CASE("A transition with one coefficient that is not finite says so", "", ALL_KINDS) {
  test::Random random(5);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  auto kind = random_transition<TestType>(random, 3, 2);
  CHECK(kind.all_finite());
  visit_members(kind, [&](double& member) {
    const double held = member;
    for (const double bad : {nan, infinity, -infinity}) {
      member = bad;
      CHECK_FALSE(kind.all_finite());
    }
    member = held;
  });
  CHECK(kind.all_finite());
}

TEMPLATE_TEST_CASE("A new transition leaves everything as it is", "", ALL_KINDS) {
  test::Random random(6);
  const TestType kind(3, 4);
  const auto m = random.matrix<double>(3, 4);
  test::Matrix<double> changed = m;
  kind.left(changed);
  kind.right(changed);
  CHECK(test::same_bits(changed, m));
}
