// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_FORWARD_HPP
#define LOGLINEAR_MPI_DETAIL_FORWARD_HPP

// The reads of a rank's tokens and the states after them, by either schedule.

#include <mpi.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include "loglinear/chunks/stretch_run.hpp"
#include "loglinear/mpi/detail/handles.hpp"
#include "loglinear/mpi/detail/in_turn.hpp"
#include "loglinear/mpi/detail/plan.hpp"
#include "loglinear/mpi/detail/stretch_element.hpp"
#include "loglinear/mpi/tape.hpp"
#include "loglinear/sequence/chunkwise.hpp"

namespace loglinear::detail {

/// The heads of a rank, and what becomes of them.
template <class Scalar>
struct RankForward {
  std::vector<const SequenceInputs<Scalar>*> heads{};
  mpi::Tape<Scalar> tape{};  // with the plan
  bool keeps_tape = false;
  std::vector<Hierarchy<Scalar>> levels{};  // before these tokens, in the end after them
  std::vector<RowMajorMatrix<Scalar>> out{};

  [[nodiscard]] ChunkwiseTape<Scalar>* states_of_tape(std::size_t n) {
    return keeps_tape ? &tape.heads[n].tokens.states : nullptr;
  }
  /// The reads and the levels as one process has them.
  void run(std::size_t n) {
    out[n] = run_chunkwise(*heads[n], levels[n], tape.options.chunk_size, states_of_tape(n));
    if (heads[n]->length() == 0) out[n].resize(0, tape.plan.layout.d_v);  // v may have no columns
  }
  /// The reads and levels of this rank's tokens alone, as a stretch.
  void run_stretch(std::size_t n) {
    const SequenceInputs<Scalar>& in = *heads[n];
    const StretchLayout& layout = tape.plan.layout;
    Stretch<Scalar>& stretch =
        tape.heads[n].stretch.emplace(SequenceShape{.d_k = layout.d_k, .d_v = layout.d_v},
                                      in.length(), layout.is_dense != 0, layout.decays_values != 0);
    out[n].resize(in.length(), layout.d_v);
    if (in.length() == 0) return;
    const Index weights = in.levels_read(levels[n].count(), in.length(), levels[n].max_levels());
    InputSource<Scalar> source(in, weights);
    source.read_into(RowBlock<Scalar>(out[n]));
    forward_stretch<Scalar>(source, tape.options.chunk_size, weights, levels[n], states_of_tape(n),
                            stretch);
  }
  /// Adds the part of the reads and levels that comes from `incoming`, the levels before the
  /// stretch.
  void add_incoming(std::size_t n, const Hierarchy<Scalar>& incoming) {
    Stretch<Scalar>& stretch = *tape.heads[n].stretch;
    if (heads[n]->length() > 0 &&
        !stretch.read(incoming, block_of(heads[n]->q), block_of(heads[n]->lambda),
                      RowBlock<Scalar>(out[n]))) {
      require_finite_reads(out[n], 0);
    }
    auto& states = tape.heads[n].tokens.states.kept;
    for (std::size_t i = 0; i < states.size(); ++i) {
      add_earlier(incoming, stretch.before_kept[i], states[i]);
    }
    stretch.before_kept.clear();
    add_earlier(incoming, stretch.map, levels[n]);
  }
};

/// The elements of all heads, one after the other, through an exclusive scan; on the first rank of
/// `comm` what comes back is not specified. `element(n)` makes that of head n, within `together`.
template <class Scalar, bool is_backwards, class Element>
[[nodiscard]] std::vector<std::byte> scan_elements(const mpi::Ranks& ranks, MPI_Comm comm,
                                                   const StretchLayout& layout, std::size_t heads,
                                                   Element element) {
  const std::size_t bytes = layout.byte_count<Scalar>();
  const bool has_others = ranks.count() > 1 && heads > 0;
  std::vector<std::byte> own, before;
  mpi::together(ranks, [&] {
    if (has_others) own.resize(heads * bytes);
    before.resize(own.size());
    for_each_head<Scalar>(heads, [&](std::size_t n) {
      StretchElement<Scalar> of_head = element(n);
      if (has_others) write_element(layout, of_head, own.data() + n * bytes);
    });
  });
  if (!has_others) return before;
  const BlockType type(bytes);
  const OrderedOperation merge(merge_elements<Scalar, is_backwards>);
  require_mpi(
      MPI_Exscan(own.data(), before.data(), static_cast<int>(heads), type.get(), merge.get(), comm),
      "MPI_Exscan");
  return before;
}

/// All ranks compute at once, each from empty levels; then each adds what came in. Calls `finish`
/// on all ranks.
template <class Scalar, class Finish>
void forward_by_scan(const mpi::Ranks& ranks, RankForward<Scalar>& work, Finish finish) {
  const StretchLayout& layout = work.tape.plan.layout;
  const std::size_t heads = work.heads.size(), bytes = layout.byte_count<Scalar>();
  const auto before =
      scan_elements<Scalar, false>(ranks, ranks.comm(), layout, heads, [&](std::size_t n) {
        const std::uint64_t start = work.tape.plan.start(ranks.rank(), n);
        StretchElement<Scalar> element = no_stretch<Scalar>(layout, start, false);
        if (ranks.is_first()) {
          work.run(n);
        } else {
          work.levels[n] = element.levels;
          work.run_stretch(n);
        }
        if (ranks.is_last()) return element;  // nobody asks for its tokens
        element.levels = work.levels[n];
        element.first = element.levels.origin();
        element.count = element.levels.count();
        if (!ranks.is_first()) element.map = work.tape.heads[n].stretch->map;
        return element;
      });
  mpi::together(ranks, [&] {
    if (!ranks.is_first()) {
      for_each_head<Scalar>(heads, [&](std::size_t n) {
        work.add_incoming(n, read_element<Scalar>(before.data() + n * bytes, false).levels);
      });
    }
    finish();
  });
}

/// Takes head after head from rank to rank. Calls `finish` on all ranks.
template <class Scalar, class Finish>
void forward_in_turn(const mpi::Ranks& ranks, RankForward<Scalar>& work, Finish finish) {
  std::optional<InTurn<Scalar>> turn;
  mpi::together(ranks, [&] {
    std::vector<std::uint64_t> after;
    for (std::size_t n = 0; n < work.heads.size(); ++n) {
      const StretchLayout& layout = work.tape.plan.layout;
      if (!ranks.is_first()) {
        work.levels[n] = {static_cast<int>(layout.max_levels), layout.d_k, layout.d_v,
                          work.tape.plan.start(ranks.rank(), n)};
      }
      after.push_back(work.tape.plan.start(ranks.rank() + 1, n));
    }
    turn.emplace(ranks.is_first() ? MPI_PROC_NULL : ranks.rank() - 1,
                 ranks.is_last() ? MPI_PROC_NULL : ranks.rank() + 1, work.levels, after);
  });
  const std::exception_ptr thrown = turn->run(
      ranks.comm(), [&](std::size_t n) { about_head(n, work.heads.size(), [&] { work.run(n); }); });
  mpi::together(ranks, [&] {
    if (thrown) std::rethrow_exception(thrown);
    finish();
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_FORWARD_HPP
