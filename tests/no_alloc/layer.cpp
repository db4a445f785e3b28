// SPDX-License-Identifier: MIT
#include <Eigen/Core>
#include <vector>

#include "allocation_counter.hpp"
#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "read_orders.hpp"
#include "support.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;

constexpr auto orders = test::read_orders;

template <class Layer>
typename Layer::Options options(Index d_model, Index d_k, Index d_v, int max_levels,
                                ReadOrder order) {
  typename Layer::Options o{.d_model = d_model, .d_k = d_k, .d_v = d_v};
  o.max_levels = max_levels;
  o.read_order = order;
  return o;
}

/// Runs a layer through enough tokens for every depth of carry, overflow included.
template <class Layer>
void check(Layer layer) {
  using Scalar = typename Layer::Scalar;
  using Vec = test::Vector<Scalar>;
  test::Random random(51);
  const Vec x = random.vector<Scalar>(layer.d_model());
  const Vec y = Scalar(0.5) * random.vector<Scalar>(layer.output_dim());
  Vec out(layer.output_dim());
  auto workspace = layer.make_workspace();
  auto reads = layer.make_level_reads();
  const int count = test::allocations_in([&] {
    for (int token = 0; token < 20; ++token) {
      layer.level_reads(x, reads);
      std::as_const(layer).level_reads(x, workspace, reads);
      layer.forward_levels(x, reads);
      layer.train_levels(x, reads, [](auto& r) { r *= Scalar(1e-6); });
      layer.forward(x);
      layer.query_readonly(x);
      std::as_const(layer).query_readonly(x, workspace);
      layer.train_one(x, y);
      layer.forward(x, out);
      layer.query_readonly(x, out);
      layer.train_one(x, y, out);
    }
    layer.reset();
    layer.set_learning_rate(0.1);
    layer.reset_train_step_count();
    layer.forward(x);
  });
  CHECK(count == 0);
}

template <class Rule, class Scalar>
void check_rule() {
  using Layer = LogLinearAttention<Rule, Scalar>;
  for (const ReadOrder order : orders) {
    CAPTURE(static_cast<int>(order));
    check(Layer(options<Layer>(5, 3, 4, 3, order)));
    check(Layer(options<Layer>(64, 64, 48, 32, order)));
  }
}

}  // namespace

TEMPLATE_TEST_CASE("A layer allocates nothing after its construction, whatever its rule", "",
                   RetNet, GLA, GLAVector, DeltaNet, GatedDeltaNet, KeyOnly<DeltaNet>) {
  check_rule<TestType, double>();
  check_rule<TestType, float>();
}

TEMPLATE_TEST_CASE("Nor with other level weights or as one-state linear attention", "",
                   (LogLinearAttention<GLA, double, SoftplusWeights>),
                   (LogLinearAttention<GLA, float, UnitWeights>), LinearAttention<GatedDeltaNet>) {
  const int max_levels = std::is_same_v<TestType, LinearAttention<GatedDeltaNet>> ? 1 : 4;
  for (const ReadOrder order : orders) {
    check(TestType(options<TestType>(5, 3, 4, max_levels, order)));
  }
}

TEST_CASE("Nor with a beta per token") {
  check(LogLinearAttention<GatedDeltaNet>(
      {.inner = {.beta = Beta::per_token}, .d_model = 5, .d_k = 3, .d_v = 4}));
}

