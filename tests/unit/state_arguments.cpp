// SPDX-License-Identifier: MIT
#include <vector>

#include "catch.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "support.hpp"

// What push_leaf and query_mixed accept.

namespace {

using namespace loglinear;
using Eigen::Index;

constexpr int dynamic = Eigen::Dynamic;
using State = LogLinearState<double>;
using Vec = test::Vector<double>;
using Mat = test::Matrix<double>;

Vec vec(std::initializer_list<double> values) {
  return Eigen::Map<const Vec>(values.begin(), static_cast<Index>(values.size()));
}
/// A state with something in it: `count` random leaves.
State filled(std::uint64_t seed, int count, int max_levels = 3, Index d_k = 3, Index d_v = 4) {
  test::Random random(seed);
  State state(max_levels, d_k, d_v);
  for (int i = 0; i < count; ++i) {
    state.push_leaf(random.vector<double>(d_k), random.vector<double>(d_v));
  }
  return state;
}

}  // namespace

TEST_CASE("push_leaf takes any vector: columns, rows, blocks, maps, strides, expressions") {
  test::Random random(34);
  const Vec k = random.vector<double>(3), v = random.vector<double>(4);
  State expected(2, 3, 4);
  expected.push_leaf(k, v);
  const auto pushed = [](const auto& keys, const auto& values) {
    State state(2, 3, 4);
    state.push_leaf(keys, values);
    return state;
  };
  const Eigen::RowVectorXd k_row = k.transpose(), v_row = v.transpose();
  Mat wide = Mat::Zero(9, 9);
  wide.block(1, 2, 3, 1) = k;
  wide.block(5, 4, 1, 4) = v_row;
  std::vector<double> strided(12, 0);
  for (Index i = 0; i < 4; ++i) strided[static_cast<std::size_t>(3 * i)] = v[i];
  const Eigen::Map<const Vec, 0, Eigen::InnerStride<3>> v_strided(strided.data(), 4);
  const Eigen::Matrix<double, 3, 1> k_fixed = k;
  const Vec half = 0.5 * k;

  CHECK(pushed(k_row, v_row) == expected);
  CHECK(pushed(k_row, v) == expected);
  CHECK(pushed(wide.block<3, 1>(1, 2), wide.row(5).segment(4, 4)) == expected);
  CHECK(pushed(wide.col(2).segment(1, 3), wide.block<1, 4>(5, 4)) == expected);
  CHECK(pushed(Eigen::Map<const Vec>(k.data(), 3), v_strided) == expected);
  CHECK(pushed(Eigen::Map<const Eigen::RowVectorXd>(k.data(), 3), v_strided.transpose()) ==
        expected);
  CHECK(pushed(k_fixed, v.reverse().reverse()) == expected);
  CHECK(pushed(half + half, v_row.transpose()) == expected);
  CHECK(pushed(Mat::Identity(3, 3) * k, v) == expected);
  CHECK(pushed(Mat(k), Mat(v)) == expected);  // one column that is not a vector by its type
  CHECK(pushed(k.array().matrix(), Eigen::Ref<const Vec>(v)) == expected);
}

TEST_CASE("push_leaf takes leaves of several columns in any storage order") {
  test::Random random(35);
  const Mat k = random.matrix<double>(3, 5), v = random.matrix<double>(4, 5);
  const auto pushed = [](const auto& keys, const auto& values) {
    State state(2, 3, 4);
    state.push_leaf(keys, values);
    return state;
  };
  const State expected = pushed(k, v);
  CHECK(test::difference(expected.level(0), k * v.transpose()) <= test::rounding<double>(4, 5));
  CHECK(expected.size() == 1);
  const Eigen::Matrix<double, dynamic, dynamic, Eigen::RowMajor> k_rows = k;
  const Mat k_transposed = k.transpose();
  Mat wide = Mat::Zero(8, 16);
  for (Index j = 0; j < 5; ++j) wide.col(2 * j).segment(2, 4) = v.col(j);
  const Eigen::Map<const Mat, 0, Eigen::OuterStride<>> spread(wide.data() + 2, 4, 5,
                                                              Eigen::OuterStride<>(16));
  CHECK(pushed(k_rows, v) == expected);
  CHECK(pushed(k_transposed.transpose(), v) == expected);
  CHECK(pushed(k, spread) == expected);
  CHECK(pushed(k.leftCols(5), (0.5 * v + 0.5 * v)) == expected);
  CHECK(pushed(Eigen::Matrix<double, 3, 5>(k), Eigen::Matrix<double, 4, 5>(v)) == expected);
}

