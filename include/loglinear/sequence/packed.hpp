// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_PACKED_HPP
#define LOGLINEAR_SEQUENCE_PACKED_HPP

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"

namespace loglinear {

namespace detail {

/// Throws unless `cu_seqlens` cuts `length` tokens into `count` sequences.
inline void require_cuts(const std::vector<Index>& cu_seqlens, Index length, std::size_t count) {
  require_size("cu_seqlens", static_cast<Index>(cu_seqlens.size()), static_cast<Index>(count) + 1);
  if (cu_seqlens.front() != 0) fail("cu_seqlens[0]", cu_seqlens.front(), "0");
  for (std::size_t n = 1; n < cu_seqlens.size(); ++n) {
    require_between("cu_seqlens[" + std::to_string(n) + "]", cu_seqlens[n], cu_seqlens[n - 1],
                    length);
  }
  if (cu_seqlens.back() != length) {
    fail("the last of cu_seqlens", cu_seqlens.back(),
         std::to_string(length) + ", the number of tokens");
  }
}

/// Throws unless all states have the same d_k and d_v; a sequence without tokens says nothing of
/// them.
template <class Scalar>
void require_same_shape(const std::vector<LogLinearState<Scalar>>& states) {
  for (std::size_t n = 1; n < states.size(); ++n) {
    const auto require_equal = [&](const char* what, Index size, Index first) {
      if (size == first) return;
      fail(std::string(what) + " of state " + std::to_string(n), size,
           "that of state 0, " + std::to_string(first));
    };
    require_equal("d_k", states[n].d_k(), states[0].d_k());
    require_equal("d_v", states[n].d_v(), states[0].d_v());
  }
}

}  // namespace detail

/// Several sequences of different lengths, packed one after the other into one set of inputs, as
/// flash-linear-attention packs them; each has a state of its own.
///
/// \param in          the tokens of all sequences
/// \param cu_seqlens  where they begin, and the end: 0, ..., T, not decreasing; sequence n is the
///                    tokens [cu_seqlens[n], cu_seqlens[n + 1])
/// \param states      the state before each sequence; becomes the state after it
/// \param options     the size of chunks
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `chunkwise` for any of the sequences, for other cuts than that,
/// or unless there is one state for each, all of the same d_k and d_v; nothing is changed then
///
/// Costs what `chunkwise` does for one sequence after the other, and copies the states.
template <class Scalar>
typename SequenceInputs<Scalar>::Matrix chunkwise(const SequenceInputs<Scalar>& in,
                                                  const std::vector<Eigen::Index>& cu_seqlens,
                                                  std::vector<LogLinearState<Scalar>>& states,
                                                  const ChunkwiseOptions& options = {}) {
  const detail::FlushToZero<Scalar> flush;
  detail::require_cuts(cu_seqlens, in.length(), states.size());
  detail::require_same_shape(states);
  std::vector<LogLinearState<Scalar>> after = states;
  detail::RowMajorMatrix<Scalar> out(in.length(), in.d_v());
  for (std::size_t n = 0; n < states.size(); ++n) {
    const Eigen::Index first = cu_seqlens[n], count = cu_seqlens[n + 1] - first;
    out.middleRows(first, count) = chunkwise(in.slice(first, count), after[n], options);
  }
  states = std::move(after);
  return out;
}

/// The gradient of `sum(d_out * out)` of packed sequences. It computes the states again, but not
/// the reads.
///
/// \param in, cu_seqlens, options  as above
/// \param initial  the state before each sequence
/// \param d_out    the gradient with respect to the reads, T x d_v
/// \return the gradients; `state` holds those of all initial states, one below the other
/// \throws std::invalid_argument as `chunkwise` above and `chunkwise_gradient` of one sequence
///
/// Costs what `chunkwise_gradient` without a tape does for one sequence after the other.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const std::vector<Eigen::Index>& cu_seqlens,
    const std::vector<LogLinearState<Scalar>>& initial,
    const typename SequenceInputs<Scalar>::Rows& d_out, const ChunkwiseOptions& options = {}) {
  const detail::FlushToZero<Scalar> flush;
  detail::require_cuts(cu_seqlens, in.length(), initial.size());
  detail::require_same_shape(initial);
  detail::require_size("d_out (rows)", d_out.rows(), in.length());
  auto all = SequenceGradients<Scalar>::sized_like(in);
  using Matrix = detail::RowMajorMatrix<Scalar>;
  std::vector<Matrix> states;
  Eigen::Index state_rows = 0;
  for (std::size_t n = 0; n < initial.size(); ++n) {
    const Eigen::Index first = cu_seqlens[n], count = cu_seqlens[n + 1] - first;
    const auto d_part = d_out.middleRows(first, count);  // it has a name, so that it is viewed
    SequenceGradients<Scalar> part =
        chunkwise_gradient(in.slice(first, count), initial[n], d_part, options);
    detail::for_each_array(
        [&](const char*, Matrix& into, const Matrix& from) {
          if (count == 0 || from.size() == 0) return;
          const Eigen::Index each = from.rows() / count;
          into.middleRows(first * each, count * each) = from;
        },
        all, part);
    state_rows += part.state.rows();
    states.push_back(std::move(part.state));
  }
  if (!states.empty()) all.state.resize(state_rows, states.front().cols());
  state_rows = 0;
  for (const auto& state : states) {
    all.state.middleRows(state_rows, state.rows()) = state;
    state_rows += state.rows();
  }
  return all;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_PACKED_HPP
