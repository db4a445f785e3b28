// SPDX-License-Identifier: MIT
#include "loglinear/state.hpp"

#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "dense_transition.hpp"
#include "leaf_list.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

constexpr int dynamic = Eigen::Dynamic;
using State = LogLinearState<double>;
using Vec = test::Vector<double>;
using Mat = test::Matrix<double>;

template <class Scalar>
std::vector<double> row_major(const test::Matrix<Scalar>& m) {
  std::vector<double> flat;
  for (Index i = 0; i < m.rows(); ++i) {
    for (Index j = 0; j < m.cols(); ++j) flat.push_back(static_cast<double>(m(i, j)));
  }
  return flat;
}

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

Vec vec(std::initializer_list<double> values) {
  return Eigen::Map<const Vec>(values.begin(), static_cast<Index>(values.size()));
}
Mat two_by_three(double a, double b, double c, double d, double e, double f) {
  Mat m(2, 3);
  m << a, b, c, d, e, f;
  return m;
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

template <class Kind>
Kind contraction(test::Random& random, Index d_k, Index d_v) {
  Kind kind(d_k, d_v);
  test::visit_members(kind, [&](auto& member) {
    member = static_cast<std::decay_t<decltype(member)>>(0.5 * random.number());
  });
  return kind;
}

}  // namespace

TEMPLATE_TEST_CASE("Four tokens by hand, the last of them overflowing", "", State,
                   (LogLinearState<double, 2, 3, 2>), (LogLinearState<double, 2, dynamic>),
                   (LogLinearState<double, dynamic, 3, dynamic>),
                   (LogLinearState<double, dynamic, dynamic, 2>), LogLinearState<float>,
                   (LogLinearState<float, 2, 3, 2>), LogLinearState<long double>) {
  using Scalar = typename TestType::Scalar;
  const auto convert = [](const auto& m) { return m.template cast<Scalar>().eval(); };
  TestType state(2, 2, 3);
  CHECK(state.max_levels() == 2);
  CHECK(state.d_k() == 2);
  CHECK(state.d_v() == 3);
  CHECK(state.size() == 0);
  CHECK(state.active_level_count() == 0);
  CHECK_FALSE(state.is_active(0));
  CHECK(state.flat_state().size() == 12);
  CHECK(state.flat_state().isZero(0));
  const Mat zero = Mat::Zero(2, 3);

  state.push_leaf(convert(vec({1, 2})), convert(vec({3, 4, 5})));
  CHECK(state.level(0) == convert(two_by_three(3, 4, 5, 6, 8, 10)));
  CHECK(state.level(1) == convert(zero));
  CHECK(state.is_active(0));
  CHECK_FALSE(state.is_active(1));

  state.push_leaf(convert(vec({1, 0})), convert(vec({1, 1, 1})));
  CHECK(state.level(0) == convert(zero));
  CHECK(state.level(1) == convert(two_by_three(4, 5, 6, 6, 8, 10)));
  CHECK(state.active_level_count() == 1);

  state.push_leaf(convert(vec({0, 1})), convert(vec({1, 0, 0})));
  CHECK(state.size() == 3);
  CHECK(state.active_level_count() == 2);
  CHECK(state.flat_state() == convert(vec({0, 0, 0, 1, 0, 0, 4, 5, 6, 6, 8, 10})));

  test::Vector<Scalar> out(3);
  state.query_mixed(convert(vec({1, -1})), convert(vec({2, 10})), out);
  CHECK(out == convert(vec({-22, -30, -40})));

  state.push_leaf(convert(vec({2, 0})), convert(vec({0, 1, 0})));
  CHECK(state.size() == 4);
  CHECK(state.level(0) == convert(zero));
  CHECK(state.level(1) == convert(two_by_three(4, 7, 6, 7, 8, 10)));
  CHECK_FALSE(state.is_active(0));
  CHECK(state.is_active(1));
  int levels_seen = 0;
  for (int level : state.active_levels()) {
    CHECK(level == 1);
    ++levels_seen;
  }
  CHECK(levels_seen == 1);

  ScalarDecay<Scalar> half(2, 3);
  half.decay = Scalar(0.5);
  state.undergo(half);
  CHECK(state.level(1) == convert(two_by_three(2, 3.5, 3, 3.5, 4, 5)));
  CHECK(state.size() == 4);

  state.reset();
  CHECK(state == TestType(2, 2, 3));
  CHECK(state.flat_state().size() == 12);
}

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
      leaves.push(row_major<Scalar>(k * v.transpose()));
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
    leaves.push(row_major<double>(k * v.transpose()));
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

