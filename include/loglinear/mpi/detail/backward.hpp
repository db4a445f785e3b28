// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_BACKWARD_HPP
#define LOGLINEAR_MPI_DETAIL_BACKWARD_HPP

// The gradients of a rank's tokens, by either schedule: as forwards, from the last rank to the
// first, with the gradient with respect to the levels in the place of the levels.

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "loglinear/mpi/detail/forward.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"

namespace loglinear::detail {

/// The heads of a rank, and what becomes of them.
template <class Scalar>
struct RankBackward {
  std::vector<const SequenceInputs<Scalar>*> heads{};
  const mpi::Tape<Scalar>& tape;
  std::vector<SequenceArray<Scalar>> d_out{};
  std::vector<Hierarchy<Scalar>> d_levels{};  // after these tokens, in the end before them
  std::vector<SequenceGradients<Scalar>> gradients{};

  /// Levels of zeros at the count before the tokens of rank `rank`.
  [[nodiscard]] Hierarchy<Scalar> zeros(int rank, std::size_t n) const {
    return no_stretch<Scalar>(tape.plan.layout, tape.plan.start(rank, n), true).levels;
  }
  /// The gradients as one process has them, from `d_levels` on.
  void run(std::size_t n) {
    Hierarchy<Scalar>& levels = d_levels[n];
    const Index size = levels.d_k() * levels.d_v();
    RowMajorMatrix<Scalar> d_final = RowMajorMatrix<Scalar>::Zero(levels.max_levels(), size);
    for (int l : levels.active()) copy(levels.level(l).data(), size, d_final.data() + l * size);
    gradients[n] = chunkwise_gradient(*heads[n], tape.heads[n].tokens, d_out[n],
                                      SequenceArray<Scalar>(d_final));
    levels.set_count(tape.heads[n].tokens.start);
    for (int l : levels.active()) {
      levels.allocate(l);
      copy(gradients[n].state.data() + l * size, size, levels.level(l).data());
    }
  }
  /// The part of the gradient of the levels before a stretch that its own tokens contribute.
  [[nodiscard]] Hierarchy<Scalar> of_stretch(int rank, std::size_t n) const {
    Hierarchy<Scalar> levels = zeros(rank, n);
    if (heads[n]->length() > 0) {
      tape.heads[n].stretch->pull_back(block_of(heads[n]->q), block_of(heads[n]->lambda),
                                       block_of(d_out[n]), levels);
    }
    return levels;
  }
};

template <class Scalar>
void backward_by_scan(const mpi::Ranks& ranks, RankBackward<Scalar>& work) {
  const StretchLayout& layout = work.tape.plan.layout;
  const std::size_t heads = work.heads.size(), bytes = layout.byte_count<Scalar>();
  const int rank = ranks.rank();
  const auto after =
      scan_elements<Scalar, true>(ranks, ranks.backwards(), layout, heads, [&](std::size_t n) {
        const RankPlan& plan = work.tape.plan;
        // Nobody asks for the first rank's tokens.
        if (ranks.is_first()) return no_stretch<Scalar>(layout, plan.start(rank + 1, n), true);
        StretchElement<Scalar> element = no_stretch<Scalar>(layout, plan.start(rank, n), true);
        element.levels = work.of_stretch(rank, n);
        element.map = work.tape.heads[n].stretch->map;
        element.count = plan.start(rank + 1, n);
        if (ranks.is_last()) add_later_gradient(work.d_levels[n], element.map, element.levels);
        return element;
      });
  mpi::together(ranks, [&] {
    for_each_head<Scalar>(heads, [&](std::size_t n) {
      if (!ranks.is_last()) {
        work.d_levels[n] = read_element<Scalar>(after.data() + n * bytes, true).levels;
      }
      work.run(n);
    });
  });
}

template <class Scalar>
void backward_in_turn(const mpi::Ranks& ranks, RankBackward<Scalar>& work) {
  std::optional<InTurn<Scalar>> turn;
  mpi::together(ranks, [&] {
    std::vector<std::uint64_t> before;
    for (std::size_t n = 0; n < work.heads.size(); ++n) {
      before.push_back(work.tape.plan.start(ranks.rank(), n));
    }
    turn.emplace(ranks.is_last() ? MPI_PROC_NULL : ranks.rank() + 1,
                 ranks.is_first() ? MPI_PROC_NULL : ranks.rank() - 1, work.d_levels, before);
  });
  const std::exception_ptr thrown = turn->run(
      ranks.comm(), [&](std::size_t n) { about_head(n, work.heads.size(), [&] { work.run(n); }); });
  mpi::together(ranks, [&] {
    if (thrown) std::rethrow_exception(thrown);
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_BACKWARD_HPP
