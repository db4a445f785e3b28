// SPDX-License-Identifier: MIT
#include "loglinear/stream/log_linear_state.hpp"

#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "catch.hpp"
#include "support.hpp"

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
