// SPDX-License-Identifier: MIT
#ifndef RECALL_RESULTS_HPP
#define RECALL_RESULTS_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "options.hpp"
#include "training.hpp"

namespace recall {

/// What a run cost.
struct Cost {
  std::int64_t parameters = 0;
  double seconds = 0;  ///< of training, without interruptions
};

/// The files of one run: the table of its scores, there only once the run is complete, and its
/// checkpoint, there only before.
struct RunFiles {
  RunFiles(const Options& options, std::int64_t seed);

  std::string name;        ///< of the run
  std::string results;     ///< CSV
  std::string checkpoint;  ///< LibTorch archive
};

/// Writes the table, a row a score, all or nothing. Only its last column, seconds, differs between
/// two runs of the same configuration and seed on one machine.
void write_results(const std::string& path, const Configuration& configuration, std::int64_t seed,
                   const Cost& cost, const std::vector<learning::Score>& scores);

}  // namespace recall

#endif  // RECALL_RESULTS_HPP
