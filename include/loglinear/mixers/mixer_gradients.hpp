// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_MIXER_GRADIENTS_HPP
#define LOGLINEAR_MIXERS_MIXER_GRADIENTS_HPP

#include "loglinear/detail/base/types.hpp"
#include "loglinear/mixers/named_weights.hpp"

namespace loglinear {

/// The gradients of `TokenMixer::gradient`.
template <class Scalar>
struct MixerGradients {
  using Matrix = detail::RowMajorMatrix<Scalar>;  ///< a row a token

  Matrix x;                      ///< with respect to the inputs, T x hidden_size
  NamedWeights<Scalar> weights;  ///< with respect to each weight, `weights["A_log"]`
};

namespace detail {

/// A gradient on its way back from a mixer's output to what `read_heads` read.
template <class Scalar>
struct ReadsGradient {
  RowMajorMatrix<Scalar> reads{};   // T x (heads d_v)
  RowMajorMatrix<Scalar> gate{};    // of the output gate before silu, likewise
  RowMajorMatrix<Scalar> direct{};  // of what bypasses the heads, likewise
};

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_MIXERS_MIXER_GRADIENTS_HPP