TEMPLATE_TEST_CASE("Nor for any kind of vector it is given", "", float, double) {
  using Scalar = TestType;
  using Vec = test::Vector<Scalar>;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  constexpr Index d_model = 40, d_v = 24;
  LogLinearAttention<GatedDeltaNet, Scalar> layer({.d_model = d_model, .d_k = 16, .d_v = d_v});
  auto workspace = layer.make_workspace();
  test::Random random(52);
  const test::Matrix<Scalar> xs = random.matrix<Scalar>(64, 64), ys = random.matrix<Scalar>(64, 64);
  const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> xs_rows = xs;
  const Vec x = xs.col(0).head(d_model), other = xs.col(1).head(d_model), y = ys.col(0).head(d_v);
  const Row x_row = x.transpose(), y_row = y.transpose();
  const Eigen::Array<Scalar, Eigen::Dynamic, 1> x_array = x.array();
  Row out_row(d_v);
  test::Matrix<Scalar> out_wide(d_v, d_v);
  std::vector<Scalar> memory(3 * d_model, Scalar(0.25));
  const Eigen::Map<const Vec> map(memory.data(), d_model);
  const Eigen::Map<const Row, 0, Eigen::InnerStride<3>> strided(memory.data(), d_model);

  const auto all = [&](const auto& in, const auto& target) {
    return test::allocations_in([&] {
      layer.forward(in);
      layer.query_readonly(in);
      std::as_const(layer).query_readonly(in, workspace);
      layer.train_one(in, target);
    });
  };
  CHECK(all(x, y) == 0);
  CHECK(all(x_row, y_row) == 0);
  CHECK(all(xs.col(3).head(d_model), ys.row(3).head(d_v)) == 0);
  CHECK(all(xs.row(3).head(d_model), ys.col(3).head(d_v)) == 0);
  CHECK(all(xs_rows.row(2).segment(1, d_model), ys.col(3).head(d_v)) == 0);
  CHECK(all(xs_rows.col(2).segment(1, d_model), ys.col(3).head(d_v)) == 0);
  CHECK(all(map, Eigen::Map<const Vec>(memory.data(), d_v)) == 0);
  CHECK(all(strided, y) == 0);
  CHECK(all(Eigen::Ref<const Vec>(x), Eigen::Ref<const Vec>(y)) == 0);
  CHECK(all(x + other, y - y / 2) == 0);
  CHECK(all(Scalar(0.5) * x_row, y_row.cwiseAbs()) == 0);
  CHECK(all(x.reverse(), y.reverse()) == 0);
  CHECK(all(x_array, y) == 0);
  CHECK(all(x_array * x_array, y) == 0);
  CHECK(all(Vec::Constant(d_model, Scalar(0.1)), Vec::Zero(d_v)) == 0);

  CHECK(test::allocations_in([&] {
          layer.forward(x, out_row);
          layer.query_readonly(x, out_wide.col(0));
          layer.train_one(x, y, out_wide.row(1));
          layer.forward(x, Eigen::Map<Vec>(memory.data(), d_v));
        }) == 0);
}

TEMPLATE_TEST_CASE("Nor do snapshots that have grown to size, nor going back", "",
                   (LogLinearAttention<GLA, float>), LogLinearAttention<GLAVector>,
                   LogLinearAttention<GatedDeltaNet>, LogLinearAttention<DeltaProduct<2>>,
                   MultiHeadAttention<LogLinearAttention<Hawk>>) {
  using Scalar = typename TestType::Scalar;
  test::Random random(53);
  typename TestType::Options options{.d_model = 5, .d_k = 9, .d_v = 12};
  options.max_levels = 7;
  const auto x = random.vector<Scalar>(5);
  TestType layer(options);
  typename TestType::Snapshot moment;
  Rewindable<TestType> stream(layer, {.depth = 20, .snapshot_every = 4});
  for (int token = 0; token < 255; ++token) {  // all levels active, and all snapshots taken then
    layer.forward(x);
    layer.snapshot(moment);
    stream.forward(x);
  }
  stream.rewind(1);  // keeps what it would go back to
  stream.forward(x);
  const int count = test::allocations_in([&] {
    for (int token = 0; token < 255; ++token) {
      layer.snapshot(moment);
      layer.forward(x);
      if (token % 3 == 0) layer.restore(moment);
      stream.forward(x);
      if (token % 7 == 0) stream.rewind(5);
    }
    layer.advance_to(layer.size() + 5);
    layer.advance_to(layer.size() + 1000);
    layer.forward(x);
  });
  CHECK(count == 0);
}

TEST_CASE("Nor does a cascade, for keys of few coefficients and of many") {
  Cascade<> cascade({.d_k = 12, .outputs = 2, .max_levels = 4});
  Cascade<> copy(cascade);
  test::Random random(53);
  const test::Vector<double> y = random.vector<double>(2), one = test::Vector<double>::Unit(12, 3);
  const test::Vector<double> key = random.vector<double>(12).cwiseAbs();
  test::Matrix<double> d_reads(4, 3), d_estimates = random.matrix<double>(4, 2);
  const int count = test::allocations_in([&] {
    for (int token = 0; token < 20; ++token) {
      copy.write(key, y);
      copy.write(one, y);
      copy.predict(key);
      copy.features(one);
      copy.readout().pull_back(d_estimates, d_reads);
    }
    copy.reset();
  });
  CHECK(count == 0);
}
