// SPDX-License-Identifier: MIT
// States and layers whose levels are stored in bfloat16 and half: float but for the rounding of
// what is stored.
#include <limits>
#include <string>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;

/// Half of what separates two neighbours, for each of so many roundings, of numbers of this size.
template <class Stored>
double rounding(int times, double size) {
  return times * size * test::epsilon<Stored>() / 2;
}

template <class Inner, class Stored>
void compare_layers(const Inner& inner) {
  using Narrow = LogLinearAttention<Inner, float, NormalizedMixture, Stored>;
  static_assert(std::is_same_v<typename Narrow::State::Scalar, Stored>);
  constexpr Eigen::Index d = 24;
  LogLinearAttention<Inner, float> wide(
      {.inner = inner, .d_model = d, .d_k = d, .d_v = d, .max_levels = 10});
  test::Random random(5);
  for (const char* name : {"w_key", "w_value", "w_query"}) {
    wide.set_weight(name, 0.3F * random.matrix<float>(d, d));
  }
  Narrow narrow = wide.template cast<float, Stored>();
  double error = 0, size = 0;
  for (int t = 0; t < 600; ++t) {
    const auto x = random.vector<float>(d);
    wide.forward(x);
    narrow.forward(x);
    error = std::max(error, detail::max_abs(wide.raw_read() - narrow.raw_read()));
    size = std::max(size, detail::max_abs(wide.raw_read()));
  }
  // Every level has been merged or rewritten at most this often on its way up.
  CHECK(error <= rounding<Stored>(24, size));
  CHECK(error > 0);
  CHECK(narrow.state().size() == wide.state().size());

  // Spans, training, copies and the plain form work on narrow levels too.
  const test::Matrix<float> span = random.matrix<float>(100, d);
  Narrow by_tokens = narrow;
  const auto reads = narrow.forward_span(span);
  double difference = 0;
  for (Eigen::Index t = 0; t < span.rows(); ++t) {
    difference = std::max(
        difference, detail::max_abs(reads.row(t).transpose() - by_tokens.forward(span.row(t))));
  }
  CHECK(difference <= rounding<Stored>(24, size));
  CHECK(narrow.size() == by_tokens.size());
  const auto before = narrow.weight("w_key").eval();
  narrow.train_one(span.row(0), random.vector<float>(d));
  CHECK(narrow.weight("w_key") != before);
  typename Narrow::State plain(10, d, d);
  narrow.log_linear_state(plain);
  CHECK(plain == narrow.log_linear_state());
}

template <class Inner>
void compare_layers(const Inner& inner) {
  compare_layers<Inner, Eigen::bfloat16>(inner);
  compare_layers<Inner, Eigen::half>(inner);
}

}  // namespace

TEMPLATE_TEST_CASE("a narrow state is the float one, rounded", "[law]", Eigen::bfloat16,
                   Eigen::half) {
  LogLinearState<TestType> narrow(4, 3, 2);
  LogLinearState<float> wide(4, 3, 2);
  test::Random random(1);
  KeyDecay<float> decay(3, 2);
  decay.decay << 0.5F, 0.75F, 1;
  for (int n = 0; n < 20; ++n) {
    const auto k = random.vector<float>(3);
    const auto v = random.vector<float>(2);
    wide.undergo(decay);
    narrow.undergo(decay);
    wide.push_leaf(k, v);
    narrow.push_leaf(k, v);
  }
  CHECK(narrow.size() == 20);
  double size = 0;
  for (int l = 0; l < 4; ++l) size = std::max(size, detail::max_abs(wide.level(l)));
  Eigen::VectorXf q(3), lambda(4);
  q << 1, -1, 0.5F;
  lambda << 1, 2, 0.5F, 3;
  Eigen::VectorXf got(2), expected(2);
  narrow.query_mixed(q, lambda, got);
  wide.query_mixed(q, lambda, expected);
  // The last level has been rewritten twice a token.
  CHECK(detail::max_abs(got - expected) <= rounding<TestType>(40, size * 3 * 2.5 * 3));
  CHECK(got != expected);
  CHECK(narrow == narrow.template cast<float>().template cast<TestType>());
}

TEMPLATE_TEST_CASE("what does not fit in a narrow state is refused", "[law]", Eigen::half) {
  LogLinearState<TestType> narrow(4, 1, 1);
  Eigen::VectorXf one(1), large(1);
  one << 1;
  large << 30000;
  const auto before = narrow;
  CHECK(test::mentions(test::error_of([&] { narrow.push_leaf(one, large); }),
                       {"magnitude", "30000", "range of the scalar"}));
  CHECK(narrow == before);
}

TEST_CASE("a layer with half levels refuses in mid-stream what would overflow", "[law]") {
  constexpr Eigen::Index d = 16;
  LogLinearAttention<RetNet, float, NormalizedMixture, Eigen::half> layer(
      {.inner = {.gamma = 1}, .d_model = d, .d_k = d, .d_v = d, .max_levels = 20, .bias = false});
  const test::Matrix<float> identity = test::Matrix<float>::Identity(d, d);
  for (const char* name : {"w_key", "w_value", "w_query"}) layer.set_weight(name, identity);
  auto bfloat16 = layer.cast<float, Eigen::bfloat16>();
  // Each token adds 16 to a norm that may be 65504 / 4.
  const test::Vector<float> x = test::Vector<float>::Ones(d);
  std::string error;
  while (error.empty() && layer.size() < 2000) {
    error = test::error_of([&] { layer.forward(x); });
    bfloat16.forward(x);
  }
  CHECK(test::mentions(error, {"the magnitude of the state after this token", "range"}));
  CHECK(layer.size() == 1023);
  CHECK(bfloat16.size() == 1024);
  layer.reset();
  layer.forward(x);
  CHECK(layer.size() == 1);
}

TEST_CASE("layers with narrow levels read what float ones do, rounded", "[law]") {
  compare_layers(RetNet{.gamma = 0.999});
  compare_layers(GLAVector{.gate_bias = 6});
  compare_layers(GatedDeltaNet{.beta_scale = 0.2, .gate_bias = 6});
}
