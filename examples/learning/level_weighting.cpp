// SPDX-License-Identifier: MIT
#include "level_weighting.hpp"

#include <loglinear/detail/base/checks.hpp>

namespace learning {

LevelWeightingImpl::Kind LevelWeightingImpl::kind_of(const std::string& name) {
  if (name == "one_state") return Kind::one_state;
  if (name == "softplus") return Kind::softplus;
  if (name == "mixture") return Kind::mixture;
  if (name == "mlp") return Kind::mlp;
  loglinear::detail::fail("weighting", name, "one_state, softplus, mixture or mlp");
}

LevelWeightingImpl::LevelWeightingImpl(const std::string& name, std::int64_t d_model,
                                       std::int64_t heads, std::int64_t levels)
    : kind_(kind_of(name)), heads_(heads), levels_(levels) {
  if (kind_ == Kind::one_state) return;
  if (kind_ == Kind::mlp) {
    hidden_ = register_module("hidden", Projection(d_model, d_model));
    hidden_bias_ = register_parameter("hidden_bias", torch::zeros({d_model}));
    level_bias_ = register_parameter("level_bias", torch::zeros({heads * levels}));
  }
  levels_of_ = register_module("levels_of", Projection(d_model, heads * levels));
  {
    const torch::NoGradGuard initialising;
    levels_of_->weight.mul_(0.1);
  }
  if (kind_ == Kind::softplus) {
    level_scale_ = register_parameter("level_scale", torch::ones({heads * levels}));
  }
}

torch::Tensor LevelWeightingImpl::forward(const torch::Tensor& x) {
  if (kind_ == Kind::one_state) return {};
  torch::Tensor r;
  if (kind_ == Kind::softplus) r = levels_of_(x) * level_scale_;
  if (kind_ == Kind::mixture) r = levels_of_(x) + 1.0 / static_cast<double>(levels_);
  if (kind_ == Kind::mlp) r = levels_of_(torch::silu(hidden_(x) + hidden_bias_)) + level_bias_;
  const torch::Tensor lambda = torch::softplus(r).view({x.size(0), x.size(1), heads_, levels_});
  return kind_ == Kind::mixture ? lambda / lambda.sum(-1, true) : lambda;
}

}  // namespace learning
