// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_CHUNKWISE_GRADIENT_HPP
#define LOGLINEAR_MPI_CHUNKWISE_GRADIENT_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "loglinear/batch/batch_gradient.hpp"
#include "loglinear/mpi/chunkwise.hpp"
#include "loglinear/mpi/detail/backward.hpp"

namespace loglinear::detail {

/// Throws unless the tape of head n is that of this rank's tokens. Precondition: the tape is of as
/// many ranks.
template <class Scalar>
void require_tape_of(const mpi::Ranks& ranks, const mpi::Tape<Scalar>& tape, std::size_t n) {
  const auto& head = tape.heads[n];
  const bool needs_stretch = tape.options.schedule == mpi::Schedule::scan && !ranks.is_first();
  if (head.tokens.start == tape.plan.start(ranks.rank(), n) &&
      (!needs_stretch || head.stretch.has_value())) {
    return;
  }
  fail("the tape", "of another rank's tokens", "what chunkwise has left on this rank");
}

/// The gradients of all heads of `sequences` sequences. `d_final` is empty, or holds for each head
/// the gradient with respect to the state after all tokens.
template <class Scalar>
[[nodiscard]] std::vector<SequenceGradients<Scalar>> backward_on_ranks(
    const mpi::Ranks& ranks, std::vector<const SequenceInputs<Scalar>*> heads, Index sequences,
    const mpi::Tape<Scalar>& tape, std::vector<SequenceArray<Scalar>> d_out,
    const std::vector<RowMajorMatrix<Scalar>>& d_final) {
  RankBackward<Scalar> work{.heads = std::move(heads), .tape = tape, .d_out = std::move(d_out)};
  const std::size_t count = work.heads.size();
  std::vector<std::uint64_t> starts;
  RankFacts facts;
  mpi::together(ranks, [&] {
    require_size("the ranks of the tape", static_cast<Index>(tape.plan.facts.size()),
                 ranks.count());
    require_size("the heads of the tape", static_cast<Index>(tape.heads.size()),
                 static_cast<Index>(count));
    const StretchLayout& layout = tape.plan.layout;
    facts =
        facts_of(work.heads, sequences, layout.d_k, layout.d_v, static_cast<int>(layout.max_levels),
                 tape.options.chunk_size, tape.options.schedule);
    starts = tape.plan.starts;
    starts.resize(count);
    const Index size = layout.d_k * layout.d_v;
    const bool has_final = ranks.is_last() && !d_final.empty();
    if (has_final)
      require_size("d_states", static_cast<Index>(d_final.size()), static_cast<Index>(count));
    for (std::size_t n = 0; n < count; ++n) {
      const SequenceInputs<Scalar>& in = *work.heads[n];
      require_tape_of(ranks, tape, n);
      in.require_shapes(tape.heads[n].tokens.start, static_cast<int>(layout.max_levels));
      require_size("the sequence (tokens)", in.length(), tape.heads[n].tokens.length);
      require_matrix("d_out", work.d_out[n], in.length(),
                     in.length() > 0 ? layout.d_v : work.d_out[n].cols());
      require_finite("d_out", work.d_out[n]);
      work.d_levels.push_back(work.zeros(ranks.rank() + 1, n));
      if (!has_final || d_final[n].size() == 0) continue;
      require_matrix("d_states", d_final[n], layout.max_levels, size);
      require_finite("d_states", d_final[n]);
      for (int l : work.d_levels[n].active()) {
        copy(d_final[n].data() + l * size, size, work.d_levels[n].level(l).data());
      }
    }
    work.gradients.resize(count);
  });
  const RankPlan plan = plan_of(ranks, facts, std::move(starts));
  mpi::together(ranks, [&] {
    if (plan == tape.plan) return;
    fail("the tape", "of another pass than on other ranks",
         "what the last call of chunkwise on all ranks has left, for the same tokens");
  });
  if (tape.options.schedule == mpi::Schedule::scan) {
    backward_by_scan(ranks, work);
  } else {
    backward_in_turn(ranks, work);
  }
  return std::move(work.gradients);
}

}  // namespace loglinear::detail

