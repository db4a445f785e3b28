// SPDX-License-Identifier: MIT
#ifndef RECALL_OPTIONS_HPP
#define RECALL_OPTIONS_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "command_line.hpp"

namespace recall {

/// Everything that decides what a run computes, but for its seed.
struct Configuration {
  std::string task = "mqar";         ///< mqar, needle, selective_copying, text
  bool random_filler = false;        ///< mqar
  std::string text;                  ///< a folder
  std::string text_ending = ".pod";  ///< of its files' names
  learning::ModelShape shape{};      ///< whose vocabulary is the task's
  learning::TrainingOptions training{};
  std::vector<learning::Setting> evaluations;  ///< after training; never empty once parsed
  std::int64_t test_instances = 1024;          ///< of each evaluation

  /// All of it as one line, `name=value` separated by spaces: runs that share it share everything.
  [[nodiscard]] std::string line() const;
  /// A short name for files: task, mixer, weighting, d_model, and eight digits of the line's hash.
  [[nodiscard]] std::string name() const;
};

/// The command line.
struct Options {
  Configuration configuration;
  learning::RunOptions run{};
  std::int64_t first_seed = 1;
  std::int64_t seeds = 1;
  bool mpi = false;  ///< whether the ranks of MPI share every batch
  std::string out = "runs";
  bool print_results = false;  ///< name the files of results and do nothing else
};

/// \return false if the program has to end at once, with `status`
[[nodiscard]] bool parse(int argc, char** argv, Options& options, int& status);

}  // namespace recall

#endif  // RECALL_OPTIONS_HPP
