// SPDX-License-Identifier: MIT
// The gradient of `train_one` against central differences of the one-step loss with the state held
// constant: every rule, every weight, both training orders, with merging carries and overflow.

#include "catch.hpp"
#include "loglinear/mode/any_level_weights.hpp"
#include "oracles/differences.hpp"
#include "rules.hpp"

using namespace loglinear;
using namespace loglinear::test;

namespace {

constexpr double relative_tolerance = 1e-6;  // max|a - b| / max|b| for each weight array

// Differences of fourth order in long double: truncation of order step^4 and rounding of order
// epsilon / step are both about 1e-16, far below the smallest gradients here.
using Wide = long double;
constexpr double step = 1e-4;

/// The largest relative error over all weight arrays of one step at the layer's present state.
template <class Layer, class Vector>
void check_step(const Layer& layer, const Vector& x, const Vector& y) {
  Layer stepped = layer;
  stepped.set_learning_rate(1);
  stepped.train_one(x, y);
  auto wide = layer.template cast<Wide>();
  wide.set_learning_rate(0);
  const auto state = wide.snapshot();
  const detail::Vector<Wide> wide_x = x.template cast<Wide>(), wide_y = y.template cast<Wide>();
  for (const std::string& name : layer.weight_names()) {
    const detail::Matrix<Wide> weight = wide.weight(name);
    const detail::Matrix<double> gradient = layer.weight(name) - stepped.weight(name);
    detail::Matrix<double> difference = gradient;
    for (Eigen::Index i = 0; i < weight.size(); ++i) {
      difference(i) = static_cast<double>(derivative(step, [&](double by) {
        detail::Matrix<Wide> moved = weight;
        moved(i) += static_cast<Wide>(by);
        wide.set_weight(name, moved);
        wide.restore(state);
        return (wide.train_one(wide_x, wide_y) - wide_y).squaredNorm() / 2;
      }));
    }
    wide.set_weight(name, weight);
    INFO("weight " << name << " after " << layer.log_linear_state().size() << " tokens");
    const double scale = detail::max_abs(difference);
    const double error = detail::max_abs(gradient - difference);
    // An array without influence (the only weight of a mixture, a projection that the rule does not
    // use) has gradient 0, up to the rounding of what cancels.
    if (scale < 1e-13) {
      CHECK(detail::max_abs(gradient) < 1e-13);
    } else {
      CHECK(error / scale <= relative_tolerance);
    }
  }
}

void check_rules(const AnyLevelWeights& weights, const Sizes& size) {
  for_each_rule([&]<class Inner>(const Inner& inner, const char* name) {
    for (const ReadOrder order : {ReadOrder::after_push, ReadOrder::current_apart}) {
      for (const int levels : level_counts) {
        INFO(name << " " << name_of(order) << " levels " << levels << " d_k " << size.d_k);
        Normal normal(19);
        auto layer = make_layer<LogLinearAttention<Inner, double, AnyLevelWeights>>(
            {.sizes = size, .max_levels = levels, .read_order = order, .bias = true}, inner,
            weights);
        for (const std::string& weight : layer.weight_names()) {  // small: no tanh is to be full
          if (!weight.ends_with(".bias")) continue;
          layer.set_weight(weight, normal.matrix<double>(1, layer.weight(weight).cols(), 0.1));
        }
        for (std::uint64_t n = 0; n <= 8; ++n) {
          const auto x = normal.vector<double>(size.d_model, 0.7);
          const auto y = normal.vector<double>(size.d_v, 0.5);
          // no past, one level, carries that merge one, two and three levels, overflow
          if (n == 0 || n == 1 || n == 3 || n == 6 || n == 7) check_step(layer, x, y);
          layer.forward(x);
        }
      }
    }
  });
}

constexpr Sizes small = {4, 3, 2};
constexpr Sizes buffered = {2, 8, 9};  // a buffer of four leaves

/// Whether a rule leaves a projection out, or replaces it by its own.
template <class Rule>
bool is_unused(const Rule&, const std::string& weight) {
  const auto belongs_to = [&](const char* name) { return weight.starts_with(name); };
  if (std::is_same_v<Rule, Hawk> || std::is_same_v<Rule, RGLRU>) {
    return belongs_to("w_key") || belongs_to("w_query");
  }
  if (std::is_same_v<Rule, TiedHGRN2>) return belongs_to("w_key");
  const bool has_own_keys = detail::leaves_of<Rule>() > 1 ||
                            std::is_same_v<Rule, DeltaProduct<1>> ||
                            std::is_same_v<Rule, GatedDeltaProduct<1>>;
  return has_own_keys && (belongs_to("w_key") || belongs_to("w_value"));
}
template <class... Rules>
bool is_unused(const AnyRule<Rules...>& any, const std::string& weight) {
  return std::visit([&](const auto& rule) { return is_unused(rule, weight); }, any.rule());
}

}  // namespace

TEST_CASE("train_one descends the exact gradient, normalised mixture", "[grad]") {
  check_rules({NormalizedMixture{}}, small);
  check_rules({NormalizedMixture{}}, buffered);
}

TEST_CASE("train_one descends the exact gradient, softplus weights", "[grad]") {
  check_rules({SoftplusWeights{}}, small);
  check_rules({MlpWeights{.channels = 3}}, small);
}

TEST_CASE("train_one descends the exact gradient, unit weights", "[grad]") {
  check_rules({UnitWeights{}}, small);
}

TEST_CASE("every weight of every rule has a gradient", "[grad]") {
  for_each_rule([]<class Inner>(const Inner& inner, const char* name) {
    INFO(name);
    Normal normal(23);
    auto layer = make_layer<LogLinearAttention<Inner, double, AnyLevelWeights>>(
        {.sizes = small, .bias = true}, inner);
    const auto before = layer;
    for (int n = 0; n < 6; ++n) {
      layer.train_one(normal.vector<double>(4, 0.7), normal.vector<double>(2, 0.5));
    }
    for (const std::string& weight : layer.weight_names()) {
      INFO(weight);
      const double moved = detail::max_abs(layer.weight(weight) - before.weight(weight));
      if (is_unused(inner, weight)) {
        CHECK(moved == 0);
      } else {
        CHECK(moved > 1e-6);
      }
    }
  });
}

TEST_CASE("a learning rate of 0 leaves every weight as it was", "[grad]") {
  Normal normal(29);
  LogLinearAttention<GatedDeltaNet> layer({.d_model = 4, .d_k = 3, .d_v = 2, .learning_rate = 0});
  const auto before = layer;
  layer.train_one(normal.vector<double>(4, 1), normal.vector<double>(2, 1));
  for (const std::string& name : layer.weight_names()) {
    CHECK(layer.weight(name) == before.weight(name));
  }
  CHECK(layer.train_step_count() == 1);
}
