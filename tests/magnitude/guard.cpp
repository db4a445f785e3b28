// SPDX-License-Identifier: MIT
// The mode in which denormal numbers are zero lasts as long as a call and is left as it was found.

#include "loglinear/detail/base/flush_to_zero.hpp"

#include <cfenv>
#include <limits>
#include <stdexcept>
#include <thread>

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "magnitude/denormals.hpp"
#include "mixers_cases.hpp"

namespace {

using namespace loglinear;
using detail::FlushToZero;
using Control = detail::FloatingPointControl;

/// A product at run time. Not inlined: a compiler may move comparisons to where the mode is
/// another.
template <class Scalar>
[[gnu::noinline]] bool is_product_zero(Scalar left, Scalar right) {
  volatile Scalar a = left, b = right;
  volatile Scalar result = a * b;
  return result == 0;
}
template <class Scalar>
bool flushes_results() {
  return is_product_zero(std::numeric_limits<Scalar>::min(), Scalar(0.5));
}
template <class Scalar>
bool flushes_operands() {
  return is_product_zero(std::numeric_limits<Scalar>::denorm_min(), Scalar(0x1p100F));
}
template <class Scalar>
bool flushes() {
  return flushes_results<Scalar>() && flushes_operands<Scalar>();
}
template <class Scalar>
bool keeps() {
  return !flushes_results<Scalar>() && !flushes_operands<Scalar>();
}
Control::Word mode() {
  return Control::read() & Control::flush;
}

/// A rule that says in which mode it was asked.
struct Watched : GLA {
  static inline bool flushed = false;
  static inline bool throws = false;
  void prepare(const auto& in, auto& token) const {
    flushed = flushes<float>();
    if (throws) throw std::runtime_error("no");
    GLA::prepare(in, token);
  }
};

}  // namespace

TEMPLATE_TEST_CASE("Denormal numbers are zero while a guard lives", "[magnitude]", float, double) {
  if (!detail::flushes_to_zero<TestType>) return;
  CHECK(keeps<TestType>());
  {
    const FlushToZero<TestType> flush;
    CHECK(flushes<TestType>());
    {
      const FlushToZero<TestType> again;
      CHECK(flushes<TestType>());
    }
    CHECK(flushes<TestType>());
  }
  CHECK(keeps<TestType>());
}

TEST_CASE("A guard for other scalars leaves everything as it is", "[magnitude]") {
  const FlushToZero<long double> flush;
  CHECK(keeps<float>());
  CHECK_FALSE(detail::flushes_to_zero<long double>);
}

TEST_CASE("A guard leaves the mode of the program as it found it", "[magnitude]") {
  if (!Control::can_flush) return;
  const Control::Word before = Control::read();
  // Each of its bits alone, none, and all.
  for (Control::Word bits = 0; bits <= Control::flush;
       bits = (bits - Control::flush) & Control::flush) {
    Control::write((before & ~Control::flush) | bits);
    {
      FlushToZero<float> flush;
      CHECK(mode() == Control::flush);
      flush.pause();
      CHECK(mode() == bits);
      flush.resume();
      CHECK(mode() == Control::flush);
    }
    CHECK(mode() == bits);
    if (bits == Control::flush) break;
  }
  Control::write(before);
}

TEST_CASE("A guard keeps rounding modes and exception flags", "[magnitude]") {
  std::feclearexcept(FE_ALL_EXCEPT);
  {
    const FlushToZero<double> flush;
    CHECK_FALSE(is_product_zero(std::numeric_limits<double>::max(), 2.0));
    std::fesetround(FE_UPWARD);
  }
  CHECK(std::fetestexcept(FE_OVERFLOW) != 0);
  CHECK(std::fetestexcept(FE_INVALID) == 0);
  CHECK(std::fegetround() == FE_UPWARD);
  std::fesetround(FE_TONEAREST);

  std::feclearexcept(FE_ALL_EXCEPT);
  std::feraiseexcept(FE_DIVBYZERO);
  {
    const FlushToZero<double> flush;
    CHECK_FALSE(is_product_zero(std::numeric_limits<double>::infinity(), 0.0));
  }
  CHECK(std::fetestexcept(FE_DIVBYZERO) != 0);
  CHECK(std::fetestexcept(FE_INVALID) != 0);
  std::feclearexcept(FE_ALL_EXCEPT);
}

TEST_CASE("A rule is asked in that mode, and an exception ends it", "[magnitude]") {
  if (!Control::can_flush) return;
  LogLinearAttention<Watched, float> layer({.d_model = 3, .d_k = 2, .d_v = 2});
  const test::Vector<float> x = test::Vector<float>::Ones(3);
  layer.forward(x);
  CHECK(Watched::flushed);
  CHECK(keeps<float>());
  Watched::throws = true;
  CHECK_THROWS_AS(layer.forward(x), std::runtime_error);
  CHECK(keeps<float>());
  CHECK_THROWS_AS(layer.forward_span(test::Matrix<float>::Ones(9, 3)), std::runtime_error);
  CHECK(keeps<float>());
  Watched::throws = false;
  CHECK_THROWS_AS(layer.forward(test::Vector<float>::Ones(4).eval()), std::invalid_argument);
  CHECK(keeps<float>());
}

