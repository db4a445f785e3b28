// SPDX-License-Identifier: MIT
// An object that has been moved from refuses what needs its state, and says so; what it can still
// tell, it tells. Assigned to, it is like any other (copies.cpp).

#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "layers.hpp"
#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;
using test::error_of;

template <class Call>
void check_refused(const char* name, Call call) {
  INFO(name);
  const std::string error = error_of(call);
  CAPTURE(error);
  CHECK(test::mentions(error, {"is moved from; it must be assigned to"}));
}

/// Every way in which layers of one head and of several take a token or give their state away.
template <class Layer>
void check_layer(Layer& moved) {
  using Scalar = typename Layer::Scalar;
  using Rows = typename Layer::Rows;
  Layer live = test::make_layer<Layer>({.tokens = 5});
  const test::Vector<Scalar> x = test::Vector<Scalar>::Ones(live.d_model());
  const test::Vector<Scalar> y = test::Vector<Scalar>::Zero(live.output_dim());
  const Rows xs = Rows::Ones(3, live.d_model()), ys = Rows::Zero(3, live.output_dim());
  auto moment = live.snapshot();
  auto workspace = live.make_workspace();
  const Layer& const_moved = moved;
  check_refused("forward", [&] { moved.forward(x); });
  check_refused("query_readonly", [&] { moved.query_readonly(x); });
  check_refused("const query_readonly", [&] { const_moved.query_readonly(x, workspace); });
  check_refused("train_one", [&] { moved.train_one(x, y); });
  check_refused("make_workspace", [&] { static_cast<void>(moved.make_workspace()); });
  check_refused("advance_to", [&] { moved.advance_to(1000); });
  check_refused("snapshot", [&] { static_cast<void>(moved.snapshot()); });
  check_refused("snapshot into", [&] { moved.snapshot(moment); });
  CHECK_THROWS_AS(moved.restore(moment), std::invalid_argument);
  check_refused("state", [&] { static_cast<void>(moved.state()); });
  check_refused("forward_span", [&] { moved.forward_span(xs); });
  check_refused("train_span", [&] { moved.train_span(xs, ys); });
  check_refused("span_gradient", [&] { static_cast<void>(moved.span_gradient(xs, ys)); });
  check_refused("a checkpoint", [&] { test::saved(moved); });
  CHECK_THROWS_AS(moved.weight("w_key"), std::invalid_argument);
  CHECK_THROWS_AS(moved.set_weight("w_key", xs), std::invalid_argument);
  const StreamPart<Layer, PartProduct::matrix> part(live, 5);
  CHECK_THROWS_AS(part.append_to(moved), std::invalid_argument);
  moved.reset();
  CHECK(moved.size() == 0);
  CHECK_NOTHROW(moved.set_learning_rate(0.1));
  // A live layer takes nothing from it either, and stays what it was.
  const std::string before = test::saved(live);
  StreamPart<Layer, PartProduct::matrix> gone(live, 5);
  const StreamPart<Layer, PartProduct::matrix> taken(std::move(gone));
  check_refused("append_to", [&] { gone.append_to(live); });
  check_refused("write", [&] { gone.write(x); });
  CHECK((test::saved(live) == before));
  const Layer copy(moved);  // copied it is as moved from as before
  moved = live;
  CHECK((test::saved(moved) == before));
}

