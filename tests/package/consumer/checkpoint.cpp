// SPDX-License-Identifier: MIT
#include <loglinear/checkpoint.hpp>

int main() {
  loglinear::LogLinearState<double> state(4, 2, 2), other(4, 2, 2);
  state.push_leaf(Eigen::Vector2d(1, 2), Eigen::Vector2d(3, 4));
  save("state.safetensors", state);
  load("state.safetensors", other);
  return other == state ? 0 : 1;
}
