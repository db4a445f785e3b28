// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_CHUNKWISE_HPP
#define LOGLINEAR_SEQUENCE_CHUNKWISE_HPP

#include <bit>
#include <cstdint>
#include <utility>

#include "loglinear/chunks/instantiations.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/resize.hpp"
#include "loglinear/sequence/detail/input_source.hpp"
#include "loglinear/sequence/detail/results.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

/// How the chunkwise form cuts a sequence.
struct ChunkwiseOptions {
  /// Tokens of a chunk, at least 1; rounded down to a power of two. Chunks lie between absolute
  /// positions that are multiples of it, so that the first and the last may be shorter.
  Eigen::Index chunk_size = 64;
};

namespace detail {

inline Index chunk_size_of(const ChunkwiseOptions& options) {
  require_positive("chunk_size", options.chunk_size);
  return static_cast<Index>(std::bit_floor(static_cast<std::uint64_t>(options.chunk_size)));
}

/// Copies the levels of a state, or of a layer, into a `Hierarchy`.
template <class State>
auto hierarchy_of(const State& state) {
  using Scalar = typename State::Accumulator;
  Hierarchy<Scalar> levels(state.max_levels(), state.d_k(), state.d_v(), state.size());
  for (int l : state.active_levels()) {
    levels.allocate(l);
    convert(state.level(l).data(), state.d_k() * state.d_v(), levels.level(l).data());
  }
  return levels;
}

template <class Scalar>
void require_shapes(const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& state) {
  if (in.length() > 0) {
    require_size("q (columns, d_k of the state)", in.d_k(), state.d_k());
    require_size("v (columns, d_v of the state)", in.d_v(), state.d_v());
  }
  in.require_shapes(state.size(), state.max_levels());
}

/// Writes the reads, T x d_v, to `out`.
template <class Scalar>
void run_chunkwise(const SequenceInputs<Scalar>& in, Hierarchy<Scalar>& states, Index chunk_size,
                   ChunkwiseTape<Scalar>* tape, const RowBlock<Scalar>& out) {
  const Index weights = in.levels_read(states.count(), in.length(), states.max_levels());
  InputSource<Scalar> source(in, weights);
  source.read_into(out);
  forward_chunks<Scalar>(source, chunk_size, weights, states, tape, true);
}
/// The same to a matrix, which takes the size of the reads.
template <class Scalar>
void run_chunkwise(const SequenceInputs<Scalar>& in, Hierarchy<Scalar>& states, Index chunk_size,
                   ChunkwiseTape<Scalar>* tape, RowMajorMatrix<Scalar>& out) {
  resize(out, in.length(), in.d_v());
  if (in.length() > 0) run_chunkwise(in, states, chunk_size, tape, RowBlock<Scalar>(out));
}
template <class Scalar>
RowMajorMatrix<Scalar> run_chunkwise(const SequenceInputs<Scalar>& in, Hierarchy<Scalar>& states,
                                     Index chunk_size, ChunkwiseTape<Scalar>* tape = nullptr) {
  RowMajorMatrix<Scalar> out;
  run_chunkwise(in, states, chunk_size, tape, out);
  return out;
}

}  // namespace detail

/// What `chunkwise` keeps of a sequence so that `chunkwise_gradient` need not compute all states
/// again: the states before every n-th chunk, n being about half of log2(T / C), O(T / C d_k d_v)
/// numbers together.
template <class Scalar>
struct SequenceTape {
  Eigen::Index chunk_size = 0;  ///< tokens of a chunk
  Eigen::Index length = 0;      ///< T
  std::uint64_t start = 0;      ///< tokens before the first
  int max_levels = 0;           ///< of the state
  Eigen::Index d_k = 0;         ///< columns of q and k
  Eigen::Index d_v = 0;         ///< columns of v
  bool has_state = true;        ///< whether there was a state, which may be differentiated

  detail::ChunkwiseTape<Scalar> states{};  ///< for `chunkwise_gradient`
};

namespace detail {

template <class Scalar>
SequenceTape<Scalar> tape_of(const SequenceInputs<Scalar>& in, const LogLinearState<Scalar>& state,
                             Index chunk_size) {
  return {chunk_size, in.length(), state.size(), state.max_levels(), state.d_k(), state.d_v()};
}
/// The tape of a pass without a state: it begins at an empty one of as many levels as there can be.
template <class Scalar>
SequenceTape<Scalar> tape_of(const SequenceInputs<Scalar>& in, Index chunk_size) {
  return {chunk_size, in.length(), 0, max_level_limit, in.d_k(), in.d_v(), false};
}

}  // namespace detail