template <class State>
void check_state(State& moved, const State& live) {
  const Eigen::VectorXd k = Eigen::VectorXd::Ones(live.d_k()),
                        v = Eigen::VectorXd::Ones(live.d_v());
  Eigen::VectorXd out = v;
  check_refused("push_leaf", [&] { moved.push_leaf(k, v); });
  check_refused("undergo", [&] { moved.undergo(ScalarDecay<double>(live.d_k(), live.d_v())); });
  check_refused("query_mixed",
                [&] { moved.query_mixed(k, Eigen::VectorXd::Ones(live.max_levels()), out); });
  check_refused("level", [&] { static_cast<void>(moved.level(0)); });
  check_refused("advance_to", [&] { moved.advance_to(1000); });
  check_refused("add", [&] { moved.add(moved); });
  check_refused("cast", [&] { static_cast<void>(moved.template cast<float>()); });
  check_refused("a checkpoint", [&] { test::saved(moved); });
  CHECK(out == v);
  CHECK_FALSE(moved == live);
  CHECK_FALSE(live == moved);
  moved.reset();
  CHECK(moved.size() == 0);
  CHECK(moved.active_level_count() == 0);
  State other(live);
  CHECK_THROWS_AS(other.add(moved), std::invalid_argument);
  CHECK(other == live);
  moved.replace(live.size(), [&](int l) { return live.level(l); });
  CHECK(moved == live);
}

}  // namespace

TEMPLATE_TEST_CASE("Layers refuse what needs a state that they gave away", "",
                   LogLinearAttention<GLA>, (LogLinearAttention<GatedDeltaNet, float>),
                   LinearAttention<Mamba2>, MultiHeadAttention<LogLinearAttention<GatedDeltaNet>>,
                   (LogLinearAttention<RetNet, float, MeanMixture, Eigen::bfloat16>)) {
  using Layer = TestType;
  SECTION("moved into another") {
    Layer layer = test::make_layer<Layer>({.tokens = 21});
    const Layer taken(std::move(layer));
    check_layer(layer);
  }
  SECTION("moved to itself") {
    Layer layer = test::make_layer<Layer>({.tokens = 21});
    Layer* volatile same = &layer;
    layer = std::move(*same);
    check_layer(layer);
  }
  SECTION("as one of a vector") {
    std::vector<Layer> layers(2, test::make_layer<Layer>({.tokens = 21}));
    layers.emplace_back(std::move(layers[0]));
    check_layer(layers[0]);
  }
}

TEMPLATE_TEST_CASE("Streams with a way back refuse use once moved from", "",
                   LogLinearAttention<GLA>, MultiHeadAttention<LogLinearAttention<GLA>>) {
  using Layer = TestType;
  const Layer layer = test::make_layer<Layer>({.tokens = 3});
  Rewindable<Layer> stream(layer, {.depth = 5, .snapshot_every = 2});
  const Eigen::VectorXd x = Eigen::VectorXd::Ones(layer.d_model());
  for (int t = 0; t < 4; ++t) stream.forward(x);
  const Rewindable<Layer> taken(std::move(stream));
  check_refused("forward", [&] { stream.forward(x); });
  check_refused("query_readonly", [&] { stream.query_readonly(x); });
  CHECK_THROWS_AS(stream.rewind(2), std::invalid_argument);
  stream = taken;
  CHECK_NOTHROW(stream.rewind(2));
}

TEST_CASE("States refuse what needs levels that they gave away") {
  const auto filled = [](auto state) {
    for (int t = 0; t < 5; ++t) {
      state.push_leaf(Eigen::VectorXd::Ones(state.d_k()), Eigen::VectorXd::Ones(state.d_v()));
    }
    return state;
  };
  const auto live = filled(LogLinearState<double>(4, 3, 5));
  LogLinearState<double> moved(live);
  const LogLinearState<double> taken(std::move(moved));
  check_state(moved, live);
  const auto live_inline = filled(LogLinearState<double, 3, 5, 4>());
  LogLinearState<double, 3, 5, 4> moved_inline(live_inline);
  const LogLinearState<double, 3, 5, 4> taken_inline(std::move(moved_inline));
  CHECK(taken_inline == live_inline);
  CHECK(moved_inline ==
        live_inline);  // whose move is a copy, and which pays no memory to know more
  using Outside = LogLinearState<double, 16, 16, 32>;
  static_assert(LogLinearState<double, 3, 5, 4>::is_inline && !Outside::is_inline);
  const Outside outside = filled(Outside());
  Outside moved_outside(outside);
  const Outside taken_outside(std::move(moved_outside));
  check_state(moved_outside, outside);
}
