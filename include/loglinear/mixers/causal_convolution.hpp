// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP
#define LOGLINEAR_MIXERS_CAUSAL_CONVOLUTION_HPP

// The short causal convolution of a mixer, each channel on its own:
//     y_t = b + sum_j w_j * x_{t - (K - 1) + j},   j = 0 ... K - 1 taps, the last on the token
//     itself
// as torch's Conv1d with groups = channels and padding = K - 1. Before the first token x is 0; what
// a stream carries on is its last K - 1 inputs.

#include <cstddef>
#include <vector>

#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Of each stream, the last K - 1 inputs of each convolution.
template <class Scalar>
using Histories = std::vector<const std::vector<RowMajorMatrix<Scalar>>*>;

/// What `convolve` slides over: for each stream the last K - 1 inputs of convolution `path`, then
/// the new ones. \param inputs  the same number of rows for each stream, one stream after the other
template <class Scalar, class Rows>
[[nodiscard]] RowMajorMatrix<Scalar> after(const Histories<Scalar>& histories, std::size_t path,
                                           const Rows& inputs) {
  const auto streams = static_cast<Index>(histories.size());
  const Index tokens = inputs.rows() / streams, past = (*histories.front())[path].rows();
  RowMajorMatrix<Scalar> all(streams * past + inputs.rows(), inputs.cols());
  for (Index s = 0; s < streams; ++s) {
    const Index first = s * (past + tokens);
    all.middleRows(first, past) = (*histories[static_cast<std::size_t>(s)])[path];
    all.middleRows(first + past, tokens) = inputs.middleRows(s * tokens, tokens);
  }
  return all;
}

/// \param inputs   streams x (K - 1 + T) x channels, as `after` makes them
/// \param weight   channels x K
/// \param bias     channels x 1, or nullptr
/// \return streams x T x channels
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> convolve(const RowMajorMatrix<Scalar>& inputs,
                                              const Matrix<Scalar>& weight,
                                              const Matrix<Scalar>* bias, Index streams = 1) {
  const Index past = weight.cols() - 1, tokens = inputs.rows() / streams - past;
  RowMajorMatrix<Scalar> y = RowMajorMatrix<Scalar>::Zero(streams * tokens, inputs.cols());
  for (Index s = 0; s < streams; ++s) {
    for (Index j = 0; j < weight.cols(); ++j) {
      y.middleRows(s * tokens, tokens).array() +=
          inputs.middleRows(s * (past + tokens) + j, tokens).array().rowwise() *
          weight.col(j).transpose().array();
    }
  }
  if (bias != nullptr) y.rowwise() += bias->col(0).transpose();
  return y;
}

/// The pullback of `convolve`, the history held constant: adds to d_weight and d_bias.
/// \return the gradient with respect to the T new inputs
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
