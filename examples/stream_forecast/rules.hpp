// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_RULES_HPP
#define STREAM_FORECAST_RULES_HPP

// From the rule that the command line names to the type that the layer is compiled for.

#include <loglinear/rules.hpp>
#include <stdexcept>

#include "options.hpp"

namespace stream_forecast {

/// Calls `visit(rule)` with the inner rule that the options describe and returns what it returns.
template <class Visitor>
auto with_rule(const Options& o, Visitor&& visit) {
  using namespace loglinear;
  if (o.key_only) {
    // All that is left of a rule is whether it normalises its key.
    const bool normalises = o.rule == Rule::delta_net || o.rule == Rule::gated_delta_net;
    return normalises ? visit(KeyOnly<DeltaNet>{}) : visit(KeyOnly<RetNet>{});
  }
  switch (o.rule) {
    case Rule::retnet:
      return visit(RetNet{.gamma = o.gamma});
    case Rule::gla:
      return visit(GLA{.gate_bias = o.gate_bias});
    case Rule::gla_vector:
      return visit(GLAVector{.gate_bias = o.gate_bias});
    case Rule::delta_net:
      return visit(DeltaNet{});
    case Rule::gated_delta_net:
      return visit(GatedDeltaNet{.beta_scale = o.beta,
                                 .beta = o.per_token_beta ? Beta::per_token : Beta::fixed,
                                 .gate_bias = o.gate_bias,
                                 .beta_bias = o.beta_bias});
  }
  throw std::logic_error("a rule without a type");
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_RULES_HPP
