// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_MODEL_CONFIGURATION_TEXT_HPP
#define LOGLINEAR_CHECKPOINT_MODEL_CONFIGURATION_TEXT_HPP

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "loglinear/checkpoint/error.hpp"
#include "loglinear/model/language_model_options.hpp"

namespace loglinear {

namespace detail {

template <class Options>
void put_common(nlohmann::ordered_json& c, const Options& o) {
  c["hidden_size"] = o.hidden_size;
  c["norm_eps"] = o.norm_eps;
  c["initializer_range"] = o.initializer_range;
  c["chunk_size"] = o.chunk_size;
  c["num_heads"] = o.num_heads;
  c["head_dim"] = o.head_dim;
  const bool is_network = o.level_weights == MixerLevelWeights::mlp;
  const bool is_one_state = o.level_weights == MixerLevelWeights::one_state;
  c["level_weights"] = is_network ? "mlp" : is_one_state ? "one_state" : "softplus";
  if (!is_one_state) c["num_levels"] = o.num_levels;
  if (is_network) c["level_mlp_size"] = level_channels(o);
}

inline void put_mixer(nlohmann::ordered_json& c, const LogLinearMamba2Options& o, bool has_mlp) {
  const bool is_one_state = o.level_weights == MixerLevelWeights::one_state;
  if (!is_exactly(o.scale, 1.0)) fail("scale of a model to be written", o.scale, 1.0);
  c["model_type"] = !has_mlp ? "mamba2" : is_one_state ? "mamba2mlp" : "log_linear_mamba2";
  put_common(c, o);
  c["expand"] = o.expand;
  c["state_size"] = o.state_size;
  c["n_groups"] = o.n_groups;
  c["conv_kernel"] = o.conv_kernel;
  c["use_bias"] = o.use_bias;
  c["use_conv_bias"] = o.use_conv_bias;
  c["D_has_hdim"] = o.D_has_hdim;
  c["norm_before_gate"] = o.norm_before_gate;
  c["norm_per_group"] = o.norm_per_group;
}

inline void put_mixer(nlohmann::ordered_json& c, const LogLinearGatedDeltaNetOptions& o,
                      bool has_mlp) {
  if (!has_mlp) fail("has_mlp of a Gated DeltaNet to be written", "false", "true");
  const double twin = 1 / std::sqrt(static_cast<double>(o.head_dim));
  const bool is_twin = is_exactly(o.scale, twin);
  if (!is_twin && !is_exactly(o.scale, 1.0)) {
    fail("scale of a model to be written", o.scale, "1, or 1 / sqrt(head_dim), ", twin);
  }
  if (o.conv_bias) fail("conv_bias of a model to be written", "true", "false");
  c["model_type"] = is_twin ? "gated_deltanet" : "h_gated_deltanet";
  put_common(c, o);
  c["expand_v"] = o.expand_v;
  if (o.num_v_heads != 0) c["num_v_heads"] = o.num_v_heads;
  c["use_gate"] = o.use_gate;
  c["use_short_conv"] = o.use_short_conv;
  c["conv_size"] = o.conv_size;
  c["allow_neg_eigval"] = o.allow_neg_eigval;
}

[[nodiscard]] inline nlohmann::ordered_json json_of(const AttentionLayers& a) {
  nlohmann::ordered_json json;
  json["layers"] = a.layers;
  json["num_heads"] = a.num_heads;
  json["num_kv_heads"] = kv_heads(a);
  json["qkv_bias"] = a.qkv_bias;
  json["window_size"] =
      a.window_size == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(a.window_size);
  json["rope_theta"] = a.rope_theta;
  return json;
}

}  // namespace detail

/// The text of a `config.json` from which `language_model_options` makes the same options, except
/// those of initial weights.
/// \throws std::invalid_argument for options out of their ranges, and for those that the format
/// cannot express: a `scale` that is not the family's, `conv_bias`, and Gated DeltaNet without MLPs
[[nodiscard]] inline std::string config_json(const LanguageModelOptions& options) {
  nlohmann::ordered_json c;
  std::visit([&](const auto& mixer) { detail::put_mixer(c, mixer, options.has_mlp); },
             detail::checked(options).mixer);
  c["num_hidden_layers"] = options.num_hidden_layers;
  c["vocab_size"] = options.vocab_size;
  if (options.has_mlp) c["intermediate_size"] = detail::mlp_size(options);
  c["tie_word_embeddings"] = options.tie_word_embeddings;
  for (const AttentionLayers& a : options.attn) c["attn"].push_back(detail::json_of(a));
  return c.dump(2) + '\n';
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_MODEL_CONFIGURATION_TEXT_HPP
