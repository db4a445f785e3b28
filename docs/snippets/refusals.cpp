// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/stream/log_linear_state.hpp>
#include <stdexcept>

int main() {
  loglinear::LogLinearState<float> state(20, 2, 2);
  for (const float first : {0.5F, NAN, 1e30F}) {
    const auto before = state;
    try {
      state.push_leaf(Eigen::Vector2f(first, 1), Eigen::Vector2f(first, 2));
      std::printf("taken, %d tokens\n", static_cast<int>(state.size()));
    } catch (const std::invalid_argument& error) {
      std::printf("%s; %s\n", error.what(), state == before ? "nothing changed" : "changed");
    }
  }
}
