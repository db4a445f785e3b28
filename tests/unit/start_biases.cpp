// SPDX-License-Identifier: MIT
// Where the biases of keys and queries begin, and what takes them back to 0.

#include "catch.hpp"
#include "loglinear/loglinear.hpp"
#include "support.hpp"

using namespace loglinear;

TEST_CASE("set_weight clears the starting biases of keys and queries that nobody has set") {
  using Layer = LogLinearAttention<GLA>;
  const auto made = [] { return Layer({.d_model = 2, .d_k = 3, .d_v = 1, .bias = true}); };
  const Layer fresh = made();
  const auto bias = [](const Layer& layer, const char* name) {
    return Eigen::RowVectorXd(layer.weight(name));
  };
  const Eigen::RowVectorXd key = bias(fresh, "w_key.bias"), query = bias(fresh, "w_query.bias"),
                           zero = Eigen::RowVectorXd::Zero(3),
                           chosen = Eigen::RowVectorXd::LinSpaced(3, 0.1, 0.3);
  CHECK(key.minCoeff() > 0);
  CHECK(query.minCoeff() > 0);
  for (const char* name : {"w_key", "w_query", "w_value"}) {
    INFO(name);
    Layer layer = made();
    layer.set_weight(name, layer.weight(name));
    CHECK(bias(layer, "w_key.bias") == zero);
    CHECK(bias(layer, "w_query.bias") == zero);
  }
  {  // one of them set, before the weights
    Layer layer = made();
    layer.set_weight("w_key.bias", chosen);
    CHECK(bias(layer, "w_query.bias") == query);
    layer.set_weight("w_query", layer.weight("w_query"));
    CHECK(bias(layer, "w_key.bias") == chosen);
    CHECK(bias(layer, "w_query.bias") == zero);
  }
  {  // set to what it was, it stays
    Layer layer = made();
    layer.set_weight("w_query.bias", query);
    layer.set_weight("w_key", layer.weight("w_key"));
    CHECK(bias(layer, "w_key.bias") == zero);
    CHECK(bias(layer, "w_query.bias") == query);
  }
  {  // learnt, they stay
    Layer layer = made();
    layer.train_one(Eigen::Vector2d(1, -1), Eigen::VectorXd::Ones(1));
    layer.train_one(Eigen::Vector2d(1, -1), Eigen::VectorXd::Ones(1));
    const Eigen::RowVectorXd learnt = bias(layer, "w_key.bias");
    CHECK(learnt != key);
    layer.set_weight("w_key", layer.weight("w_key"));
    CHECK(bias(layer, "w_key.bias") == learnt);
  }
}

// At an input of 0 only biases are left: a value of 1 that a token writes comes back times what its
// query reads of its own leaf, which is to be 1.5^2 whatever the rule makes of the key.
TEMPLATE_TEST_CASE("a token reads its own first leaf with a weight of about 2", "", GLA, DeltaNet,
                   GatedDeltaNet) {
  LinearAttention<TestType> layer(
      {.d_model = 2, .d_k = 3, .d_v = 1, .read_order = ReadOrder::after_push, .bias = true});
  layer.set_weight("w_value.bias", Eigen::MatrixXd::Ones(1, 1));
  layer.forward(Eigen::Vector2d::Zero());
  CHECK(layer.raw_read()[0] == Approx(2.25));
}
