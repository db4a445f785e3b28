// SPDX-License-Identifier: MIT
#ifndef LEARNING_PROGRESS_HPP
#define LEARNING_PROGRESS_HPP

#include <cstdint>
#include <string>

#include "training.hpp"

namespace learning {

/// What a long training leaves behind on its way.
struct Trail {
  std::string name;               ///< begins every line of progress
  std::string checkpoint;         ///< a file, from which the next call goes on if it is there
  std::int64_t save_every = 500;  ///< steps; 0: no checkpoints
  double report_every = 10;       ///< seconds between lines of progress
};

/// Settings of this process that make steps fast: threads, memory, denormal numbers.
void prepare_process(int threads);

/// Trains to the end, from the checkpoint if there is one.
void complete(Training& training, const Trail& trail);

}  // namespace learning

#endif  // LEARNING_PROGRESS_HPP
