// SPDX-License-Identifier: MIT
#ifndef RECALL_OPTIONS_HPP
#define RECALL_OPTIONS_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "task.hpp"

namespace recall {

/// Everything that decides what a run computes, but for its seed.
struct Configuration {
  std::string task = "mqar";  ///< mqar, needle, selective_copying, text
  std::int64_t vocabulary = 128;
  bool random_filler = false;                  ///< mqar
  std::string text;                            ///< a folder
  std::string text_ending = ".pod";            ///< of its files' names
  std::int64_t length = 128;                   ///< of training sequences
  std::int64_t first_length = 0;               ///< of the first ones, which double; 0: `length`
  std::vector<std::int64_t> items{32};         ///< each batch takes one of them
  std::vector<learning::Setting> evaluations;  ///< after training; never empty once parsed

  std::string mixer = "softmax";
  std::string weighting = "one_state";
  std::int64_t d_model = 64;
  std::int64_t heads = 2;
  std::int64_t key_size = 0;  ///< of a head; 0: d_model / heads
  std::int64_t expand = 1;    ///< values of all heads / d_model
  std::int64_t blocks = 2;
  std::int64_t levels = 0;    ///< level weights of a head; 0: as many as the longest test has
  bool random_count = false;  ///< each batch begins at a random count of tokens
  bool tied = false;

  std::int64_t batch = 64;
  std::int64_t steps = 1000;
  std::int64_t warm_up = 50;           ///< steps
  double learning_rate = 3e-3;         ///< its peak
  double weight_decay = 0.1;           ///< of matrices
  double gradient_norm = 1;            ///< longer gradients are shortened to it
  std::int64_t test_instances = 1024;  ///< of each evaluation

  /// All of it as one line, `name=value` separated by spaces: runs that share it share everything.
  [[nodiscard]] std::string line() const;
  /// A short name for files: task, mixer, weighting, d_model, and eight digits of the line's hash.
  [[nodiscard]] std::string name() const;
};

/// The command line.
struct Options {
  Configuration configuration;
  std::int64_t first_seed = 1;
  std::int64_t seeds = 1;
  int threads = 1;
  bool mpi = false;  ///< whether the ranks of MPI share every batch
  std::string out = "runs";
  std::int64_t save_every = 500;  ///< steps between checkpoints; 0: none
  double report_every = 10;       ///< seconds between lines of progress
  bool print_results = false;     ///< name the files of results and do nothing else
};

/// \return false if the program has to end at once, with `status`
[[nodiscard]] bool parse(int argc, char** argv, Options& options, int& status);

}  // namespace recall

#endif  // RECALL_OPTIONS_HPP
