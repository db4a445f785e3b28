// SPDX-License-Identifier: MIT
#include "loglinear/stream/log_linear_state.hpp"

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "support.hpp"

namespace bad_input_state {

namespace {

using namespace loglinear;
using Eigen::Index;
using Parts = std::vector<std::string>;

template <class Scalar>
using Vec = test::Vector<Scalar>;

template <class Scalar>
LogLinearState<Scalar> filled() {
  test::Random random(71);
  LogLinearState<Scalar> state(3, 3, 4);
  for (int i = 0; i < 5; ++i) state.push_leaf(random.vector<Scalar>(3), random.vector<Scalar>(4));
  return state;
}

/// `call(state)` throws std::invalid_argument whose message holds `parts`, no bit of the state
/// changes, and the stream goes on as that of a twin to which it never happened.
void refuses(const std::function<void(LogLinearState<double>&)>& call, const Parts& parts) {
  LogLinearState<double> state = filled<double>(), twin = filled<double>();
  const std::string error = test::error_of([&] { call(state); });
  CAPTURE(error);
  CHECK(test::mentions(error, parts));
  for (int token = 0; token < 4; ++token) {
    CHECK(state.size() == twin.size());
    CHECK(test::same_bits(state.flat_state(), twin.flat_state()));
    state.push_leaf(Eigen::Vector3d(1, 2, 3), Eigen::Vector4d(4, 5, 6, 7));
    twin.push_leaf(Eigen::Vector3d(1, 2, 3), Eigen::Vector4d(4, 5, 6, 7));
  }
}

template <class Scalar>
std::vector<Scalar> not_finite() {
  return {std::numeric_limits<Scalar>::quiet_NaN(), std::numeric_limits<Scalar>::infinity(),
          -std::numeric_limits<Scalar>::infinity()};
}

std::string at(const char* name, Index i) {
  return std::string(name) + "[" + std::to_string(i) + "]";
}

}  // namespace

TEST_CASE("LogLinearState: each size of the constructor") {
  using State = LogLinearState<double>;
  const auto error = [](int max_levels, Index d_k, Index d_v) {
    return test::error_of([=] { State state(max_levels, d_k, d_v); });
  };
  CHECK(error(1, 1, 1).empty());
  CHECK(error(64, 1, 1).empty());
  CHECK(test::mentions(error(0, 2, 3), {"max_levels is 0;", "between 1 and 64"}));
  CHECK(test::mentions(error(65, 2, 3), {"max_levels is 65;", "between 1 and 64"}));
  CHECK(test::mentions(error(-1, 2, 3), {"max_levels is -1;", "between 1 and 64"}));
  CHECK(test::mentions(error(2, 0, 3), {"d_k is 0;", "at least 1"}));
  CHECK(test::mentions(error(2, -2, 3), {"d_k is -2;", "at least 1"}));
  CHECK(test::mentions(error(2, 2, 0), {"d_v is 0;", "at least 1"}));
  CHECK(test::mentions(error(2, 2, -3), {"d_v is -3;", "at least 1"}));
  // 2^32 * 2^32 coefficients would wrap around to none.
  CHECK(test::mentions(error(1, Index{1} << 32, Index{1} << 32),
                       {"d_k is 4294967296;", "at most 67108864"}));
  CHECK(test::mentions(error(64, Index{1} << 57, 1), {"d_k is ", "at most 67108864"}));

  using Fixed = LogLinearState<double, 2, 3, 4>;
  CHECK(test::mentions(test::error_of([] { Fixed state(5, 2, 3); }), {"max_levels is 5;", "be 4"}));
  CHECK(test::mentions(test::error_of([] { Fixed state(4, 3, 3); }), {"d_k is 3;", "be 2"}));
  CHECK(test::mentions(test::error_of([] { Fixed state(4, 2, 2); }), {"d_v is 2;", "be 3"}));
}

TEST_CASE("LogLinearState: a level that does not exist") {
  const LogLinearState<double> state(3, 2, 2);
  for (const int level : {-1, 3, 64, std::numeric_limits<int>::max()}) {
    const std::string value = "level is " + std::to_string(level);
    CHECK(test::mentions(test::error_of([&] { (void)state.level(level); }),
                         {value, "between 0 and 2"}));
    CHECK(test::mentions(test::error_of([&] { (void)state.is_active(level); }),
                         {value, "between 0 and 2"}));
  }
}

TEST_CASE("LogLinearState: leaves of a wrong size") {
  using State = LogLinearState<double>;
  const Vec<double> k = Vec<double>::Ones(3), v = Vec<double>::Ones(4), empty;
  const auto ones = [](Index rows, Index cols) { return test::Matrix<double>::Ones(rows, cols); };
  refuses([&](State& s) { s.push_leaf(v, v); }, {"size of k is 4;", "be 3"});
  refuses([&](State& s) { s.push_leaf(k, k); }, {"size of v is 3;", "be 4"});
  refuses([&](State& s) { s.push_leaf(empty, v); }, {"size of k is 0;", "be 3"});
  refuses([&](State& s) { s.push_leaf(k, empty); }, {"size of v is 0;", "be 4"});
  refuses([&](State& s) { s.push_leaf(v.transpose(), v); }, {"size of k is 4;", "be 3"});
  refuses([&](State& s) { s.push_leaf(k, k.transpose()); }, {"size of v is 3;", "be 4"});
  refuses([&](State& s) { s.push_leaf(ones(3, 2), ones(4, 3)); },
          {"number of values (columns of v) is 3;", "be 2"});
  refuses([&](State& s) { s.push_leaf(ones(3, 2), v); }, {"columns of v) is 1;", "be 2"});
  refuses([&](State& s) { s.push_leaf(ones(2, 3), ones(4, 3)); }, {"size of k is 2;", "be 3"});
  refuses([&](State& s) { s.push_leaf(ones(3, 0), ones(4, 0)); },
          {"number of keys (columns of k) is 0;", "at least 1"});
}

TEST_CASE("LogLinearState: a leaf with a coefficient that is not finite") {
  using State = LogLinearState<double>;
  for (const double bad : not_finite<double>()) {
    for (Index i = 0; i < 3; ++i) {
      Vec<double> k = Vec<double>::Ones(3);
      k[i] = bad;
      refuses([&](State& s) { s.push_leaf(k, Vec<double>::Ones(4)); }, {at("k", i), "finite"});
      refuses([&](State& s) { s.push_leaf(k.transpose(), Vec<double>::Ones(4)); },
              {at("k", i), "finite"});
    }
    for (Index i = 0; i < 4; ++i) {
      Vec<double> v = Vec<double>::Ones(4);
      v[i] = bad;
      refuses([&](State& s) { s.push_leaf(Vec<double>::Ones(3), v); }, {at("v", i), "finite"});
    }
    test::Matrix<double> keys = test::Matrix<double>::Ones(3, 2);
    keys(1, 1) = bad;
    refuses([&](State& s) { s.push_leaf(keys, test::Matrix<double>::Ones(4, 2)); },
            {"k[1, 1]", "finite"});
  }
  // The value stands in the message as it was received.
  Vec<double> k = Vec<double>::Ones(3);
  k[2] = -std::numeric_limits<double>::infinity();
  refuses([&](State& s) { s.push_leaf(k, Vec<double>::Ones(4)); }, {"k[2] is -inf; it must be"});
}

TEMPLATE_TEST_CASE("LogLinearState: finite leaves whose products overflow", "", float, double) {
  using Scalar = TestType;
  const Scalar huge = std::numeric_limits<Scalar>::max() / 2;
  LogLinearState<Scalar> state = filled<Scalar>();
  const LogLinearState<Scalar> before = state;
  const auto error = test::error_of(
      [&] { state.push_leaf(Vec<Scalar>::Constant(3, huge), Vec<Scalar>::Constant(4, huge)); });
  CHECK(test::mentions(error, {"magnitude of the state", "range of the scalar type"}));
  CHECK(state == before);
  for (int i = 0; i < 100; ++i) {  // each fits by itself, all together do not
    (void)test::error_of([&] {
      state.push_leaf(Vec<Scalar>::Constant(3, huge / 50), Vec<Scalar>::Constant(4, Scalar(0.1)));
    });
  }
  CHECK(state.flat_state().allFinite());
}

TEST_CASE("LogLinearState: queries of a wrong size or with a coefficient that is not finite") {
  using State = LogLinearState<double>;
  const Vec<double> q = Vec<double>::Ones(3), lambdas = Vec<double>::Ones(3);
  const Vec<double> seven = Vec<double>::Ones(7), held = Vec<double>::Constant(4, 99);
  Vec<double> out = held, small(3);
  refuses([&](State& s) { s.query_mixed(seven, lambdas, out); }, {"size of q is 7;", "be 3"});
  refuses([&](State& s) { s.query_mixed(q, seven, out); }, {"size of lambdas is 7;", "be 3"});
  refuses([&](State& s) { s.query_mixed(q, lambdas, small); }, {"size of out is 3;", "be 4"});
  for (const double bad : not_finite<double>()) {
    for (Index i = 0; i < 3; ++i) {
      Vec<double> with_bad = q;
      with_bad[i] = bad;
      refuses([&](State& s) { s.query_mixed(with_bad, lambdas, out); }, {at("q", i), "finite"});
      refuses([&](State& s) { s.query_mixed(q, with_bad, out); }, {at("lambdas", i), "finite"});
    }
  }
  CHECK(out == held);  // the caller's vector is not touched either
}

TEST_CASE("LogLinearState: a transition with a coefficient that is not finite") {
  using State = LogLinearState<double>;
  for (const double bad : not_finite<double>()) {
    ScalarDecay<double> scalar(3, 4);
    scalar.decay = bad;
    refuses([&](State& s) { s.undergo(scalar); }, {"transition", "finite"});
    RankOneUpdate<KeyDecay<double>> update(3, 4);
    update.u[1] = bad;
    refuses([&](State& s) { s.undergo(update); }, {"transition", "finite"});
    ValueDecay<double> value(3, 4);
    value.decay[3] = bad;
    refuses([&](State& s) { s.undergo(value); }, {"transition", "finite"});
  }
  ScalarDecay<double> growth(3, 4);
  growth.decay = 1e308;
  refuses([&](State& s) { s.undergo(growth); }, {"magnitude of the state", "range"});
}

TEMPLATE_TEST_CASE("LogLinearState: an update of the largest numbers there are", "", float,
                   double) {
  using Vector = test::Vector<TestType>;
  LogLinearState<TestType> state(3, 2, 2);
  state.push_leaf(Vector::Ones(2), Vector::Ones(2));
  const auto before = state;
  for (const TestType part : {TestType(1), TestType(2), TestType(3)}) {
    RankOneUpdate<Identity<TestType>> update(2, 2);
    update.u.setConstant(std::numeric_limits<TestType>::max() / part);
    update.p.setConstant(2);
    CHECK(test::mentions(test::error_of([&] { state.undergo(update); }), {"magnitude"}));
    std::swap(update.u, update.p);
    CHECK(test::mentions(test::error_of([&] { state.undergo(update); }), {"magnitude"}));
    CHECK(state == before);
  }
}

TEST_CASE("LogLinearState: a transition of another shape") {
  using State = LogLinearState<double>;  // the states of `refuses` are 3 x 4
  refuses([&](State& s) { s.undergo(KeyDecay<double>(2, 4)); }, {"transition", "shape"});
  refuses([&](State& s) { s.undergo(KeyDecay<double>(4, 4)); }, {"transition", "shape"});
  refuses([&](State& s) { s.undergo(ValueDecay<double>(3, 5)); }, {"transition", "shape"});
  refuses([&](State& s) { s.undergo(RankOneUpdate<Identity<double>>(5, 4)); },
          {"transition", "shape"});
  refuses([&](State& s) { s.undergo(RankOneUpdate<KeyDecay<double>>(2, 4)); },
          {"transition", "shape"});
  using Product = TransitionProduct<ScalarDecay<double>, KeyDecay<double>>;
  refuses([&](State& s) { s.undergo(Product(4, 4)); }, {"transition", "shape"});
}

}  // namespace bad_input_state
