// SPDX-License-Identifier: MIT
#include <iostream>
#include <loglinear/mode/attention.hpp>
#include <loglinear/mode/mode_text.hpp>
#include <loglinear/mode/summary.hpp>
#include <vector>

int main() {
  // What make_attention returns is a std::unique_ptr: members are called by ->, and *layer is the
  // layer.
  const auto layer = loglinear::make_attention<float>(
      {.d_model = 16,
       .n_heads = 2,
       .d_k = 8,
       .d_v = 8,
       .mode = loglinear::parse_mode("log_linear(gla(gate_bias=6), max_levels=20)")});
  std::cout << *layer;

  std::vector<float> x(16, 0.5F);  // a std::vector of the layer's scalar, as good as Eigen's
  const Eigen::VectorXf first = layer->forward(x);  // a copy: the next call overwrites the output
  x[0] = 2;
  const Eigen::VectorXf& second = layer->forward(x);  // a reference to the layer's own output
  std::cout << layer->size() << " tokens, outputs of " << second.size()
            << (first == second ? ", the same\n" : ", different\n");
}
