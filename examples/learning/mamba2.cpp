// SPDX-License-Identifier: MIT
#include "decay_gate.hpp"
#include "hierarchy.hpp"
#include "mixer.hpp"

namespace learning {

Mamba2::Mamba2(const MixerShape& shape, const std::string& weighting)
    : shape_(shape),
      in_(shape.d_model, 2 * shape.values() + 2 * shape.d_k + shape.heads),
      out_(shape.values(), shape.d_model),
      convolution_(shape.values() + 2 * shape.d_k),
      norm_(shape.values()),
      weighting_(weighting, shape.d_model, shape.heads, shape.levels) {
  register_module("project_in", in_);
  register_module("project_out", out_);
  register_module("convolution", convolution_);
  register_module("norm", norm_);
  register_module("weighting", weighting_);
  dt_bias_ = register_parameter("dt_bias", initial_dt_bias(shape.heads));
  a_log_ = register_parameter("a_log", initial_a_log(shape.heads, shape.memory));
  d_ = register_parameter("d", torch::ones({shape.heads, 1}));
}

torch::Tensor Mamba2::forward(const torch::Tensor& u, std::int64_t count) {
  const std::int64_t batch = u.size(0), length = u.size(1);
  const auto parts =
      in_(u).split({shape_.values(), shape_.values() + 2 * shape_.d_k, shape_.heads}, -1);
  const torch::Tensor &z = parts[0], &dt = parts[2];
  const auto mixed =
      torch::silu(convolution_(parts[1])).split({shape_.values(), shape_.d_k, shape_.d_k}, -1);
  const torch::Tensor x = mixed[0].view({batch, length, shape_.heads, shape_.d_v});
  const torch::Tensor step = torch::softplus(dt + dt_bias_);
  // All heads share B and C.
  const auto shared = [&](const torch::Tensor& part) {
    return part.unsqueeze(2).expand({batch, length, shape_.heads, shape_.d_k});
  };
  const torch::Tensor read = read_hierarchy({.q = shared(mixed[2]),
                                             .k = shared(mixed[1]),
                                             .v = x * step.unsqueeze(-1),
                                             .lambda = weighting_(u),
                                             .g = -torch::exp(a_log_) * step},
                                            count);
  const torch::Tensor y = (read + d_ * x).view({batch, length, shape_.values()});
  return out_(norm_(y * torch::silu(z)));
}

}  // namespace learning
