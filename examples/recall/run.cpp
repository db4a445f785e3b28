// SPDX-License-Identifier: MIT
#include "run.hpp"

#include <algorithm>
#include <loglinear/detail/base/checks.hpp>

#include "hierarchy.hpp"
#include "mqar.hpp"
#include "needle.hpp"
#include "selective_copying.hpp"
#include "text.hpp"

namespace recall {

using namespace learning;

std::unique_ptr<Task> make_task(const Configuration& c) {
  std::unique_ptr<Task> task;
  if (c.task == "mqar") task = std::make_unique<Mqar>(c.vocabulary, c.random_filler);
  if (c.task == "needle") task = std::make_unique<Needle>(c.vocabulary);
  if (c.task == "selective_copying") task = std::make_unique<SelectiveCopying>(c.vocabulary);
  if (c.task == "text") {
    task = std::make_unique<Text>(Text::of_folder(c.text, c.text_ending));
  }
  if (!task) {
    loglinear::detail::fail("task", c.task, "mqar, needle, selective_copying or text");
  }
  for (const std::int64_t items : c.items) task->require_legal({c.length, items});
  for (const Setting& setting : c.evaluations) task->require_legal(setting);
  return task;
}

ModelShape shape_of(const Configuration& c) {
  std::int64_t longest = c.length;
  for (const Setting& setting : c.evaluations) longest = std::max(longest, setting.length);
  return {.vocabulary = c.vocabulary,
          .blocks = c.blocks,
          .tied = c.tied,
          .embedding_deviation = embedding_deviation_of(c.mixer),
          .mixer = c.mixer,
          .weighting = c.weighting,
          .sizes = {.d_model = c.d_model,
                    .heads = c.heads,
                    .d_k = c.key_size,
                    .d_v = c.expand * c.d_model / c.heads,
                    .levels = c.levels > 0 ? c.levels : levels_of(longest)}};
}

TrainingOptions training_of(const Configuration& c) {
  return {.length = c.length,
          .first_length = c.first_length,
          .items = c.items,
          .batch = c.batch,
          .steps = c.steps,
          .warm_up = c.warm_up,
          .learning_rate = c.learning_rate,
          .weight_decay = c.weight_decay,
          .gradient_norm = c.gradient_norm,
          .random_count = c.random_count};
}

}  // namespace recall
