// SPDX-License-Identifier: MIT
// The family of the multi-head streaming layer: heads.

#include <stdexcept>
#include <string>

#include "families.hpp"
#include "loglinear/loglinear.hpp"

namespace golden {
namespace {

using namespace loglinear;

template <class Layer>
void replay(const Case& golden, Comparison& compare,
            typename MultiHeadAttention<Layer>::Options options) {
  options.d_model = golden.get<Eigen::Index>("d_model");
  options.d_k = golden.get<Eigen::Index>("d_key");
  options.d_v = golden.get<Eigen::Index>("d_value");
  options.n_heads = golden.get<int>("n_heads");
  options.seed = golden.seed();
  MultiHeadAttention<Layer> layer(options);
  for (const std::string& name : layer.weight_names()) {
    if (!golden.has(name)) continue;
    if (golden.get<std::string>("init") == "given") layer.set_weight(name, golden.matrix(name));
    compare.array(golden, name, layer.weight(name));
  }
  const RowMajor ops = golden.matrix("op"), x = golden.matrix("x");
  RowMajor outputs(ops.size(), layer.output_dim());
  for (Eigen::Index i = 0; i < ops.size(); ++i) {
    if (ops(i) == 0) {
      outputs.row(i) = layer.forward(x.row(i)).transpose();
    } else if (ops(i) == 1) {
      outputs.row(i) = layer.query_readonly(x.row(i)).transpose();
    } else {
      throw std::runtime_error("unknown op");
    }
  }
  compare.array(golden, "output", outputs);
  compare.array(golden, "flat_state_final", layer.state());
}

template <class Rule>
void one_state(const Case& golden, Comparison& compare, Rule rule, OutputBound bound) {
  replay<LinearAttention<Rule>>(golden, compare, {.inner = rule, .bound = bound});
}

template <class Rule>
void log_linear(const Case& golden, Comparison& compare) {
  replay<LogLinearAttention<KeyOnly<Rule>>>(
      golden, compare,
      {.max_levels = golden.get<int>("max_levels"),
       .level_weights = {.lambda_init = golden.get<double>("lambda_init")}});
}

}  // namespace

void replay_heads(const Case& golden, Comparison& compare) {
  const auto mode = golden.get<std::string>("mode");
  const auto one = [&](auto rule, OutputBound bound) { one_state(golden, compare, rule, bound); };
  const OutputBound plain = OutputBound::none, bounded = OutputBound::forward;
  if (mode == "RetNet") return one(RetNet{.gamma = golden.get<double>("gamma")}, plain);
  if (mode == "Hawk") return one(Hawk{}, plain);
  if (mode == "GLA") return one(GLA{}, plain);
  if (mode == "GLAVector") return one(GLAVector{}, plain);
  if (mode == "RWKV") {
    return one(RWKV{.initial_decay = golden.get<double>("initial_decay")}, plain);
  }
  if (mode == "MLSTM") return one(MLSTM{}, plain);
  if (mode == "DeltaNet") return one(DeltaNet{}, bounded);
  if (mode == "GatedDeltaNet") {
    const Beta beta = golden.get<bool>("per_token") ? Beta::per_token : Beta::fixed;
    return one(GatedDeltaNet{.beta_scale = golden.get<double>("beta_scale"), .beta = beta},
               bounded);
  }
  if (mode == "RWKV7") return one(RWKV7{.decay_first = true}, bounded);
  if (mode == "HGRN2") {
    return one(HGRN2{.lower_bound = golden.get<double>("lower_bound")}, bounded);
  }
  if (mode == "DeltaProduct") {
    const bool reflections = golden.get<bool>("reflections");
    switch (golden.get<int>("n_compositions")) {
      case 1:
        return one(DeltaProduct<1>{.reflections = reflections}, bounded);
      case 2:
        return one(DeltaProduct<2>{.reflections = reflections}, bounded);
      case 3:
        return one(DeltaProduct<3>{.reflections = reflections}, bounded);
      case 4:
        return one(DeltaProduct<4>{.reflections = reflections}, bounded);
      default:
        throw std::runtime_error("more than 4 compositions");
    }
  }
  if (mode == "LogLinear") {
    return has_normalised_key(golden.get<std::string>("inner"))
               ? log_linear<DeltaNet>(golden, compare)
               : log_linear<RetNet>(golden, compare);
  }
  throw std::runtime_error("unknown mode " + mode);
}

}  // namespace golden
