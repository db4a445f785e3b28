// SPDX-License-Identifier: MIT
#include <cmath>

#include "decay_gate.hpp"
#include "fused.hpp"
#include "hierarchy.hpp"
#include "mixer.hpp"

namespace learning {

namespace {

/// `x / sqrt(|x|^2 + 1e-6)` over the last dimension.
torch::Tensor unit(const torch::Tensor& x) {
  constexpr double epsilon = 1e-6;
  const auto n = static_cast<double>(x.size(-1));
  return rms_norm(x, torch::full({x.size(-1)}, 1 / std::sqrt(n)), epsilon / n);
}

}  // namespace

GatedDeltaNet::GatedDeltaNet(const MixerShape& shape, const std::string& weighting)
    : shape_(shape),
      in_(shape.d_model, 2 * shape.keys() + 2 * shape.values() + 2 * shape.heads),
      out_(shape.values(), shape.d_model),
      convolution_(2 * shape.keys() + shape.values()),
      norm_(shape.d_v),
      weighting_(weighting, shape.d_model, shape.heads, shape.levels) {
  register_module("project_in", in_);
  register_module("project_out", out_);
  register_module("convolution", convolution_);
  register_module("norm", norm_);
  register_module("weighting", weighting_);
  dt_bias_ = register_parameter("dt_bias", initial_dt_bias(shape.heads));
  a_log_ = register_parameter("a_log", initial_a_log(shape.heads, shape.memory));
}

torch::Tensor GatedDeltaNet::forward(const torch::Tensor& u, std::int64_t count) {
  const std::int64_t batch = u.size(0), length = u.size(1);
  const auto by_head = [&](const torch::Tensor& part) {
    return part.view({batch, length, shape_.heads, -1});
  };
  const auto parts = in_(u).split(
      {2 * shape_.keys() + shape_.values(), shape_.values(), shape_.heads, shape_.heads}, -1);
  const auto mixed = torch::silu(convolution_(parts[0]))
                         .split({shape_.keys(), shape_.keys(), shape_.values()}, -1);
  const torch::Tensor step = torch::softplus(parts[2] + dt_bias_);
  const torch::Tensor read = read_hierarchy({.q = unit(by_head(mixed[0])),
                                             .k = unit(by_head(mixed[1])),
                                             .v = by_head(mixed[2]),
                                             .lambda = weighting_(u),
                                             .g = -torch::exp(a_log_) * step,
                                             .beta = torch::sigmoid(parts[3])},
                                            count);
  const torch::Tensor y = norm_(read) * torch::silu(by_head(parts[1]));
  return out_(y.view({batch, length, shape_.values()}));
}

}  // namespace learning
