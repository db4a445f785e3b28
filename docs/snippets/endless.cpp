// SPDX-License-Identifier: MIT
#include <cstdint>
#include <cstdio>
#include <loglinear/loglinear.hpp>

int main() {
  using namespace loglinear;
  // Eight levels, the last of which keeps half of what it held whenever it is full.
  using Layer = LogLinearAttention<KeyOnly<DeltaNet>, float, MeanMixture, float, LastLevel::halve>;
  Layer layer({.d_model = 4, .d_k = 8, .d_v = 4, .max_levels = 8});
  for (int t = 0; t < 200; ++t) layer.forward(Eigen::VectorXf::Random(4));

  const std::uint64_t year = std::uint64_t{1} << 33;  // at some 270 tokens a second
  const double before = layer.state().norm();
  layer.advance_to(year - 100);
  const double after = layer.state().norm();
  for (int t = 0; t < 200; ++t) layer.forward(Eigen::VectorXf::Random(4));
  std::printf("2^33 + %d tokens, %d levels active, of the first 200 tokens %s left\n",
              static_cast<int>(layer.size() - year), layer.active_level_count(),
              before > 0 && after == 0 ? "nothing" : "something");
}
