// SPDX-License-Identifier: MIT
// What one build computes, for bench/rounding to compare with another: the raw reads of streams of
// 2000 tokens, a line a stream, every coefficient of the last 64 reads in full.

#include <cmath>
#include <cstdio>
#include <string>

#include "loglinear/loglinear.hpp"

namespace {

using namespace loglinear;

template <class Scalar, class Inner>
void stream(const char* name, const Inner& inner) {
  LogLinearAttention<Inner, Scalar> layer({.inner = inner, .d_model = 12, .d_k = 20, .d_v = 24});
  for (const auto& weight : layer.weight_names()) {
    layer.set_weight(weight, (layer.weight(weight) * Scalar(25)).eval());
  }
  Xorshift64 normal(3);
  detail::Vector<Scalar> x(12);
  std::printf("%s", name);
  for (int t = 0; t < 2000; ++t) {
    // Rounded to a few bits, so that all builds are given the same.
    for (Scalar& number : x) number = static_cast<Scalar>(std::round(8 * normal.normal()) / 8);
    layer.forward(x);
    if (t < 2000 - 64) continue;
    for (const Scalar& read : layer.raw_read()) std::printf(" %a", static_cast<double>(read));
  }
  std::puts("");
}

template <class Scalar>
void all(const char* scalar) {
  const auto named = [scalar](const char* rule) { return std::string(rule) + "," + scalar; };
  stream<Scalar>(named("KeyOnly<RetNet>").c_str(), KeyOnly<RetNet>{});
  stream<Scalar>(named("GLA").c_str(), GLA{.gate_bias = 6});
  stream<Scalar>(named("GLAVector").c_str(), GLAVector{.gate_bias = 6});
  stream<Scalar>(named("GatedDeltaNet").c_str(), GatedDeltaNet{.gate_bias = 6});
}

}  // namespace

int main() {
  all<float>("float");
  all<double>("double");
}
