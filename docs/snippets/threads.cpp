// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/layer/log_linear_attention.hpp>
#include <loglinear/rules/retnet.hpp>
#include <thread>
#include <vector>

int main() {
  using Layer = loglinear::LogLinearAttention<loglinear::RetNet>;
  Layer layer({.inner = {.gamma = 0.999}, .d_model = 4, .d_k = 8, .d_v = 2});
  for (int t = 0; t < 100; ++t) layer.forward(Eigen::VectorXd::Random(4));

  const Layer& shared = layer;  // readers see it const, and while they read nobody writes
  const Eigen::Vector4d x(1, 2, 3, 4);
  std::vector<Eigen::VectorXd> answers(4);
  std::vector<std::thread> readers;
  for (auto& answer : answers) {
    readers.emplace_back([&] {
      Layer::Workspace workspace = shared.make_workspace();  // one a thread, for its lifetime
      for (int i = 0; i < 1000; ++i) answer = shared.query_readonly(x, workspace);
    });
  }
  for (auto& reader : readers) reader.join();
  bool same = true;
  for (const auto& answer : answers) same = same && answer == layer.query_readonly(x);
  std::printf("4 threads, %s\n", same ? "one answer" : "several answers");
}
