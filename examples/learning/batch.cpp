// SPDX-License-Identifier: MIT
#include "batch.hpp"

#include <vector>

#include "sampling.hpp"

namespace learning {

namespace {

/// What generators' numbers begin with, so that training and test never draw the same.
enum Purpose : std::uint64_t { training_instance = 1, test_instance = 2 };

class Collector {
 public:
  void add(const Instance& instance) {
    for (std::size_t i = 0; i < instance.tokens.size(); ++i) {
      if (instance.labels[i] == no_label) continue;
      positions_.push_back(static_cast<std::int64_t>(tokens_.size() + i));
      labels_.push_back(instance.labels[i]);
      groups_.push_back(instance.groups[i]);
    }
    tokens_.insert(tokens_.end(), instance.tokens.begin(), instance.tokens.end());
  }
  [[nodiscard]] Batch batch(std::int64_t size) const {
    return {torch::tensor(tokens_).view({size, -1}), torch::tensor(positions_),
            torch::tensor(labels_), torch::tensor(groups_)};
  }

 private:
  std::vector<std::int64_t> tokens_, positions_, labels_, groups_;
};

}  // namespace

Batch training_batch(const Task& task, const Setting& setting, std::int64_t size,
                     std::uint64_t seed, std::int64_t step, std::int64_t first) {
  Collector collector;
  for (std::int64_t row = first; row < first + size; ++row) {
    loglinear::Xorshift64 random =
        generator_of({training_instance, seed, static_cast<std::uint64_t>(step),
                      static_cast<std::uint64_t>(row)});
    collector.add(task.draw(random, setting, Part::training));
  }
  return collector.batch(size);
}

Batch test_batch(const Task& task, const Setting& setting, std::int64_t size, std::int64_t first) {
  Collector collector;
  for (std::int64_t row = first; row < first + size; ++row) {
    loglinear::Xorshift64 random =
        generator_of({test_instance, static_cast<std::uint64_t>(setting.length),
                      static_cast<std::uint64_t>(setting.items), static_cast<std::uint64_t>(row)});
    collector.add(task.draw(random, setting, Part::evaluation));
  }
  return collector.batch(size);
}

}  // namespace learning
