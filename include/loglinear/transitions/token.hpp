// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TRANSITIONS_TOKEN_HPP
#define LOGLINEAR_TRANSITIONS_TOKEN_HPP

#include "loglinear/detail/base/types.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear {

/// What a rule writes: the leaf `sum_j keys_j values_j^T`, the query and the transition of one
/// token. The gradient of a loss with respect to a token is again a token.
template <class Kind>
struct Token {
  using Scalar = typename Kind::Scalar;

  /// All zeros.
  Token(Eigen::Index key_rows, Eigen::Index d_v, Eigen::Index leaves)
      : keys(detail::zeros<detail::Matrix<Scalar>>(key_rows, leaves)),
        values(detail::zeros<detail::Matrix<Scalar>>(d_v, leaves)),
        query(detail::zeros<Scalar>(key_rows)),
        transition(detail::new_transition<Kind>(key_rows, d_v, leaves)) {}

  detail::Matrix<Scalar> keys;    ///< key_rows x leaves
  detail::Matrix<Scalar> values;  ///< d_v x leaves
  detail::Vector<Scalar> query;   ///< length key_rows
  Kind transition;                ///< what older states undergo
};

}  // namespace loglinear

#endif  // LOGLINEAR_TRANSITIONS_TOKEN_HPP
