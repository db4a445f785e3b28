// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_OPTIONS_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_OPTIONS_HPP

#include <cstdint>
#include <string>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/mixers/draw_weights.hpp"
#include "loglinear/mixers/level_gate.hpp"

namespace loglinear {

/// How to build a `LogLinearGatedDeltaNet`, under the names of flash-linear-attention.
///
/// The defaults are those of its *model* configuration, `GatedDeltaNetConfig`, which is also that
/// of the paper's `HGatedDeltaNet`, because published weights come out of models; `of_layer()` has
/// those of the bare layer. Take every option but `allow_neg_eigval` from the `config.json` beside
/// the weights. The shapes in a file do not tell `norm_eps`, how `num_heads` and head_dim share
/// their product, or `scale`, and the numbers depend on these.
struct LogLinearGatedDeltaNetOptions {
  Eigen::Index hidden_size = 2048;  ///< of inputs and outputs
  double expand_v = 2;              ///< expand_v * head_dim is d_v, a whole number
  Eigen::Index num_heads = 6;       ///< of queries and keys
  Eigen::Index num_v_heads = 0;     ///< of values and states, a multiple of num_heads; 0: num_heads
  Eigen::Index head_dim = 256;      ///< length of a key, d_k
  bool use_gate = true;             ///< whether there is an output gate, `g_proj`
  bool use_short_conv = true;       ///< without, silu alone
  /// beta in (0, 2) instead of (0, 1). The paper's `HGatedDeltaNet` ignores this option, whatever
  /// its configuration says: leave it false for weights of that layer, or the numbers are others.
  /// It is for mixers that were trained with it here.
  bool allow_neg_eigval = false;
  Eigen::Index conv_size = 4;  ///< taps of the short convolutions
  bool conv_bias = false;      ///< whether there are `q_conv1d.bias` and so on
  double norm_eps = 1e-6;      ///< of the gated norm, > 0 and normal as Scalar
  int num_levels = 15;         ///< level weights, 2 to 65; 15 suffice for 2^14 tokens
  /// How level weights are computed; with `one_state` num_levels is not used.
  MixerLevelWeights level_weights = MixerLevelWeights::softplus;
  Eigen::Index level_mlp_size = 0;  ///< hidden channels of `mlp`; 0 for hidden_size
  double scale = 1;                 ///< of the unit queries, finite also as Scalar
  Eigen::Index chunk_size = 64;     ///< of the chunkwise form; changes rounding only
  double initializer_range = 0.02;  ///< standard deviation of projections and convolutions, > 0
  double dt_min = 0.001;            ///< the smallest initial step size, > 0
  double dt_max = 0.1;              ///< the largest, at least dt_min
  double dt_init_floor = 1e-4;      ///< the lower bound of every initial step size, > 0
  std::uint64_t seed = 42;          ///< of all weights, at least 1

  /// The defaults of flash-linear-attention's layer when it is built without a model: norm_eps is
  /// 1e-5.
  [[nodiscard]] static LogLinearGatedDeltaNetOptions of_layer() { return {.norm_eps = 1e-5}; }
};

namespace detail {

[[nodiscard]] inline Index value_heads(const LogLinearGatedDeltaNetOptions& o) {
  return o.num_v_heads == 0 ? o.num_heads : o.num_v_heads;
}
[[nodiscard]] inline Index value_dim(const LogLinearGatedDeltaNetOptions& o) {
  return expanded("expand_v", o.expand_v, "head_dim", o.head_dim);
}

/// \throws std::invalid_argument for an option out of its range
template <class Scalar>
const LogLinearGatedDeltaNetOptions& checked(const LogLinearGatedDeltaNetOptions& o) {
  require_dimension("hidden_size", o.hidden_size);
  require_dimension("num_heads", o.num_heads);
  require_dimension("head_dim", o.head_dim);
  require_dimension("conv_size", o.conv_size);
  require_between("num_v_heads", o.num_v_heads, Index{0}, largest_dimension);
  if (o.num_v_heads % o.num_heads != 0) {
    fail("num_v_heads", o.num_v_heads, "a multiple of num_heads, " + std::to_string(o.num_heads));
  }
  require_dimension("num_heads * head_dim", o.num_heads * o.head_dim);
  require_dimension("the number of value heads times expand_v * head_dim",
                    value_heads(o) * value_dim(o));
  require_common_options<Scalar>(o);
  require_level_options(o, value_heads(o));
  return o;
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_GATED_DELTA_NET_OPTIONS_HPP