namespace loglinear::mpi {

/// The gradient of `sum(d_out * out)` over the tokens of all ranks, with respect to every input of
/// this rank's tokens: what `loglinear::chunkwise_gradient` gives for all tokens in one process, to
/// rounding or to the bit as the schedule of the tape has it. Called by all ranks.
///
/// \param in       the tokens that `mpi::chunkwise` was given on this rank
/// \param tape     what it kept
/// \param d_out    the gradient of a loss with respect to this rank's reads, T x d_v
/// \param ranks    the processes
/// \param d_final  on the last rank the gradient with respect to the state after all tokens,
///                 max_levels x d_k d_v, absent for zero; ignored on the others
/// \return the gradients; `state` is that with respect to the state before this rank's tokens, so
///         that rank 0 has the one with respect to the state before all of them
/// \throws std::invalid_argument, std::runtime_error on every rank, as `mpi::chunkwise`
///
/// Costs what `loglinear::chunkwise_gradient` does for this rank's tokens; with the schedule `scan`
/// also one product for each level that came in.
template <class Scalar>
[[nodiscard]] SequenceGradients<Scalar> chunkwise_gradient(
    const SequenceInputs<Scalar>& in, const Tape<Scalar>& tape,
    const typename SequenceInputs<Scalar>::Rows& d_out, const Ranks& ranks,
    const typename SequenceInputs<Scalar>::Rows& d_final = {}) {
  const detail::FlushToZero<Scalar> flush;
  std::vector<detail::RowMajorMatrix<Scalar>> finals;
  if (d_final.size() > 0) finals.emplace_back(d_final);
  return std::move(detail::backward_on_ranks<Scalar>(ranks, {&in}, 1, tape, {d_out}, finals)[0]);
}

/// The same for every head of a batch.
///
/// \param gradients  where this rank's gradients go, as in `loglinear::chunkwise_gradient`
/// \param d_states   if given: on the last rank the gradients with respect to the states after all
///                   tokens, or none; in the end those with respect to the states before this
///                   rank's tokens. On all ranks or on none
template <class Scalar>
void chunkwise_gradient(const BatchInputs<Scalar>& in, const Tape<Scalar>& tape,
                        const HeadArray<const std::type_identity_t<Scalar>>& d_out,
                        const BatchGradients<Scalar>& gradients, const Ranks& ranks,
                        std::vector<detail::RowMajorMatrix<Scalar>>* d_states = nullptr) {
  const detail::FlushToZero<Scalar> flush;
  std::optional<detail::BatchHeads<Scalar>> heads;
  std::vector<const SequenceInputs<Scalar>*> sequences;
  std::vector<SequenceArray<Scalar>> d_reads;
  together(ranks, [&] {
    heads.emplace(in);
    detail::require_reads("d_out", d_out, heads->shape());
    detail::require_targets(in, heads->shape(), gradients);
    for (Eigen::Index n = 0; n < heads->count(); ++n) {
      sequences.push_back(&(*heads)[n]);
      d_reads.push_back(detail::sequence_rows<Scalar>(d_out, heads->rows(n)));
    }
  });
  std::vector<SequenceGradients<Scalar>> all = detail::backward_on_ranks<Scalar>(
      ranks, std::move(sequences), in.q.batch(), tape, std::move(d_reads),
      d_states == nullptr ? std::vector<detail::RowMajorMatrix<Scalar>>() : *d_states);
  std::optional<detail::HeadGradients<Scalar>> sums;
  std::vector<detail::RowMajorMatrix<Scalar>> initial;
  together(ranks, [&] {
    for (auto& head : all) initial.push_back(std::move(head.state));
    sums.emplace(in, *heads, gradients, all);
  });
  sums->write();
  if (d_states != nullptr) *d_states = std::move(initial);
}

}  // namespace loglinear::mpi

#endif  // LOGLINEAR_MPI_CHUNKWISE_GRADIENT_HPP
