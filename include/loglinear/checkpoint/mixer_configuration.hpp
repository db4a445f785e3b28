// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_MIXER_CONFIGURATION_HPP
#define LOGLINEAR_CHECKPOINT_MIXER_CONFIGURATION_HPP

// The options of the paper's mixers on which their numbers depend: not those of initial weights,
// and not chunk_size, which changes rounding only. The shapes of the weights in a file do not tell
// most of them.

#include <string>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/dtype.hpp"
#include "loglinear/mixers/level_gate.hpp"
#include "loglinear/mode/mode_text.hpp"

namespace loglinear {

template <class Scalar>
class LogLinearMamba2;
template <class Scalar>
class LogLinearGatedDeltaNet;

namespace detail {

/// How level weights are computed; empty for `softplus`, the default.
template <class Options>
[[nodiscard]] std::string level_weights_text(const Options& o) {
  if (o.level_weights == MixerLevelWeights::one_state) return "one_state";
  if (o.level_weights == MixerLevelWeights::softplus) return "";
  return "mlp(channels=" + std::to_string(level_channels(o)) + ")";
}

}  // namespace detail

/// The options of a mixer, as `Configuration`.
template <class Scalar>
[[nodiscard]] std::vector<std::pair<std::string, std::string>> configuration_of(
    const LogLinearMamba2<Scalar>& mixer) {
  const auto& o = mixer.options();
  return {{"type", "LogLinearMamba2"},
          {"scalar", std::string(name_of(dtype_of<Scalar>()))},
          {"hidden_size", std::to_string(o.hidden_size)},
          {"num_heads", std::to_string(o.num_heads)},
          {"head_dim", std::to_string(o.head_dim)},
          {"state_size", std::to_string(o.state_size)},
          {"n_groups", std::to_string(o.n_groups)},
          {"conv_kernel", std::to_string(o.conv_kernel)},
          {"use_conv_bias", detail::value_to_text(o.use_conv_bias)},
          {"use_bias", detail::value_to_text(o.use_bias)},
          {"D_has_hdim", detail::value_to_text(o.D_has_hdim)},
          {"norm_before_gate", detail::value_to_text(o.norm_before_gate)},
          {"norm_per_group", detail::value_to_text(o.norm_per_group)},
          {"norm_eps", detail::value_to_text(o.norm_eps)},
          {"num_levels", std::to_string(detail::levels_of_head(o))},
          {"level_weights", detail::level_weights_text(o)},
          {"scale", detail::value_to_text(o.scale)}};
}

/// The same.
template <class Scalar>
[[nodiscard]] std::vector<std::pair<std::string, std::string>> configuration_of(
    const LogLinearGatedDeltaNet<Scalar>& mixer) {
  const auto& o = mixer.options();
  return {{"type", "LogLinearGatedDeltaNet"},
          {"scalar", std::string(name_of(dtype_of<Scalar>()))},
          {"hidden_size", std::to_string(o.hidden_size)},
          {"expand_v", detail::value_to_text(o.expand_v)},
          {"num_heads", std::to_string(o.num_heads)},
          {"num_v_heads", std::to_string(o.num_v_heads == 0 ? o.num_heads : o.num_v_heads)},
          {"head_dim", std::to_string(o.head_dim)},
          {"use_gate", detail::value_to_text(o.use_gate)},
          {"use_short_conv", detail::value_to_text(o.use_short_conv)},
          {"allow_neg_eigval", detail::value_to_text(o.allow_neg_eigval)},
          {"conv_size", std::to_string(o.conv_size)},
          {"conv_bias", detail::value_to_text(o.conv_bias)},
          {"norm_eps", detail::value_to_text(o.norm_eps)},
          {"num_levels", std::to_string(detail::levels_of_head(o))},
          {"level_weights", detail::level_weights_text(o)},
          {"scale", detail::value_to_text(o.scale)}};
}

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_MIXER_CONFIGURATION_HPP
