// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_MODEL_CONFIGURATION_HPP
#define LOGLINEAR_CHECKPOINT_MODEL_CONFIGURATION_HPP

/// \file
/// The options of a language model from the `config.json` of a published one.

#include <array>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/detail/json_fields.hpp"
#include "loglinear/model/language_model_options.hpp"

namespace loglinear {

namespace detail {

/// What a `model_type` stands for.
struct ModelFamily {
  std::string_view model_type;
  bool is_mamba2, is_of_paper;  // the paper's own code instead of flash-linear-attention
  MixerLevelWeights level_weights;
  bool has_mlp = true;
};
inline constexpr std::array<ModelFamily, 6> model_families = {{
    {"log_linear_mamba2", true, false, MixerLevelWeights::softplus},
    {"hattention", true, true, MixerLevelWeights::softplus},
    {"mamba2mlp", true, true, MixerLevelWeights::one_state},
    {"mamba2", true, false, MixerLevelWeights::one_state, false},
    {"h_gated_deltanet", false, true, MixerLevelWeights::softplus},
    {"gated_deltanet", false, false, MixerLevelWeights::one_state},
}};

/// Keys of published configurations on which the model's numbers do not depend.
[[nodiscard]] inline const std::set<std::string, std::less<>>& keys_without_numbers() {
  static const std::set<std::string, std::less<>> keys = {"A_init_range",
                                                          "_attn_implementation_autoset",
                                                          "_name_or_path",
                                                          "architectures",
                                                          "attn_mode",
                                                          "auto_map",
                                                          "bos_token_id",
                                                          "conv_init",
                                                          "dtype",
                                                          "eos_token_id",
                                                          "fuse_cross_entropy",
                                                          "fuse_linear_cross_entropy",
                                                          "fuse_norm",
                                                          "fuse_swiglu",
                                                          "license",
                                                          "max_position_embeddings",
                                                          "output_attentions",
                                                          "output_hidden_states",
                                                          "pad_token_id",
                                                          "rescale_prenorm_residual",
                                                          "residual_in_fp32",
                                                          "return_dict",
                                                          "time_step_rank",
                                                          "torch_dtype",
                                                          "transformers_version",
                                                          "use_cache",
                                                          "use_l2warp"};
  return keys;
}

/// Raises an error about options again, as one about their file.
[[noreturn]] inline void refuse_from(const std::string& source,
                                     const std::invalid_argument& error) {
  std::string_view what = error.what();
  if (what.starts_with("loglinear: ")) what.remove_prefix(11);
  refuse(source, what);
}

/// Reads a configuration; a member function for each group of keys.
class ModelConfigurationReader {
 public:
  ModelConfigurationReader(const nlohmann::json& json, const std::string& source)
      : fields_(json, source), source_(source), family_(family()) {}

  [[nodiscard]] LanguageModelOptions read(const std::set<std::string, std::less<>>& ignored) {
    LanguageModelOptions o;
    if (family_.is_mamba2) {
      o.mixer = mamba2();
    } else {
      o.mixer = gated_delta_net();
    }
    o.vocab_size = fields_.get<Index>({"vocab_size"}, 32000);
    o.num_hidden_layers = fields_.get<Index>({"num_hidden_layers"}, family_.is_mamba2 ? 48 : 21);
    o.tie_word_embeddings = fields_.get<bool>({"tie_word_embeddings"}, false);
    o.has_mlp = family_.has_mlp;
    if (o.has_mlp) o.intermediate_size = mlp_size_of(o);
    o.attn = attention();
    require(fields_.given("attnres_block_size") == nullptr, "attnres_block_size",
            "null: residuals that attend to blocks are not known here");
    std::set<std::string, std::less<>> passed_over = keys_without_numbers();
    passed_over.insert(ignored.begin(), ignored.end());
    fields_.require_all_read(passed_over);
    handling<std::invalid_argument>(
        [&] { static_cast<void>(checked(o)); },
        [&](const std::invalid_argument& error) { refuse_from(source_, error); });
    return o;
  }

