// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_OPTIONS_HPP
#define LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_OPTIONS_HPP

#include <cstdint>
#include <string>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/mixers/draw_weights.hpp"
#include "loglinear/mixers/level_gate.hpp"

namespace loglinear {

/// How to build a `LogLinearMamba2`, under the names of flash-linear-attention.
///
/// The defaults are those of its *model* configuration, `LogLinearMamba2Config`, because published
/// weights come out of models; `of_layer()` has those of the bare layer. Take every option from the
/// `config.json` beside the weights. The shapes in a file do not tell `norm_eps`,
/// `norm_before_gate`, `norm_per_group`, how `n_groups` and state_size share their product, or
/// `scale`, and the numbers depend on these.
struct LogLinearMamba2Options {
  Eigen::Index hidden_size = 2048;  ///< of inputs and outputs
  double expand = 2;                ///< expand * hidden_size is the inner size, a whole number
  Eigen::Index num_heads = 64;      ///< num_heads * head_dim is the inner size
  Eigen::Index head_dim = 64;       ///< length of a head's values, d_v
  Eigen::Index state_size = 128;    ///< length of a head's keys, d_k
  Eigen::Index n_groups = 1;        ///< heads / n_groups heads share B and C; divides num_heads
  Eigen::Index conv_kernel = 4;     ///< taps of the short convolution
  bool use_conv_bias = true;        ///< whether there is `conv1d.bias`
  bool use_bias = false;            ///< whether there are `in_proj.bias` and `out_proj.bias`
  bool D_has_hdim = false;          ///< whether D has a number for each value of a head
  bool norm_before_gate = false;    ///< rms(y) . silu(z) instead of rms(y . silu(z))
  /// Whether the norm's mean square runs over the values of each group, inner size / n_groups of
  /// them, as in mamba_ssm and in flash-linear-attention since 5 April 2026 (commit 0a484709).
  /// Otherwise it runs over all values of a token, as before that commit and in the paper's code.
  /// With n_groups = 1 both are the same.
  bool norm_per_group = true;
  double norm_eps = 1e-5;  ///< of the gated norm, > 0 and normal as Scalar
  int num_levels = 15;     ///< level weights, 2 to 65; 15 suffice for 2^14 tokens
  /// How level weights are computed; with `one_state` num_levels is not used.
  MixerLevelWeights level_weights = MixerLevelWeights::softplus;
  Eigen::Index level_mlp_size = 0;  ///< hidden channels of `mlp`; 0 for hidden_size
  double scale = 1;                 ///< of the queries C, finite also as Scalar
  Eigen::Index chunk_size = 64;     ///< of the chunkwise form; changes rounding only
  double initializer_range = 0.02;  ///< standard deviation of projections and convolution, > 0
  double dt_min = 0.001;            ///< the smallest initial step size, > 0
  double dt_max = 0.1;              ///< the largest, at least dt_min
  double dt_init_floor = 1e-4;      ///< the lower bound of every initial step size, > 0
  std::uint64_t seed = 42;          ///< of all weights, at least 1

  /// The defaults of flash-linear-attention's layer where it is built without a model: biases in
  /// the projections, none in the convolution.
  [[nodiscard]] static LogLinearMamba2Options of_layer() {
    return {.use_conv_bias = false, .use_bias = true};
  }
};

namespace detail {

/// \throws std::invalid_argument for an option out of its range
template <class Scalar>
const LogLinearMamba2Options& checked(const LogLinearMamba2Options& o) {
  require_dimension("hidden_size", o.hidden_size);
  require_dimension("num_heads", o.num_heads);
  require_dimension("head_dim", o.head_dim);
  require_dimension("state_size", o.state_size);
  require_dimension("conv_kernel", o.conv_kernel);
  require_between("n_groups", o.n_groups, Index{1}, o.num_heads);
  if (o.num_heads % o.n_groups != 0) {
    fail("n_groups", o.n_groups, "a divisor of num_heads, " + std::to_string(o.num_heads));
  }
  const Index inner = expanded("expand", o.expand, "hidden_size", o.hidden_size);
  if (o.num_heads * o.head_dim != inner) {
    fail("num_heads * head_dim", o.num_heads * o.head_dim,
         "expand * hidden_size, " + std::to_string(inner));
  }
  require_dimension("n_groups * state_size", o.n_groups * o.state_size);
  require_common_options<Scalar>(o);
  require_level_options(o, o.num_heads);
  return o;
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_LOG_LINEAR_MAMBA2_OPTIONS_HPP
