// SPDX-License-Identifier: MIT
// The family of the multi-head streaming layer: heads. Each case is replayed twice, by the type of
// its layer and by the run-time factory.

#include <set>
#include <stdexcept>
#include <string>

#include "factory.hpp"
#include "families.hpp"
#include "loglinear/loglinear.hpp"

namespace loglinear::test {
namespace {

/// Sets the weights on record, runs the case and compares; `query` reads without a change.
template <class Layer, class Query>
void run(const Case& golden, Comparison& compare, Layer& layer, Query query) {
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
      outputs.row(i) = query(x.row(i)).transpose();
    } else {
      throw std::runtime_error("unknown op");
    }
  }
  compare.array(golden, "output", outputs);
  compare.array(golden, "flat_state_final", layer.state());
}

[[nodiscard]] InnerMode inner_mode_of(const Case& golden, const std::string& mode) {
  const auto number = [&](const char* key) { return golden.get<double>(key); };
  if (mode == "RetNet") return RetNet{.gamma = number("gamma")};
  if (mode == "Hawk") return Hawk{};
  if (mode == "GLA") return GLA{};
  if (mode == "GLAVector") return GLAVector{};
  if (mode == "RWKV") return RWKV{.initial_decay = number("initial_decay")};
  if (mode == "MLSTM") return MLSTM{};
  if (mode == "DeltaNet") return DeltaNet{};
  if (mode == "GatedDeltaNet") {
    const Beta beta = golden.get<bool>("per_token") ? Beta::per_token : Beta::fixed;
    return GatedDeltaNet{.beta_scale = number("beta_scale"), .beta = beta};
  }
  if (mode == "RWKV7") return RWKV7{.decay_first = true};
  if (mode == "HGRN2") return HGRN2{.lower_bound = number("lower_bound")};
  if (mode == "DeltaProduct") {
    return DeltaProductMode{.n_compositions = golden.get<int>("n_compositions"),
                            .reflections = golden.get<bool>("reflections")};
  }
  throw std::runtime_error("unknown mode " + mode);
}

/// The options of a case.
template <class Layer>
typename MultiHeadAttention<Layer>::Options with_sizes(
    const Case& golden, typename MultiHeadAttention<Layer>::Options options) {
  options.d_model = golden.get<Eigen::Index>("d_model");
  options.d_k = golden.get<Eigen::Index>("d_key");
  options.d_v = golden.get<Eigen::Index>("d_value");
  options.n_heads = golden.get<int>("n_heads");
  options.seed = golden.seed();
  return options;
}

/// Through the type of the layer.
template <class Layer>
void replay(const Case& golden, Comparison& compare,
            const typename MultiHeadAttention<Layer>::Options& options) {
  MultiHeadAttention<Layer> layer(with_sizes<Layer>(golden, options));
  run(golden, compare, layer, [&](const auto& x) { return layer.query_readonly(x); });
}

/// Through the type of the layer, compiled elsewhere, or through the factory, which chooses type
/// and bound itself.
void replay(const Case& golden, Comparison& compare, const AttentionMode& mode,
            std::optional<OutputBound> bound = {}) {
  const AttentionConfig config{.d_model = golden.get<Eigen::Index>("d_model"),
                               .n_heads = golden.get<int>("n_heads"),
                               .d_k = golden.get<Eigen::Index>("d_key"),
                               .d_v = golden.get<Eigen::Index>("d_value"),
                               .mode = mode,
                               .seed = golden.seed(),
                               .bound = bound};
  const auto layer = bound ? test::typed_attention<double>(config) : make_attention<double>(config);
  run(golden, compare, *layer, [&](const auto& x) { return layer->query_readonly(x); });
}

void replay_one_state(const Case& golden, Comparison& compare, const std::string& mode) {
  const std::set<std::string> bounded = {"DeltaNet", "GatedDeltaNet", "DeltaProduct", "RWKV7",
                                         "HGRN2"};
  const OutputBound bound = bounded.contains(mode) ? OutputBound::forward : OutputBound::none;
  const InnerMode inner = inner_mode_of(golden, mode);
  replay(golden, compare, one_state(inner), bound);
  replay(golden, compare, one_state(inner));
}

template <class Rule>
void replay_log_linear(const Case& golden, Comparison& compare) {
  const NormalizedMixture weights{.lambda_init = golden.get<double>("lambda_init")};
  const LogLinear mode{.inner = Rule{},
                       .max_levels = golden.get<int>("max_levels"),
                       .level_weights = weights,
                       .key_only = true};
  replay<LogLinearAttention<KeyOnly<Rule>>>(
      golden, compare, {.max_levels = mode.max_levels, .level_weights = weights});
  replay(golden, compare, mode);
}

}  // namespace

void replay_heads(const Case& golden, Comparison& compare) {
  const auto mode = golden.get<std::string>("mode");
  if (mode != "LogLinear") return replay_one_state(golden, compare, mode);
  has_normalised_key(golden.get<std::string>("inner"))
      ? replay_log_linear<DeltaNet>(golden, compare)
      : replay_log_linear<RetNet>(golden, compare);
}

}  // namespace loglinear::test
