// SPDX-License-Identifier: MIT
#ifndef LEARNING_TRAINING_HPP
#define LEARNING_TRAINING_HPP

#include <torch/optim/adamw.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model.hpp"
#include "task.hpp"
#include "workers.hpp"

namespace learning {

/// How a model is trained.
struct TrainingOptions {
  std::int64_t length = 128;  ///< of the sequences
  /// Sequences begin with this length and double until they have `length`, which is it times a
  /// power of two; 0: they have `length` at once.
  std::int64_t first_length = 0;
  /// Each batch takes one of them. A sequence of half the length has half of it, at least 1.
  std::vector<std::int64_t> items{32};
  std::int64_t batch = 64;  ///< sequences of a step
  std::int64_t steps = 1000;
  std::int64_t warm_up = 50;    ///< steps
  double learning_rate = 3e-3;  ///< its peak
  double weight_decay = 0.1;    ///< of matrices
  double gradient_norm = 1;     ///< longer gradients are shortened to it
  bool random_count = false;    ///< each batch begins at a random count of tokens, see Model
};

/// How a trained model did on some labels.
struct Score {
  Setting setting;
  std::string group = "all";  ///< or the number of a group
  std::int64_t labels = 0;
  double loss = 0;       ///< mean cross-entropy, nats
  double accuracy = 0;   ///< share of labels that got the largest logit
  double deviation = 0;  ///< standard deviation of the loss between instances; of "all" alone
};

/// One seed's training.
///
/// Everything random is a function of the seed and the step, and the weights are drawn before the
/// first; so weights, the optimizer's moments and the number of the step are all that a training
/// is, and one that goes on from them ends with the same numbers, bit for bit.
///
/// Several processes can share it, each with some sequences of every batch; they call the same
/// functions. Losses are those of one process to rounding, and a checkpoint goes on with any number
/// of them.
class Training {
 public:
  /// Draws the weights from the seed. Trainings of one `identity` share all but the seed; a
  /// checkpoint is refused by a training of another. \throws std::invalid_argument for more workers
  /// than sequences in a batch, and for a first length that does not double to the length or that
  /// the task does not have
  Training(const Task& task, const ModelShape& shape, TrainingOptions options, std::int64_t seed,
           const std::string& identity, const Workers& workers = alone());

  /// What a step did.
  struct Outcome {
    double loss = 0, accuracy = 0;
  };
  /// One step of AdamW on a fresh batch. \throws std::runtime_error if the loss is not finite
  Outcome step();

  /// Loss and accuracy of all labels, and of each group, in each of the tests.
  /// \param instances  of each test
  [[nodiscard]] std::vector<Score> scores(const std::vector<Setting>& tests,
                                          std::int64_t instances);

  /// Replaces the file: after a crash there is either the old one or the new one. The first worker
  /// does.
  void save(const std::string& path) const;
  /// Goes on where `save` was called, if the first worker finds the file. \throws
  /// std::runtime_error if that was another training
  void load(const std::string& path);

  [[nodiscard]] const TrainingOptions& options() const { return options_; }
  [[nodiscard]] std::int64_t steps_done() const { return step_; }
  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] const Workers& workers() const { return workers_; }

  double seconds = 0;  ///< spent so far, kept with the rest

 private:
  /// Gradients of this worker's sequences become those of the whole batch.
  void add_up_gradients();

  const Task& task_;
  TrainingOptions options_;
  std::int64_t seed_;
  std::string identity_;
  std::int64_t step_ = 0;
  Model model_;
  std::unique_ptr<torch::optim::AdamW> optimizer_;
  const Workers& workers_;
};

}  // namespace learning

#endif  // LEARNING_TRAINING_HPP
