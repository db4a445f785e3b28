// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/vector_argument.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/readout/cascade.hpp"
#include "loglinear/readout/recursive_least_squares.hpp"
#include "loglinear/rules/gla.hpp"
#include "support.hpp"

using namespace loglinear;

namespace {

using Layer = LogLinearAttention<GLA>;

Layer make_layer() {
  Layer layer({.d_model = 3, .d_k = 2, .d_v = 2, .weight_scale = 0.5});
  layer.forward(Eigen::Vector3d(0.5, -1, 2));
  return layer;
}

}  // namespace

TEST_CASE("A layer takes a std::vector, an array and a span as it takes the same Eigen vector") {
  const Eigen::Vector3d x(1, -2, 0.5);
  const Eigen::Vector2d y(0.25, -0.5);
  Layer expected = make_layer(), layer = make_layer();

  const std::vector<double> vector(x.begin(), x.end());
  CHECK(layer.query_readonly(vector) == expected.query_readonly(x));
  CHECK(layer.forward(vector) == expected.forward(x));

  const std::array<double, 3> array = {x[0], x[1], x[2]};
  const double plain[] = {y[0], y[1]};
  CHECK(layer.train_one(array, plain) == expected.train_one(x, y));

  std::vector<double> longer(vector);
  longer.push_back(7);
  const std::span<const double> read_only(longer.data(), 3);
  const std::span<double> writable(longer.data(), 3);
  CHECK(layer.forward(read_only) == expected.forward(x));
  CHECK(layer.forward(writable) == expected.forward(x));
  Layer::Workspace workspace = layer.make_workspace();
  CHECK(std::as_const(layer).query_readonly(read_only, workspace) == expected.query_readonly(x));
  CHECK(layer.state() == expected.state());
}

TEST_CASE("A std::vector of a wrong size or with a NaN is refused as an Eigen vector is") {
  Layer layer = make_layer();
  const Eigen::VectorXd before = layer.state();
  const auto message = [&](const auto& x) -> std::string {
    try {
      layer.forward(x);
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "nothing";
  };
  std::vector<double> x(4, 1.0);
  CHECK(message(x) == message(Eigen::Vector4d::Ones()));
  CHECK(message(x) != "nothing");
  CHECK(message(std::vector<double>()) == message(Eigen::VectorXd()));
  x = {1, std::numeric_limits<double>::quiet_NaN(), 1};
  CHECK(message(x) == message(Eigen::Vector3d(1, x[1], 1)));
  CHECK(message(x) != "nothing");
  CHECK(layer.state() == before);
  CHECK(layer.size() == 1);
}

TEST_CASE("Readouts take arrays of numbers, too") {
  const std::array<double, 3> phi = {1, 0, 2};
  const std::vector<double> y = {0.5, -1};
  const Eigen::Map<const Eigen::Vector3d> eigen_phi(phi.data());
  const Eigen::Map<const Eigen::Vector2d> eigen_y(y.data());
  Cascade<double> cascade({.d_k = 3, .outputs = 2}), eigen_cascade = cascade;
  RecursiveLeastSquares<double> readout({.features = 3, .outputs = 2}), eigen_readout = readout;
  cascade.write(phi, y);
  eigen_cascade.write(eigen_phi, eigen_y);
  CHECK(cascade.predict(std::span(phi)) == eigen_cascade.predict(eigen_phi.transpose()));
  readout.update(phi, std::span(y));
  eigen_readout.update(eigen_phi, eigen_y.transpose());
  CHECK(readout.predict(phi) == eigen_readout.predict(eigen_phi));
  const std::vector<double> longer = {1, 2, 3, 4}, not_finite = {1, std::nan("")};
  CHECK(test::error_of([&] { cascade.write(phi, longer); }) != "");
  CHECK(test::error_of([&] { cascade.write(phi, not_finite); }) != "");
  CHECK(test::error_of([&] { readout.update(longer, y); }) != "");
  CHECK(test::error_of([&] { readout.update(phi, not_finite); }) != "");
  CHECK(cascade.state() == eigen_cascade.state());
  CHECK(readout.predict(phi) == eigen_readout.predict(eigen_phi));
}