/// The sequence form by matrix products within and between chunks (arXiv:2506.04761, section 3.3),
/// in O(T log T).
///
/// It gives the numbers of `dense` and `recurrent`, to rounding, for every combination of inputs. A
/// prompt in pieces of any size, or token by token, gives the numbers of one pass. Numbers below
/// std::numeric_limits<Scalar>::min() count as zero, see docs/numerics.md.
///
/// \param in       the tokens
/// \param state    the state before the tokens; becomes the one after the last push
/// \param out      becomes the reads, T x d_v. Its memory is used again if it has that size: a loop
///                 need not wait for new pages from the system. No input may view it
/// \param options  the size of chunks
/// \param tape     takes what a gradient needs, if given
/// \throws std::invalid_argument as `SequenceInputs::validate`, for a chunk size below 1, or where
/// the state would overflow or a read would not be finite; nothing is changed then, but what fails
/// after the checks of shapes leaves `out` empty
///
/// For chunks of C tokens it takes `O(C (d_k + d_v) + log(T / C) d_k d_v)` operations a token.
/// Every call allocates, beyond inputs and outputs, O(C^2 + C d + levels d_k d_v) numbers. A long
/// sequence is shared out to `thread_count()` threads, with the same bits on any number of them; it
/// then holds memory for two chunks a thread and four more.
template <class Scalar>
void chunkwise(const SequenceInputs<Scalar>& in, LogLinearState<Scalar>& state,
               typename SequenceInputs<Scalar>::Matrix& out, const ChunkwiseOptions& options = {},
               SequenceTape<Scalar>* tape = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  detail::require_shapes(in, state);
  detail::require_apart_from_inputs("out", out, in);
  detail::Hierarchy<Scalar> states = detail::hierarchy_of(state);
  SequenceTape<Scalar> kept = detail::tape_of(in, state, chunk_size);
  detail::RowMajorMatrix<Scalar> reads = std::move(out);
  detail::run_chunkwise(in, states, chunk_size, tape == nullptr ? nullptr : &kept.states, reads);
  if (in.length() > 0) {
    detail::levels_of(state).replace(
        states.count(), [&](int l) -> const auto& { return states.level(l); });
  }
  if (tape != nullptr) *tape = std::move(kept);
  out = std::move(reads);
}

/// Overload that returns the reads, a new matrix.
template <class Scalar>
typename SequenceInputs<Scalar>::Matrix chunkwise(const SequenceInputs<Scalar>& in,
                                                  LogLinearState<Scalar>& state,
                                                  const ChunkwiseOptions& options = {},
                                                  SequenceTape<Scalar>* tape = nullptr) {
  typename SequenceInputs<Scalar>::Matrix out;
  chunkwise(in, state, out, options, tape);
  return out;
}

/// Refuses a state that does not fold what overflows into the last level.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
requires(Overflow != LastLevel::fold) void chunkwise(
    const SequenceInputs<Scalar>&, LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>&,
    const ChunkwiseOptions& = {}) {
  static_assert(Overflow == LastLevel::fold,
                "whole sequences need a state whose last level folds: LastLevel::fold; push the "
                "leaves of a state whose last level forgets or halves one by one");
}
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
requires(Overflow != LastLevel::fold) void chunkwise(
    const SequenceInputs<Scalar>& in,
    LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>& state,
    typename SequenceInputs<Scalar>::Matrix&, const ChunkwiseOptions& options = {}) {
  chunkwise(in, state, options);
}

/// Overload without a state: begins at an empty one of as many levels as the sequence needs, and
/// discards the final state. Errors and cost are those above.
template <class Scalar>
void chunkwise(const SequenceInputs<Scalar>& in, typename SequenceInputs<Scalar>::Matrix& out,
               const ChunkwiseOptions& options = {}, SequenceTape<Scalar>* tape = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  in.require_shapes(0, max_level_limit);
  detail::require_apart_from_inputs("out", out, in);
  detail::Hierarchy<Scalar> states(max_level_limit, in.d_k(), in.d_v());
  SequenceTape<Scalar> kept = detail::tape_of(in, chunk_size);
  detail::RowMajorMatrix<Scalar> reads = std::move(out);
  detail::run_chunkwise(in, states, chunk_size, tape == nullptr ? nullptr : &kept.states, reads);
  if (tape != nullptr) *tape = std::move(kept);
  out = std::move(reads);
}
/// The same, returned.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix chunkwise(
    const SequenceInputs<Scalar>& in, const ChunkwiseOptions& options = {},
    SequenceTape<Scalar>* tape = nullptr) {
  typename SequenceInputs<Scalar>::Matrix out;
  chunkwise(in, out, options, tape);
  return out;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_CHUNKWISE_HPP
