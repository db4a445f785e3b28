// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_MODEL_CASES_HPP
#define LOGLINEAR_TESTS_MODEL_CASES_HPP

// Small language models, with every option somewhere, and weights that are no constants.

#include <cstdint>
#include <string>
#include <vector>

#include "loglinear/model.hpp"
#include "oracles/language_model.hpp"
#include "support.hpp"

namespace loglinear::test {

inline LogLinearMamba2Options small_mamba2() {
  return {.hidden_size = 8,
          .expand = 2,
          .num_heads = 4,
          .head_dim = 4,
          .state_size = 3,
          .num_levels = 5,
          .chunk_size = 8};
}
inline LogLinearGatedDeltaNetOptions small_gated_delta_net() {
  return {.hidden_size = 8, .num_heads = 2, .head_dim = 3, .num_levels = 5, .chunk_size = 8};
}
inline LanguageModelOptions small_model(
    std::variant<LogLinearMamba2Options, LogLinearGatedDeltaNetOptions> mixer) {
  return {.vocab_size = 11, .num_hidden_layers = 2, .mixer = mixer, .intermediate_size = 6};
}
template <class Mixer>
Mixer with_levels(Mixer mixer, MixerLevelWeights level_weights) {
  mixer.level_weights = level_weights;
  mixer.level_mlp_size = 3;
  return mixer;
}

struct ModelCase {
  std::string name;
  LanguageModelOptions options;
};

inline std::vector<ModelCase> model_cases() {
  using enum MixerLevelWeights;
  auto options = small_mamba2();
  options.n_groups = 2;
  options.use_bias = options.D_has_hdim = true;
  options.use_conv_bias = false;
  options.norm_per_group = false;
  options.num_levels = 3;
  auto value_heads = small_gated_delta_net();
  value_heads.num_v_heads = 4;
  value_heads.use_short_conv = value_heads.use_gate = false;
  value_heads.allow_neg_eigval = true;
  value_heads.scale = 0.5;
  auto hybrid = small_model(small_gated_delta_net());
  hybrid.num_hidden_layers = 3;
  hybrid.attn = {{.layers = {1}, .num_heads = 4, .num_kv_heads = 2, .window_size = 6},
                 {.layers = {2}, .num_heads = 2, .qkv_bias = true, .rope_theta = 100}};
  auto mamba2_hybrid = small_model(small_mamba2());
  mamba2_hybrid.attn = {{.layers = {0}, .num_heads = 2, .window_size = 1}};
  auto tied = small_model(small_mamba2());
  tied.tie_word_embeddings = true;
  tied.intermediate_size = 0;  // the published 256
  auto without_mlp = small_model(with_levels(small_mamba2(), one_state));
  without_mlp.has_mlp = false;
  return {
      {"Mamba-2 as published, of one state and without MLPs", without_mlp},
      {"Mamba-2", small_model(small_mamba2())},
      {"Mamba-2 with other options", small_model(options)},
      {"Mamba-2 with a network of level weights", small_model(with_levels(small_mamba2(), mlp))},
      {"Mamba-2 of one state", small_model(with_levels(small_mamba2(), one_state))},
      {"Mamba-2 with a tied head", tied},
      {"Mamba-2 with a window of one token", mamba2_hybrid},
      {"Gated DeltaNet", small_model(small_gated_delta_net())},
      {"Gated DeltaNet with other options", small_model(value_heads)},
      {"Gated DeltaNet with a network of level weights",
       small_model(with_levels(small_gated_delta_net(), mlp))},
      {"Gated DeltaNet of one state", small_model(with_levels(small_gated_delta_net(), one_state))},
      {"Gated DeltaNet with attention", hybrid}};
}

/// Draws every weight anew, so that none is a constant.
template <class Scalar>
void randomise(LanguageModel<Scalar>& model, Random& random) {
  for (const std::string& name : model.weight_names()) {
    const auto old = model.weight(name);
    auto value = random.matrix<double>(old.rows(), old.cols());
    if (name.ends_with("dt_bias")) value.array() -= 1;  // step sizes of 0.1 to 0.7
    if (old.cols() > 1) value *= 0.5;  // rows of products of order 1, as models have them
    model.set_weight(name, value.template cast<Scalar>());
  }
}

inline std::vector<std::int32_t> random_tokens(std::size_t count, std::int32_t vocabulary,
                                               Random& random) {
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) token = random.below(vocabulary);
  return tokens;
}

/// What the oracle says, from the numbers that the model has.
template <class Scalar>
detail::RowMajorMatrix<double> expected_logits(const LanguageModel<Scalar>& model,
                                               const std::vector<std::int32_t>& tokens) {
  const LanguageModelOracle oracle(model.options(), [&](const std::string& name) {
    const auto array = model.weight(name);
    Table table;
    for (Index i = 0; i < array.rows(); ++i) {
      Row& row = table.emplace_back();
      for (Index j = 0; j < array.cols(); ++j) row.push_back(double(array(i, j)));
    }
    return table;
  });
  const Table table = oracle.logits(tokens);
  detail::RowMajorMatrix<double> all(static_cast<Index>(tokens.size()), model.options().vocab_size);
  for (Index t = 0; t < all.rows(); ++t) {
    for (Index j = 0; j < all.cols(); ++j) all(t, j) = table[std::size_t(t)][std::size_t(j)];
  }
  return all;
}

/// The largest difference, relative to the largest number of all that is expected of a sequence.
template <class A, class B, class All>
double error_against(const A& a, const B& expected, const All& all) {
  return (a.template cast<double>() - expected.template cast<double>()).cwiseAbs().maxCoeff() /
         all.template cast<double>().cwiseAbs().maxCoeff();
}
template <class A, class B>
double error_against(const A& a, const B& expected) {
  return error_against(a, expected, expected);
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_MODEL_CASES_HPP