TEST_CASE("The mode is that of one thread", "[magnitude]") {
  if (!Control::can_flush) return;
  bool kept = false, flushed = false;
  std::thread other([&] {
    kept = keeps<float>();
    const FlushToZero<float> flush;
    flushed = flushes<float>();
  });
  other.join();
  CHECK(kept);
  CHECK(flushed);
  CHECK(keeps<float>());
}

TEMPLATE_TEST_CASE("A divisor that is a denormal number is refused", "[magnitude]", float, double) {
  using Layer = LogLinearAttention<GLA, TestType>;
  const auto smallest = static_cast<double>(std::numeric_limits<TestType>::min());
  const test::Vector<TestType> x = test::Vector<TestType>::Zero(3);
  const auto with_tau = [&](double tau) {
    Layer layer({.d_model = 3, .d_k = 2, .d_v = 2, .level_weights = {.tau = tau}});
    for (int t = 0; t < 9; ++t) layer.train_one(x, x.head(2));
    return layer.lambda().allFinite();
  };
  CHECK(with_tau(smallest));
  CHECK(test::mentions(test::error_of([&] { with_tau(smallest / 2); }), {"tau", "denormal"}));
  CHECK(test::mentions(test::error_of([&] { with_tau(0); }), {"tau", "positive"}));

  const auto with_eps = [&](double eps) {
    const LogLinearMamba2<TestType> mamba({.hidden_size = 3,
                                           .expand = 2,
                                           .num_heads = 2,
                                           .head_dim = 3,
                                           .state_size = 2,
                                           .norm_eps = eps});
    const LogLinearGatedDeltaNet<TestType> net(
        {.hidden_size = 3, .num_heads = 2, .head_dim = 2, .norm_eps = eps});
    const test::Matrix<TestType> rows = test::Matrix<TestType>::Zero(4, 3);
    CHECK(net.forward(rows).isZero(0));
    CHECK(mamba.gradient(rows, rows).x.isZero(0));
    return mamba.forward(rows).isZero(0);
  };
  CHECK(with_eps(smallest));
  CHECK(test::mentions(test::error_of([&] { with_eps(smallest / 2); }), {"norm_eps", "denormal"}));
}

TEMPLATE_TEST_CASE("Norms of the largest and the smallest numbers are right all the same",
                   "[magnitude]", float, double) {
  const FlushToZero<TestType> flush;
  using Limits = std::numeric_limits<TestType>;
  for (const TestType scale : {Limits::max() / 2, Limits::max() / 8, TestType(1),
                               1024 * Limits::min(), 4 * Limits::min()}) {
    const Eigen::Matrix<TestType, 4, 1> v(scale, -scale / 2, scale / 2, 0);
    const double expected = static_cast<double>(scale) * std::sqrt(1.5);
    CHECK(std::abs(detail::stable_norm(v) / expected - 1) <= 4 * test::epsilon<TestType>());
  }
  Eigen::Matrix<TestType, 2, 1> v(1, Limits::infinity());
  CHECK_FALSE(detail::is_finite(detail::stable_norm(v)));
  v[1] = Limits::quiet_NaN();
  CHECK_FALSE(detail::is_finite(detail::stable_norm(v)));
  CHECK(detail::stable_norm(test::Vector<TestType>()) == 0);

  LogLinearState<TestType> state(2, 1, 1);
  const auto largest = [](int) {
    return test::Matrix<TestType>::Constant(1, 1, Limits::max() / 2).eval();
  };
  CHECK(test::mentions(test::error_of([&] { state.replace(1, largest); }), {"magnitude"}));
}

TEST_CASE("Denormal input counts as zero", "[magnitude]") {
  if (!Control::can_flush) return;
  LogLinearAttention<GatedDeltaNet, float> layer({.d_model = 3, .d_k = 2, .d_v = 2}), other = layer;
  const test::Vector<float> tiny =
      test::Vector<float>::Constant(3, std::numeric_limits<float>::min() / 2);
  for (int t = 0; t < 40; ++t) {
    CHECK(test::same_bits(layer.forward(tiny), other.forward(test::Vector<float>::Zero(3))));
  }
  CHECK(test::same_bits(layer.state(), other.state()));

  LogLinearState<float> state(4, 2, 2);
  const test::Vector<float> one = test::Vector<float>::Ones(2);
  state.push_leaf(tiny.head(2), one);
  CHECK(state.flat_state().isZero(0));
  state.push_leaf(Eigen::Vector2f(1e-20F, 1), Eigen::Vector2f(1e-20F, 1));
  CHECK(state.level(1)(0, 0) == 0);
  CHECK(state.level(1)(0, 1) == 1e-20F);
}
