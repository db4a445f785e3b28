// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP
#define LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP

// One long sequence on several threads. What a chunk is by itself (its scores, keys, transition and
// leaves) does not depend on the states, and what it reads depends on those before it alone: only
// the states go from chunk to chunk. So the chunks of a window are loaded at once, then one thread
// takes the states through them, then they read at once; and three windows are under way at a time,
//
//     loading window w + 2  |  states of window w + 1  |  reads of window w
//
// Each chunk does what it does on one thread, in the same order, so that the bits are the same.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "loglinear/chunks/chunk_step.hpp"
#include "loglinear/chunks/chunkwise_tape.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkWindows {
 public:
  using Pass = typename ChunkStep<Scalar>::Pass;

  /// Whether it is worth it: a source that can be asked from several threads, threads, and enough
  /// chunks for some windows. No bit depends on the answer.
  [[nodiscard]] static bool are_useful(const TokenSource<Scalar>& source, Index chunk_size) {
    return source.is_concurrent() && source.length() / chunk_size >= 4 * chunks_of_window() &&
           threads_for(chunks_of_window(), thread_count()) > 1;
  }

  ChunkWindows(TokenSource<Scalar>& source, Index chunk_size, Index weights,
               const Hierarchy<Scalar>& states)
      : source_(source), chunk_size_(chunk_size), size_(chunks_of_window()), states_(states) {
    for (Window& window : windows_) {
      for (Index i = 0; i < size_; ++i) {
        window.steps.push_back(std::make_unique<ChunkStep<Scalar>>(
            source.shape(), (std::min)(chunk_size, source.length()), weights));
        window.after.push_back(states.empty());
      }
    }
    std::uint64_t count = states.count();
    for (Index first = 0; first < source.length();) {
      begins_.push_back(first);
      const auto into = static_cast<Index>(count % static_cast<std::uint64_t>(chunk_size));
      const Index tokens = (std::min)(chunk_size - into, source.length() - first);
      first += tokens;
      count += static_cast<std::uint64_t>(tokens);
    }
    begins_.push_back(source.length());
  }

  /// As `ChunkwiseRun::forward`.
  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
    const Index chunks = static_cast<Index>(begins_.size()) - 1;
    if (tape != nullptr) tape->start(source_.length() / chunk_size_ + 2);
    for (Index w = -2; w * size_ < chunks; ++w) {
      const auto in_window = [&](Index window) {
        return window < 0 ? 0 : std::clamp<Index>(chunks - window * size_, 0, size_);
      };
      const Index going = in_window(w + 1) > 0 ? 1 : 0, reading = in_window(w),
                  loading = in_window(w + 2);
      parallel_for<Scalar>(going + reading + loading, thread_count(), [&](Index n) {
        if (n < going) {
          advance(w + 1, in_window(w + 1), tape);
        } else if (n < going + reading) {
          if (reads) read(w * size_ + n - going);
        } else {
          load((w + 2) * size_ + n - going - reading, reads ? Pass::reads : Pass::states);
        }
      });
    }
    states = after(chunks - 1);
  }

 private:
  struct Window {
    std::vector<std::unique_ptr<ChunkStep<Scalar>>> steps{};  // moved by no code of their own
    std::vector<Hierarchy<Scalar>> after{};                   // the states after each chunk
  };

  [[nodiscard]] static Index chunks_of_window() {
    return (std::max)(Index{3}, Index{1} + thread_count());
  }
  [[nodiscard]] ChunkStep<Scalar>& step(Index chunk) {
    return *window_of(chunk).steps[static_cast<std::size_t>(chunk % size_)];
  }
  [[nodiscard]] Hierarchy<Scalar>& after(Index chunk) {
    return window_of(chunk).after[static_cast<std::size_t>(chunk % size_)];
  }
  [[nodiscard]] Window& window_of(Index chunk) {
    return windows_[static_cast<std::size_t>(chunk / size_ % 3)];
  }
  [[nodiscard]] const Hierarchy<Scalar>& before(Index chunk) {
    return chunk == 0 ? states_ : after(chunk - 1);
  }
  [[nodiscard]] Index begin(Index chunk) const { return begins_[static_cast<std::size_t>(chunk)]; }

  void load(Index chunk, Pass pass) {
    step(chunk).load(source_, begin(chunk), begin(chunk + 1) - begin(chunk), pass);
    step(chunk).prepare_advance(states_.max_levels(),
                                states_.count() + static_cast<std::uint64_t>(begin(chunk)));
  }
  void advance(Index window, Index chunks, ChunkwiseTape<Scalar>* tape) {
    for (Index chunk = window * size_; chunk < window * size_ + chunks; ++chunk) {
      if (tape != nullptr) tape->note(begin(chunk), before(chunk));
      step(chunk).advance(before(chunk), after(chunk));
    }
  }
  void read(Index chunk) {
    step(chunk).read(before(chunk));
    source_.take_out(begin(chunk), step(chunk).chunk());
  }

  TokenSource<Scalar>& source_;
  Index chunk_size_, size_;
  const Hierarchy<Scalar>& states_;  // before the tokens
  std::vector<Index> begins_{};      // of each chunk, and the end
  std::array<Window, 3> windows_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_WINDOWS_HPP
