// SPDX-License-Identifier: MIT
#include <cstdint>
#include <cstdio>
#include <loglinear/loglinear.hpp>
#include <thread>
#include <vector>

int main() {
  using Layer = loglinear::LogLinearAttention<loglinear::GLA>;
  using Part = loglinear::StreamPart<Layer>;
  Layer layer({.inner = {.gate_bias = 6}, .d_model = 8, .d_k = 16, .d_v = 8});
  const Eigen::MatrixXd prompt = Eigen::MatrixXd::Random(10000, 8);  // a row a token

  // Four parts on four threads, each from its absolute count.
  std::vector<Part> parts;
  for (int first = 0; first < 10000; first += 2500) {
    parts.emplace_back(layer, static_cast<std::uint64_t>(first));
  }
  std::vector<std::thread> threads;
  for (Part& part : parts) {
    threads.emplace_back([&] {
      while (part.size() < part.first() + 2500) {
        part.write(prompt.row(static_cast<Eigen::Index>(part.size())));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  Layer merged = layer;
  for (const Part& part : parts) part.append_to(merged);

  for (int t = 0; t < 10000; ++t) layer.forward(prompt.row(t));
  const bool same = merged.state().isApprox(layer.state(), 1e-10);
  std::printf("%d tokens, %s one stream\n", static_cast<int>(merged.size()),
              same ? "as" : "not as");
}
