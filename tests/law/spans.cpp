// SPDX-License-Identifier: MIT
// A span of tokens at once is the same as its tokens one by one: every rule, read order and number
// of levels, with states and buffers that no span is aligned to; and its gradient is that of the
// tokens one by one, by differences.

#include "catch.hpp"
#include "oracles/differences.hpp"
#include "rules.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

using Span = detail::RowMajorMatrix<double>;

/// c sqrt(d) eps, grown by the number of tokens that a read sums over; reads are of order 1.
constexpr double tolerance = 1e-11;
constexpr double gradient_tolerance = 1e-6;  // max|a - b| / max|b| for each array
constexpr double step = 1e-4;

/// A layer whose buffer is not empty.
template <class Weights = SoftplusWeights, class Inner>
LogLinearAttention<Inner, double, Weights> layer_of(const Inner& inner, ReadOrder order,
                                                    int levels) {
  return make_layer<LogLinearAttention<Inner, double, Weights>>(
      {.max_levels = levels, .read_order = order, .tokens = 11}, inner);
}

/// The largest relative error of the gradient of one array, of some of its coefficients.
template <class Loss>
double gradient_error(const Span& gradient, const Span& at, Loss loss) {
  double error = 0, scale = 0;
  const Eigen::Index stride = 1 + at.size() / 7;
  for (Eigen::Index i = 0; i < at.size(); i += stride) {
    const double difference = derivative(step, [&](double by) {
      Span to = at;
      to.data()[i] += by;
      return loss(to);
    });
    error = std::max(error, std::abs(difference - gradient.data()[i]));
    scale = std::max(scale, gradient.cwiseAbs().maxCoeff());
  }
  return scale < 1e-9 ? (error < 1e-9 ? 0 : 1) : error / scale;
}

}  // namespace

TEST_CASE("a span gives what its tokens give one by one", "[law]") {
  for_each_rule([](const auto& inner, const char* name) {
    for (const ReadOrder order : read_orders) {
      for (const int levels : level_counts) {
        for (const Eigen::Index tokens : {0, 1, 6, 70, 133}) {
          INFO(name << " " << name_of(order) << " levels " << levels << " tokens " << tokens);
          auto streaming = layer_of(inner, order, levels);
          auto span = streaming;
          const Span x = Normal(9).matrix<double>(tokens, 5, 1);
          const Span expected = one_by_one(streaming, x);
          const Span out = span.forward_span(x);
          CHECK(detail::max_abs(out - expected) <= tolerance);
          CHECK(span.size() == streaming.size());
          const auto state = streaming.state();
          CHECK(detail::max_abs(span.state() - state) <= tolerance * (1 + detail::max_abs(state)));
          // and streams on from there
          const Span next = Normal(10).matrix<double>(5, 5, 1);
          CHECK(detail::max_abs(one_by_one(span, next) - one_by_one(streaming, next)) <= tolerance);
        }
      }
    }
  });
}

TEST_CASE("the gradient of a span is that of its tokens one by one", "[grad]") {
  for_each_rule([](const auto& inner, const char* name) {
    for (const ReadOrder order : read_orders) {
      for (const int levels : {3, 10}) {
        const auto layer = layer_of(inner, order, levels);
        Normal normal(12);
        const Span x = normal.matrix<double>(67, 5, 1);
        const Span d_out = normal.matrix<double>(67, 9, 1);
        const auto gradient = layer.span_gradient(x, d_out);
        const auto loss = [&](auto moved, const Span& inputs) {
          return one_by_one(moved, inputs).cwiseProduct(d_out).sum();
        };
        INFO(name << " " << name_of(order) << " levels " << levels);
        CHECK(gradient_error(gradient.x, x, [&](const Span& to) { return loss(layer, to); }) <=
              gradient_tolerance);
        for (const std::string& weight : layer.weight_names()) {
          INFO(weight);
          CHECK(gradient_error(gradient.weight(weight), layer.weight(weight), [&](const Span& to) {
                  auto moved = layer;
                  moved.set_weight(weight, to);
                  return loss(moved, x);
                }) <= gradient_tolerance);
        }
      }
    }
  });
}

