// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_LANGUAGE_MODEL_OPTIONS_HPP
#define LOGLINEAR_MODEL_LANGUAGE_MODEL_OPTIONS_HPP

#include <Eigen/Core>
#include <algorithm>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/mixers/log_linear_gated_delta_net_options.hpp"
#include "loglinear/mixers/log_linear_mamba2_options.hpp"

namespace loglinear {

/// Blocks of a model whose mixer is softmax attention, the key `attn` of flash-linear-attention's
/// configurations.
struct AttentionLayers {
  std::vector<Eigen::Index> layers = {};  ///< numbers of blocks from 0
  Eigen::Index num_heads = 1;             ///< divides hidden_size into an even head_dim
  Eigen::Index num_kv_heads = 0;  ///< of keys and values, a divisor of num_heads; 0: num_heads
  bool qkv_bias = false;          ///< whether q_proj, k_proj and v_proj have biases
  Eigen::Index window_size = 0;   ///< tokens that a token sees, itself included; 0 for all
  double rope_theta = 10000;      ///< base of the rotary positions, finite and > 0

  /// Whether all options are equal.
  [[nodiscard]] bool operator==(const AttentionLayers&) const = default;
};

/// How to build a `LanguageModel`, under the names of flash-linear-attention.
///
/// The mixer's options choose the family, its names in files, and the mixer of every block that
/// `attn` does not list. Their hidden_size and norm_eps are those of the whole model. With their
/// `level_weights` = one_state the model is the family's twin with one state.
struct LanguageModelOptions {
  Eigen::Index vocab_size = 256;       ///< tokens are 0 ... vocab_size - 1; 256 for bytes
  Eigen::Index num_hidden_layers = 2;  ///< blocks
  /// The mixer of every block, and with it the family.
  std::variant<LogLinearMamba2Options, LogLinearGatedDeltaNetOptions> mixer = {};
  /// Hidden channels of the MLP; 0 for 256 ceil(int(8 hidden_size / 3) / 256), as published.
  Eigen::Index intermediate_size = 0;
  /// Whether blocks have an MLP; without, as in flash-linear-attention's `Mamba2`, a block is one
  /// norm, called `norm`, and its mixer.
  bool has_mlp = true;
  std::vector<AttentionLayers> attn = {};  ///< blocks of softmax attention, each at most once
  bool tie_word_embeddings = false;        ///< whether the head is the embedding
};

namespace detail {

[[nodiscard]] inline bool is_mamba2(const LanguageModelOptions& o) {
  return std::holds_alternative<LogLinearMamba2Options>(o.mixer);
}
[[nodiscard]] inline Index hidden_size(const LanguageModelOptions& o) {
  return std::visit([](const auto& mixer) { return mixer.hidden_size; }, o.mixer);
}
[[nodiscard]] inline double norm_eps(const LanguageModelOptions& o) {
  return std::visit([](const auto& mixer) { return mixer.norm_eps; }, o.mixer);
}
/// flash-linear-attention's width of a gated MLP: two thirds of ratio times the inputs, rounded up
/// to a multiple of 256.
[[nodiscard]] inline Index published_mlp_size(Index inputs, double ratio) {
  const auto size = static_cast<Index>(static_cast<double>(inputs) * ratio * 2 / 3);
  return 256 * ((size + 255) / 256);
}
[[nodiscard]] inline Index mlp_size(const LanguageModelOptions& o) {
  return o.intermediate_size != 0 ? o.intermediate_size : published_mlp_size(hidden_size(o), 4);
}
[[nodiscard]] inline Index kv_heads(const AttentionLayers& attention) {
  return attention.num_kv_heads == 0 ? attention.num_heads : attention.num_kv_heads;
}
/// The attention of a block, or nullptr where its mixer is that of the family.
[[nodiscard]] inline const AttentionLayers* attention_of(const LanguageModelOptions& o,
                                                         Index layer) {
  for (const AttentionLayers& attention : o.attn) {
    if (std::count(attention.layers.begin(), attention.layers.end(), layer) > 0) return &attention;
  }
  return nullptr;
}

/// \throws std::invalid_argument for an option out of its range
inline void require_attention(const AttentionLayers& a, Index inputs) {
  require_between("num_heads of attn", a.num_heads, Index{1}, inputs);
  if (inputs % (2 * a.num_heads) != 0) {
    fail("num_heads of attn", a.num_heads,
         "a number that divides hidden_size, " + std::to_string(inputs) + ", into an even number");
  }
  if (kv_heads(a) < 1 || kv_heads(a) > a.num_heads || a.num_heads % kv_heads(a) != 0) {
    fail("num_kv_heads of attn", a.num_kv_heads,
         "a divisor of num_heads, " + std::to_string(a.num_heads));
  }
  require_between("window_size of attn", a.window_size, Index{0}, Index{1} << 40);
  if (!(a.rope_theta > 0) || !is_finite(a.rope_theta)) {
    fail("rope_theta of attn", a.rope_theta, "finite and positive");
  }
}

/// Checks the options before anything is built; the mixers check their own.
inline const LanguageModelOptions& checked(const LanguageModelOptions& o) {
  require_between("vocab_size", o.vocab_size, Index{1}, Index{1} << 30);
  require_between("num_hidden_layers", o.num_hidden_layers, Index{1}, Index{1} << 16);
  require_dimension("hidden_size", hidden_size(o));
  require_between("intermediate_size", o.intermediate_size, Index{0}, largest_dimension);
  require_positive_number("norm_eps", norm_eps(o));
  std::vector<Index> seen;
  for (const AttentionLayers& attention : o.attn) {
    require_attention(attention, hidden_size(o));
    for (const Index layer : attention.layers) {
      require_between("a layer of attn", layer, Index{0}, o.num_hidden_layers - 1);
      if (std::count(seen.begin(), seen.end(), layer) > 0) {
        fail("a layer of attn", layer, "a layer that is there once");
      }
      seen.push_back(layer);
    }
  }
  return o;
}

/// The same for a model of Scalar, in which norm_eps must be a normal number. A model of attention
/// blocks alone has no mixer that would check that.
template <class Scalar>
const LanguageModelOptions& checked(const LanguageModelOptions& o) {
  const double eps = norm_eps(checked(o));
  if (!fits<Scalar>(eps) || !(static_cast<Scalar>(eps) >= (std::numeric_limits<Scalar>::min)())) {
    fail("norm_eps", eps, "a finite and positive number, not denormal, in the model's scalar");
  }
  return o;
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MODEL_LANGUAGE_MODEL_OPTIONS_HPP
