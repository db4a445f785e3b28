// SPDX-License-Identifier: MIT
// A block of tokens at once is the same as its tokens one by one: every rule, read order and number
// of levels, with states and buffers that no block is aligned to; and its gradient is that of the
// tokens one by one, by differences.

#include "catch.hpp"
#include "rules.hpp"

using namespace laws;

namespace {

using Block = detail::RowMajorMatrix<double>;

/// c sqrt(d) eps, grown by the number of tokens that a read sums over; reads are of order 1.
constexpr double tolerance = 1e-11;
constexpr double gradient_tolerance = 1e-6;  // max|a - b| / max|b| for each array
constexpr double step = 1e-4;

/// States of 8 x 9, so that layers whose transition can be deferred have a buffer of four leaves.
template <class Weights = SoftplusWeights, class Inner>
LogLinearAttention<Inner, double, Weights> layer_of(const Inner& inner, ReadOrder order,
                                                    int levels) {
  LogLinearAttention<Inner, double, Weights> layer({.inner = inner,
                                                    .d_model = 5,
                                                    .d_k = 8,
                                                    .d_v = 9,
                                                    .max_levels = levels,
                                                    .read_order = order});
  Normal normal(3);
  set_order_one_weights(layer, normal);
  for (int t = 0; t < 11; ++t) layer.forward(normal.vector<double>(5, 1));
  return layer;
}

template <class Layer>
Block one_by_one(Layer& layer, const Block& x) {
  Block out(x.rows(), layer.output_dim());
  for (Eigen::Index t = 0; t < x.rows(); ++t) out.row(t) = layer.forward(x.row(t)).transpose();
  return out;
}

/// The largest relative error of the gradient of one array, of some of its coefficients.
template <class Loss>
double gradient_error(const Block& gradient, const Block& at, Loss loss) {
  double error = 0, scale = 0;
  const Eigen::Index stride = 1 + at.size() / 7;
  for (Eigen::Index i = 0; i < at.size(); i += stride) {
    const auto moved = [&](double by) {
      Block to = at;
      to.data()[i] += by;
      return loss(to);
    };
    const double difference =
        (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step);
    error = std::max(error, std::abs(difference - gradient.data()[i]));
    scale = std::max(scale, gradient.cwiseAbs().maxCoeff());
  }
  return scale < 1e-9 ? (error < 1e-9 ? 0 : 1) : error / scale;
}

}  // namespace

TEST_CASE("a block gives what its tokens give one by one", "[law]") {
  for_each_rule([](const auto& inner, const char* name) {
    for (const ReadOrder order : read_orders) {
      for (const int levels : level_counts) {
        for (const Eigen::Index tokens : {0, 1, 6, 70, 133}) {
          INFO(name << " " << name_of(order) << " levels " << levels << " tokens " << tokens);
          auto streaming = layer_of(inner, order, levels);
          auto block = streaming;
          const Block x = Normal(9).matrix<double>(tokens, 5, 1);
          const Block expected = one_by_one(streaming, x);
          const Block out = block.forward_block(x);
          CHECK(detail::max_abs(out - expected) <= tolerance);
          CHECK(block.size() == streaming.size());
          const auto state = streaming.state();
          CHECK(detail::max_abs(block.state() - state) <= tolerance * (1 + detail::max_abs(state)));
          // and streams on from there
          const Block next = Normal(10).matrix<double>(5, 5, 1);
          CHECK(detail::max_abs(one_by_one(block, next) - one_by_one(streaming, next)) <=
                tolerance);
        }
      }
    }
  });
}

TEST_CASE("the gradient of a block is that of its tokens one by one", "[grad]") {
  for_each_rule([](const auto& inner, const char* name) {
    for (const ReadOrder order : read_orders) {
      for (const int levels : {3, 10}) {
        const auto layer = layer_of(inner, order, levels);
        Normal normal(12);
        const Block x = normal.matrix<double>(67, 5, 1);
        const Block d_out = normal.matrix<double>(67, 9, 1);
        const auto gradient = layer.block_gradient(x, d_out);
        const auto loss = [&](auto moved, const Block& inputs) {
          return one_by_one(moved, inputs).cwiseProduct(d_out).sum();
        };
        INFO(name << " " << name_of(order) << " levels " << levels);
        CHECK(gradient_error(gradient.x, x, [&](const Block& to) { return loss(layer, to); }) <=
              gradient_tolerance);
        for (const std::string& weight : layer.weight_names()) {
          INFO(weight);
          CHECK(gradient_error(gradient.weight(weight), layer.weight(weight), [&](const Block& to) {
                  auto moved = layer;
                  moved.set_weight(weight, to);
                  return loss(moved, x);
                }) <= gradient_tolerance);
        }
      }
    }
  });
}

TEST_CASE("a block of one token learns what train_one learns", "[law]") {
  for_each_rule([](const auto& inner, const char* name) {
    for (const ReadOrder order : read_orders) {
      INFO(name << " " << name_of(order));
      auto streaming = layer_of(inner, order, 4), block = streaming;
      Normal normal(2);
      const Block x = normal.matrix<double>(1, 5, 1), y = normal.matrix<double>(1, 9, 0.5);
      const Block o = streaming.train_one(x.row(0), y.row(0)).transpose();
      CHECK(detail::max_abs(block.train_block(x, y) - o) <= tolerance);
      CHECK(block.train_step_count() == streaming.train_step_count());
      for (const std::string& weight : block.weight_names()) {
        CHECK(detail::max_abs(block.weight(weight) - streaming.weight(weight)) <= tolerance);
      }
      CHECK(detail::max_abs(block.state() - streaming.state()) <= tolerance);
    }
  });
}

TEST_CASE("training on blocks brings the loss down", "[law]") {
  auto layer =
      layer_of<NormalizedMixture>(GatedDeltaNet{.gate_bias = 3}, ReadOrder::after_push, 10);
  Normal normal(4);
  const Block x = normal.matrix<double>(100, 5, 1), y = 0.3 * normal.matrix<double>(100, 9, 1);
  layer.set_learning_rate(0.003);
  const auto loss = [&] {
    layer.reset();
    return (layer.train_block(x, y) - y).squaredNorm();
  };
  const double first = loss();
  double last = first;
  for (int i = 0; i < 60; ++i) last = loss();
  CHECK(last < 0.8 * first);
}

TEST_CASE("a block that cannot be taken changes nothing", "[bad_input]") {
  auto layer = layer_of<NormalizedMixture>(GLA{}, ReadOrder::before_push, 5);
  const auto state = layer.state();
  Block x = Block::Ones(80, 5), y = Block::Zero(80, 9);
  x(79, 4) = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_AS(layer.forward_block(x), std::invalid_argument);
  x(79, 4) = 1e308;  // finite, but its projections are not
  CHECK_THROWS_AS(layer.forward_block(x), std::invalid_argument);
  CHECK_THROWS_AS(layer.train_block(x, y), std::invalid_argument);
  CHECK_THROWS_AS(layer.forward_block(Block::Ones(80, 4)), std::invalid_argument);
  x(79, 4) = 1;
  CHECK_THROWS_AS(layer.train_block(x, Block(Block::Zero(79, 9))), std::invalid_argument);
  CHECK_THROWS_AS(layer.block_gradient(x, Block(Block::Zero(80, 8))), std::invalid_argument);
  CHECK(layer.state() == state);
  CHECK(layer.size() == 11);
  CHECK(layer.train_step_count() == 0);
}
