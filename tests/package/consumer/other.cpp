// SPDX-License-Identifier: MIT
// A second translation unit with the same header: nothing may be defined twice.
#include <loglinear/loglinear.hpp>

double read_elsewhere(const loglinear::LogLinearState<double>& state) {
  Eigen::Vector2d out;
  state.query_mixed(Eigen::Vector2d(5, 6), Eigen::Vector4d::Ones(), out);
  return out[0];
}
