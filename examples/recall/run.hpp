// SPDX-License-Identifier: MIT
#ifndef RECALL_RUN_HPP
#define RECALL_RUN_HPP

// What a configuration says, as the parts of a training.

#include <memory>

#include "options.hpp"
#include "training.hpp"

namespace recall {

/// The task of a configuration. \throws std::invalid_argument if it has no such instances
[[nodiscard]] std::unique_ptr<learning::Task> make_task(const Configuration& configuration);

/// The shape of the model of a configuration.
[[nodiscard]] learning::ModelShape shape_of(const Configuration& configuration);

/// How it is trained.
[[nodiscard]] learning::TrainingOptions training_of(const Configuration& configuration);

}  // namespace recall

#endif  // RECALL_RUN_HPP