TEMPLATE_TEST_CASE("States are values", "", State, (LogLinearState<double, 3, 4, 3>)) {
  test::Random random(39);
  TestType state(3, 3, 4);
  for (int i = 0; i < 5; ++i) state.push_leaf(random.vector<double>(3), random.vector<double>(4));
  const TestType copy = state;
  CHECK(copy == state);
  const Vec k = random.vector<double>(3), v = random.vector<double>(4);
  state.push_leaf(k, v);
  CHECK(copy != state);  // a copy is its own
  CHECK(copy.size() == 5);

  TestType moved = std::move(state);
  TestType expected = copy;
  expected.push_leaf(k, v);
  CHECK(moved == expected);
  state = copy;  // what was moved from can be assigned to
  CHECK(state == copy);
  state.push_leaf(k, v);
  CHECK(state == expected);
  TestType& self = state;
  state = self;
  CHECK(state == expected);
  std::swap(state, moved);
  CHECK(state == moved);

  TestType larger = copy;
  larger = TestType(3, 3, 4);
  CHECK(larger == TestType(3, 3, 4));
}

TEST_CASE("Assignment takes over the shape") {
  State state = filled(40, 3, 2, 2, 2);
  const State other = filled(41, 9, 5, 3, 4);
  state = other;
  CHECK(state == other);
  CHECK(state.max_levels() == 5);
  CHECK(state.flat_state().size() == 60);
}

TEST_CASE("Equality compares shape, size and every coefficient") {
  const State state = filled(42, 3);
  CHECK(state == state);
  CHECK(State(3, 3, 4) != State(2, 3, 4));
  CHECK(State(2, 6, 2) != State(2, 2, 6));
  CHECK(State(2, 3, 4) != State(4, 3, 2));
  State zeros(3, 3, 4);
  zeros.push_leaf(Vec::Zero(3), Vec::Zero(4));
  CHECK(zeros != State(3, 3, 4));  // one token of nothing is not no token
  State other = state;
  ScalarDecay<double> almost(3, 4);
  almost.decay = 1 + 2 * std::numeric_limits<double>::epsilon();
  other.undergo(almost);
  CHECK(other != state);
}

TEST_CASE("cast converts coefficient by coefficient and refuses what is out of range") {
  const State state = filled(43, 6);
  const LogLinearState<float> narrow = state.cast<float>();
  CHECK(narrow.size() == 6);
  CHECK(narrow.max_levels() == 3);
  CHECK(narrow.flat_state() == state.flat_state().cast<float>());
  CHECK(narrow.cast<double>().cast<float>() == narrow);
  CHECK(state.cast<long double>().cast<double>() == state);
  CHECK(state.cast<double>() == state);
  const LogLinearState<double, 2, 2, 2> inline_state(2, 2, 2);
  static_assert(
      std::is_same_v<decltype(inline_state.cast<float>()), LogLinearState<float, 2, 2, 2>>);

  State large(2, 1, 1);
  large.push_leaf(vec({1e30}), vec({1e30}));
  CHECK(test::mentions(test::error_of([&] { (void)large.cast<float>(); }), {"1e+60", "range"}));
  LogLinearState<float> continued = state.cast<float>();  // goes on where the other was
  continued.push_leaf(Eigen::Vector3f(1, 2, 3), Eigen::Vector4f(1, 2, 3, 4));
  CHECK(continued.size() == 7);
  CHECK(continued.active_level_count() == 3);
}

TEST_CASE("Up to 16 KiB a fixed shape lies inside the object") {
  static_assert(LogLinearState<double, 8, 8, 32>::is_inline);  // 16 KiB exactly
  static_assert(!LogLinearState<double, 8, 8, 33>::is_inline);
  static_assert(LogLinearState<float, 16, 8, 32>::is_inline);
  static_assert(!LogLinearState<float, 16, 16, 32>::is_inline);
  static_assert(!LogLinearState<double, 2, 2, dynamic>::is_inline);
  static_assert(!LogLinearState<double>::is_inline);
  static_assert(sizeof(LogLinearState<double, 8, 8, 32>) < 16 * 1024 + 128);
  static_assert(sizeof(LogLinearState<double, 64, 64, 32>) < 128);
  LogLinearState<double, 64, 64, 10> outside;  // a fixed shape beyond that is on the heap
  outside.push_leaf(Vec::Ones(64), Vec::Ones(64));
  CHECK(outside.level(0) == Mat::Ones(64, 64));
}

