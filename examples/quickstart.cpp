// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/loglinear.hpp>

int main() {
  loglinear::LogLinearAttention<loglinear::GatedDeltaNet> layer(
      {.inner = {.gate_bias = 4}, .d_model = 8, .d_k = 8, .d_v = 1});
  double loss = 0;
  Eigen::VectorXd x(8), y(1);
  for (int t = 1; t <= 4000; ++t) {  // eight samples of a wave, and one of where it will be later
    for (int i = 0; i < 8; ++i) x[i] = std::sin(0.1 * t + 0.4 * i);
    y[0] = 0.8 * std::sin(0.1 * t + 4);
    const double error = layer.train_one(x, y)[0] - y[0];
    loss += error * error / 1000;
    if (t % 1000 != 0) continue;
    std::printf("%d tokens, %d of %d levels active, error %.2f\n", t, layer.active_level_count(),
                layer.max_levels(), std::sqrt(loss));
    loss = 0;
  }
}
