// SPDX-License-Identifier: MIT
#include <loglinear/mode/attention.hpp>

#ifndef LOGLINEAR_RUNTIME
#  error "make_attention would be compiled here once more"
#endif

int main() {
  const auto layer = loglinear::make_attention<float>({.d_model = 3, .mode = loglinear::GLA{}});
  return layer->forward(Eigen::Vector3f(1, 2, 3)).size() == 3 ? 0 : 1;
}
