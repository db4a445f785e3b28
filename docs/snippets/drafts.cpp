// SPDX-License-Identifier: MIT
#include <cmath>
#include <cstdio>
#include <loglinear/loglinear.hpp>

/// A signal, and what a cheap model expects of it.
Eigen::Vector2d expected(int t) {
  return {std::sin(0.3 * t), std::cos(0.3 * t)};
}
Eigen::Vector2d actual(int t) {
  return t % 13 == 0 ? Eigen::Vector2d(0.5, 0.5) : expected(t);
}

int main() {
  using Layer = loglinear::LogLinearAttention<loglinear::GatedDeltaNet>;
  Layer layer({.inner = {.gate_bias = 6}, .d_model = 2, .d_k = 16, .d_v = 2});
  for (int t = 0; t < 100; ++t) layer.forward(actual(t));

  // Two continuations from one moment; then the first again.
  const Layer::Snapshot moment = layer.snapshot();
  const Eigen::VectorXd first = layer.forward(expected(100));
  layer.restore(moment);
  layer.forward(actual(107));
  layer.restore(moment);
  std::printf("%s\n", layer.forward(expected(100)) == first ? "the same bits" : "other bits");

  // Drafts of 8 tokens; what turns out to be wrong is taken back with all that followed.
  layer.restore(moment);
  loglinear::Rewindable<Layer> stream(layer, {.depth = 8});
  int taken_back = 0;
  for (int t = 100; t < 500; t += 8) {
    for (int i = 0; i < 8; ++i) stream.forward(expected(t + i));
    for (int i = 0; i < 8; ++i) {
      if (actual(t + i) == expected(t + i)) continue;
      stream.rewind(8 - i);
      taken_back += 8 - i;
      stream.forward(actual(t + i));
      for (int rest = i + 1; rest < 8; ++rest) stream.forward(expected(t + rest));
    }
  }
  for (int t = 100; t < 500; ++t) layer.forward(actual(t));
  std::printf("%d tokens taken back, %s\n", taken_back,
              stream.layer().state() == layer.state() ? "the same bits" : "other bits");
}
