// SPDX-License-Identifier: MIT
#ifndef LANGUAGE_MODEL_OPTIONS_HPP
#define LANGUAGE_MODEL_OPTIONS_HPP

#include <cstdint>
#include <loglinear/checkpoint/dtype.hpp>
#include <string>
#include <vector>

#include "command_line.hpp"

namespace language_model {

/// The command line.
struct Options {
  std::string text;         ///< a folder
  std::string text_ending;  ///< of its files' names
  std::string out = "model";
  learning::ModelShape shape{};
  learning::TrainingOptions training{};
  loglinear::DType matrices = loglinear::DType::bf16;
  std::vector<learning::Setting> tests{};  ///< never empty once parsed
  std::int64_t test_bytes = 0;             ///< of each test, about
  std::int64_t seed = 1;
  learning::RunOptions run{.save_every = 100};

  /// All that the weights depend on as one line, but for the text and the seed.
  [[nodiscard]] std::string line() const;
};

/// \return false if the program has to end at once, with `status`
[[nodiscard]] bool parse(int argc, char** argv, Options& options, int& status);

}  // namespace language_model

#endif  // LANGUAGE_MODEL_OPTIONS_HPP
