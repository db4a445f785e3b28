// SPDX-License-Identifier: MIT
#ifndef LEARNING_DECAY_GATE_HPP
#define LEARNING_DECAY_GATE_HPP

#include <torch/types.h>

#include <cmath>
#include <cstdint>

namespace learning {

// A token decays every state by exp(-A step), A = exp(A_log), step = softplus(W x + dt_bias);
// Mamba-2 also scales what it writes by the step. Mamba-2 begins with steps of 0.001 ... 0.1,
// drawn, and A = 1, 2, ... (Dao and Gu, arXiv:2405.21060). With one or two heads it is then chance
// whether any keeps a sequence, and a short training spends its steps on raising what is written.
// Here every seed begins with large steps and slow decays.

inline constexpr double initial_step = 0.5;

/// Where dt_bias begins, a number a head.
[[nodiscard]] inline torch::Tensor initial_dt_bias(std::int64_t heads) {
  return torch::full({heads}, std::log(std::expm1(initial_step)));  // the inverse of softplus
}

/// Where A_log begins: head h, from 1, forgets all but 1/e in `memory` / h tokens.
[[nodiscard]] inline torch::Tensor initial_a_log(std::int64_t heads, double memory) {
  const double first_rate = 1 / (memory * initial_step);
  return (torch::arange(1, heads + 1, torch::kFloat) * first_rate).log();
}

}  // namespace learning

#endif  // LEARNING_DECAY_GATE_HPP
