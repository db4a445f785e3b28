// SPDX-License-Identifier: MIT
// Arguments that lie in the object's own memory: every function does what it does with a copy of
// them.

#include <string>

#include "catch.hpp"
#include "checkpoint/bytes.hpp"
#include "layers.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/mode/attention.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"

namespace {

using namespace loglinear;
using Eigen::Index;
using test::same_bits;
using Vector = Eigen::VectorXd;

/// As many inputs as outputs, keys and values, so that everything can stand for everything else.
constexpr Index size = 6;

template <class Layer>
Layer used() {
  return test::make_layer<Layer>(
      {.sizes = {size, size, size}, .max_levels = 32, .tokens = 11, .heads = 4});
}

/// `with_own(layer)` gives, and leaves, what `with_copy(layer)` does.
template <class Layer, class Own, class Copy>
void check_same(Own with_own, Copy with_copy) {
  Layer one = used<Layer>(), other = one;
  const Vector first = with_own(one), second = with_copy(other);
  CHECK(same_bits(first, second));
  const bool same = test::saved(one) == test::saved(other);
  CHECK(same);
}

}  // namespace

TEMPLATE_TEST_CASE("A layer takes its own output, target and weights for input", "",
                   LogLinearAttention<GLA>, LogLinearAttention<GatedDeltaNet>,
                   LinearAttention<Hawk>, MultiHeadAttention<LogLinearAttention<GatedDeltaNet>>) {
  using Layer = TestType;
  const Vector x = Vector::LinSpaced(size, -1, 1);
  check_same<Layer>([&](Layer& layer) { return layer.forward(layer.forward(x)); },
                    [&](Layer& layer) { return layer.forward(Vector(layer.forward(x))); });
  check_same<Layer>([&](Layer& layer) { return layer.query_readonly(layer.forward(x)); },
                    [&](Layer& layer) { return layer.query_readonly(Vector(layer.forward(x))); });
  check_same<Layer>(
      [&](Layer& layer) {
        const Vector& output = layer.forward(x);
        return layer.train_one(output, output);
      },
      [&](Layer& layer) {
        const Vector output = layer.forward(x);
        return layer.train_one(output, output);
      });
  check_same<Layer>(
      [&](Layer& layer) {
        const auto row = layer.weight(layer.weight_names().front()).row(1);
        return layer.train_one(row, row);
      },
      [&](Layer& layer) {
        const Eigen::RowVectorXd row = layer.weight(layer.weight_names().front()).row(1);
        return layer.train_one(row, row);
      });
  check_same<Layer>(
      [&](Layer& layer) {
        const std::string name = layer.weight_names().front();
        layer.set_weight(name, layer.weight(name).transpose());
        return layer.forward(x);
      },
      [&](Layer& layer) {
        const std::string name = layer.weight_names().front();
        layer.set_weight(name, Eigen::MatrixXd(layer.weight(name).transpose()));
        return layer.forward(x);
      });
}

TEST_CASE("What a layer looked at last may be its next input") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  const Vector x = Vector::LinSpaced(size, -1, 1);
  check_same<Layer>(
      [&](Layer& layer) {
        layer.forward(x);
        return layer.train_one(layer.raw_read(), layer.raw_read());
      },
      [&](Layer& layer) {
        layer.forward(x);
        const Vector read = layer.raw_read();
        return layer.train_one(read, read);
      });
}

TEST_CASE("The output may be written over input and target") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  const Vector start = Vector::LinSpaced(size, -1, 1);
  const auto into_itself = [&](auto call) {
    return [&, call](Layer& layer) {
      Vector both = start;
      call(layer, both, both);
      return both;
    };
  };
  const auto into_another = [&](auto call) {
    return [&, call](Layer& layer) {
      Vector in = start, out(size);
      call(layer, in, out);
      return out;
    };
  };
  const auto check = [&](auto call) { check_same<Layer>(into_itself(call), into_another(call)); };
  check([](Layer& layer, const Vector& x, Vector& out) { layer.forward(x, out); });
  check([](Layer& layer, const Vector& x, Vector& out) { layer.forward(x, out.reverse()); });
  check([](Layer& layer, const Vector& x, Vector& out) { layer.query_readonly(x, out); });
  check([](Layer& layer, const Vector& x, Vector& out) { layer.train_one(x, x, out); });
}

TEST_CASE("The run-time layer takes its own output") {
  const AttentionConfig config{.d_model = size, .mode = LogLinear{.inner = GatedDeltaNet{}}};
  const auto one = make_attention<double>(config), other = make_attention<double>(config);
  const Vector x = Vector::LinSpaced(size, -1, 1);
  for (int t = 0; t < 5; ++t) {
    const Vector& own = one->forward(x);
    const Vector copy = other->forward(x);
    CHECK(same_bits(one->train_one(own, own), other->train_one(copy, copy)));
    const Vector& again = one->query_readonly(x);
    const Vector copy_again = other->query_readonly(x);
    CHECK(same_bits(one->forward(again), other->forward(copy_again)));
  }
  CHECK(same_bits(one->state(), other->state()));
}

TEST_CASE("A state takes its own levels") {
  using State = LogLinearState<double>;
  State one(4, size, size);
  test::Random random(62);
  for (int t = 0; t < 7; ++t)
    one.push_leaf(random.vector<double>(size), random.vector<double>(size));
  State other = one;
  for (int t = 0; t < 9; ++t) {
    const auto level = one.level(t % 3);
    const Eigen::MatrixXd copy = other.level(t % 3);
    one.push_leaf(level.row(1), level.col(2));
    other.push_leaf(copy.row(1), copy.col(2));
    CHECK(one == other);
    const auto wide = one.level(t % 2);
    const Eigen::MatrixXd wide_copy = other.level(t % 2);
    one.push_leaf(wide, wide);
    other.push_leaf(wide_copy, wide_copy);
    CHECK(one == other);
  }
  State twice = one;
  twice.add(twice);
  CHECK(same_bits(twice.flat_state(), 2 * one.flat_state()));
}

TEST_CASE("A readout takes its own prediction and weights") {
  RecursiveLeastSquares<double> one({.features = size, .outputs = size});
  auto other = one;
  const Vector phi = Vector::LinSpaced(size, -1, 1);
  for (int t = 0; t < 4; ++t) {
    one.update(phi, phi.cwiseAbs2());
    other.update(phi, phi.cwiseAbs2());
    const Vector& own = one.predict(phi);
    const Vector copy = other.predict(phi);
    CHECK(same_bits(one.update(own, own), other.update(copy, copy)));
    const Eigen::MatrixXd weights = other.weights();
    CHECK(same_bits(one.update(one.weights().col(1), one.weights().row(2)),
                    other.update(weights.col(1), weights.row(2))));
    CHECK(same_bits(one.weights(), other.weights()));
  }
}

TEST_CASE("A stream that can be rewound takes its own output") {
  using Layer = LogLinearAttention<GatedDeltaNet>;
  Rewindable<Layer> one(used<Layer>(), {.depth = 5, .snapshot_every = 2}), other = one;
  const Vector* own = &one.forward(Vector::Ones(size));
  Vector copy = other.forward(Vector::Ones(size));
  for (int t = 0; t < 9; ++t) {
    own = &one.forward(*own);
    copy = other.forward(Vector(copy));
    CHECK(same_bits(*own, copy));
  }
  one.rewind(3);
  other.rewind(3);
  CHECK(same_bits(one.layer().state(), other.layer().state()));
}
