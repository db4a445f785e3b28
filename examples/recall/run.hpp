// SPDX-License-Identifier: MIT
#ifndef RECALL_RUN_HPP
#define RECALL_RUN_HPP

#include <torch/optim/adamw.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model.hpp"
#include "options.hpp"
#include "results.hpp"
#include "task.hpp"

namespace recall {

/// The task of a configuration. \throws std::invalid_argument if it has no such instances
[[nodiscard]] std::unique_ptr<Task> make_task(const Configuration& configuration);

/// The shape of the model of a configuration.
[[nodiscard]] ModelShape shape_of(const Configuration& configuration);

/// One seed's training.
///
/// Everything random is a function of the seed and the step, and the weights are drawn before the
/// first; so weights, the optimizer's moments and the number of the step are all that a run is, and
/// one that goes on from them ends with the same numbers, bit for bit.
class Run {
 public:
  /// Draws the weights from the seed.
  Run(const Task& task, const Configuration& configuration, std::int64_t seed);

  /// What a step did.
  struct Outcome {
    double loss = 0, accuracy = 0;
  };
  /// One step of AdamW on a fresh batch. \throws std::runtime_error if the loss is not finite
  Outcome step();

  /// Loss and accuracy of all labels, and of each group, in each of the configuration's tests.
  [[nodiscard]] std::vector<Score> scores();

  /// Replaces the file: after a crash there is either the old one or the new one.
  void save(const std::string& path) const;
  /// Goes on where `save` was called. \throws std::runtime_error if that was another run
  void load(const std::string& path);

  [[nodiscard]] std::int64_t steps_done() const { return step_; }
  [[nodiscard]] std::int64_t parameter_count() const { return model_->parameter_count(); }

  double seconds = 0;  ///< spent so far, kept with the rest

 private:
  [[nodiscard]] std::string identity() const;

  const Task& task_;
  Configuration configuration_;
  std::int64_t seed_;
  std::int64_t step_ = 0;
  Model model_;
  std::unique_ptr<torch::optim::AdamW> optimizer_;
};

}  // namespace recall

#endif  // RECALL_RUN_HPP