TEST_CASE("a span of one token learns what train_one learns", "[law]") {
  for_each_rule([](const auto& inner, const char* name) {
    for (const ReadOrder order : read_orders) {
      INFO(name << " " << name_of(order));
      auto streaming = layer_of(inner, order, 4), span = streaming;
      Normal normal(2);
      const Span x = normal.matrix<double>(1, 5, 1), y = normal.matrix<double>(1, 9, 0.5);
      const Span o = streaming.train_one(x.row(0), y.row(0)).transpose();
      CHECK(detail::max_abs(span.train_span(x, y) - o) <= tolerance);
      CHECK(span.train_step_count() == streaming.train_step_count());
      for (const std::string& weight : span.weight_names()) {
        CHECK(detail::max_abs(span.weight(weight) - streaming.weight(weight)) <= tolerance);
      }
      CHECK(detail::max_abs(span.state() - streaming.state()) <= tolerance);
    }
  });
}

TEST_CASE("training on spans brings the loss down", "[law]") {
  auto layer =
      layer_of<NormalizedMixture>(GatedDeltaNet{.gate_bias = 3}, ReadOrder::after_push, 10);
  Normal normal(4);
  const Span x = normal.matrix<double>(100, 5, 1), y = 0.3 * normal.matrix<double>(100, 9, 1);
  layer.set_learning_rate(0.003);
  const auto loss = [&] {
    layer.reset();
    return (layer.train_span(x, y) - y).squaredNorm();
  };
  const double first = loss();
  double last = first;
  for (int i = 0; i < 60; ++i) last = loss();
  CHECK(last < 0.8 * first);
}

TEST_CASE("a span that cannot be taken changes nothing", "[bad_input]") {
  auto layer = layer_of<NormalizedMixture>(GLA{}, ReadOrder::before_push, 5);
  const auto state = layer.state();
  Span x = Span::Ones(80, 5), y = Span::Zero(80, 9);
  x(79, 4) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(layer.forward_span(x), std::invalid_argument);
  x(79, 4) = 1e308;  // finite, but its projections are not
  CHECK_THROWS_AS(layer.forward_span(x), std::invalid_argument);
  CHECK_THROWS_AS(layer.train_span(x, y), std::invalid_argument);
  CHECK_THROWS_AS(layer.forward_span(Span::Ones(80, 4)), std::invalid_argument);
  x(79, 4) = 1;
  CHECK_THROWS_AS(layer.train_span(x, Span(Span::Zero(79, 9))), std::invalid_argument);
  CHECK_THROWS_AS(layer.span_gradient(x, Span(Span::Zero(80, 8))), std::invalid_argument);
  CHECK(layer.state() == state);
  CHECK(layer.size() == 11);
  CHECK(layer.train_step_count() == 0);
}

TEST_CASE("after a refused span weights and heads are where they were", "[bad_input]") {
  Span x = Span::Ones(80, 5), y = Span::Zero(80, 9);
  x(79, 4) = 1e308;  // finite, but its projections are not
  auto layer = layer_of<NormalizedMixture>(GLA{}, ReadOrder::before_push, 5);
  const auto weight = layer.weight("w_key");
  const Span before = weight;
  CHECK_THROWS_AS(layer.forward_span(x), std::invalid_argument);
  CHECK_THROWS_AS(layer.train_span(x, y), std::invalid_argument);
  CHECK(weight.data() == layer.weight("w_key").data());
  CHECK(weight == before);

  MultiHeadAttention<LogLinearAttention<GLA>> heads({.d_model = 5, .d_k = 4, .d_v = 3});
  const auto* const head = &heads.head(0);
  CHECK_THROWS_AS(heads.forward_span(x), std::invalid_argument);
  CHECK_THROWS_AS(heads.train_span(x, Span::Zero(80, 5)), std::invalid_argument);
  CHECK(head == &heads.head(0));
  CHECK(heads.size() == 0);
}
