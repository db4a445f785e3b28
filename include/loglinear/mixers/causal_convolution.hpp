// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP
#define LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP

// The short causal convolution of a mixer, each channel on its own:
//     y_t = b + sum_j w_j * x_{t - (K - 1) + j},   j = 0 ... K - 1 taps, the last on the token
//     itself
// as torch's Conv1d with groups = channels and padding = K - 1. Before the first token x is 0; what
// a stream carries on is its last K - 1 inputs.

#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// The last K - 1 inputs, then the new ones: what `convolve` slides over.
template <class Scalar, class Rows>
[[nodiscard]] RowMajorMatrix<Scalar> after(const RowMajorMatrix<Scalar>& history,
                                           const Rows& inputs) {
  RowMajorMatrix<Scalar> all(history.rows() + inputs.rows(), inputs.cols());
  all << history, inputs;
  return all;
}

/// \param inputs  (K - 1 + T) x channels
/// \param weight  channels x K
/// \param bias    channels x 1, or nullptr
/// \return T x channels
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> convolve(const RowMajorMatrix<Scalar>& inputs,
                                              const Matrix<Scalar>& weight,
                                              const Matrix<Scalar>* bias) {
  const Index tokens = inputs.rows() - (weight.cols() - 1);
  RowMajorMatrix<Scalar> y = RowMajorMatrix<Scalar>::Zero(tokens, inputs.cols());
  for (Index j = 0; j < weight.cols(); ++j) {
    y.array() += inputs.middleRows(j, tokens).array().rowwise() * weight.col(j).transpose().array();
  }
  if (bias != nullptr) y.rowwise() += bias->col(0).transpose();
  return y;
}

/// The pullback of `convolve`, the history held constant: adds to d_weight and d_bias.
/// \return with respect to the T new inputs
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> convolve_pullback(const RowMajorMatrix<Scalar>& inputs,
                                                       const Matrix<Scalar>& weight,
                                                       const RowMajorMatrix<Scalar>& d_y,
                                                       Matrix<Scalar>& d_weight,
                                                       Matrix<Scalar>* d_bias) {
  const Index tokens = d_y.rows();
  RowMajorMatrix<Scalar> d_inputs = RowMajorMatrix<Scalar>::Zero(inputs.rows(), inputs.cols());
  for (Index j = 0; j < weight.cols(); ++j) {
    d_inputs.middleRows(j, tokens).array() +=
        d_y.array().rowwise() * weight.col(j).transpose().array();
    d_weight.col(j) += d_y.cwiseProduct(inputs.middleRows(j, tokens)).colwise().sum().transpose();
  }
  if (d_bias != nullptr) *d_bias += d_y.colwise().sum().transpose();
  return d_inputs.bottomRows(tokens);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP
