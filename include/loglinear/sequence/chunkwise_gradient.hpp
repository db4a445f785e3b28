// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP
#define LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/resize.hpp"
#include "loglinear/sequence/chunkwise.hpp"

namespace loglinear {

namespace detail {

/// Throws unless the states of a tape fit its chunks. The members are public, so a caller may have
/// changed them.
template <class Scalar>
void require_whole(const SequenceTape<Scalar>& tape) {
  require_level_count(tape.max_levels);
  require_positive("chunk_size of the tape", tape.chunk_size);
  const ChunkwiseTape<Scalar>& states = tape.states;
  const auto interval = static_cast<std::size_t>((std::max)(states.interval, 1));
  const std::size_t chunks = states.begins.size();
  bool fits = states.interval > 0 && states.kept.size() == (chunks + interval - 1) / interval &&
              std::has_single_bit(static_cast<std::uint64_t>(tape.chunk_size));
  Index first = 0;
  for (std::size_t n = 0; fits && n < chunks; ++n) {
    const std::uint64_t count = tape.start + static_cast<std::uint64_t>(first);
    fits = first < tape.length && states.begins[n] == first;
    if (n % interval == 0) {
      const Hierarchy<Scalar>& before = states.kept[n / interval];
      fits =
          fits && before.count() == count && before.has_shape(tape.max_levels, tape.d_k, tape.d_v);
    }
    const auto into = static_cast<Index>(count % static_cast<std::uint64_t>(tape.chunk_size));
    first += (std::min)(tape.chunk_size - into, tape.length - first);
  }
  if (!fits || first != tape.length) {
    fail("the tape", "changed or of other tokens", "as `chunkwise` left it");
  }
}

/// Throws if one of the arrays lies where gradients may be written to.
template <class Scalar>
void require_apart_from_arguments(const SequenceGradients<Scalar>& gradients,
                                  const SequenceInputs<Scalar>& in,
                                  const SequenceArray<Scalar>& d_out) {
  const auto require_own = [&](const char* name, const RowMajorMatrix<Scalar>& gradient) {
    const std::string what = "the gradient of " + std::string(name);
    require_apart_from_inputs(what, gradient, in);
    require_apart(what, gradient, "d_out", d_out);
  };
  for_each_array(require_own, gradients);
  require_own("the state", gradients.state);
}

}  // namespace detail

/// The gradient of `sum(d_out * out)` with respect to every input, where `out` are the reads of
/// `chunkwise`. Goes chunk by chunk from the last to the first.
///
/// \param in       the tokens that `chunkwise` was given
/// \param tape     what it kept
/// \param d_out    the gradient of a loss with respect to the reads, T x d_v
/// \param gradients  become the gradients; those of g and g_value are with respect to the
///                 logarithms, and 0 where a log decay is -infinity. Their memory is used again
///                 where it has the size; neither inputs nor d_out may view it
/// \param d_final  the gradient of the loss with respect to the state after the tokens, each level
///                 flattened row-major, max_levels x d_k d_v; an absent array stands for zero. Only
///                 with a tape of a pass that had a state. Give it the `SequenceGradients::state`
///                 of the tokens that follow to differentiate a long sequence in pieces
/// \throws std::invalid_argument for inputs of another shape than the tape's, a tape that has been
/// changed, a d_out or d_final of another shape or that is not finite, or where a gradient would
/// not be finite. What fails after the checks of shapes leaves all gradients empty
///
/// Takes about two and a half times the products of `chunkwise`. The states between those on the
/// tape are computed again: memory is O(T d + T / C d_k d_v) altogether.
template <class Scalar>
void chunkwise_gradient(const SequenceInputs<Scalar>& in, const SequenceTape<Scalar>& tape,
                        const typename SequenceInputs<Scalar>::Rows& d_out,
                        SequenceGradients<Scalar>& gradients,
                        const typename SequenceInputs<Scalar>::Rows& d_final = {}) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index size = tape.has_state ? tape.d_k * tape.d_v : 0;
  detail::require_size("the sequence (tokens)", in.length(), tape.length);
  in.require_shapes(tape.start, tape.max_levels);
  detail::require_size("d_out (rows)", d_out.rows(), in.length());
  if (in.length() > 0) {
    detail::require_size("q (columns)", in.d_k(), tape.d_k);
    detail::require_size("v (columns)", in.d_v(), tape.d_v);
    detail::require_size("d_out (columns)", d_out.cols(), in.d_v());
  }
  detail::require_whole(tape);
  if (d_final.size() > 0) {
    detail::require_size("d_final (rows)", d_final.rows(), tape.has_state ? tape.max_levels : 0);
    detail::require_size("d_final (columns)", d_final.cols(), size);
  }
  detail::require_apart_from_arguments(gradients, in, d_out);
  SequenceGradients<Scalar> computed = std::move(gradients);
  detail::Hierarchy<Scalar> d_states(tape.max_levels, tape.d_k, tape.d_v,
                                     tape.start + static_cast<std::uint64_t>(in.length()));
  detail::require_finite("d_final", d_final);
  for (int l : d_states.active()) {
    d_states.set_zero(l);
    if (d_final.size() > 0) d_states.level(l).template reshaped<Eigen::RowMajor>() = d_final.row(l);
  }
  computed.resize_like(in);  // d_final may have been the gradient of the state
  detail::set_zero(computed.state, Eigen::Index{tape.has_state ? tape.max_levels : 0}, size);
  if (in.length() > 0) {
    const auto weights = in.levels_read(tape.start, in.length(), tape.max_levels);
    detail::InputSource<Scalar> source(in, weights);
    source.differentiate(detail::view_of(d_out), computed);
    detail::pull_back_chunks<Scalar>(source, tape.chunk_size, weights, tape.states, d_states);
  }
  for (int l : d_states.active()) {  // none without a state
    computed.state.row(l) = d_states.level(l).template reshaped<Eigen::RowMajor>();
  }
  detail::require_finite_gradient("the state", computed.state);
  gradients = std::move(computed);
}

