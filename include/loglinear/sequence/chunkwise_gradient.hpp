// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP
#define LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP

#include "loglinear/sequence/chunkwise.hpp"

namespace loglinear {

/// The gradient of `sum(d_out * out)`, the reads of a sequence under any cotangent, with respect to
/// every input, chunk by chunk from the last to the first.
///
/// \param in       the tokens
/// \param initial  the state before them
/// \param d_out    the gradient of a loss with respect to the reads, T x d_v
/// \param options  the size of chunks
/// \param d_final  the gradient of the loss with respect to the state after the tokens, each level
///                 flattened row-major, max_levels x d_k d_v; without rows for zero. With
///                 `SequenceGradients::state` of the tokens that follow, a long sequence can be
///                 differentiated in pieces.
/// \return the gradients, log decays being differentiated as such; with a log decay of -infinity
///         that gradient is 0
/// \throws std::invalid_argument as `chunkwise`, or for another shape of d_out or d_final
///
/// About two and a half times the products of `chunkwise`. States are kept once in about log T
/// chunks and computed again in between: memory O(T d + T / C d_k d_v).
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& initial,
    const typename SequenceInputs<Scalar>::Rows& d_out, const ChunkwiseOptions& options = {},
    const typename SequenceInputs<Scalar>::Rows& d_final = detail::RowMajorMatrix<Scalar>()) {
  const Eigen::Index chunk_size = detail::chunk_size_of(options), d_k = initial.d_k(),
                     d_v = initial.d_v();
  const int max_levels = initial.max_levels();
  detail::validate_with_state(in, initial);
  detail::require_size("d_out (rows)", d_out.rows(), in.length());
  if (in.length() > 0) detail::require_size("d_out (columns)", d_out.cols(), in.d_v());
  detail::require_finite("d_out", d_out);
  if (d_final.size() > 0) {
    detail::require_size("d_final (rows)", d_final.rows(), max_levels);
    detail::require_size("d_final (columns)", d_final.cols(), d_k * d_v);
    detail::require_finite("d_final", d_final);
  }
  SequenceGradients<Scalar> gradients;
  const auto like = [](auto& gradient, const auto& input) {
    gradient.setZero(input.rows(), input.cols());
  };
  like(gradients.q, in.q);
  like(gradients.k, in.k);
  like(gradients.v, in.v);
  like(gradients.lambda, in.lambda);
  like(gradients.g, in.g);
  like(gradients.g_value, in.g_value);
  like(gradients.beta, in.beta);
  like(gradients.u, in.u);
  like(gradients.p, in.p);
  gradients.state.setZero(max_levels, d_k * d_v);

  const auto length = static_cast<std::uint64_t>(in.length());
  detail::Hierarchy<Scalar> d_states(max_levels, d_k, d_v, initial.size() + length);
  using Flat = Eigen::Map<const detail::RowMajorMatrix<Scalar>>;
  for (int l : d_states.active()) {
    d_states.set_zero(l);
    if (d_final.size() > 0) d_states.level(l) = Flat(d_final.row(l).data(), d_k, d_v);
  }
  if (in.length() > 0) {
    const auto weights = in.levels_read(initial.size(), in.length(), max_levels);
    detail::InputSource<Scalar> source(in, weights);
    source.differentiate(d_out, gradients);
    detail::ChunkwiseRun<Scalar>(source, chunk_size, weights)
        .gradient(detail::hierarchy_of(initial), d_states, false);
  }
  for (int l : d_states.active()) {
    gradients.state.row(l) = Eigen::Map<const Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>(
        d_states.level(l).data(), d_k * d_v);
  }
  return gradients;
}

/// The same from an empty state of as many levels as the sequence needs.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const typename SequenceInputs<Scalar>::Rows& d_out,
    const ChunkwiseOptions& options = {}) {
  const LogLinearState<Scalar> empty(levels_needed(static_cast<std::uint64_t>(in.length())),
                                     std::max<Eigen::Index>(1, in.d_k()),
                                     std::max<Eigen::Index>(1, in.d_v()));
  SequenceGradients<Scalar> gradients = chunkwise_gradient(in, empty, d_out, options);
  gradients.state.resize(0, 0);
  return gradients;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP
