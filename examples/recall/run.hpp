// SPDX-License-Identifier: MIT
#ifndef RECALL_RUN_HPP
#define RECALL_RUN_HPP

#include <memory>

#include "options.hpp"
#include "task.hpp"

namespace recall {

/// The task of a configuration. \throws std::invalid_argument if it has no such instances
[[nodiscard]] std::unique_ptr<learning::Task> make_task(const Configuration& configuration);

}  // namespace recall

#endif  // RECALL_RUN_HPP
