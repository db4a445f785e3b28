// SPDX-License-Identifier: MIT
// Views of weights, gradients and levels: of a temporary they are copies, not views of what is
// gone.

#include <type_traits>
#include <utility>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "support.hpp"

using namespace loglinear;

namespace {

template <class Scalar>
using Layer = LogLinearAttention<GLA, Scalar>;
template <class Scalar>
using Heads = MultiHeadAttention<Layer<Scalar>>;

template <class Made>
Made make() {
  return Made({.d_model = 5, .d_k = 4, .d_v = 3});
}

template <class Scalar>
LogLinearState<Scalar> filled() {
  LogLinearState<Scalar> state(3, 2, 4);
  for (int i = 1; i <= 6; ++i) {
    state.push_leaf(test::Vector<Scalar>::Constant(2, Scalar(i)), test::Vector<Scalar>::Ones(4));
  }
  return state;
}

}  // namespace

TEMPLATE_TEST_CASE("views: of weights and their gradients", "", float, double) {
  using Copy = test::Matrix<TestType>;
  using View = detail::ConstMatrixView<TestType>;
  const auto layer = make<Layer<TestType>>();
  const auto heads = make<Heads<TestType>>();
  static_assert(std::is_same_v<decltype(layer.weight("w_key")), View>);
  static_assert(std::is_same_v<decltype(std::move(layer).weight("w_key")), Copy>);
  const auto of_layer = make<Layer<TestType>>().weight("w_key");
  const auto of_head = make<Heads<TestType>>().weight("head1.w_key");
  const auto of_heads = make<Heads<TestType>>().weight("w_out");
  CHECK(of_layer == layer.weight("w_key"));
  CHECK(of_head == heads.weight("head1.w_key"));
  CHECK(of_heads == heads.weight("w_out"));

  test::Random random(5);
  const Copy x = random.matrix<TestType>(9, 5), d_out = random.matrix<TestType>(9, 3);
  const auto gradient = layer.span_gradient(x, d_out);
  static_assert(std::is_same_v<decltype(gradient.weight("w_key")), View>);
  const auto of_gradient = layer.span_gradient(x, d_out).weight("w_key");
  CHECK(of_gradient == gradient.weight("w_key"));
  CHECK(!of_gradient.isZero(0));
}

TEMPLATE_TEST_CASE("views: of levels", "", float, double) {
  const auto state = filled<TestType>();
  const auto level = filled<TestType>().level(1);
  const auto all = filled<TestType>().flat_state();
  CHECK(level == state.level(1));
  CHECK(all == state.flat_state());
  CHECK(!level.isZero(0));
  static_assert(
      std::is_same_v<decltype(state.level(1)), typename LogLinearState<TestType>::ConstLevel>);

  auto layer = make<Layer<TestType>>();
  for (int i = 0; i < 3; ++i) layer.forward(test::Vector<TestType>::Ones(5));
  const auto of_layer = layer.log_linear_state().level(0);
  CHECK(of_layer == layer.log_linear_state().level(0));
  CHECK(!of_layer.isZero(0));
}
