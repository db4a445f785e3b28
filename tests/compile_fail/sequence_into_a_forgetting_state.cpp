// SPDX-License-Identifier: MIT
#include "loglinear/loglinear.hpp"

#ifndef BROKEN
constexpr auto policy = loglinear::LastLevel::fold;
#else
constexpr auto policy = loglinear::LastLevel::halve;
#endif

using State =
    loglinear::LogLinearState<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, policy>;

void read(const loglinear::SequenceInputs<double>& in, State& state) {
  loglinear::SequenceInputs<double>::Matrix out;
  loglinear::chunkwise(in, state, out);  // as it refuses without `out`
}
