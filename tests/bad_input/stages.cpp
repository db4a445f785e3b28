// SPDX-License-Identifier: MIT
// A head, the engine under a layer, called out of turn or with what belongs to another one: it
// throws, and the layer goes on as if it had not been called.

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "support.hpp"

namespace bad_input_stages {

using namespace loglinear;

namespace {

template <class Scalar>
using Layer = LogLinearAttention<GatedDeltaNet, Scalar>;

template <class Made = Layer<double>>
Made make(Eigen::Index d_model = 5, Eigen::Index d_v = 3,
          ReadOrder order = ReadOrder::before_push) {
  return Made({.d_model = d_model, .d_k = 4, .d_v = d_v, .max_levels = 8, .read_order = order});
}
template <class Scalar>
test::Vector<Scalar> input(int n) {
  return test::Random(static_cast<std::uint64_t>(n)).template vector<Scalar>(5);
}

/// Whether both do the same from here on, bit by bit.
template <class Made>
bool go_on_alike(Made a, Made b) {
  using Scalar = typename Made::Scalar;
  bool same = a.size() == b.size() && a.train_step_count() == b.train_step_count();
  for (int n = 0; n < 9; ++n) {
    same =
        same && test::same_bits(a.forward(input<Scalar>(50 + n)), b.forward(input<Scalar>(50 + n)));
  }
  return same && test::same_bits(a.state(), b.state());
}

}  // namespace

TEMPLATE_TEST_CASE("stages: commit without a token", "", float, double) {
  using Scalar = TestType;
  auto layer = make<Layer<Scalar>>();
  for (int n = 0; n < 6; ++n) layer.forward(input<Scalar>(n));
  const auto before = layer;
  const auto refused = [&] {
    const std::string error = test::error_of([&] { layer.as_head().commit(); });
    CHECK(test::mentions(error, {"the staged token is absent", "`stage`"}));
    CHECK(go_on_alike(layer, before));
  };
  refused();
  const auto stage = [&] { layer.as_head().stage(input<Scalar>(20), ReadOrder::after_push); };
  const auto moment = layer.snapshot();

  // Whatever changes the stream in between, or works on other tokens, drops what was staged.
  stage();
  CHECK(test::error_of(
            [&] { layer.as_head().stage(test::Vector<Scalar>(4), ReadOrder::after_push); }) != "");
  refused();
  stage();
  layer.query_readonly(input<Scalar>(21));
  refused();
  stage();
  layer.restore(moment);
  refused();
  stage();
  layer.advance_to(layer.size());
  refused();
  stage();
  CHECK(layer.forward_span(test::Matrix<Scalar>(0, 5)).rows() == 0);
  refused();
  stage();
  layer.reset();
  CHECK(test::error_of([&] { layer.as_head().commit(); }) != "");
  CHECK(layer.size() == 0);
  layer.restore(moment);

  stage();
  layer.as_head().commit();
  auto expected = before;
  expected.forward(input<Scalar>(20));
  CHECK(go_on_alike(layer, expected));
  CHECK(test::error_of([&] { layer.as_head().commit(); }) != "");
  CHECK(go_on_alike(layer, expected));
}

TEMPLATE_TEST_CASE("stages: gradients out of turn and of other lengths", "", float, double) {
  using Scalar = TestType;
  auto layer = make<Layer<Scalar>>();
  for (int n = 0; n < 6; ++n) layer.forward(input<Scalar>(n));
  const auto before = layer;
  const test::Vector<Scalar> d_read = test::Vector<Scalar>::Ones(3);
  const auto error = [&](const auto& d) {
    return test::error_of([&] { layer.as_head().stage_gradient(d); });
  };
  CHECK(test::mentions(error(d_read), {"the staged token is absent"}));
  layer.as_head().stage(input<Scalar>(20), ReadOrder::before_push);
  CHECK(test::mentions(error(d_read), {"the order of the staged token is before_push"}));
  layer.as_head().stage(input<Scalar>(20), ReadOrder::after_push);
  for (const Eigen::Index size : {0, 1, 2, 4, 5, 100}) {
    CHECK(test::mentions(error(test::Vector<Scalar>::Ones(size).eval()),
                         {"the gradient of the read is " + std::to_string(size), "be 3"}));
  }
  CHECK(go_on_alike(layer, before));

  // After a refusal the token can still be learnt from, and as a row as well.
  layer.as_head().stage_gradient(d_read.transpose());
  layer.as_head().learn();
  layer.as_head().commit();
  auto expected = before;
  expected.as_head().stage(input<Scalar>(20), ReadOrder::after_push);
  expected.as_head().stage_gradient(d_read);
  expected.as_head().learn();
  expected.as_head().commit();
  CHECK(go_on_alike(layer, expected));
  CHECK(layer.train_step_count() == 1);
  CHECK(test::mentions(error(d_read), {"the staged token is absent"}));

  // A gradient that was refused is not stepped by.
  layer.as_head().stage(input<Scalar>(21), ReadOrder::after_push);
  layer.as_head().stage_gradient(d_read);
  const Scalar infinity = std::numeric_limits<Scalar>::infinity();
  CHECK(error(test::Vector<Scalar>::Constant(3, infinity).eval()) != "");
  CHECK(test::mentions(test::error_of([&] { layer.as_head().learn(); }),
                       {"the staged gradient is absent"}));
  layer.as_head().commit();
  expected.forward(input<Scalar>(21));
  CHECK(go_on_alike(layer, expected));
}

TEMPLATE_TEST_CASE("stages: other weights or another learning rate drop what was staged", "", float,
                   double) {
  using Vector = test::Vector<TestType>;
  using Layer = LogLinearAttention<GatedDeltaNet, TestType>;
  const Vector x = Vector::Ones(5);
  const auto drops = [&](auto change) {
    Layer layer({.d_model = 5, .d_k = 4, .d_v = 3, .learning_rate = 0.05});
    layer.as_head().stage(x, ReadOrder::after_push);
    layer.as_head().stage_gradient(Vector::Ones(3));
    change(layer);
    const test::Matrix<TestType> weight = layer.weight("w_key");
    CHECK(test::mentions(test::error_of([&] { layer.as_head().commit(); }),
                         {"staged token is absent"}));
    CHECK((layer.weight("w_key") == weight && layer.size() == 0));
  };
  drops([](Layer& layer) { layer.set_learning_rate(1e308); });
  drops([](Layer& layer) {
    const TestType large = std::numeric_limits<TestType>::max() / 5;
    layer.set_weight("w_key", test::Matrix<TestType>::Constant(4, 5, large));
  });
  drops([&](Layer& layer) {
    layer.as_head().descend(Layer(layer).span_gradient(x.transpose(), Vector::Ones(3).transpose()));
  });
  drops([](Layer& layer) {
    Xorshift64 random(7);
    layer.as_head().draw_weights(random);
  });
}

TEST_CASE("stages: a read order that the layer has no weights for") {
  auto layer = make();
  layer.forward(input<double>(0));
  const auto before = layer;
  const test::Matrix<double> span = test::Random(3).matrix<double>(70, 5);
  const auto refused = [&](auto call) {
    CHECK(test::mentions(test::error_of(call), {"the read order is current_apart"}));
    CHECK(go_on_alike(layer, before));
  };
  refused([&] { layer.as_head().stage(input<double>(1), ReadOrder::current_apart); });
  refused([&] { static_cast<void>(layer.as_head().read_span(span, ReadOrder::current_apart)); });
  refused([&] {
    static_cast<void>(layer.as_head().pull_back_span(layer.log_linear_state(), span,
                                                     ReadOrder::current_apart,
                                                     test::Matrix<double>::Ones(70, 3)));
  });
  auto apart = make(5, 3, ReadOrder::current_apart);
  apart.as_head().stage(input<double>(1), ReadOrder::current_apart);
  apart.as_head().commit();
  CHECK(apart.size() == 1);
}

TEMPLATE_TEST_CASE("stages: the gradient of another layer", "", float, double) {
  using Scalar = TestType;
  auto layer = make<Layer<Scalar>>();
  layer.forward(input<Scalar>(0));
  const auto before = layer;
  const auto gradient_of = [](const auto& other) {
    return other.span_gradient(test::Matrix<Scalar>::Ones(3, other.d_model()),
                               test::Matrix<Scalar>::Ones(3, other.output_dim()));
  };
  const auto refused = [&](const auto& other) {
    const std::string error = test::error_of([&] { layer.as_head().descend(gradient_of(other)); });
    CAPTURE(error);
    CHECK(test::mentions(error, {"gradient"}));
    CHECK(go_on_alike(layer, before));
  };
  refused(make<Layer<Scalar>>(6));
  refused(make<Layer<Scalar>>(5, 2));
  refused(make<Layer<Scalar>>(5, 3, ReadOrder::current_apart));
  refused(make<LogLinearAttention<RetNet, Scalar>>());
  refused(make<LogLinearAttention<RWKV7, Scalar>>());
  refused(make<LogLinearAttention<GatedDeltaNet, Scalar, SoftplusWeights>>());
  CHECK(test::mentions(test::error_of([&] {
                         layer.as_head().descend(
                             SpanGradient<Scalar>{{}, detail::Parameters<Scalar>(Eigen::Index{5})});
                       }),
                       {"gradient"}));
  layer.as_head().descend(gradient_of(before));
  CHECK(layer.train_step_count() == 1);
}

TEST_CASE("stages: spans with a state or a gradient of another shape") {
  auto layer = make();
  const auto error = [&](const auto& state, Eigen::Index rows, Eigen::Index columns) {
    return test::error_of([&] {
      static_cast<void>(layer.as_head().pull_back_span(state, test::Matrix<double>::Ones(4, 5),
                                                       ReadOrder::after_push,
                                                       test::Matrix<double>::Ones(rows, columns)));
    });
  };
  using State = LogLinearState<double>;
  CHECK(error(State(8, 4, 3), 4, 3).empty());
  CHECK(test::mentions(error(State(7, 4, 3), 4, 3), {"max_levels of the state before", "is 7"}));
  CHECK(test::mentions(error(State(8, 5, 3), 4, 3), {"d_k of the state before", "is 5"}));
  CHECK(test::mentions(error(State(8, 4, 2), 4, 3), {"d_v of the state before", "is 2"}));
  State full(8, 4, 3);
  full.advance_to(std::numeric_limits<std::uint64_t>::max() - 1);
  CHECK(test::mentions(error(full, 4, 3), {"number of tokens is 4", "at most 2^64 - 1"}));
  CHECK(test::mentions(error(State(8, 4, 3), 5, 3), {"gradient of the reads (rows) is 5"}));
  CHECK(test::mentions(error(State(8, 4, 3), 4, 4), {"gradient of the reads (columns) is 4"}));
}

TEMPLATE_TEST_CASE("replace: levels of another shape or not finite, and of the state itself", "",
                   float, double) {
  using Scalar = TestType;
  using Level = test::Matrix<Scalar>;
  LogLinearState<Scalar> state(5, 4, 3);
  for (int i = 0; i < 11; ++i) {
    state.push_leaf(test::Vector<Scalar>::Ones(4), test::Vector<Scalar>::Ones(3));
  }
  const auto before = state;
  const auto error = [&](std::uint64_t size, const Level& level, int wrong = -1) {
    const std::string message = test::error_of([&] {
      state.replace(size, [&](int l) -> Level {
        return wrong < 0 || l == wrong ? level : Level(Level::Ones(4, 3));
      });
    });
    CHECK((message.empty() || state == before));
    return message;
  };
  for (const auto& [rows, columns] :
       {std::pair{3, 4}, {0, 0}, {4, 0}, {0, 3}, {1, 1}, {4, 4}, {12, 1}, {1, 12}, {100, 100}}) {
    CAPTURE(rows, columns);
    CHECK(test::mentions(error(6, Level::Ones(rows, columns)), {"a level after these tokens"}));
    CHECK(test::mentions(error(6, Level::Ones(rows, columns), 2), {"a level after these tokens"}));
  }
  Level bad = Level::Ones(4, 3);
  for (const Scalar number :
       {std::numeric_limits<Scalar>::infinity(), std::numeric_limits<Scalar>::quiet_NaN()}) {
    bad(3, 2) = number;
    CHECK(test::mentions(error(6, bad, 2), {"(3, 2)", "finite"}));
  }
  bad(3, 2) = std::numeric_limits<Scalar>::max();
  CHECK(test::mentions(error(6, bad, 2), {"magnitude"}));
  CHECK(error(0, Level(7, 7)).empty());  // no level is active, none is asked for
  CHECK((state.size() == 0 && state.flat_state().isZero(0)));

  state = before;
  state.replace(6, [&](int l) { return state.level(l == 1 ? 0 : 3); });
  CHECK((state.level(1) == before.level(0) && state.level(2) == before.level(3)));
  CHECK((state.level(0).isZero(0) && state.level(3).isZero(0)));
  LogLinearState<Scalar, 4, 3, 5> fixed;
  fixed.replace(6, [&](int) { return Level::Ones(4, 3); });
  CHECK(fixed.level(2) == Level::Ones(4, 3));
  const Eigen::Matrix<Scalar, 4, 3> known = Eigen::Matrix<Scalar, 4, 3>::Random();
  const Eigen::Matrix<Scalar, 4, 3, Eigen::RowMajor> by_rows = known;
  state.replace(6, [&](int) { return known; });
  CHECK(state.level(2) == known);
  state.replace(
      6, [&](int) -> const auto& { return by_rows; });
  CHECK(state.level(1) == known);
  fixed.replace(6, [&](int) { return known; });
  CHECK(fixed.level(2) == known);
  fixed.replace(6, [&](int) { return -by_rows; });
  CHECK(fixed.level(1) == -known);
  CHECK(test::error_of([&] { fixed.replace(6, [&](int) { return Level::Ones(3, 4).eval(); }); }) !=
        "");
}

TEST_CASE("append: a product or a layer of another shape") {
  auto layer = make();
  layer.forward(input<double>(0));
  const auto before = layer;
  auto later = make();
  later.advance_to(1);
  using Product = detail::PendingProduct<Layer<double>::Head::Kind>;
  for (const auto& product : {Product(5, 3), Product(4, 2), Product(3, 4), Product(40, 30)}) {
    CHECK(test::mentions(test::error_of([&] { layer.as_head().append(later.as_head(), product); }),
                         {"the product of the later part is of another shape"}));
    CHECK(go_on_alike(layer, before));
  }
  auto wider = make(5, 2);
  wider.advance_to(1);
  CHECK(test::error_of([&] { layer.as_head().append(wider.as_head(), Product(4, 3)); }) != "");
  CHECK(go_on_alike(layer, before));
  StreamPart<Layer<double>, PartProduct::matrix> part(before, 1);
  CHECK(test::mentions(test::error_of([&] { part.commit(); }), {"the staged token is absent"}));
  CHECK(part.size() == 1);
}

}  // namespace bad_input_stages
