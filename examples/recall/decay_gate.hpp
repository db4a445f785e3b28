// SPDX-License-Identifier: MIT
#ifndef RECALL_DECAY_GATE_HPP
#define RECALL_DECAY_GATE_HPP

#include <torch/types.h>

#include <cmath>
#include <cstdint>

namespace recall {

/// Where the bias of the decay gate begins, a number a head: softplus(dt_bias) is log-uniform in
/// 0.001 ... 0.1, as in Mamba-2 (Dao and Gu, arXiv:2405.21060).
[[nodiscard]] inline torch::Tensor initial_dt_bias(std::int64_t heads) {
  const torch::Tensor step =
      torch::exp(torch::empty({heads}).uniform_(std::log(0.001), std::log(0.1)));
  return step + torch::log(-torch::expm1(-step));  // the inverse of softplus
}

/// Where A_log begins, log(1), ..., log(heads), as in Mamba-2. Flash-linear-attention's Gated
/// DeltaNet draws A from 0 ... 16 instead: half of its heads then forget within some ten tokens,
/// and short trainings end before they have unlearnt it.
[[nodiscard]] inline torch::Tensor initial_a_log(std::int64_t heads) {
  return torch::arange(1, heads + 1, torch::kFloat).log();
}

}  // namespace recall

#endif  // RECALL_DECAY_GATE_HPP
