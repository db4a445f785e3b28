// SPDX-License-Identifier: MIT
// Writes a small model of bytes with drawn weights: make_folder FOLDER [window]

#include <string>

#include "loglinear/checkpoint/language_model.hpp"

int main(int argc, char** argv) {
  loglinear::LanguageModelOptions options{
      .num_hidden_layers = 2,
      .mixer = loglinear::LogLinearMamba2Options{.hidden_size = 16,
                                                 .num_heads = 2,
                                                 .head_dim = 16,
                                                 .state_size = 8,
                                                 .num_levels = 6,
                                                 .initializer_range = 0.3},
      .intermediate_size = 32};
  if (argc > 2) options.attn = {{.layers = {1}, .num_heads = 2, .window_size = std::stol(argv[2])}};
  save_language_model(argv[1], loglinear::LanguageModel<float>(options), loglinear::DType::bf16);
}
