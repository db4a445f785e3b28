// SPDX-License-Identifier: MIT
#include <cstdio>
#include <loglinear/layer/log_linear_attention.hpp>
#include <loglinear/rules/gla.hpp>

int main() {
  using Layer = loglinear::LogLinearAttention<loglinear::GLA>;
  Layer by_token({.inner = {.gate_bias = 6}, .d_model = 8, .d_k = 8, .d_v = 4});
  Layer by_span = by_token;  // a layer is a value: the same weights, the same state
  const Eigen::MatrixXd x = Eigen::MatrixXd::Random(500, 8);  // a row a token

  Eigen::MatrixXd out(500, 4);
  for (int t = 0; t < 500; ++t) by_token.forward(x.row(t), out.row(t));
  const auto span = by_span.forward_span(x);

  const bool same_out = out.isApprox(span, 1e-10);
  const bool same_state = by_token.state().isApprox(by_span.state(), 1e-10);
  std::printf("outputs %s, states %s\n", same_out ? "agree" : "differ",
              same_state ? "agree" : "differ");
}
