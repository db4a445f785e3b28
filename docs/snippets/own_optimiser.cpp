// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/loglinear.hpp>
#include <map>
#include <string>

int main() {
  using Layer = loglinear::LogLinearAttention<loglinear::GatedDeltaNet>;
  Layer layer({.inner = {.gate_bias = 4},
               .d_model = 3,
               .d_k = 8,
               .d_v = 2,
               .read_order = loglinear::ReadOrder::after_push,
               .bias = true,
               .weight_scale = 0.4});
  loglinear::Xorshift64 random(3);
  const Eigen::MatrixXd x =
      Eigen::MatrixXd::NullaryExpr(200, 3, [&](auto, auto) { return random.normal(); });
  Eigen::MatrixXd y(200, 2);  // the target: two mixtures of the inputs
  y.col(0) = 0.3 * x.col(0) - 0.2 * x.col(1);
  y.col(1) = 0.2 * x.col(1) + 0.3 * x.col(2);

  // The biases that suit drawn weights stay.
  for (const char* name : {"w_key.bias", "w_query.bias"}) {
    layer.set_weight(name, layer.weight(name));
  }

  // Gradient descent with momentum: one velocity for each weight array, by its name.
  std::map<std::string, Eigen::MatrixXd> velocity;
  const Layer::Snapshot beginning = layer.snapshot();
  for (int step = 0; step <= 300; ++step) {
    const Eigen::MatrixXd error = layer.forward_span(x) - y;  // a row a token
    layer.restore(beginning);
    if (step % 100 == 0) std::printf("step %3d: loss %.4f\n", step, error.squaredNorm() / 200);

    const auto gradient = layer.span_gradient(x, error / 200);  // of all weights at once
    for (const std::string& name : layer.weight_names()) {
      auto& v = velocity[name];
      if (v.size() == 0) v.setZero(layer.weight(name).rows(), layer.weight(name).cols());
      v = 0.9 * v + gradient.weight(name);
      layer.set_weight(name, layer.weight(name) - 0.1 * v);
    }
  }
}
