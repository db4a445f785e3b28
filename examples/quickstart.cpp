// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/loglinear.hpp>

int main() {
  loglinear::LogLinearAttention<loglinear::GatedDeltaNet> layer(
      {.inner = {.gate_bias = 4}, .d_model = 8, .d_k = 8, .d_v = 2});
  double loss = 0;
  for (int t = 1; t <= 4000; ++t) {  // eight samples of a wave, and where it will be later
    const Eigen::VectorXd x = Eigen::VectorXd::LinSpaced(8, 0.1 * t, 0.1 * t + 3).array().sin();
    const Eigen::Vector2d y(0.8 * std::sin(0.1 * t + 4), 0.8 * std::cos(0.1 * t + 4));
    loss += (layer.train_one(x, y) - y).squaredNorm() / 1000;
    if (t % 1000 != 0) continue;
    std::printf("%d tokens, %d of %d levels active, error %.2f\n", t, layer.active_level_count(),
                layer.max_levels(), std::sqrt(loss));
    loss = 0;
  }
}
