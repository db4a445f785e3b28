// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/layer/log_linear_attention.hpp>
#include <loglinear/rules/gla.hpp>

/// A signal with a slow and a fast part, between -1 and 1.
double signal(int t) {
  return 0.5 * std::sin(0.05 * t) + 0.3 * std::sin(0.61 * t);
}

int main() {
  constexpr int lags = 8, horizon = 5;
  loglinear::LogLinearAttention<loglinear::GLA> layer(
      {.inner = {.gate_bias = 6}, .d_model = lags + 1, .d_k = 8, .d_v = 1, .learning_rate = 0.3});
  const auto lagged = [](int t) -> Eigen::VectorXd {
    return Eigen::VectorXd::NullaryExpr(
        lags + 1, [t](Eigen::Index i) { return i < lags ? signal(t - static_cast<int>(i)) : 1.0; });
  };
  double error = 0, last_value = 0;
  for (int t = 0; t < 12000; ++t) {
    const double truth = signal(t + horizon);  // known only `horizon` steps later
    const double forecast = layer.query_readonly(lagged(t))[0];
    error += std::abs(forecast - truth) / 3000;
    last_value += std::abs(signal(t) - truth) / 3000;
    // What has just become known: the target of the input of `horizon` steps ago.
    layer.train_one(lagged(t - horizon), Eigen::VectorXd::Constant(1, signal(t)));
    if (t % 3000 != 2999) continue;
    std::printf("steps to %5d: mean error %.2f, of the last value %.2f\n", t + 1, error,
                last_value);
    error = last_value = 0;
  }
}
