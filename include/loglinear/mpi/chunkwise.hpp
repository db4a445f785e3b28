// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_CHUNKWISE_HPP
#define LOGLINEAR_MPI_CHUNKWISE_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "loglinear/batch/batch_chunkwise.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/mpi/detail/forward.hpp"
#include "loglinear/mpi/options.hpp"
#include "loglinear/mpi/ranks.hpp"
#include "loglinear/mpi/tape.hpp"

namespace loglinear::detail {

/// The reads of all heads of `sequences` sequences. States and tape change only if all ranks
/// succeed.
template <class Scalar>
[[nodiscard]] std::vector<RowMajorMatrix<Scalar>> forward_on_ranks(
    const mpi::Ranks& ranks, std::vector<const SequenceInputs<Scalar>*> heads, Index sequences,
    BatchStates<Scalar>& states, Index chunk_size, mpi::Schedule schedule, Index d_k, Index d_v,
    int max_levels, mpi::Tape<Scalar>* tape) {
  RankForward<Scalar> work;
  std::vector<std::uint64_t> starts;
  for (const auto& state : states) starts.push_back(state.size());
  work.tape.options = {.schedule = schedule, .chunk_size = chunk_size};
  work.tape.plan =
      plan_of(ranks, facts_of(heads, sequences, d_k, d_v, max_levels, chunk_size, schedule),
              std::move(starts));
  work.keeps_tape = tape != nullptr;
  work.heads = std::move(heads);
  BatchStates<Scalar> after;
  mpi::together(ranks, [&] {
    work.tape.heads.resize(states.size());
    work.out.resize(states.size());
    for (std::size_t n = 0; n < states.size(); ++n) {
      const SequenceInputs<Scalar>& in = *work.heads[n];
      const std::uint64_t start = work.tape.plan.start(ranks.rank(), n);
      in.require_shapes(start, max_levels);
      work.levels.push_back(hierarchy_of(states[n]));
      work.tape.heads[n].tokens = {chunk_size, in.length(), start, max_levels, d_k, d_v};
    }
    after = states;
  });
  const auto finish = [&] {
    for (std::size_t n = 0; n < states.size(); ++n) {
      const Hierarchy<Scalar>& levels = work.levels[n];
      levels_of(after[n]).replace(
          levels.count(), [&](int l) -> const auto& { return levels.level(l); });
    }
  };
  if (schedule == mpi::Schedule::scan) {
    forward_by_scan(ranks, work, finish);
  } else {
    forward_in_turn(ranks, work, finish);
  }
  states.swap(after);
  if (tape != nullptr) *tape = std::move(work.tape);
  return std::move(work.out);
}

}  // namespace loglinear::detail

namespace loglinear::mpi {

/// One sequence over many ranks: each holds consecutive tokens, those of rank 0 first, and gets
/// their reads. These are the reads of `loglinear::chunkwise` of all tokens in one process. A rank
/// may hold any number of tokens, or none. All ranks call it.
///
/// \param in       this rank's tokens; level weights are those of their places in the stream, as in
///                 the rows of the whole array
/// \param state    on rank 0 the state before all tokens, on the others any of its shape; becomes
///                 on each rank the state after its own tokens, so that the last rank has the one
///                 after all of them
/// \param ranks    the processes
/// \param options  the same on all ranks
/// \param tape     takes what a gradient needs, if given: on all ranks or on none
/// \return the reads of this rank's tokens, T x d_v, also where T is 0
/// \throws std::invalid_argument on every rank, for what `loglinear::chunkwise` refuses on any of
/// them and for what differs between ranks; the message names the rank. std::runtime_error for
/// other failures of a rank. Nothing is changed then, on any rank
///
/// Costs what `loglinear::chunkwise` does for this rank's tokens. With the schedule `scan` the
/// product of the transitions costs as much again as one level, of d_k columns where there are
/// rank-one updates, and memory holds as many more numbers as q has. docs/many_heads.md has the
/// bytes of the messages.
template <class Scalar>
[[nodiscard]] typename SequenceInputs<Scalar>::Matrix chunkwise(const SequenceInputs<Scalar>& in,
                                                                LogLinearState<Scalar>& state,
                                                                const Ranks& ranks,
                                                                const Options& options = {},
                                                                Tape<Scalar>* tape = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  BatchStates<Scalar> states;
  Eigen::Index chunk_size = 0;
  together(ranks, [&] {
    chunk_size = detail::chunk_size_of({options.chunk_size});
    in.require_shapes(0, 1);  // all but the level weights
    if (in.length() > 0) {
      detail::require_size("q (columns, d_k of the state)", in.d_k(), state.d_k());
      detail::require_size("v (columns, d_v of the state)", in.d_v(), state.d_v());
    }
    states.push_back(state);
  });
  auto out = detail::forward_on_ranks(ranks, {&in}, 1, states, chunk_size, options.schedule,
                                      state.d_k(), state.d_v(), state.max_levels(), tape);
  state = std::move(states[0]);
  return std::move(out[0]);
}

/// The same for every head of a batch; with many heads the schedule `pipelined` gives the bits of
/// one process.
///
/// \param in   this rank's tokens, [B, T, H, ...] with any T; without cu_seqlens
/// \param out  where their reads go, [B, T, H, d_v]
/// \param states  as above, for each sequence and head; all of the same max_levels
/// \throws std::invalid_argument as above; nothing is changed then, on any rank
template <class Scalar>
void chunkwise(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               BatchStates<Scalar>& states, const Ranks& ranks, const Options& options = {},
               Tape<Scalar>* tape = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  std::optional<detail::BatchHeads<Scalar>> heads;
  std::vector<const SequenceInputs<Scalar>*> sequences;
  Eigen::Index chunk_size = 0;
  int max_levels = 1;
  together(ranks, [&] {
    chunk_size = detail::chunk_size_of({options.chunk_size});
    detail::require_size("cu_seqlens", static_cast<Eigen::Index>(in.cu_seqlens.size()), 0);
    heads.emplace(in);
    detail::require_reads("out", out, heads->shape());
    detail::require_target(out, in);
    detail::require_states(states, in, heads->shape());
    for (std::size_t n = 0; n < states.size(); ++n) {
      max_levels = states[0].max_levels();
      detail::require_size("max_levels of state " + std::to_string(n), states[n].max_levels(),
                           max_levels);
      sequences.push_back(&(*heads)[static_cast<Eigen::Index>(n)]);
    }
  });
  const detail::BatchShape& shape = heads->shape();
  const auto reads =
      detail::forward_on_ranks(ranks, std::move(sequences), in.q.batch(), states, chunk_size,
                               options.schedule, shape.d_k, shape.d_v, max_levels, tape);
  for (std::size_t n = 0; n < reads.size(); ++n) {
    detail::put_rows(reads[n], out, heads->rows(static_cast<Eigen::Index>(n)));
  }
}

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_CHUNKWISE_HPP