 private:
  [[nodiscard]] ModelFamily family() {
    const std::string type = fields_.get<std::string>({"model_type"}, "");
    std::string legal = "one of";
    for (const ModelFamily& one : model_families) {
      if (one.model_type == type) return one;
      legal += ' ' + std::string(one.model_type);
    }
    fields_.refuse("model_type", type.empty() ? nlohmann::json() : nlohmann::json(type), legal);
  }
  [[nodiscard]] Index mlp_size_of(const LanguageModelOptions& o) {
    const double ratio = family_.is_mamba2 ? 4 : fields_.get<double>({"hidden_ratio"}, 4);
    require(ratio > 0 && ratio <= 1e6, "hidden_ratio", "positive");
    const Index published = published_mlp_size(hidden_size(o), ratio);
    const Index size = fields_.get<Index>({"intermediate_size"}, published);
    require(size > 0, "intermediate_size", "at least 1");
    return size;
  }
  void require(bool is_legal, const char* key, const std::string& legal) {
    if (is_legal) return;
    const nlohmann::json* const value = fields_.given(key);
    fields_.refuse(key, value == nullptr ? nlohmann::json() : *value, legal);
  }
  /// What both mixers have.
  template <class Options>
  void read_common(Options& o) {
    o.hidden_size = fields_.get<Index>({"hidden_size"}, 2048);
    require(o.hidden_size >= 1 && o.hidden_size <= largest_dimension, "hidden_size",
            "between 1 and " + std::to_string(largest_dimension));
    o.norm_eps = fields_.get<double>({"norm_eps", "layer_norm_epsilon"}, o.norm_eps);
    const Index levels = fields_.get<Index>({"num_levels"}, Index{o.num_levels});
    require(levels >= 2 && levels <= max_level_limit + 1, "num_levels",
            "between 2 and " + std::to_string(max_level_limit + 1));
    o.num_levels = static_cast<int>(levels);
    o.chunk_size = fields_.get<Index>({"chunk_size"}, o.chunk_size);
    o.initializer_range = fields_.get<double>({"initializer_range"}, o.initializer_range);
    o.level_weights = family_.level_weights;
    o.level_mlp_size = fields_.get<Index>({"level_mlp_size"}, 0);
    has_level_weights_ = fields_.given("level_weights") != nullptr;
    const std::string kind = fields_.get<std::string>({"level_weights"}, "");
    if (kind == "softplus") o.level_weights = MixerLevelWeights::softplus;
    if (kind == "mlp") o.level_weights = MixerLevelWeights::mlp;
    if (kind == "one_state") o.level_weights = MixerLevelWeights::one_state;
    require(!has_level_weights_ || kind == "softplus" || kind == "mlp" || kind == "one_state",
            "level_weights", "softplus, mlp or one_state");
    const std::string act = fields_.get<std::string>({"hidden_act"}, "silu");
    require(act == "silu" || act == "swish", "hidden_act", "silu or swish");
  }

  [[nodiscard]] LogLinearMamba2Options mamba2() {
    LogLinearMamba2Options o;
    read_common(o);
    o.expand = fields_.get<double>({"expand"}, o.expand);
    o.head_dim = fields_.get<Index>({"head_dim"}, o.head_dim);
    const double inner = o.expand * static_cast<double>(o.hidden_size);
    require(o.head_dim >= 1, "head_dim", "at least 1");
    require(inner >= 1 && inner <= static_cast<double>(largest_dimension), "expand",
            "a number that makes an inner size of 1 to 2^20");
    o.num_heads = fields_.get<Index>({"num_heads"}, static_cast<Index>(inner) / o.head_dim);
    o.state_size = fields_.get<Index>({"state_size"}, o.state_size);
    o.n_groups = fields_.get<Index>({"n_groups"}, o.n_groups);
    o.conv_kernel = fields_.get<Index>({"conv_kernel"}, o.conv_kernel);
    o.use_bias = fields_.get<bool>({"use_bias"}, o.use_bias);
    o.use_conv_bias = fields_.get<bool>({"use_conv_bias"}, o.use_conv_bias);
    o.D_has_hdim = fields_.get<bool>({"D_has_hdim"}, o.D_has_hdim);
    o.norm_before_gate = fields_.get<bool>({"norm_before_gate"}, o.norm_before_gate);
    o.norm_per_group = fields_.get<bool>({"norm_per_group"}, !family_.is_of_paper);
    o.dt_min = fields_.get<double>({"dt_min", "time_step_min"}, o.dt_min);
    o.dt_max = fields_.get<double>({"dt_max", "time_step_max"}, o.dt_max);
    o.dt_init_floor = fields_.get<double>({"dt_init_floor", "time_step_floor"}, o.dt_init_floor);
    for (const char* const key : {"rmsnorm", "rms_norm"}) {
      require(fields_.get<bool>({key}, true), key, "true");
    }
    const nlohmann::json unlimited = {0, "Infinity"};
    for (const char* const key : {"dt_limit", "time_step_limit"}) {
      const nlohmann::json* const limit = fields_.given(key);
      require(limit == nullptr || *limit == unlimited, key, "[0, Infinity]");
    }
    return o;
  }

