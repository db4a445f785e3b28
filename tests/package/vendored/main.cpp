// SPDX-License-Identifier: MIT
#include "loglinear.hpp"

double read_elsewhere(const loglinear::LogLinearState<double>& state);

int main() {
  loglinear::LogLinearState<double> state(4, 2, 2);
  state.push_leaf(Eigen::Vector2d(1, 2), Eigen::Vector2d(3, 4));
  const bool named = loglinear::to_text(loglinear::GLA{}) == "gla";
  return named && read_elsewhere(state) == 1 * 3 * 5 + 2 * 3 * 6 ? 0 : 1;
}
