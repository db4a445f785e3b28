// SPDX-License-Identifier: MIT
// The second translation unit also meets the folder, before and after the single header.
#ifdef WITH_FOLDER
#  include <loglinear/stream/log_linear_state.hpp>
#endif
#include "loglinear.hpp"
#ifdef WITH_FOLDER
#  include <loglinear/loglinear.hpp>
#  include <loglinear/mode/attention.hpp>
#endif

double read_elsewhere(const loglinear::LogLinearState<double>& state) {
  Eigen::Vector2d out;
  state.query_mixed(Eigen::Vector2d(5, 6), Eigen::Vector4d::Ones(), out);
  return out[0];
}
