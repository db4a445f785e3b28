// SPDX-License-Identifier: MIT
#include <vector>

#include "loglinear/sequence.hpp"

loglinear::SequenceInputs<double> inputs(const Eigen::MatrixXd& rows,
                                         const std::vector<double>& gates) {
#ifdef BROKEN
  return {.q = rows, .k = rows, .v = rows, .lambda = rows, .g = gates};
#else
  const Eigen::Map<const Eigen::VectorXd> there(gates.data(), rows.rows());
  return {.q = rows, .k = rows, .v = rows, .lambda = rows, .g = there};
#endif
}
