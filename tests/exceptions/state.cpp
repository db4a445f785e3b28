// SPDX-License-Identifier: MIT
// The plain state and the readout without memory.

#include <utility>

#include "checkpoint/bytes.hpp"
#include "exceptions/refusing_allocator.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"

namespace exceptions_state {

namespace {

using namespace loglinear;
using Eigen::Index;

const auto saved = [](const auto& object) { return test::saved(object); };
const auto check = [](const char* name, const auto& object, auto operation) {
  test::check_without_memory(name, object, saved, operation);
};

template <class State>
State used_state(int max_levels, Index d_k, Index d_v, int tokens) {
  using Scalar = typename State::Accumulator;
  State state(max_levels, d_k, d_v);
  test::Random random(41);
  for (int t = 0; t < tokens; ++t) {
    state.push_leaf(random.vector<Scalar>(d_k), random.vector<Scalar>(d_v));
  }
  return state;
}

}  // namespace

TEMPLATE_TEST_CASE("Without memory a state stays as it was", "", double, Eigen::bfloat16) {
  using State = LogLinearState<TestType>;
  using Scalar = typename State::Accumulator;
  const State state = used_state<State>(4, 6, 5, 13), same_shape = used_state<State>(4, 6, 5, 9),
              other = used_state<State>(5, 7, 5, 9);
  test::Random random(42);
  const test::Matrix<Scalar> gaps = random.matrix<Scalar>(6, 6);
  ScalarDecay<Scalar> decay(6, 5);
  decay.decay = Scalar(0.9);
  RankOneUpdate<KeyDecay<Scalar>> update(6, 5);
  update.diagonal.decay.setConstant(Scalar(0.8));
  update.u = update.p = Scalar(0.3) * random.vector<Scalar>(6);

  check("copy", state, [](State& any) { State copy(any); });
  check("assign", state, [&](State& any) { any = same_shape; });
  check("assign another shape", state, [&](State& any) { any = other; });
  check("push_leaf of what is not contiguous", state,
        [&](State& any) { any.push_leaf(gaps.row(1), gaps.row(2).tail(5)); });
  check("push_leaf of several", state, [&](State& any) {
    any.push_leaf(gaps.transpose().leftCols(2), gaps.transpose().topRows(5).rightCols(2));
  });
  check("undergo", state, [&](State& any) { any.undergo(decay); });
  check("undergo an update", state, [&](State& any) { any.undergo(update); });
  check("query_mixed of what is not contiguous", state, [&](State& any) {
    test::Vector<Scalar> out(5);
    any.query_mixed(gaps.row(1), gaps.row(2).head(4), out);
  });
  check("cast", state, [](State& any) { static_cast<void>(any.template cast<float>()); });
  check("add", state, [&](State& any) {
    State later(4, 6, 5);
    later.advance_to(any.size());
    any.add(later);
  });
  check("save and load", state,
        [&](State& any) { test::load_bytes(test::saved(same_shape), any); });
  test::check_not_made("construction", [] { return State(4, 6, 5); });
}

TEST_CASE("Without memory a readout stays as it was") {
  using Readout = RecursiveLeastSquares<double>;
  Readout readout({.features = 6, .outputs = 2, .forgetting = 0.9});
  const Readout other({.features = 9, .outputs = 3});
  test::Random random(43);
  const auto gaps = random.matrix<double>(6, 6);
  for (int t = 0; t < 9; ++t) {
    readout.update(random.vector<double>(6), random.vector<double>(2));
  }
  check("update", readout, [&](Readout& any) { any.update(gaps.row(1), gaps.row(0).head(2)); });
  check("covariance", readout, [](Readout& any) { static_cast<void>(any.covariance()); });
  check("copy", readout, [](Readout& any) { Readout copy(any); });
  check("assign", readout, [&](Readout& any) { any = other; });
  test::check_not_made("construction", [] { return Readout({.features = 6, .outputs = 2}); });
}

}  // namespace exceptions_state
