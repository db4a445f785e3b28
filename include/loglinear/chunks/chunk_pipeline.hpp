// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_PIPELINE_HPP
#define LOGLINEAR_CHUNKS_CHUNK_PIPELINE_HPP

// One long sequence on several threads. What a chunk is by itself (its scores, keys and transition)
// does not depend on the states, so that several chunks can be begun at once. The states go from
// chunk to chunk, but no level meets an older one until it merges into it, and no value column
// meets another one at all. So the states are shared out by levels and by columns to lanes, and
// every chunk passes through
//
//     begin  ->  lane of the younger levels  ->  lane of the older levels  ->  end
//
// A thread has a lane of its own, so that the states stay in its cache. It takes the next chunk
// through this lane as soon as the chunk is there, and begins chunks while none is. Every number is
// computed by the operations that one thread does, in the same order, so that the bits are the
// same.

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>
#include <vector>

#include "loglinear/chunks/chunk_step.hpp"
#include "loglinear/chunks/chunkwise_tape.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/chunks/state_share.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkPipeline {
 public:
  using Pass = typename ChunkStep<Scalar>::Pass;

  /// Whether a pipeline is worth while: the source is concurrent, there are several threads, and
  /// chunks enough to fill it some times. No bit depends on the answer.
  [[nodiscard]] static bool is_useful(const TokenSource<Scalar>& source, Index chunk_size) {
    return source.is_concurrent() && threads_for(thread_limit, thread_count()) > 1 &&
           source.length() / chunk_size >= 8 * thread_count();
  }

  ChunkPipeline(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                const Hierarchy<Scalar>& states)
      : source_(source), chunk_size_(chunk_size), threads_(thread_count()), states_(states) {
    share_out();
    for (Index i = 0; i < 2 * threads_ + 4; ++i) {
      places_.push_back(std::make_unique<Place>(source.shape(),
                                                (std::min)(chunk_size, source.length()), weights));
      places_.back()->handed.resize(array_size(columns_));
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
  ChunkPipeline(const ChunkPipeline&) = delete;
  ChunkPipeline& operator=(const ChunkPipeline&) = delete;

  /// As `ChunkwiseRun::forward`.
  void forward(Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape, bool reads) {
    tape_ = tape;
    reads_ = reads;
    if (tape != nullptr) {
      tape->start(source_.length() / chunk_size_ + 2);
      for (Index chunk = 0; chunk < chunks(); ++chunk) {
        tape->allocate(begin(chunk), count(chunk), states_);
      }
    }
    parallel_for<Scalar>(threads_, threads_, [&](Index n) { work(n); });
    failed_.rethrow();
    gather(states);
  }

 private:
  /// A share of the states on its way through the chunks.
  struct Lane {
    Lane(const Hierarchy<Scalar>& states, StateShare<Scalar> which, const Lane* lane_before)
        : share(std::move(which)),
          levels(states.max_levels(), states.d_k(), share.size, states.count(), states.origin()),
          before(lane_before) {
      for (int l : levels.active()) {
        if (!share.has(l)) continue;
        levels.allocate(l);
        copy_rows(block_of(states.level(l)).block(0, share.first, states.d_k(), share.size),
                  RowBlock<Scalar>(levels.level(l)));
      }
    }
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;
    /// Writes the share to its place in `all`, whose levels are allocated.
    void put(Hierarchy<Scalar>& all) const {
      for (int l : levels.active()) {
        if (!share.has(l)) continue;
        copy_rows(block_of(levels.level(l)),
                  RowBlock<Scalar>(all.level(l)).block(0, share.first, all.d_k(), share.size));
      }
    }
    StateShare<Scalar> share;
    Hierarchy<Scalar> levels;
    const Lane* before;          // that of the younger levels, if there is one
    std::atomic<Index> done{0};  // chunks that are through
    std::atomic<bool> is_owned{false};
    std::atomic_flag is_busy{};
  };
  /// Where a chunk is worked on.
  struct Place {
    Place(const SequenceShape& shape, Index capacity, Index weights)
        : step(shape, capacity, weights) {}
    ChunkStep<Scalar> step;
    std::vector<RowMajorMatrix<Scalar>> handed{};  // of some columns, to the older levels
    std::atomic<Index> begun{0}, ended{0};         // the last chunk that was, plus one
    std::atomic<Index> lanes_left{0};              // until that chunk can be ended
  };

  /// At what part of the tokens level l is active.
  [[nodiscard]] double activity(int l) const {
    const std::uint64_t begin = states_.count(),
                        length = static_cast<std::uint64_t>(source_.length());
    const auto until = [&](std::uint64_t token) {
      return active_token_count(token, l, states_.max_levels());
    };
    return static_cast<double>(until(begin + length) - until(begin)) / static_cast<double>(length);
  }
  /// Shares the states out, at most one lane a thread: by levels where there are some, by columns
  /// where threads are left.
  void share_out() {
    // The older levels are half of all work, where a chunk begins in the time of three reads.
    const int none = states_.max_levels(),
              youngest =
                  (std::min)(std::countr_zero(static_cast<std::uint64_t>(chunk_size_)), none);
    double all = 0, older = 0;
    for (int l = youngest; l < none; ++l) all += activity(l);
    int middle = none;
    while (middle > youngest + 1 && older + activity(middle - 1) / 2 < (3 + all) / 2) {
      older += activity(--middle);
    }
    // Whole packets, so that each column is computed as it is among all of them; and four packets
    // are the width at which products are fastest.
    const Index packets = (std::max)(states_.d_v() / packet_size<Scalar>, Index{1}),
                wide = std::clamp<Index>(packets / 4, 1, threads_);
    const bool by_levels = threads_ >= 2 * wide && all >= 2;
    columns_ = (std::min)(by_levels ? (std::max)(wide, Index{threads_ / 2}) : threads_, packets);
    if (!by_levels) middle = none;
    const auto edge = [&](Index n) {
      return n == columns_ ? states_.d_v() : packets * n / columns_ * packet_size<Scalar>;
    };
    const auto share = [&](Index n, int from, int to) {
      return StateShare<Scalar>{edge(n), edge(n + 1) - edge(n), from, to};
    };
    for (Index n = 0; n < columns_; ++n) {
      lanes_.push_back(std::make_unique<Lane>(states_, share(n, 0, middle), nullptr));
    }
    for (Index n = 0; by_levels && n < columns_; ++n) {
      lanes_.push_back(
          std::make_unique<Lane>(states_, share(n, middle, none), lanes_[array_size(n)].get()));
    }
  }

  [[nodiscard]] Place& place(Index chunk) {
    return *places_[array_size(chunk % static_cast<Index>(places_.size()))];
  }
  [[nodiscard]] Index begin(Index chunk) const { return firsts_[array_size(chunk)]; }
  /// The number of tokens before a chunk.
  [[nodiscard]] std::uint64_t count(Index chunk) const {
    return states_.count() + static_cast<std::uint64_t>(begin(chunk));
  }
  /// Chunks before the first that failed, which is among them if it could not be ended alone.
  [[nodiscard]] Index chunks() const {
    const Index failed = failed_.first();
    return (std::min)(static_cast<Index>(firsts_.size()) - 1, failed / 2 + failed % 2);
  }

  /// What one thread does until all chunks are through.
  void work(Index self) {
    const auto lanes = static_cast<Index>(lanes_.size());
    if (self < lanes) lanes_[array_size(self)]->is_owned.store(true);
    for (int idle = 0; ended_.load(std::memory_order_acquire) < chunks();) {
      bool has_worked = self < lanes && take_next(self);
      has_worked = has_worked || begin_next();
      for (Index n = 0; !has_worked && n < lanes; ++n) {
        has_worked = !lanes_[array_size(n)]->is_owned.load() && take_next(n);
      }
      idle = has_worked ? 0 : idle + 1;
      if (idle > 0) relax(idle);
    }
  }
  /// Begins the next chunk, if a place for it is free.
  bool begin_next() {
    Index chunk = next_.load(std::memory_order_relaxed);
    const auto places = static_cast<Index>(places_.size());
    do {
      if (chunk >= chunks()) return false;
      const Index ended = place(chunk).ended.load(std::memory_order_acquire);
      if (chunk >= places && ended != chunk - places + 1) return false;
    } while (!next_.compare_exchange_weak(chunk, chunk + 1));
    Place& at = place(chunk);
    std::exception_ptr failure = caught([&] {
      at.step.load(source_, begin(chunk), begin(chunk + 1) - begin(chunk),
                   reads_ ? Pass::reads : Pass::states);
      at.step.begin(states_.max_levels(), count(chunk), reads_);
    });
    if (failure) {
      failed_.note(2 * chunk, std::move(failure));
      return true;
    }
    at.lanes_left.store(columns_, std::memory_order_relaxed);
    at.begun.store(chunk + 1, std::memory_order_release);
    return true;
  }
  /// Takes lane number n through the next chunk, if that is there.
  bool take_next(Index n) {
    Lane& lane = *lanes_[array_size(n)];
    if (lane.is_busy.test_and_set(std::memory_order_acquire)) return false;
    const Index chunk = lane.done.load(std::memory_order_relaxed);
    const bool is_there =
        chunk < chunks() &&
        (lane.before != nullptr ? lane.before->done.load(std::memory_order_acquire) > chunk
                                : place(chunk).begun.load(std::memory_order_acquire) == chunk + 1);
    if (is_there) {
      std::exception_ptr failure = caught([&] { take(lane, chunk, n % columns_); });
      if (failure) {
        failed_.note(2 * chunk, std::move(failure));
      } else {
        lane.done.store(chunk + 1, std::memory_order_release);
        const bool is_last = n + columns_ >= static_cast<Index>(lanes_.size());
        if (is_last && place(chunk).lanes_left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
          end(chunk);
        }
      }
    }
    lane.is_busy.clear(std::memory_order_release);
    return is_there;
  }
  void take(Lane& lane, Index chunk, Index columns) {
    if (tape_ != nullptr && chunk % tape_->interval == 0) {
      lane.put(tape_->kept[array_size(chunk / tape_->interval)]);
    }
    Place& at = place(chunk);
    at.step.take(lane.levels, lane.share, at.handed[array_size(columns)], reads_);
  }
  void end(Index chunk) {
    Place& at = place(chunk);
    std::exception_ptr failure = caught([&] {
      if (!reads_) return;
      at.step.end_reads();
      source_.take_out(begin(chunk), at.step.chunk());
    });
    if (failure) failed_.note(2 * chunk + 1, std::move(failure));
    at.ended.store(chunk + 1, std::memory_order_release);
    ended_.fetch_add(1, std::memory_order_release);
  }
  /// The states after all chunks.
  void gather(Hierarchy<Scalar>& states) const {
    states.set_count(lanes_.front()->levels.count());
    for (int l : states.active()) states.allocate(l);
    for (const auto& lane : lanes_) lane->put(states);
  }

  TokenSource<Scalar>& source_;
  Index chunk_size_;
  int threads_;
  const Hierarchy<Scalar>& states_;  // before the tokens
  Index columns_ = 1;                // shares of columns
  std::vector<Index> firsts_{};      // token of each chunk, and the end
  std::vector<std::unique_ptr<Lane>> lanes_{};
  std::vector<std::unique_ptr<Place>> places_{};
  ChunkwiseTape<Scalar>* tape_ = nullptr;
  bool reads_ = true;
  std::atomic<Index> next_{0}, ended_{0};  // the chunk to be begun; how many have ended
  FirstFailure failed_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_PIPELINE_HPP
