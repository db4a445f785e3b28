// SPDX-License-Identifier: MIT
#ifndef LEARNING_COMMAND_LINE_HPP
#define LEARNING_COMMAND_LINE_HPP

// The options that the trainers of recall and of language models share.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <limits>

#include "training.hpp"

namespace learning {

/// How a run is carried out; it changes no number.
struct RunOptions {
  int threads = 1;
  std::int64_t save_every = 500;  ///< steps between checkpoints; 0: none
  double report_every = 10;       ///< seconds between lines of progress
};

/// Legal values: whole numbers from 1, whole numbers from 0, and numbers from 0.
[[nodiscard]] inline CLI::Range whole() {
  return {std::int64_t{1}, std::numeric_limits<std::int64_t>::max() / 1000};
}
[[nodiscard]] inline CLI::Range count() {
  return {std::int64_t{0}, std::numeric_limits<std::int64_t>::max() / 1000};
}
[[nodiscard]] inline CLI::Range real() {
  return {0.0, 1e6};
}

/// The sizes of a model. \param expand  values of all heads / d_model
inline void add_sizes(CLI::App& app, ModelShape& shape, std::int64_t& expand) {
  MixerShape& s = shape.sizes;
  app.add_option("--d-model", s.d_model, "Channels")->check(whole())->group("Model");
  app.add_option("--heads", s.heads, "Heads of the mixer")->check(whole())->group("Model");
  app.add_option("--key-size", s.d_k, "Keys of a head; 0 for d_model / heads")
      ->check(count())
      ->group("Model");
  app.add_option("--expand", expand, "Values of all heads / d_model")
      ->check(whole())
      ->group("Model");
  app.add_option(
         "--memory", s.memory,
         "Tokens in which the first head begins to forget all but 1/e; the rule learns more")
      ->check(CLI::Range(1.0, 1e9))
      ->group("Model");
  app.add_option("--blocks", shape.blocks, "Residual blocks")->check(whole())->group("Model");
  app.add_flag("--tied", shape.tied, "The embedding is the head, too")->group("Model");
}

/// Fills in what depends on other options, once all are read. \throws CLI::ValidationError for
/// heads that do not divide what they share
inline void complete_sizes(ModelShape& shape, std::int64_t expand) {
  MixerShape& s = shape.sizes;
  if (s.d_k == 0 && s.d_model % s.heads != 0) {
    throw CLI::ValidationError("--heads", "does not divide --d-model; give --key-size");
  }
  if (expand * s.d_model % s.heads != 0) {
    throw CLI::ValidationError("--heads", "does not divide --expand times --d-model");
  }
  if (s.d_k == 0) s.d_k = s.d_model / s.heads;
  s.d_v = expand * s.d_model / s.heads;
  if (shape.mixer == "softmax" || shape.mixer == "rotary") shape.weighting = "one_state";
  shape.embedding_deviation = embedding_deviation_of(shape.mixer);
}

/// How a model is trained, but for the lengths and items of sequences.
inline void add_training(CLI::App& app, TrainingOptions& t) {
  app.add_option("--batch", t.batch, "Sequences of a step")->check(whole())->group("Training");
  app.add_option("--steps", t.steps, "Steps")->check(whole())->group("Training");
  app.add_option("--warm-up", t.warm_up, "Steps in which the learning rate rises")
      ->check(count())
      ->group("Training");
  app.add_option("--learning-rate", t.learning_rate, "Its peak, before it falls by a cosine")
      ->check(real())
      ->group("Training");
  app.add_option("--weight-decay", t.weight_decay, "Of matrices")->check(real())->group("Training");
  app.add_option("--gradient-norm", t.gradient_norm, "Longer gradients are shortened to it")
      ->check(real())
      ->group("Training");
  app.add_flag("--random-count", t.random_count,
               "Each batch begins at a random count of tokens, so that levels meet elsewhere")
      ->group("Training");
}

inline void add_run(CLI::App& app, RunOptions& run) {
  app.add_option("--threads", run.threads, "Of one run")->check(CLI::Range(1, 1024))->group("Run");
  app.add_option("--save-every", run.save_every, "Steps between checkpoints; 0 for none")
      ->check(count())
      ->group("Run");
  app.add_option("--report-every", run.report_every, "Seconds between lines of progress")
      ->check(real())
      ->group("Run");
}

}  // namespace learning

#endif  // LEARNING_COMMAND_LINE_HPP
