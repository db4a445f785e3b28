// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/loglinear.hpp>

int main() {
  loglinear::LogLinearAttention<loglinear::GLA> layer({.d_model = 2, .d_k = 8, .d_v = 1});
  loglinear::Xorshift64 random(5);
  double error = 0, mean = 0;
  Eigen::Vector2d x(0, 0);
  for (int t = 0; t < 4000; ++t) {  // hectopascals and degrees, and the megawatts that follow
    x = 0.9 * x + 0.4 * Eigen::Vector2d(8 * random.normal(), 5 * random.normal());
    const Eigen::Matrix<double, 1, 1> y(30 + 0.5 * x[0] - 1.5 * x[1]);
    const double centre = 30, spread = 25;  // of the targets: most lie within tanh then
    const double o =
        centre + spread * layer.train_one(x, ((y.array() - centre) / spread).matrix())[0];
    if (t >= 3000) error += std::abs(o - y[0]) / 1000;
    if (t >= 3000) mean += std::abs(30 - y[0]) / 1000;
  }
  std::printf("error %.1f, of the mean %.1f\n", error, mean);
}