/// Overload that returns the gradients, in new matrices.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const SequenceTape<Scalar>& tape,
    const typename SequenceInputs<Scalar>::Rows& d_out,
    const typename SequenceInputs<Scalar>::Rows& d_final = {}) {
  SequenceGradients<Scalar> gradients{};
  chunkwise_gradient(in, tape, d_out, gradients, d_final);
  return gradients;
}

namespace detail {

/// Notes the states of a sequence on the tape without computing reads.
template <class Scalar>
void run_states(const SequenceInputs<Scalar>& in, Hierarchy<Scalar> states,
                SequenceTape<Scalar>& tape) {
  if (in.length() == 0) return;
  const auto weights = in.levels_read(states.count(), in.length(), states.max_levels());
  InputSource<Scalar> source(in, weights);
  forward_chunks<Scalar>(source, tape.chunk_size, weights, states, &tape.states, false);
}

}  // namespace detail

/// Overload without a tape: it computes the states again, but not the reads, and takes up to a
/// fifth longer than with a tape.
///
/// \param initial  the state before the tokens
/// \param options  the size of chunks
/// \throws std::invalid_argument as `chunkwise` and as above
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& initial,
    const typename SequenceInputs<Scalar>::Rows& d_out, const ChunkwiseOptions& options = {},
    const typename SequenceInputs<Scalar>::Rows& d_final = {}) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  detail::require_shapes(in, initial);
  SequenceTape<Scalar> tape = detail::tape_of(in, initial, chunk_size);
  detail::run_states(in, detail::hierarchy_of(initial), tape);
  return chunkwise_gradient(in, tape, d_out, d_final);
}

/// Overload with neither: begins at an empty state of as many levels as the sequence needs. Errors
/// and cost are those above.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const typename SequenceInputs<Scalar>::Rows& d_out,
    const ChunkwiseOptions& options = {}) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  in.require_shapes(0, max_level_limit);
  SequenceTape<Scalar> tape = detail::tape_of(in, chunk_size);
  detail::run_states(in, {tape.max_levels, tape.d_k, tape.d_v}, tape);
  return chunkwise_gradient(in, tape, d_out);
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_CHUNKWISE_GRADIENT_HPP
