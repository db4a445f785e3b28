// SPDX-License-Identifier: MIT
#include <Eigen/Core>
#include <type_traits>

#include "allocation_counter.hpp"
#include "catch.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

template <class State>
int allocations_of_a_stream(State& state) {
  using Scalar = typename State::Scalar;
  using Vec = test::Vector<Scalar>;
  test::Random random(61);
  const Index d_k = state.d_k(), d_v = state.d_v();
  const Vec k = random.vector<Scalar>(d_k), v = random.vector<Scalar>(d_v);
  const test::Matrix<Scalar> ks = random.matrix<Scalar>(d_k, 3), vs = random.matrix<Scalar>(d_v, 3);
  const Eigen::Matrix<Scalar, 1, Eigen::Dynamic> k_row = k.transpose();
  const Vec lambdas = Vec::Ones(state.max_levels());
  Vec out(d_v);
  test::Matrix<Scalar> wide(3, d_v);
  ScalarDecay<Scalar> scalar(d_k, d_v);
  KeyDecay<Scalar> keys(d_k, d_v);
  ValueDecay<Scalar> values(d_k, d_v);
  RankOneUpdate<KeyDecay<Scalar>> rank_one(d_k, d_v);
  TransitionProduct<RankOneUpdate<Identity<Scalar>>, ValueDecay<Scalar>> product(d_k, d_v);
  rank_one.u = rank_one.p = Scalar(0.1) * k;
  return test::allocations_in([&] {
    for (int token = 0; token < 40; ++token) {
      state.push_leaf(k, v);
      state.push_leaf(k_row, v.transpose());
      state.push_leaf(ks, vs);
      state.push_leaf(ks.col(1), Eigen::Map<const Vec>(vs.data(), d_v));
      state.query_mixed(k, lambdas, out);
      state.query_mixed(k_row, lambdas.transpose(), wide.row(1));
      state.query_mixed(ks.col(0), Scalar(0.5) * lambdas, out);
      state.undergo(scalar);
      state.undergo(keys);
      state.undergo(values);
      state.undergo(rank_one);
      state.undergo(product);
    }
    state.reset();
    state.push_leaf(k, v);
  });
}

}  // namespace

TEMPLATE_TEST_CASE("A state allocates nothing after its construction", "", float, double,
                   long double) {
  LogLinearState<TestType> small(3, 2, 3), large(10, 40, 130);
  CHECK(allocations_of_a_stream(small) == 0);
  CHECK(allocations_of_a_stream(large) == 0);
  LogLinearState<TestType> copy(3, 2, 3);
  CHECK(test::allocations_in([&] { copy = small; }) == 0);  // of the same shape
}

TEST_CASE("A fixed shape of up to 16 KiB never uses the heap") {
  using State = LogLinearState<double, 8, 8, 32>;
  static_assert(State::is_inline);
  const Eigen::Matrix<double, 8, 1> k = Eigen::Matrix<double, 8, 1>::Ones(), v = 2 * k;
  const Eigen::Matrix<double, 32, 1> lambdas = Eigen::Matrix<double, 32, 1>::Ones();
  Eigen::Matrix<double, 8, 1> out;
  bool equal = false;
  CHECK(test::allocations_in([&] {
          State state;
          for (int token = 0; token < 40; ++token) state.push_leaf(k, v);
          State copy = state, moved = std::move(copy);
          copy = moved;
          moved.query_mixed(k, lambdas, out);
          ScalarDecay<double> decay(8, 8);
          moved.undergo(decay);
          equal = moved == copy;
          const auto narrow = moved.cast<float>();
          equal = equal && narrow.size() == 40;
          moved.reset();
        }) == 0);
  CHECK(equal);
  CHECK(out[0] == 8 * 2 * 40);
}

TEST_CASE("A larger fixed shape is allocated once") {
  using State = LogLinearState<double, 8, 8, 33>;
  static_assert(!State::is_inline);
  const Eigen::Matrix<double, 8, 1> k = Eigen::Matrix<double, 8, 1>::Ones();
  CHECK(test::allocations_in([&] {
          State state;
          for (int token = 0; token < 40; ++token) state.push_leaf(k, k);
        }) == 2);  // and freed
}

TEMPLATE_TEST_CASE("Recursive least squares allocates nothing after its construction", "", float,
                   double) {
  using Vec = test::Vector<TestType>;
  RecursiveLeastSquares<TestType> rls({.features = 20, .outputs = 3, .forgetting = 0.9});
  test::Random random(62);
  const Vec phi = random.vector<TestType>(20), y = random.vector<TestType>(3);
  CHECK(test::allocations_in([&] {
          for (int i = 0; i < 20; ++i) {
            rls.predict(phi);
            rls.update(phi, y);
            rls.update(phi.transpose() / 2, y.transpose());
            rls.predict(phi.reverse());
          }
          (void)rls.smallest_pivot();
          rls.reset();
        }) == 0);
}
