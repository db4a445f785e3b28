// SPDX-License-Identifier: MIT
// More updates of rank one between two flushes than the sums of a low-rank product have room for on
// the stack: the plain form of the state must still be what the layer reads.

#include "catch.hpp"
#include "law/rules.hpp"
#include "support.hpp"

TEST_CASE("The plain form after thousands of updates in the buffer") {
  using namespace loglinear;
  constexpr int updates = 66, tokens = 127;  // 64 of them flushed, 63 buffered
  using Layer = LogLinearAttention<DeltaProduct<updates>, double, UnitWeights>;
  Layer layer({.d_model = 2, .d_k = 64, .d_v = 64, .max_levels = 9});
  laws::Normal normal(19);
  laws::set_order_one_weights(layer, normal);
  for (int t = 0; t < tokens; ++t) layer.forward(normal.vector<double>(2, 1.0));

  const Eigen::VectorXd x = normal.vector<double>(2, 1.0), q = layer.weight("w_query") * x;
  layer.query_readonly(x);
  Eigen::VectorXd read(64);
  const auto state = layer.log_linear_state();
  state.query_mixed(q, Eigen::VectorXd::Ones(9), read);
  // A product and a sum for each update, in both of them.
  const double tolerance =
      test::rounding<double>(4 * 63 * updates, 64) * read.lpNorm<Eigen::Infinity>();
  CHECK(read.norm() > 0);
  CHECK(test::difference(layer.raw_read(), read) <= tolerance);
  CHECK(layer.cast<float>().log_linear_state().size() == tokens);
}