TEST_CASE("query_mixed is the weighted sum of S^T q, whatever kind of vectors it is given") {
  test::Random random(36);
  const State state = filled(36, 7);
  const Vec q = random.vector<double>(3), lambdas = random.vector<double>(3);
  Vec expected = Vec::Zero(4);
  for (int level = 0; level < 3; ++level) {
    expected += lambdas[level] * (Mat(state.level(level)).transpose() * q);
  }
  const double tolerance = test::rounding<double>(8, 3) * 7;
  Vec out = Vec::Constant(4, 99);
  state.query_mixed(q, lambdas, out);
  CHECK(test::difference(out, expected) <= tolerance);

  const Eigen::RowVectorXd q_row = q.transpose(), lambdas_row = lambdas.transpose();
  Eigen::RowVectorXd out_row = Eigen::RowVectorXd::Constant(4, 99);
  state.query_mixed(q_row, lambdas_row, out_row);
  CHECK(test::difference(out_row.transpose(), expected) <= tolerance);

  Mat wide = Mat::Constant(6, 6, 99);
  state.query_mixed(0.5 * q + 0.5 * q, 0.5 * lambdas + 0.5 * lambdas, wide.row(2).segment(1, 4));
  CHECK(test::difference(wide.row(2).segment(1, 4).transpose(), expected) <= tolerance);
  wide.row(2).segment(1, 4).setConstant(99);
  CHECK(wide == Mat::Constant(6, 6, 99));  // nothing else was written

  state.query_mixed(q, lambdas, wide.col(3).head(4));
  CHECK(test::difference(wide.col(3).head(4), expected) <= tolerance);
  std::vector<double> memory(8, 99);
  state.query_mixed(q.reverse().reverse(), lambdas,
                    Eigen::Map<Vec, 0, Eigen::InnerStride<2>>(memory.data(), 4));
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(std::abs(memory[2 * i] - expected[static_cast<Index>(i)]) <= tolerance);
    CHECK(memory[2 * i + 1] == 99);
  }
  Eigen::Vector4d out_fixed;
  state.query_mixed(Eigen::Vector3d(q), Eigen::Vector3d(lambdas), out_fixed);
  CHECK(test::difference(out_fixed, expected) <= tolerance);
}

TEST_CASE("query_mixed does not read the weights of inactive levels, and an empty state reads 0") {
  const State state = filled(37, 5);  // levels 0 and 2
  Vec lambdas = vec({0.5, 0, 0.25}), out(4), other(4);
  state.query_mixed(vec({1, 2, 3}), lambdas, out);
  lambdas[1] = 1e300;
  state.query_mixed(vec({1, 2, 3}), lambdas, other);
  CHECK(test::same_bits(out, other));
  State(3, 3, 4).query_mixed(vec({1, 2, 3}), lambdas, out);
  CHECK(out == Vec::Zero(4));
}

TEST_CASE("push_leaf may be given parts of the state itself") {
  for (int count = 1; count <= 8; ++count) {
    State state = filled(38, count, 3, 4, 4), expected = state;
    for (int level = 0; level < 3; ++level) {
      const Mat held = state.level(level);
      state.push_leaf(state.level(level).row(1), state.level(level).row(2));
      expected.push_leaf(Vec(held.row(1).transpose()), Vec(held.row(2).transpose()));
      CHECK(state == expected);
      const Mat changed = state.level(level);
      state.push_leaf(state.level(level), state.level(level).transpose());
      expected.push_leaf(changed, changed.transpose());
      CHECK(state == expected);
      const Mat again = state.level(level);
      state.push_leaf(state.level(level).col(0), state.flat_state().segment(level * 16, 4));
      expected.push_leaf(Vec(again.col(0)), Vec(again.row(0).transpose()));
      CHECK(state == expected);
    }
  }
}