TEST_CASE("A fixed shape is the default constructor's") {
  const LogLinearState<double, 2, 3, 4> state;
  CHECK(state.max_levels() == 4);
  CHECK(state.d_k() == 2);
  CHECK(state.d_v() == 3);
  CHECK(state == LogLinearState<double, 2, 3, 4>(4, 2, 3));
  static_assert(!std::is_default_constructible_v<State>);
  static_assert(!std::is_default_constructible_v<LogLinearState<double, 2, 3, dynamic>>);
}

TEST_CASE("64 levels and 1000 tokens") {
  State state(64, 1, 1);
  for (int i = 0; i < 1000; ++i) state.push_leaf(vec({1}), vec({1}));
  for (int level = 0; level < 64; ++level) {
    CHECK(state.level(level)(0, 0) == ((1000 >> std::min(level, 30)) & 1) * std::ldexp(1.0, level));
  }
}

TEMPLATE_TEST_CASE("What could overflow is refused, and nothing is changed", "", float, double,
                   long double) {
  using Scalar = TestType;
  using AnyState = LogLinearState<Scalar>;
  using Column = test::Vector<Scalar>;
  // For long double the range of double counts.
  const double limit = std::is_same_v<Scalar, float> ? std::numeric_limits<float>::max()
                                                     : std::numeric_limits<double>::max();
  const Scalar root = static_cast<Scalar>(std::sqrt(limit));
  AnyState state(2, 2, 2);
  state.push_leaf(Column::Constant(2, Scalar(1)), Column::Constant(2, Scalar(2)));
  const AnyState before = state;
  const auto refuses = [&](auto&& change) {
    const std::string error = test::error_of([&] { change(state); });
    CAPTURE(error);
    CHECK(test::mentions(error, {"magnitude", "range"}));
    CHECK(state == before);
  };
  refuses([&](AnyState& s) { s.push_leaf(Column::Constant(2, root), Column::Constant(2, root)); });
  refuses([&](AnyState& s) {
    s.push_leaf(Column::Constant(2, Scalar(limit)), Column::Constant(2, Scalar(limit)));
  });
  ScalarDecay<Scalar> growth(2, 2);
  growth.decay = Scalar(limit);
  refuses([&](AnyState& s) { s.undergo(growth); });

  // The running bound only grows; a state that has decayed in the meantime is measured again.
  ScalarDecay<Scalar> shrink(2, 2);
  shrink.decay = 1 / root;
  const Scalar large = std::sqrt(root) * std::sqrt(root) / 8;
  for (int i = 0; i < 100; ++i) {
    state.push_leaf(Column::Constant(2, large), Column::Constant(2, large));
    state.undergo(shrink);
  }
  CHECK(state.size() == 101);
  CHECK(state.flat_state().allFinite());
  for (int i = 0; i < 100; ++i) {  // the largest leaves there are: refused before they overflow
    if (!test::error_of([&] {
           state.push_leaf(Column::Constant(2, large), Column::Constant(2, large));
         }).empty())
      break;
  }
  CHECK(state.size() < 120);
  CHECK(state.flat_state().allFinite());
}

TEST_CASE("A transition whose result is finite but whose way there is not is refused") {
  State state(1, 2, 2);
  state.push_leaf(vec({1e100, 1e100}), vec({1e50, 1e50}));
  const State before = state;
  const auto refuses = [&](const auto& kind) {
    CHECK(test::mentions(test::error_of([&] { state.undergo(kind); }), {"magnitude", "range"}));
    CHECK(state == before);
  };
  RankOneUpdate<Identity<double>> update(2, 2);  // p^T S overflows, u p^T S does not
  update.p.setConstant(1e200);
  update.u.setConstant(1e-200);
  refuses(update);
  TransitionProduct<ScalarDecay<double>, KeyDecay<double>> there_and_back(2, 2);
  std::get<0>(there_and_back.factors).decay = 1e200;
  std::get<1>(there_and_back.factors).decay.setConstant(1e-200);
  refuses(there_and_back);
  TransitionProduct<ValueDecay<double>, KeyDecay<double>> left_first(2, 2);
  std::get<0>(left_first.factors).decay.setConstant(1e-200);
  std::get<1>(left_first.factors).decay.setConstant(1e200);
  refuses(left_first);
}
