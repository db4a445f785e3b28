// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP
#define LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP

// One long sequence on several threads. What a chunk is by itself (its scores, keys and transition)
// does not depend on the states, so that several chunks can be begun at once. The states go from
// chunk to chunk, but no value column of theirs meets another one. So each thread takes some of the
// columns through the chunks of a window and reads them on the way, and meanwhile the chunks of the
// next window are begun and those of the last one are ended,
//
//     columns of the states, through window w  |  ending window w - 1, beginning window w + 1
//
// Every number is computed by the operations that one thread does, in the same order, so that the
// bits are the same.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "loglinear/chunks/chunk_step.hpp"
#include "loglinear/chunks/chunkwise_tape.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/chunks/value_columns.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkWindows {
 public:
  using Pass = typename ChunkStep<Scalar>::Pass;

  /// Whether windows are worth while: the source is concurrent, there are several threads, and
  /// chunks enough for some windows. No bit depends on the answer.
  [[nodiscard]] static bool are_useful(const TokenSource<Scalar>& source, Index chunk_size) {
    return source.is_concurrent() && threads_for(thread_limit, thread_count()) > 1 &&
           source.length() / chunk_size >= 8 * thread_count();
  }

  ChunkWindows(TokenSource<Scalar>& source, Index chunk_size, Index weights,
               const Hierarchy<Scalar>& states)
      : source_(source), chunk_size_(chunk_size), states_(states) {
    // Whole packets, so that each column is computed as it is among all of them.
    const Index packets = states.d_v() / packet_size<Scalar>,
                count = std::clamp<Index>(packets, 1, thread_count());
    for (Index n = 0; n < count; ++n) {
      const Index first = packets * n / count * packet_size<Scalar>,
                  end = n + 1 == count ? states.d_v()
                                       : packets * (n + 1) / count * packet_size<Scalar>;
      blocks_.emplace_back(states, first, end - first);
    }
    begins_ = (thread_count() + count - 1) / count;  // one for each thread
    size_ = count * begins_;
    for (auto& window : steps_) {
      for (Index i = 0; i < size_; ++i) {
        window.push_back(std::make_unique<ChunkStep<Scalar>>(
            source.shape(), (std::min)(chunk_size, source.length()), weights));
      }
    }
    std::uint64_t before = states.count();
    for (Index first = 0; first < source.length();) {
      firsts_.push_back(first);
      const auto into = static_cast<Index>(before % static_cast<std::uint64_t>(chunk_size));
      const Index tokens = (std::min)(chunk_size - into, source.length() - first);
      first += tokens;
      before += static_cast<std::uint64_t>(tokens);
    }
    firsts_.push_back(source.length());
  }

  /// As `ChunkwiseRun::forward`.
  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
    if (tape != nullptr) tape->start(source_.length() / chunk_size_ + 2);
    const Index passes = static_cast<Index>(blocks_.size()) + size_;
    for (Index w = -1; (w - 1) * size_ < chunks(); ++w) {
      for (Index chunk = first_of(w); tape != nullptr && chunk < first_of(w + 1); ++chunk) {
        tape->allocate(begin(chunk), count(chunk), states_);
      }
      const Index end = first_of(w + 1), in_work = first_of(w), last = first_of(w - 1);
      parallel_for<Scalar>(passes, thread_count(), [&](Index n) {
        const Index block = n / (begins_ + 1), place = n % (begins_ + 1);
        if (place == 0) return take(block, in_work, end, tape, reads);
        const Index at = block * begins_ + place - 1;
        if (reads && last + at < in_work) end_reads(last + at);
        begin_chunk((w + 1) * size_ + at, reads);
      });
    }
    failed_.rethrow();
    gather(states);
  }

 private:
  /// Columns of the states, which go from chunk to chunk.
  struct Block {
    Block(const Hierarchy<Scalar>& states, Index first, Index size)
        : columns{first, size},
          levels(states.max_levels(), states.d_k(), size, states.count(), states.origin()) {
      for (int l : levels.active()) {
        levels.allocate(l);
        copy_rows(block_of(states.level(l)).block(0, first, states.d_k(), size),
                  RowBlock<Scalar>(levels.level(l)));
      }
    }
    /// Writes the columns to their place in `all`, whose levels are allocated.
    void put(Hierarchy<Scalar>& all) const {
      for (int l : levels.active()) {
        copy_rows(block_of(levels.level(l)),
                  RowBlock<Scalar>(all.level(l)).block(0, columns.first, all.d_k(), columns.size));
      }
    }
    ValueColumns<Scalar> columns;
    Hierarchy<Scalar> levels;
  };
  [[nodiscard]] ChunkStep<Scalar>& step(Index chunk) {
    return *steps_[static_cast<std::size_t>(chunk / size_ % 2)]
                  [static_cast<std::size_t>(chunk % size_)];
  }
  [[nodiscard]] Index begin(Index chunk) const { return firsts_[static_cast<std::size_t>(chunk)]; }
  /// The number of tokens before a chunk.
  [[nodiscard]] std::uint64_t count(Index chunk) const {
    return states_.count() + static_cast<std::uint64_t>(begin(chunk));
  }
  /// Chunks before the first that could not be begun.
  [[nodiscard]] Index chunks() const {
    return (std::min)(static_cast<Index>(firsts_.size()) - 1, failed_.first());
  }
  [[nodiscard]] Index first_of(Index window) const {
    return std::clamp<Index>(window * size_, 0, chunks());
  }

  void begin_chunk(Index chunk, bool reads) {
    if (chunk >= chunks()) return;
    std::exception_ptr failure = caught([&] {
      step(chunk).load(source_, begin(chunk), begin(chunk + 1) - begin(chunk),
                       reads ? Pass::reads : Pass::states);
      step(chunk).begin(states_.max_levels(), count(chunk), reads);
    });
    if (failure) failed_.note(chunk, std::move(failure));
  }
  /// Takes block number n through the chunks from `first` to `end`. Meanwhile it prefetches the
  /// chunks that this thread begins next.
  void take(Index n, Index first, Index end, ChunkwiseTape<Scalar>* tape, bool reads) {
    Block& block = blocks_[static_cast<std::size_t>(n)];
    const Index count = static_cast<Index>(blocks_.size());
    for (Index chunk = first; chunk < end; ++chunk) {
      if (tape != nullptr && chunk % tape->interval == 0) {
        block.put(tape->kept[static_cast<std::size_t>(chunk / tape->interval)]);
      }
      const Index at = chunk % size_, next = chunk - at + size_ + n * begins_ + at / count;
      step(chunk).take(block.levels, block.columns, reads, [&](Index part, Index parts) {
        if (next >= chunks()) return;
        source_.foresee(begin(next), begin(next + 1) - begin(next), at % count * parts + part,
                        count * parts);
      });
    }
  }
  void end_reads(Index chunk) {
    step(chunk).end_reads();
    source_.take_out(begin(chunk), step(chunk).chunk());
  }
  /// The states after all chunks.
  void gather(Hierarchy<Scalar>& states) const {
    states.set_count(blocks_.front().levels.count());
    for (int l : states.active()) states.allocate(l);
    for (const Block& block : blocks_) block.put(states);
  }

  TokenSource<Scalar>& source_;
  Index chunk_size_;
  Index size_ = 0, begins_ = 0;      // chunks of a window; those that are begun for each block
  const Hierarchy<Scalar>& states_;  // before the tokens
  std::vector<Index> firsts_{};      // token of each chunk, and the end
  std::vector<Block> blocks_{};
  std::array<std::vector<std::unique_ptr<ChunkStep<Scalar>>>, 2> steps_{};
  FirstFailure failed_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP
