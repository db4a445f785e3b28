// SPDX-License-Identifier: MIT
#include "run.hpp"

#include <loglinear/detail/base/checks.hpp>

#include "mqar.hpp"
#include "needle.hpp"
#include "selective_copying.hpp"
#include "text.hpp"

namespace recall {

using namespace learning;

std::unique_ptr<Task> make_task(const Configuration& c) {
  const std::int64_t vocabulary = c.shape.vocabulary;
  std::unique_ptr<Task> task;
  if (c.task == "mqar") task = std::make_unique<Mqar>(vocabulary, c.random_filler);
  if (c.task == "needle") task = std::make_unique<Needle>(vocabulary);
  if (c.task == "selective_copying") task = std::make_unique<SelectiveCopying>(vocabulary);
  if (c.task == "text") {
    task = std::make_unique<Text>(Text::of_folder(c.text, c.text_ending));
  }
  if (!task) {
    loglinear::detail::fail("task", c.task, "mqar, needle, selective_copying or text");
  }
  for (const std::int64_t items : c.training.items) {
    task->require_legal({c.training.length, items});
  }
  for (const Setting& setting : c.evaluations) task->require_legal(setting);
  return task;
}

}  // namespace recall
