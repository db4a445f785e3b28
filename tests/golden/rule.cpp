// SPDX-License-Identifier: MIT
// The family of published rules, made by make_rule_cases.py: a layer of a rule token by token, as a
// span by chunks, with its gradients, and with one state.

#include <stdexcept>
#include <string>
#include <type_traits>

#include "families.hpp"
#include "loglinear/loglinear.hpp"
#include "loglinear/mode/mode_text.hpp"

namespace loglinear::test {
namespace {

template <class Layer>
void set_weights(const Case& golden, Layer& layer) {
  for (const std::string& name : layer.weight_names()) layer.set_weight(name, golden.matrix(name));
}

template <class Layer>
[[nodiscard]] RowMajor stream(Layer& layer, const RowMajor& x) {
  RowMajor out(x.rows(), layer.output_dim());
  for (Eigen::Index t = 0; t < x.rows(); ++t) out.row(t) = layer.forward(x.row(t)).transpose();
  return out;
}

template <class Rule>
void replay(const Case& golden, Comparison& compare, const Rule& rule) {
  const RowMajor x = golden.matrix("x");
  const auto size = [&](const char* name) { return golden.get<Eigen::Index>(name); };
  using Layer = LogLinearAttention<Rule, double, SoftplusWeights>;
  const auto make = [&] {
    Layer layer({.inner = rule,
                 .d_model = size("d_model"),
                 .d_k = size("d_key"),
                 .d_v = size("d_value"),
                 .max_levels = golden.get<int>("max_levels"),
                 .read_order = ReadOrder::current_apart,
                 .bias = true});
    set_weights(golden, layer);
    return layer;
  };
  Layer streaming = make(), span = make();
  const auto gradient = span.span_gradient(x, golden.matrix("d_out"));
  for (const std::string& name : span.weight_names()) {
    compare.array(golden, "d_" + name, gradient.weight(name));
  }
  compare.array(golden, "out", stream(streaming, x), " token by token");
  compare.array(golden, "out", span.forward_span(x), " as a span");

  LinearAttention<Rule> one_state({.inner = rule,
                                   .d_model = size("d_model"),
                                   .d_k = size("d_key"),
                                   .d_v = size("d_value"),
                                   .read_order = ReadOrder::after_push,
                                   .bias = true});
  set_weights(golden, one_state);
  compare.array(golden, "one_state_out", stream(one_state, x));
}

}  // namespace

void replay_rule(const Case& golden, Comparison& compare) {
  const InnerMode mode = parse_inner_mode(golden.get<std::string>("mode"));
  visit_rule(mode, [&]<class Rule>(const Rule& rule) {
    if constexpr (std::is_same_v<Rule, KDA> || std::is_same_v<Rule, TiedHGRN2> ||
                  std::is_same_v<Rule, RGLRU> || std::is_same_v<Rule, GatedDeltaProduct<2>>) {
      replay(golden, compare, rule);
    } else {
      throw std::runtime_error("unexpected rule " + to_text(mode));
    }
  });
}

}  // namespace loglinear::test
