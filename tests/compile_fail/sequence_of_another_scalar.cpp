// SPDX-License-Identifier: MIT
#include "loglinear/sequence.hpp"

loglinear::SequenceInputs<double> inputs(const Eigen::MatrixXd& rows,
                                         const Eigen::MatrixXf& gates) {
#ifdef BROKEN
  return {.q = rows, .k = rows, .v = rows, .lambda = rows, .g = gates};
#else
  return {.q = rows, .k = rows, .v = rows, .lambda = rows, .g = gates.cast<double>()};
#endif
}
