// SPDX-License-Identifier: MIT
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "loglinear/layer/linear_attention.hpp"
#include "loglinear/layer/log_linear_attention.hpp"
#include "loglinear/rules.hpp"
#include "read_orders.hpp"
#include "support.hpp"

namespace bad_input_layer {

namespace {

using namespace loglinear;
using Eigen::Index;
using Parts = std::vector<std::string>;

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();

template <class Scalar>
using Vec = test::Vector<Scalar>;
template <class Scalar>
using Gated = LogLinearAttention<GatedDeltaNet, Scalar>;

constexpr Index d_model = 3, d_k = 2, d_v = 4;

/// A layer with large weights, some tokens and some training behind it.
template <class Layer>
Layer used(ReadOrder order = ReadOrder::before_push) {
  using Scalar = typename Layer::Scalar;
  Layer layer({.d_model = d_model,
               .d_k = d_k,
               .d_v = d_v,
               .max_levels = 3,
               .read_order = order,
               .learning_rate = 0.05});
  test::Random random(81);
  for (const std::string& name : layer.weight_names()) {
    const auto weight = layer.weight(name);
    layer.set_weight(name, random.matrix<Scalar>(weight.rows(), weight.cols()));
  }
  for (int i = 0; i < 6; ++i) {
    layer.forward(random.vector<Scalar>(d_model));
    layer.train_one(random.vector<Scalar>(d_model), random.vector<Scalar>(d_v));
  }
  return layer;
}

template <class Layer>
bool identical(const Layer& a, const Layer& b) {
  bool same = test::same_bits(a.state(), b.state()) &&
              a.log_linear_state().size() == b.log_linear_state().size() &&
              a.learning_rate() == b.learning_rate() &&
              a.train_step_count() == b.train_step_count();
  for (const std::string& name : a.weight_names()) {
    same = same && test::same_bits(a.weight(name), b.weight(name));
  }
  return same;
}

/// `call(layer)` throws std::invalid_argument whose message holds `parts`; no bit of the layer
/// changes, and what follows is what a twin to which it never happened does.
template <class Layer>
void refuses(const Layer& original, const std::function<void(std::type_identity_t<Layer>&)>& call,
             const Parts& parts) {
  using Scalar = typename Layer::Scalar;
  Layer layer = original, twin = original;
  const std::string error = test::error_of([&] { call(layer); });
  CAPTURE(error);
  CHECK(test::mentions(error, parts));
  CHECK(identical(layer, twin));
  const Vec<Scalar> x = Vec<Scalar>::LinSpaced(d_model, -1, 1), y = Vec<Scalar>::Zero(d_v);
  for (int i = 0; i < 2; ++i) {
    const std::string forward = test::error_of([&] {
      const Vec<Scalar> expected = twin.forward(x);
      CHECK(test::same_bits(layer.forward(x), expected));
    });
    if (!forward.empty()) return;  // a layer whose weights are too large for any token
    const Vec<Scalar> expected = twin.train_one(x, y);
    CHECK(test::same_bits(layer.train_one(x, y), expected));
    CHECK(identical(layer, twin));
  }
}

template <class Scalar>
std::vector<Scalar> not_finite() {
  return {std::numeric_limits<Scalar>::quiet_NaN(), std::numeric_limits<Scalar>::infinity(),
          -std::numeric_limits<Scalar>::infinity()};
}

std::string at(const char* name, Index i) {
  return std::string(name) + "[" + std::to_string(i) + "]";
}

template <class Layer>
typename Layer::Options options() {
  return {.d_model = d_model, .d_k = d_k, .d_v = d_v, .learning_rate = 0.05};
}

/// The message of building a layer with one option changed.
template <class Layer>
std::string error_with(const std::function<void(typename Layer::Options&)>& change) {
  auto changed = options<Layer>();
  change(changed);
  return test::error_of([&] { Layer layer(changed); });
}

template <class Rule>
std::string error_with_rule(const Rule& rule) {
  return error_with<LogLinearAttention<Rule>>([&](auto& o) { o.inner = rule; });
}

}  // namespace

TEMPLATE_TEST_CASE("Layer: each option of the constructor", "", Gated<float>, Gated<double>) {
  const auto error = [](auto change) { return error_with<TestType>(change); };
  CHECK(error([](auto&) {}).empty());
  for (const Index bad : {Index{0}, Index{-1}}) {
    const std::string value = " is " + std::to_string(bad) + ";";
    CHECK(test::mentions(error([&](auto& o) { o.d_model = bad; }),
                         {"d_model" + value, "at least 1"}));
    CHECK(test::mentions(error([&](auto& o) { o.d_k = bad; }), {"d_k" + value, "at least 1"}));
    CHECK(test::mentions(error([&](auto& o) { o.d_v = bad; }), {"d_v" + value, "at least 1"}));
  }
  for (const ReadOrder order : {ReadOrder::before_push, ReadOrder::current_apart}) {
    for (const int bad : {0, -1, 65, std::numeric_limits<int>::max()}) {
      CHECK(test::mentions(error([&](auto& o) {
                             o.max_levels = bad;
                             o.read_order = order;
                           }),
                           {"max_levels is " + std::to_string(bad) + ";", "between 1 and 64"}));
    }
  }
  for (const double bad : {not_a_number, infinity, -infinity}) {
    CHECK(test::mentions(error([&](auto& o) { o.level_weights.lambda_init = bad; }),
                         {"lambda_init",
                          bad == infinity ? "inf"
                          : bad < 0       ? "-inf"
                                          : "nan",
                          "finite"}));
  }
  for (const double bad : {not_a_number, infinity, 0.0, -1.0}) {
    CHECK(test::mentions(error([&](auto& o) { o.level_weights.tau = bad; }),
                         {"tau", "finite and positive"}));
  }
  for (const double bad : {not_a_number, infinity, -infinity, -0.001}) {
    CHECK(test::mentions(error([&](auto& o) { o.learning_rate = bad; }),
                         {"learning_rate", "finite and at least 0"}));
  }
  CHECK(test::mentions(error([](auto& o) { o.seed = 0; }), {"seed is 0;", "at least 1"}));
  CHECK(error([](auto& o) { o.seed = 1; }).empty());
  CHECK(error([](auto& o) { o.learning_rate = 0; }).empty());
}

TEST_CASE("Layer: hyperparameters that the layer's scalar cannot hold") {
  const auto error = [](auto change) { return error_with<Gated<float>>(change); };
  CHECK(test::mentions(error([](auto& o) { o.level_weights.lambda_init = 1e300; }),
                       {"lambda_init is 1e+300;", "layer's scalar"}));
  for (const double bad : {1e300, 1e-300}) {
    CHECK(test::mentions(error([&](auto& o) { o.level_weights.tau = bad; }),
                         {"tau is 1e", "layer's scalar"}));
  }
  using Mamba = LogLinearAttention<Mamba2, float>;
  CHECK(test::mentions(error_with<Mamba>([](auto& o) { o.inner.initial_a_log = 1e300; }),
                       {"A_log is 1e+300;", "layer's scalar"}));
}

TEST_CASE("Layer: linear attention has one level") {
  using Layer = LinearAttention<GLA>;
  CHECK(error_with<Layer>([](auto&) {}).empty());
  CHECK(test::mentions(error_with<Layer>([](auto& o) { o.max_levels = 2; }),
                       {"max_levels is 2;", "be 1"}));
}

TEST_CASE("Layer: each hyperparameter of each rule") {
  for (const double bad : {0.0, -0.5, 1.0001, not_a_number, infinity}) {
    CHECK(test::mentions(error_with_rule(RetNet{.gamma = bad}), {"RetNet::gamma", "(0, 1]"}));
  }
  CHECK(error_with_rule(RetNet{.gamma = 1}).empty());
  for (const double bad : {not_a_number, infinity, -infinity}) {
    CHECK(test::mentions(error_with_rule(GLA{.gate_bias = bad}), {"GLA::gate_bias", "finite"}));
    CHECK(test::mentions(error_with_rule(GLAVector{.gate_bias = bad}),
                         {"GLAVector::gate_bias", "finite"}));
    CHECK(test::mentions(error_with_rule(GatedDeltaNet{.gate_bias = bad}),
                         {"GatedDeltaNet::gate_bias", "finite"}));
    CHECK(test::mentions(error_with_rule(GatedDeltaNet{.beta_bias = bad}),
                         {"GatedDeltaNet::beta_bias", "finite"}));
  }
  for (const double bad : {not_a_number, infinity, -infinity}) {
    const auto refused = [](const auto& rule, std::string_view name) {
      return test::mentions(error_with_rule(rule), {name, "finite"});
    };
    CHECK(refused(Hawk{.gate_bias = bad}, "Hawk::gate_bias"));
    CHECK(refused(Hawk{.input_bias = bad}, "Hawk::input_bias"));
    CHECK(refused(RWKV{.initial_decay = bad}, "RWKV::initial_decay"));
    CHECK(refused(RWKV{.gate_bias = bad}, "RWKV::gate_bias"));
    CHECK(refused(MLSTM{.gate_bias = bad}, "MLSTM::gate_bias"));
    CHECK(refused(MLSTM{.input_bias = bad}, "MLSTM::input_bias"));
    CHECK(refused(DeltaProduct<2>{.gate_bias = bad}, "DeltaProduct::gate_bias"));
    CHECK(refused(DeltaProduct<2>{.beta_bias = bad}, "DeltaProduct::beta_bias"));
    CHECK(refused(RWKV7{.gate_bias = bad}, "RWKV7::gate_bias"));
    CHECK(refused(RWKV7{.iclr_bias = bad}, "RWKV7::iclr_bias"));
    CHECK(refused(HGRN2{.gate_bias = bad}, "HGRN2::gate_bias"));
    CHECK(refused(Mamba2{.initial_a_log = bad}, "Mamba2::initial_a_log"));
    CHECK(refused(Mamba2{.initial_dt_bias = bad}, "Mamba2::initial_dt_bias"));
  }
  CHECK(test::mentions(error_with_rule(RWKV{.initial_decay = -0.1}),
                       {"RWKV::initial_decay is -0.1;", "at least 0"}));
  for (const double bad : {-0.001, 1.0, not_a_number}) {
    CHECK(test::mentions(error_with_rule(HGRN2{.lower_bound = bad}),
                         {"HGRN2::lower_bound", "[0, 1)"}));
  }
  for (const double bad : {-0.001, 2.001, not_a_number, infinity}) {
    CHECK(test::mentions(error_with_rule(GatedDeltaNet{.beta_scale = bad}),
                         {"GatedDeltaNet::beta_scale", "between 0 and 2"}));
  }
}

TEMPLATE_TEST_CASE("Layer: vectors of a wrong size", "", Gated<float>, Gated<double>) {
  using Layer = TestType;
  using Scalar = typename Layer::Scalar;
  const Layer layer = used<Layer>();
  const Vec<Scalar> x = Vec<Scalar>::Ones(d_model), y = Vec<Scalar>::Zero(d_v), none;
  for (const Index size : {Index{0}, d_model - 1, d_model + 1}) {
    const Vec<Scalar> bad = Vec<Scalar>::Ones(size);
    const std::string value = "size of x is " + std::to_string(size) + ";";
    const Parts parts = {value, "be 3"};
    Vec<Scalar> out = Vec<Scalar>::Constant(d_v, 99);
    refuses(
        layer, [&](Layer& l) { l.forward(bad); }, parts);
    refuses(
        layer, [&](Layer& l) { l.forward(bad, out); }, parts);
    refuses(
        layer, [&](Layer& l) { l.forward(bad.transpose()); }, parts);
    refuses(
        layer, [&](Layer& l) { l.query_readonly(bad); }, parts);
    refuses(
        layer, [&](Layer& l) { l.query_readonly(bad, out); }, parts);
    refuses(
        layer, [&](Layer& l) { l.train_one(bad, y); }, parts);
    refuses(
        layer, [&](Layer& l) { l.train_one(bad, y, out); }, parts);
    refuses(
        layer,
        [&](Layer& l) {
          auto workspace = l.make_workspace();
          std::as_const(l).query_readonly(bad, workspace);
        },
        parts);
    CHECK(out == Vec<Scalar>::Constant(d_v, 99));
  }
  for (const Index size : {Index{0}, d_v - 1, d_v + 1}) {
    Vec<Scalar> bad = Vec<Scalar>::Constant(size, 99);
    const std::string of_y = "size of y is " + std::to_string(size) + ";";
    const std::string of_out = "size of out is " + std::to_string(size) + ";";
    refuses(layer, [&](Layer& l) { l.train_one(x, bad); }, {of_y, "be 4"});
    refuses(layer, [&](Layer& l) { l.train_one(x, y, bad); }, {of_out, "be 4"});
    refuses(layer, [&](Layer& l) { l.forward(x, bad); }, {of_out, "be 4"});
    refuses(layer, [&](Layer& l) { l.forward(x, bad.transpose()); }, {of_out, "be 4"});
    refuses(layer, [&](Layer& l) { l.query_readonly(x, bad); }, {of_out, "be 4"});
    CHECK(bad == Vec<Scalar>::Constant(size, 99));
  }
}

TEMPLATE_TEST_CASE("Layer: a coefficient that is not finite, at each position", "", Gated<float>,
                   Gated<double>) {
  using Layer = TestType;
  using Scalar = typename Layer::Scalar;
  for (const ReadOrder order : test::read_orders) {
    const Layer layer = used<Layer>(order);
    for (const Scalar bad : not_finite<Scalar>()) {
      const std::string value = std::isnan(bad) ? "nan" : bad > 0 ? "is inf" : "is -inf";
      for (Index i = 0; i < d_model; ++i) {
        Vec<Scalar> x = Vec<Scalar>::Ones(d_model);
        x[i] = bad;
        const Parts parts = {at("x", i), value, "finite"};
        refuses(
            layer, [&](Layer& l) { l.forward(x); }, parts);
        refuses(
            layer, [&](Layer& l) { l.query_readonly(x); }, parts);
        refuses(
            layer, [&](Layer& l) { l.train_one(x, Vec<Scalar>::Zero(d_v)); }, parts);
      }
      for (Index i = 0; i < d_v; ++i) {
        Vec<Scalar> y = Vec<Scalar>::Zero(d_v);
        y[i] = bad;
        refuses(layer, [&](Layer& l) { l.train_one(Vec<Scalar>::Ones(d_model), y); },
                {at("y", i), value, "finite"});
      }
    }
  }
}

TEMPLATE_TEST_CASE("Layer: finite input that overflows on the way", "", Gated<float>,
                   Gated<double>) {
  using Layer = TestType;
  using Scalar = typename Layer::Scalar;
  const Scalar huge = std::numeric_limits<Scalar>::max() / 8;
  const Scalar root = std::sqrt(huge);
  const Vec<Scalar> ones = Vec<Scalar>::Ones(d_model), y = Vec<Scalar>::Zero(d_v);
  const auto constant = [](Index rows, Scalar value) {
    return test::Matrix<Scalar>::Constant(rows, d_model, value);
  };
  const auto every_way = [&](const Layer& layer, const Vec<Scalar>& x, const Parts& parts) {
    refuses(
        layer, [&](Layer& l) { l.forward(x); }, parts);
    refuses(
        layer, [&](Layer& l) { l.train_one(x, y); }, parts);
  };

  SECTION("projections") {
    for (const char* name : {"w_key", "w_value", "w_query", "w_lambda", "w_gate"}) {
      Layer layer = used<Layer>();
      layer.set_weight(name, constant(layer.weight(name).rows(), Scalar(100)));
      every_way(layer, huge * ones, {"projection ", " of x", "finite"});
    }
    refuses(
        [] {
          Layer layer = used<Layer>();
          layer.set_weight("w_query", test::Matrix<Scalar>::Constant(d_k, d_model, 100));
          return layer;
        }(),
        [&](Layer& l) { l.query_readonly(huge * ones); }, {"projection ", " of x", "finite"});
  }
  SECTION("the leaf") {  // b k^ v^T: only the value can be large, and leaves add up
    Layer layer(
        {.d_model = d_model, .d_k = d_k, .d_v = d_v, .max_levels = 1, .learning_rate = 0.05});
    layer.set_weight("w_value", constant(d_v, huge / 4));
    layer.set_weight("w_query", constant(d_k, 0));
    refuses(layer, [&](Layer& l) { l.forward(2 * ones); }, {"magnitude", "range"});
  }
  SECTION("the leaf of a rule with long keys") {
    using Plain = LogLinearAttention<GLA, Scalar>;
    Plain layer = used<Plain>();
    layer.reset();
    layer.set_weight("w_key", constant(d_k, root));
    layer.set_weight("w_value", constant(d_v, root));
    layer.set_weight("w_query", constant(d_k, 0));
    refuses(layer, [&](Plain& l) { l.forward(ones); }, {"magnitude", "range"});
  }
  SECTION("the read") {
    Layer layer = used<Layer>();
    layer.set_weight("w_value", constant(d_v, root / 10));
    layer.forward(ones);
    layer.set_weight("w_query", constant(d_k, root * 100));
    every_way(layer, ones, {"raw read", "finite"});
    refuses(layer, [&](Layer& l) { l.query_readonly(ones); }, {"raw read", "finite"});
  }
  SECTION("the weights after a step") {
    Layer layer = used<Layer>();
    layer.set_learning_rate(100);
    refuses(layer, [&](Layer& l) { l.train_one(ones, Vec<Scalar>::Constant(d_v, huge)); },
            {"must be"});
    layer.set_learning_rate(1e20);
    refuses(layer, [&](Layer& l) { l.train_one(root * ones, Vec<Scalar>::Constant(d_v, root)); },
            {"must be"});
  }
}

TEMPLATE_TEST_CASE("Layer: a step that overflows on the way, though the gradient is small", "",
                   Gated<float>, Gated<double>) {
  using Layer = TestType;
  using Scalar = typename Layer::Scalar;
  const double limit = static_cast<double>(std::numeric_limits<Scalar>::max());
  Layer layer({.d_model = d_model, .d_k = d_k, .d_v = d_v});
  layer.set_weight("w_value", test::Matrix<Scalar>::Zero(d_v, d_model));
  const Vec<Scalar> zero = Vec<Scalar>::Zero(d_v);  // output 0, target 0: the gradient is 0

  // learning_rate * x is infinite, and infinity times 0 is NaN.
  layer.set_learning_rate(limit / 4);
  (void)test::error_of([&] { layer.train_one(Vec<Scalar>::Constant(d_model, 1000), zero); });
  for (const std::string& name : layer.weight_names()) CHECK(layer.weight(name).allFinite());

  // A learning rate that the scalar cannot hold.
  (void)test::error_of([&] {
    layer.set_learning_rate(std::numeric_limits<double>::max());
    layer.train_one(Vec<Scalar>::Zero(d_model), zero);
  });
  for (const std::string& name : layer.weight_names()) CHECK(layer.weight(name).allFinite());
}

TEMPLATE_TEST_CASE("Layer: set_weight and weight", "", Gated<float>, Gated<double>) {
  using Layer = TestType;
  using Scalar = typename Layer::Scalar;
  const Layer layer = used<Layer>();
  const auto ones = [](Index rows, Index cols) { return test::Matrix<Scalar>::Ones(rows, cols); };
  refuses(layer, [&](Layer& l) { l.set_weight("w_kez", ones(d_k, d_model)); },
          {"weight name is w_kez;", "w_key w_value w_query w_lambda w_gate"});
  refuses(layer, [&](Layer& l) { l.set_weight("", ones(d_k, d_model)); }, {"weight name is ;"});
  refuses(layer, [&](Layer& l) { (void)l.weight("w_beta_scalar"); },
          {"weight name is w_beta_scalar;", "one of"});
  refuses(layer, [&](Layer& l) { l.set_weight("w_key", ones(d_k + 1, d_model)); },
          {"rows of w_key is 3;", "be 2"});
  refuses(layer, [&](Layer& l) { l.set_weight("w_key", ones(d_k, d_model + 1)); },
          {"columns of w_key is 4;", "be 3"});
  refuses(layer, [&](Layer& l) { l.set_weight("w_key", ones(d_model, d_k)); },
          {"rows of w_key is 3;", "be 2"});
  for (const std::string& name : layer.weight_names()) {
    const auto shape = layer.weight(name);
    for (const Scalar bad : not_finite<Scalar>()) {
      for (Index i = 0; i < shape.rows(); ++i) {
        for (Index j = 0; j < shape.cols(); ++j) {
          auto value = ones(shape.rows(), shape.cols()).eval();
          value(i, j) = bad;
          refuses(layer, [&](Layer& l) { l.set_weight(name, value); },
                  {name + "[" + std::to_string(i) + ", " + std::to_string(j) + "]", "finite"});
        }
      }
    }
    refuses(layer,
            [&](Layer& l) {
              l.set_weight(name,
                           ones(shape.rows(), shape.cols()) * std::numeric_limits<Scalar>::max());
            },
            {"largest coefficient of " + name, "between 0 and"});
  }
}

TEST_CASE("Layer: set_learning_rate") {
  using Layer = Gated<double>;
  const Layer layer = used<Layer>();
  const std::pair<double, const char*> bad_rates[] = {
      {not_a_number, "nan"}, {infinity, "is inf"}, {-infinity, "is -inf"}, {-1e-300, "is -1e-300"}};
  for (const auto& [bad, value] : bad_rates) {
    refuses(layer, [bad = bad](Layer& l) { l.set_learning_rate(bad); },
            {"learning_rate", value, "finite and at least 0"});
  }
}

TEST_CASE("Layer: a workspace of another layer") {
  using Layer = Gated<double>;
  const Layer layer = used<Layer>();
  const Vec<double> x = Vec<double>::Ones(d_model);
  const auto with = [&](Index other_d_model, Index other_d_k, Index other_d_v, int max_levels) {
    const Layer other(
        {.d_model = other_d_model, .d_k = other_d_k, .d_v = other_d_v, .max_levels = max_levels});
    auto workspace = other.make_workspace();
    return test::error_of([&] { layer.query_readonly(x, workspace); });
  };
  CHECK(with(d_model, d_k, d_v, 3).empty());
  CHECK(test::mentions(with(d_model, d_k, d_v, 4), {"workspace", "must be"}));
  CHECK(test::mentions(with(d_model, d_k + 1, d_v, 3), {"workspace", "must be"}));
  CHECK(test::mentions(with(d_model + 1, d_k, d_v, 3), {"workspace", "must be 3"}));
  // As many weights, but with one of them for the token itself.
  const Layer apart({.d_model = d_model,
                     .d_k = d_k,
                     .d_v = d_v,
                     .max_levels = 2,
                     .read_order = ReadOrder::current_apart});
  auto fewer_levels = apart.make_workspace();
  CHECK(test::mentions(test::error_of([&] { layer.query_readonly(x, fewer_levels); }),
                       {"workspace's levels", "must be 3"}));
  // As many projections, differently divided: 2 * 2 + 4 = 2 * 1 + 6.
  CHECK(test::mentions(with(d_model, d_k - 1, d_v + 2, 3), {"workspace", "must be"}));
}

TEST_CASE("Layer: cast to a scalar that cannot hold the numbers") {
  Gated<double> layer({.d_model = d_model, .d_k = d_k, .d_v = d_v});
  layer.set_weight("w_value", test::Matrix<double>::Constant(d_v, d_model, 1e100));
  CHECK(test::mentions(test::error_of([&] { (void)layer.cast<float>(); }),
                       {"w_value", "inf", "finite"}));
  layer.forward(Vec<double>::Ones(d_model));
  layer.set_weight("w_value", test::Matrix<double>::Zero(d_v, d_model));
  CHECK(test::mentions(test::error_of([&] { (void)layer.cast<float>(); }),
                       {"of the buffered value", "inf", "finite"}));
}

TEST_CASE("Layer: a scale of the weights that their scalar cannot hold") {
  using Narrow = LogLinearAttention<GLA, float>;
  for (const double scale : {1e39, -0.1, not_a_number, infinity}) {
    CHECK(test::mentions(test::error_of([&] {
                           const Narrow layer(
                               {.d_model = 1, .d_k = 1, .d_v = 1, .weight_scale = scale});
                         }),
                         {"weight_scale is", "between 0 and 8.5"}));
  }
  // Weights that fit can be cast whatever the scale of those that were drawn.
  LogLinearAttention<GLA> wide({.d_model = 1, .d_k = 1, .d_v = 1, .weight_scale = 1e50});
  CHECK_FALSE(test::error_of([&] { (void)wide.cast<float>(); }).empty());
  for (const std::string& name : wide.weight_names()) {
    wide.set_weight(name, (wide.weight(name) * 0).eval());
  }
  CHECK(test::error_of([&] { (void)wide.cast<float>(); }).empty());
}

TEST_CASE("Layer: a read that overflows is refused and not shown") {
  LogLinearAttention<GLA> layer({.d_model = 1, .d_k = 1, .d_v = 1});
  const Vec<double> one = Vec<double>::Ones(1);
  layer.forward(one);
  for (const char* const name : {"w_key", "w_value", "w_query"}) {
    layer.set_weight(name, Eigen::MatrixXd::Constant(1, 1, 1e120));
  }
  const std::vector<std::function<void()>> calls{[&] { layer.train_one(one, one); },
                                                 [&] { layer.forward(one); },
                                                 [&] { (void)layer.query_readonly(1e30 * one); }};
  int refused = 0;
  for (const auto& call : calls) {
    refused += test::error_of(call).empty() ? 0 : 1;
    CHECK(layer.raw_read().allFinite());
  }
  CHECK(refused >= 1);
}

TEST_CASE("Layer: a level weight that overflows is named, not the read that it spoils") {
  LogLinearAttention<GLA, double, SoftplusWeights> layer(
      {.d_model = 1, .d_k = 1, .d_v = 1, .max_levels = 4, .weight_scale = 1});
  const Vec<double> one = Vec<double>::Ones(1);
  for (int t = 0; t < 5; ++t) layer.forward(one);
  for (const char* const name : {"w_lambda", "level_scale"}) {
    const Eigen::MatrixXd weight = layer.weight(name);
    layer.set_weight(name, Eigen::MatrixXd::Constant(weight.rows(), weight.cols(), 1e200));
  }
  for (const std::string& error : {test::error_of([&] { layer.forward(one); }),
                                   test::error_of([&] { (void)layer.query_readonly(one); })}) {
    CHECK(test::mentions(error, {"level weight ", "inf", "finite"}));
  }
  CHECK(layer.log_linear_state().size() == 5);
}

}  // namespace bad_input_layer
