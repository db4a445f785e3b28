// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_BATCH_CHUNKWISE_HPP
#define LOGLINEAR_BATCH_BATCH_CHUNKWISE_HPP

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/detail/batch_heads.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"

namespace loglinear {

namespace detail {

/// The number of levels of a pass without states: as many as there can be, or 1 without lambda.
template <class Scalar>
[[nodiscard]] int levels_without_state(const BatchHeads<Scalar>& heads) {
  return heads.has_levels() ? max_level_limit : 1;
}

/// The reads of one head and the levels after them.
template <class Scalar>
[[nodiscard]] Hierarchy<Scalar> read_head(const SequenceInputs<Scalar>& in,
                                          Hierarchy<Scalar> levels, SequenceTape<Scalar> tape,
                                          SequenceTape<Scalar>* kept, const HeadRows& rows,
                                          const HeadArray<Scalar>& out) {
  const Index chunk_size = tape.chunk_size;
  ChunkwiseTape<Scalar>* const states = kept == nullptr ? nullptr : &tape.states;
  if (rows.count > 0 && has_rows(out)) {
    const Index stride = out.rows() > 1 ? out.strides()[1] : out.columns();
    run_chunkwise(in, levels, chunk_size, states,
                  RowBlock<Scalar>(rows.row(out, 0), rows.count, out.columns(), stride));
  } else {
    put_rows(run_chunkwise(in, levels, chunk_size, states), out, rows);
  }
  if (kept != nullptr) *kept = std::move(tape);
  return levels;
}

}  // namespace detail

/// The reads of `SequenceInputs` for every head of a batch, from the given states, by the chunkwise
/// form. They are those that `chunkwise` of each head gives, to the bit, for all layouts and
/// strides and any number of threads.
///
/// \param in       the arrays; none is changed
/// \param out      where reads go, [B, T, H, d_v]; must not overlap any input
/// \param states   the state before each sequence and head; becomes the state after it
/// \param options  the size of chunks
/// \param tape     takes what a gradient needs, if given
/// \throws std::invalid_argument for sizes, strides or cuts that do not fit together and for
/// numbers that are not finite (g and g_value may be -infinity), before anything is changed; the
/// message names the array and the head. Where a result would leave the range of the scalar type,
/// states and tape are unchanged, and `out` may hold some of the reads
///
/// Costs what `chunkwise` does for each head, and one pass over all numbers. The work is shared out
/// to `thread_count()` threads by sequences and heads, or by value columns where heads are few.
/// Copies the states and allocates what each head needs; reads go straight to `out`.
template <class Scalar>
void chunkwise(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               BatchStates<Scalar>& states, const ChunkwiseOptions& options = {},
               BatchTape<Scalar>* tape = nullptr) {
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_reads("out", out, heads.shape());
  detail::require_target(out, in);
  detail::require_states(states, in, heads.shape());
  const auto state = [&](Eigen::Index n) -> LogLinearState<Scalar>& {
    return states[static_cast<std::size_t>(n)];
  };
  heads.validate([&](Eigen::Index n) { return state(n).size(); },
                 [&](Eigen::Index n) { return state(n).max_levels(); });
  BatchStates<Scalar> after(states);
  BatchTape<Scalar> kept;
  if (tape != nullptr) kept.heads.resize(states.size());
  heads.for_each(
      [&](Eigen::Index n) {
        const auto at = static_cast<std::size_t>(n);
        const auto levels =
            detail::read_head(heads[n], detail::hierarchy_of(state(n)),
                              detail::tape_of(heads[n], state(n), chunk_size),
                              tape == nullptr ? nullptr : &kept.heads[at], heads.rows(n), out);
        detail::levels_of(after[at]).replace(
            levels.count(), [&](int l) -> const auto& { return levels.level(l); });
      },
      heads.threads());
  states.swap(after);
  if (tape != nullptr) *tape = std::move(kept);
}

/// Overload without states: begins at empty states of as many levels as the sequences need, and
/// discards the final ones. Errors and cost are those above.
template <class Scalar>
void chunkwise(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               const ChunkwiseOptions& options = {}, BatchTape<Scalar>* tape = nullptr) {
  const Eigen::Index chunk_size = detail::chunk_size_of(options);
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_reads("out", out, heads.shape());
  detail::require_target(out, in);
  const int max_levels = detail::levels_without_state(heads);
  heads.validate([](Eigen::Index) { return std::uint64_t{0}; },
                 [&](Eigen::Index) { return max_levels; });
  BatchTape<Scalar> kept;
  if (tape != nullptr) kept.heads.resize(static_cast<std::size_t>(heads.count()));
  heads.for_each(
      [&](Eigen::Index n) {
        SequenceTape<Scalar> of_head = detail::tape_of(heads[n], chunk_size);
        of_head.max_levels = max_levels;
        static_cast<void>(detail::read_head(
            heads[n], {max_levels, heads.shape().d_k, heads.shape().d_v}, std::move(of_head),
            tape == nullptr ? nullptr : &kept.heads[static_cast<std::size_t>(n)], heads.rows(n),
            out));
      },
      heads.threads());
  if (tape != nullptr) *tape = std::move(kept);
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_CHUNKWISE_HPP
