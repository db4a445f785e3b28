// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MIXERS_CASES_HPP
#define LOGLINEAR_TESTS_MIXERS_CASES_HPP

// Small mixers of the paper, with every option somewhere, and weights of order 1 in all arrays.

#include <string>
#include <vector>

#include "loglinear/mixers.hpp"
#include "support.hpp"

namespace loglinear {

// Compiled once for all tests, in mixers_float.cpp and mixers_double.cpp.
#define LOGLINEAR_TEST_MIXERS(EXTERN, SCALAR)                        \
  EXTERN template class TokenMixer<SCALAR, LogLinearMamba2<SCALAR>>; \
  EXTERN template class TokenMixer<SCALAR, LogLinearGatedDeltaNet<SCALAR>>

LOGLINEAR_TEST_MIXERS(extern, float);
LOGLINEAR_TEST_MIXERS(extern, double);

}  // namespace loglinear

namespace loglinear::test {

/// Draws every weight anew, so that none is a constant.
template <class Mixer>
void randomise(Mixer& mixer, Random& random) {
  for (const std::string& name : mixer.weight_names()) {
    auto value = random.matrix<double>(mixer.weight(name).rows(), mixer.weight(name).cols());
    if (name == "dt_bias") value.array() -= 1;  // step sizes of 0.1 to 0.7
    mixer.set_weight(name, value.template cast<typename Mixer::Scalar>());
  }
}

/// The first is plain; the others have every option somewhere, and few level weights, so that
/// tokens fold into the last level.
inline std::vector<loglinear::LogLinearMamba2Options> mamba2_cases() {
  return {{.hidden_size = 4,
           .expand = 1.5,
           .num_heads = 2,
           .head_dim = 3,
           .state_size = 3,
           .num_levels = 9,
           .chunk_size = 4},
          {.hidden_size = 3,
           .expand = 4,
           .num_heads = 4,
           .head_dim = 3,
           .state_size = 2,
           .n_groups = 2,
           .conv_kernel = 3,
           .use_conv_bias = false,
           .use_bias = true,
           .norm_per_group = false,
           .norm_eps = 0.01,
           .num_levels = 3,
           .scale = 0.5,
           .chunk_size = 4},
          {.hidden_size = 2,
           .expand = 1,
           .num_heads = 2,
           .head_dim = 1,
           .state_size = 1,
           .n_groups = 2,
           .conv_kernel = 1,
           .num_levels = 2},
          {.hidden_size = 4,
           .expand = 3,
           .num_heads = 6,
           .head_dim = 2,
           .state_size = 2,
           .n_groups = 3,
           .use_bias = true,
           .D_has_hdim = true,
           .norm_eps = 0.1,
           .num_levels = 4},
          {.hidden_size = 2,
           .expand = 4,
           .num_heads = 4,
           .head_dim = 2,
           .state_size = 2,
           .n_groups = 2,
           .use_conv_bias = false,
           .D_has_hdim = true,
           .norm_before_gate = true,
           .num_levels = 3},
          {.hidden_size = 2,
           .expand = 2,
           .num_heads = 2,
           .head_dim = 2,
           .state_size = 2,
           .n_groups = 2,
           .norm_before_gate = true,
           .norm_per_group = false,
           .num_levels = 3},
          {.hidden_size = 4,
           .expand = 1.5,
           .num_heads = 2,
           .head_dim = 3,
           .state_size = 3,
           .num_levels = 4,
           .level_weights = loglinear::MixerLevelWeights::mlp,
           .level_mlp_size = 3},
          {.hidden_size = 4,
           .expand = 1.5,
           .num_heads = 2,
           .head_dim = 3,
           .state_size = 3,
           .level_weights = loglinear::MixerLevelWeights::one_state}};
}

/// The first is plain; the others have every option, and few level weights.
inline std::vector<loglinear::LogLinearGatedDeltaNetOptions> gated_delta_net_cases() {
  return {{.hidden_size = 4, .num_heads = 2, .head_dim = 2, .num_levels = 9, .chunk_size = 4},
          {.hidden_size = 3,
           .expand_v = 1.5,
           .num_heads = 2,
           .num_v_heads = 4,
           .head_dim = 2,
           .allow_neg_eigval = true,
           .conv_size = 3,
           .conv_bias = true,
           .norm_eps = 0.01,
           .num_levels = 3,
           .scale = 0.5,
           .chunk_size = 4},
          {.hidden_size = 2,
           .expand_v = 1,
           .num_heads = 1,
           .head_dim = 3,
           .use_gate = false,
           .use_short_conv = false,
           .num_levels = 2},
          {.hidden_size = 4,
           .num_heads = 2,
           .head_dim = 2,
           .num_levels = 4,
           .level_weights = loglinear::MixerLevelWeights::mlp},
          {.hidden_size = 4,
           .num_heads = 2,
           .head_dim = 2,
           .level_weights = loglinear::MixerLevelWeights::one_state}};
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_MIXERS_CASES_HPP