  [[nodiscard]] LogLinearGatedDeltaNetOptions gated_delta_net() {
    LogLinearGatedDeltaNetOptions o;
    read_common(o);
    o.head_dim = fields_.get<Index>({"head_dim"}, o.head_dim);
    o.num_heads = fields_.get<Index>({"num_heads"}, o.num_heads);
    o.num_v_heads = fields_.get<Index>({"num_v_heads"}, 0);
    o.expand_v = fields_.get<double>({"expand_v"}, o.expand_v);
    o.use_gate = fields_.get<bool>({"use_gate"}, o.use_gate);
    o.use_short_conv = fields_.get<bool>({"use_short_conv"}, o.use_short_conv);
    o.conv_size = fields_.get<Index>({"conv_size"}, o.conv_size);
    // The paper's layer ignores the key.
    const bool is_obeyed = !family_.is_of_paper || has_level_weights_;
    o.allow_neg_eigval = fields_.get<bool>({"allow_neg_eigval"}, false) && is_obeyed;
    require(o.head_dim >= 1, "head_dim", "at least 1");
    if (!family_.is_of_paper) o.scale = 1 / std::sqrt(static_cast<double>(o.head_dim));
    return o;
  }

  [[nodiscard]] std::vector<AttentionLayers> attention() {
    std::vector<AttentionLayers> all;
    const nlohmann::json* const attn = fields_.given("attn");
    if (attn == nullptr) return all;
    const auto list = attn->is_array() ? *attn : nlohmann::json::array({*attn});
    for (const nlohmann::json& one : list) {
      JsonFields fields(one, source_, "attn.");
      AttentionLayers a;
      const nlohmann::json* const layers = fields.given("layers");
      if (layers == nullptr || !layers->is_array()) {
        fields.refuse("layers", layers == nullptr ? nlohmann::json() : *layers,
                      "a list of numbers of layers");
      }
      for (const nlohmann::json& layer : *layers) {
        if (!layer.is_number_unsigned()) fields.refuse("layers", *layers, "numbers of layers");
        a.layers.push_back(layer.get<Index>());
      }
      const auto heads = fields.find<Index>({"num_heads"});
      if (!heads) fields.refuse("num_heads", {}, "at least 1");
      a.num_heads = *heads;
      a.num_kv_heads = fields.get<Index>({"num_kv_heads"}, 0);
      a.qkv_bias = fields.get<bool>({"qkv_bias"}, false);
      const auto window = fields.find<Index>({"window_size"});
      if (window && *window < 1) fields.refuse("window_size", *window, "at least 1, or null");
      a.window_size = window.value_or(0);
      a.rope_theta = fields.get<double>({"rope_theta"}, a.rope_theta);
      fields.require_all_read(std::set<std::string, std::less<>>{});
      all.push_back(std::move(a));
    }
    return all;
  }

  JsonFields fields_;
  std::string source_;
  ModelFamily family_;
  bool has_level_weights_ = false;
};

}  // namespace detail

/// The options of a model from the text of its `config.json`; docs/models.md lists the keys.
/// \param source  what messages call the text \param ignored  unknown keys to ignore
/// \throws CheckpointError for what is no JSON, a key that is not known and not ignored, a value of
/// another type, and an option that is not supported, each by name
[[nodiscard]] inline LanguageModelOptions language_model_options(
    std::string_view config_json, const std::string& source = "config.json",
    const std::set<std::string, std::less<>>& ignored = {}) {
  const nlohmann::json json = detail::parsed_json(config_json, source);
  return detail::ModelConfigurationReader(json, source).read(ignored);
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_MODEL_CONFIGURATION_HPP
