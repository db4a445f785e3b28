// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNKWISE_RUN_HPP
#define LOGLINEAR_CHUNKS_CHUNKWISE_RUN_HPP

// The chunkwise algorithm: one chunk after the other, by the steps of chunk_step.hpp; backwards,
// their pullbacks from the last to the first. Chunks are stretches of 2^c tokens between absolute
// positions that are multiples of 2^c, so that every bucket of 2^c tokens or more is a union of
// chunks.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "loglinear/chunks/chunk_pipeline.hpp"
#include "loglinear/chunks/chunk_step.hpp"
#include "loglinear/chunks/chunk_step_pullback.hpp"
#include "loglinear/chunks/chunkwise_tape.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/chunks/one_state_run.hpp"

namespace loglinear::detail {

/// Reads and writes all tokens of the source: `states` holds the older ones and then those as well.
/// With a tape it keeps what `pull_back_chunks` needs; without `reads` nothing is read.
///
/// \param chunk_size  tokens of a chunk, a power of two
/// \param weights     columns of the level weights
template <class Scalar>
void forward_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                    Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads);

/// Computes all gradients from that with respect to the reads, which the source gives, and that
/// with respect to the final states, which `gradient` holds. In the end `gradient` holds that with
/// respect to the initial states. The states between those on the tape are computed again.
template <class Scalar>
void pull_back_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                      const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient);

/// Calls `step(first, tokens)`, which takes the states through these tokens, for one chunk after
/// the other. A chunk ends at the next position in the stream that is a multiple of `chunk_size`.
template <class Scalar, class Step>
void for_each_chunk(Index length, Index chunk_size, const Hierarchy<Scalar>& states,
                    ChunkwiseTape<Scalar>* tape, Step step) {
  if (tape != nullptr) tape->start(length / chunk_size + 2);
  for (Index first = 0, tokens = 0; first < length; first += tokens) {
    if (tape != nullptr) tape->note(first, states);
    const auto into = static_cast<Index>(states.count() % static_cast<std::uint64_t>(chunk_size));
    tokens = (std::min)(chunk_size - into, length - first);
    step(first, tokens);
  }
}

/// The forward pass and its pullback, with the memory that both need.
template <class Scalar>
class ChunkwiseRun {
 public:
  ChunkwiseRun(TokenSource<Scalar>& source, Index chunk_size, Index weights)
      : source_(source),
        chunk_size_(chunk_size),
        capacity_((std::min)(chunk_size, source.length())),
        weights_(weights),
        step_(source.shape(), capacity_, weights) {}

  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
    const Pass pass = reads ? Pass::reads : Pass::states;
    for_each_chunk(source_.length(), chunk_size_, states, tape, [&](Index first, Index tokens) {
      step_.load(source_, first, tokens, pass);
      if (!reads) return step_.advance(states);
      const Index next = first + tokens, coming = (std::min)(tokens, source_.length() - next);
      step_.read_and_advance(
          states, [&](Index part, Index parts) { source_.foresee(next, coming, part, parts); });
      source_.take_out(first, step_.chunk());
    });
  }

  void pull_back(const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient) {
    ChunkStepPullback<Scalar> pull_back(step_);
    Chunk<Scalar> d_chunk(source_.shape(), capacity_, weights_);
    std::vector<Hierarchy<Scalar>> before;  // the states before each chunk between two on the tape
    std::vector<typename ChunkMap<Scalar>::Kept> kept;
    std::size_t end = tape.begins.size();
    for (std::size_t n = tape.kept.size(); n-- > 0;) {
      const std::size_t begin = n * static_cast<std::size_t>(tape.interval);
      while (before.size() < end - begin - 1) before.push_back(gradient.empty());
      const auto before_chunk = [&](std::size_t i) -> const Hierarchy<Scalar>& {
        return i == begin ? tape.kept[n] : before[i - begin - 1];
      };
      if (kept.size() < before.size()) kept.resize(before.size());
      for (std::size_t i = begin; i + 1 < end; ++i) {
        load(tape.begins[i], before_chunk(i), Pass::states);
        const Index next = tape.begins[i + 1],
                    coming = (std::min)(step_.chunk().tokens, source_.length() - next);
        step_.advance(before_chunk(i), before[i - begin],
                      [&](Index part, Index parts) { source_.foresee(next, coming, part, parts); });
        step_.map().swap_kept(kept[i - begin]);
      }
      for (std::size_t i = end; i-- > begin;) {
        const bool is_kept = i + 1 < end;
        if (is_kept) step_.map().swap_kept(kept[i - begin]);
        load(tape.begins[i], before_chunk(i),
             is_kept ? Pass::gradients_after_states : Pass::gradients);
        pull_back_chunk(tape.begins[i], before_chunk(i), pull_back, gradient, d_chunk,
                        i == 0 ? tape.begins[0] : tape.begins[i - 1]);
      }
      end = begin;
    }
  }

 private:
  using Pass = typename ChunkStep<Scalar>::Pass;

  /// Loads the chunk that begins with token `first` and ends at the next multiple of the chunk
  /// size.
  void load(Index first, const Hierarchy<Scalar>& states, Pass pass) {
    const auto into = static_cast<Index>(states.count() % static_cast<std::uint64_t>(chunk_size_));
    step_.load(source_, first, (std::min)(chunk_size_ - into, source_.length() - first), pass);
  }

  /// \param coming  the first token of the chunk that comes next, which ends before `first`
  void pull_back_chunk(Index first, const Hierarchy<Scalar>& states,
                       ChunkStepPullback<Scalar>& pull_back, Hierarchy<Scalar>& gradient,
                       Chunk<Scalar>& d_chunk, Index coming) {
    d_chunk.tokens = step_.chunk().tokens;
    writable_block_of(d_chunk.lambda).setZero();
    writable_block_of(d_chunk.decay).setZero();
    writable_block_of(d_chunk.value_decay).setZero();
    pull_back(states, gradient, source_.open_gradient(first, step_.chunk(), d_chunk), d_chunk,
              [&](Index part, Index parts) {
                source_.foresee_gradient(coming, first - coming, part, parts);
              });
    source_.take_gradient(first, step_.chunk(), d_chunk);
  }

  TokenSource<Scalar>& source_;
  Index chunk_size_, capacity_, weights_;
  ChunkStep<Scalar> step_;
};

template <class Scalar>
void forward_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                    Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
  const SequenceShape shape = source.shape();
  if (OneStateRun<Scalar>::is_faster(shape, states.max_levels())) {
    OneStateRun<Scalar> one_state(shape, (std::min)(chunk_size, source.length()), weights);
    return for_each_chunk(source.length(), chunk_size, states, tape,
                          [&](Index first, Index tokens) {
                            one_state.step(source, first, tokens, reads, states);
                            if (reads) source.take_out(first, one_state.chunk());
                          });
  }
  if (ChunkPipeline<Scalar>::is_useful(source, chunk_size)) {
    return ChunkPipeline<Scalar>(source, chunk_size, weights, states).forward(states, tape, reads);
  }
  ChunkwiseRun<Scalar>(source, chunk_size, weights).forward(states, tape, reads);
}

template <class Scalar>
void pull_back_chunks(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                      const ChunkwiseTape<Scalar>& tape, Hierarchy<Scalar>& gradient) {
  ChunkwiseRun<Scalar>(source, chunk_size, weights).pull_back(tape, gradient);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNKWISE_RUN_HPP
