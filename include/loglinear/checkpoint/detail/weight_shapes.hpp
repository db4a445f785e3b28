// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_DETAIL_WEIGHT_SHAPES_HPP
#define LOGLINEAR_CHECKPOINT_DETAIL_WEIGHT_SHAPES_HPP

// Names and shapes of a model's weights from its options alone, as docs/models.md lists them, so
// that a folder is compared with its configuration before memory is taken for the model.

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "loglinear/model/language_model_options.hpp"

namespace loglinear::detail {

/// Calls `use(name, rows, columns)` for each weight within a mixer.
template <class Use>
void for_each_shape_of(const AttentionLayers& a, Index inputs, Use use) {
  const Index shared = kv_heads(a) * (inputs / a.num_heads);
  for (const std::string path : {"q", "k", "v", "o"}) {
    const Index rows = path == "k" || path == "v" ? shared : inputs;
    use(path + "_proj.weight", rows, inputs);
    if (a.qkv_bias && path != "o") use(path + "_proj.bias", rows, Index{1});
  }
}

/// The network of level weights.
template <class Options, class Use>
void for_each_level_shape(const Options& o, Index outputs, Use use) {
  if (o.level_weights != MixerLevelWeights::mlp) return;
  use("l_mlp.0.weight", level_channels(o), o.hidden_size);
  use("l_mlp.0.bias", level_channels(o), Index{1});
  use("l_mlp.2.weight", outputs, level_channels(o));
  use("l_mlp.2.bias", outputs, Index{1});
}

template <class Use>
void for_each_shape_of(const LogLinearMamba2Options& o, Index inputs, Use use) {
  const bool is_scaled = o.level_weights == MixerLevelWeights::softplus;
  const Index inner = o.num_heads * o.head_dim, conv = inner + 2 * o.n_groups * o.state_size;
  const Index levels = o.num_heads * o.num_levels;
  const Index rows = inner + conv + o.num_heads + (is_scaled ? levels : 0);
  use("dt_bias", o.num_heads, Index{1});
  use("A_log", o.num_heads, Index{1});
  if (is_scaled) use("L", o.num_heads, Index{o.num_levels});
  use("D", o.D_has_hdim ? inner : o.num_heads, Index{1});
  use("conv1d.weight", conv, o.conv_kernel);
  if (o.use_conv_bias) use("conv1d.bias", conv, Index{1});
  use("in_proj.weight", rows, inputs);
  if (o.use_bias) use("in_proj.bias", rows, Index{1});
  use("norm.weight", inner, Index{1});
  use("out_proj.weight", inputs, inner);
  if (o.use_bias) use("out_proj.bias", inputs, Index{1});
  for_each_level_shape(o, levels, use);
}

template <class Use>
void for_each_shape_of(const LogLinearGatedDeltaNetOptions& o, Index inputs, Use use) {
  const bool is_scaled = o.level_weights == MixerLevelWeights::softplus;
  const Index heads = value_heads(o), keys = o.num_heads * o.head_dim,
              values = heads * value_dim(o), levels = heads * o.num_levels;
  use("A_log", heads, Index{1});
  use("dt_bias", heads, Index{1});
  if (is_scaled) use("L", heads, Index{o.num_levels});
  for (const std::string path : {"q", "k", "v"}) {
    const Index rows = path == "v" ? values : keys;
    use(path + "_proj.weight", rows, inputs);
    if (o.use_short_conv) use(path + "_conv1d.weight", rows, o.conv_size);
    if (o.use_short_conv && o.conv_bias) use(path + "_conv1d.bias", rows, Index{1});
  }
  use("a_proj.weight", heads, inputs);
  use("b_proj.weight", heads, inputs);
  if (o.use_gate) use("g_proj.weight", values, inputs);
  use("o_norm.weight", value_dim(o), Index{1});
  use("o_proj.weight", inputs, values);
  if (is_scaled) use("l_proj.weight", levels, inputs);
  for_each_level_shape(o, levels, use);
}

/// The same for all weights of a model, block by block. \throws std::invalid_argument for an option
/// out of its range
template <class Scalar, class Use>
void for_each_weight_shape(const LanguageModelOptions& o, Use use) {
  checked<Scalar>(o);
  const Index inputs = hidden_size(o), channels = mlp_size(o);
  const std::string prefix = is_mamba2(o) ? "backbone." : "model.";
  const std::string mixer = is_mamba2(o) ? "mixer" : "attn";
  use(prefix + "embeddings.weight", o.vocab_size, inputs);
  for (Index i = 0; i < o.num_hidden_layers; ++i) {
    const std::string block = prefix + "layers." + std::to_string(i) + '.';
    const auto within_mixer = [&](const std::string& name, Index rows, Index columns) {
      use(block + mixer + '.' + name, rows, columns);
    };
    use(block + (o.has_mlp ? mixer + "_norm.weight" : "norm.weight"), inputs, Index{1});
    if (const AttentionLayers* attention = attention_of(o, i)) {
      for_each_shape_of(*attention, inputs, within_mixer);
    } else {
      std::visit(
          [&](const auto& options) {
            for_each_shape_of(checked<Scalar>(options), inputs, within_mixer);
          },
          o.mixer);
    }
    if (!o.has_mlp) continue;
    use(block + "mlp_norm.weight", inputs, Index{1});
    use(block + "mlp.gate_proj.weight", channels, inputs);
    use(block + "mlp.up_proj.weight", channels, inputs);
    use(block + "mlp.down_proj.weight", inputs, channels);
  }
  use(prefix + (is_mamba2(o) ? "norm_f.weight" : "norm.weight"), inputs, Index{1});
  if (!o.tie_word_embeddings) use("lm_head.weight", o.vocab_size, inputs);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHECKPOINT_DETAIL_WEIGHT_SHAPES_HPP
