// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/loglinear.hpp>

int main() {
  // Four places, each with a mean of its own; that of the last two jumps every 400 readings.
  using Value = Eigen::Matrix<double, 1, 1>;
  loglinear::Cascade<> cascade({.d_k = 4, .max_levels = 14});
  loglinear::RecursiveLeastSquares<> readout(
      {.features = cascade.feature_count(), .forgetting = 0.9995});
  loglinear::Xorshift64 noise(7);
  double last = 0, all = 0;
  for (int t = 0; t < 8000; ++t) {
    const int place = t % 4, jumps = place < 2 ? 0 : t / 400 % 2;
    const Eigen::VectorXd key = Eigen::VectorXd::Unit(4, place);
    const Value y(place - 1.5 + 2 * jumps + 0.3 * noise.normal());
    if (t >= 4000) last += std::abs(cascade.predict(key)[0] - y[0]) / 4000;
    const double expected = readout.update(cascade.features(key), y)[0];
    if (t >= 4000) all += std::abs(expected - y[0]) / 4000;
    cascade.write(key, y);
  }
  std::printf("mean error of the last estimate %.3f, of all as features %.3f; noise %.3f\n", last,
              all, 0.3 * std::sqrt(2 / 3.14159265));
}
