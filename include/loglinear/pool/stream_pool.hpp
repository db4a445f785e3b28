// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_POOL_STREAM_POOL_HPP
#define LOGLINEAR_POOL_STREAM_POOL_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/detail/batch_heads.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/pool/detail/level_arena.hpp"
#include "loglinear/pool/detail/pool_token.hpp"

namespace loglinear {

/// Many streams at once, as a server has them: each a hierarchy of H heads of one shape. Any subset
/// of them is stepped together (continuous batching), and streams are added, removed, forked, taken
/// out and put back at any time. A pool that has been moved from has no streams.
///
/// A stream takes memory only for its active levels, `active_level_count(size)` blocks of `H d_k
/// d_v` numbers, from one arena that all streams share. Blocks that a merge or a removal leaves are
/// used again. Each stream has a number; numbers of removed streams are used again too.
///
/// \tparam Scalar_  float or double
template <class Scalar_>
class StreamPool {
 public:
  using Scalar = Scalar_;
  using Index = Eigen::Index;

  /// The shape of all streams.
  struct Options {
    Index heads = 0;      ///< H, 1 to 2^26; heads * d_k * d_v at most 2^52
    Index d_k = 0;        ///< length of keys, 1 to 2^26
    Index d_v = 0;        ///< length of values, 1 to 2^26
    int max_levels = 32;  ///< of every head, 1 to 64; what overflows is folded into the last
  };

  /// No streams. \throws std::invalid_argument for an option out of its range
  explicit StreamPool(const Options& options)
      : options_(checked(options)), arena_(options.heads * options.d_k * options.d_v) {}

  [[nodiscard]] const Options& options() const { return options_; }  ///< the shape
  /// How many streams there are.
  [[nodiscard]] Index count() const {
    return std::count_if(streams_.begin(), streams_.end(),
                         [](const Stream& stream) { return stream.is_used; });
  }
  /// Bytes of the arena: blocks in use, and blocks that will be used again.
  [[nodiscard]] std::size_t byte_count() const { return arena_.byte_count(); }
  /// Tokens of a stream. \throws std::invalid_argument for a number that no stream has
  [[nodiscard]] std::uint64_t size(Index stream) const { return at(stream).size; }

  /// Begins an empty stream. Allocates where no number is free. \return its number, the lowest that
  /// is free
  Index add() {
    Index number = (std::min)(first_free_, slots());  // none before it is free
    while (number < slots() && slot(number).is_used) ++number;
    if (number == slots()) streams_.emplace_back(empty());
    slot(number).is_used = true;
    first_free_ = number + 1;
    return number;
  }
  /// Ends a stream and keeps its blocks for others. Allocates at most the first time in a copy of a
  /// pool. \throws std::invalid_argument for a number that no stream has
  void remove(Index stream) {
    Stream& old = at(stream);
    arena_.reserve(0);
    for (const int l : active(old)) arena_.give_back(old.blocks[array_index(l)]);
    old.is_used = false;
    old.size = 0;
    std::fill(old.magnitudes.begin(), old.magnitudes.end(), 0.0);
    first_free_ = (std::min)(first_free_, stream);
  }
  /// Begins a copy of a stream, which goes on from the same state. Copies its active levels;
  /// allocates where the arena grows or no number is free.
  /// \return the number of the copy \throws std::invalid_argument for a number that no stream has
  Index fork(Index stream) {
    arena_.reserve(level_count(at(stream)));
    const Index copy = add();
    const Stream& from = slot(stream);
    Stream& to = slot(copy);
    to.size = from.size;
    to.magnitudes = from.magnitudes;
    for (const int l : active(from)) {
      const Index block = to.blocks[array_index(l)] = arena_.take();
      std::copy_n(arena_.data(from.blocks[array_index(l)]), block_size(), arena_.data(block));
    }
    return copy;
  }
  /// The states of a stream's heads, plain values that `chunkwise` of a batch and `restore` take.
  /// Allocates. \throws std::invalid_argument for a number that no stream has
  [[nodiscard]] BatchStates<Scalar> snapshot(Index stream) const {
    const Stream& from = at(stream);
    BatchStates<Scalar> heads(
        array_index(options_.heads),
        LogLinearState<Scalar>(options_.max_levels, options_.d_k, options_.d_v));
    for (Index h = 0; h < options_.heads; ++h) {
      heads[array_index(h)].replace(from.size, [&](int l) {
        return detail::RowsView<Scalar>(level(from, l, h), options_.d_k, options_.d_v,
                                        Eigen::OuterStride<>(options_.d_v));
      });
    }
    return heads;
  }
  /// Replaces the states of a stream, by a snapshot or by what `chunkwise` of a batch has made of a
  /// prompt. \throws std::invalid_argument for a number that no stream has and for states of
  /// another number, shape or of different sizes; nothing is changed then
  void restore(Index stream, const BatchStates<Scalar>& heads) {
    Stream& old = at(stream);
    detail::require_size("the heads of the stream", static_cast<Index>(heads.size()),
                         options_.heads);
    for (const LogLinearState<Scalar>& head : heads) {
      detail::require_size("max_levels of a head", head.max_levels(), options_.max_levels);
      detail::require_size("d_k of a head", head.d_k(), options_.d_k);
      detail::require_size("d_v of a head", head.d_v(), options_.d_v);
      if (head.size() != heads[0].size()) {
        detail::fail("size() of a head", head.size(), heads[0].size(), ", as of the first head");
      }
    }
    Stream fresh = empty();
    fresh.is_used = true;
    fresh.size = heads[0].size();
    arena_.reserve(level_count(fresh));
    for (const int l : active(fresh)) fresh.blocks[array_index(l)] = arena_.take();
    for (Index h = 0; h < options_.heads; ++h) {
      const auto& levels = detail::levels_of(heads[array_index(h)]);
      fresh.magnitudes[array_index(h)] = levels.magnitude();
      for (const int l : active(fresh)) {
        std::copy_n(levels.data(l), level_size(), level(fresh, l, h));
      }
    }
    for (const int l : active(old)) arena_.give_back(old.blocks[array_index(l)]);
    old = std::move(fresh);
  }

  /// Takes one token of each of some streams, in any order: sequence b of the arrays belongs to
  /// stream `streams[b]`. Reads and states are those of `step` of a batch, to rounding. Their bits
  /// depend neither on which streams go together nor on the number of threads. A head costs
  /// O(active levels x d_k x d_v); heads are shared out to `thread_count()` threads. Allocates
  /// where the arena grows.
  ///
  /// \param in   T = 1, B = streams.size(); lambda has at least one column for each level that a
  ///             token sees. A pool of max_levels 1 needs none
  /// \param out  where reads go, [B, 1, H, d_v]; must not overlap any input
  /// \throws std::invalid_argument as `chunkwise` of a batch, for a number that no stream has or
  /// that is given twice; where a result would leave the range of the scalar type, all streams are
  /// unchanged, and `out` may hold some of the reads
  void step(const std::vector<Index>& streams, const BatchInputs<Scalar>& in,
            const HeadArray<Scalar>& out) {
    const detail::BatchHeads<Scalar> heads(in, detail::Views::on_demand);
    require_token(streams, heads, out, in);
    tokens_.resize(array_index(heads.count()));
    const auto stream = [&](Index n) -> Stream& {
      return slot(streams[array_index(n / options_.heads)]);
    };
    heads.for_each([&](Index n) {
      const Stream& now = stream(n);
      const Index h = n % options_.heads;
      const SequenceInputs<Scalar> head = heads.sequence(n);
      head.validate(now.size, options_.max_levels);
      detail::put_rows(
          tokens_[array_index(n)].read(head, now.magnitudes[array_index(h)], active(now),
                                       [&](int l) { return level(now, l, h); }),
          out, heads.rows(n));
    });
    arena_.reserve(streams.size());  // after this only the room for `targets` can fail
    std::vector<Index> targets;
    targets.reserve(streams.size());
    for (const Index number : streams) targets.push_back(target_of(slot(number)));
    heads.for_each([&](Index n) {
      write(stream(n), n % options_.heads, tokens_[array_index(n)],
            targets[array_index(n / options_.heads)]);
    });
    for (std::size_t b = 0; b < streams.size(); ++b) carry(slot(streams[b]), targets[b]);
  }

 private:
  struct Stream {
    bool is_used = false;
    std::uint64_t size = 0;
    std::vector<double> magnitudes{};  // bounds of each head's norm
    std::vector<Index> blocks{};       // the block of each level, in it one head after the other
  };

  static const Options& checked(const Options& options) {
    detail::require_length("heads", options.heads);
    detail::require_length("d_k", options.d_k);
    detail::require_length("d_v", options.d_v);
    constexpr Index most = (std::numeric_limits<Index>::max)() / 2048;
    if (options.heads > most / options.d_k / options.d_v) {
      detail::fail("heads", options.heads, "such that heads * d_k * d_v is at most ", most);
    }
    detail::require_level_count(options.max_levels);
    return options;
  }
  template <class Number>
  [[nodiscard]] static std::size_t array_index(Number n) {
    return static_cast<std::size_t>(n);
  }
  [[nodiscard]] Index level_size() const { return options_.d_k * options_.d_v; }
  [[nodiscard]] Index block_size() const { return options_.heads * level_size(); }
  [[nodiscard]] Stream empty() const {
    return {false, 0, std::vector<double>(array_index(options_.heads)),
            std::vector<Index>(array_index(options_.max_levels))};
  }
  [[nodiscard]] Index slots() const { return static_cast<Index>(streams_.size()); }
  [[nodiscard]] Stream& slot(Index n) { return streams_[array_index(n)]; }
  [[nodiscard]] const Stream& slot(Index n) const { return streams_[array_index(n)]; }
  [[nodiscard]] const Stream& at(Index stream) const {
    if (stream < 0 || stream >= slots() || !slot(stream).is_used) {
      detail::fail("the stream", stream, "a number that add or fork has returned");
    }
    return slot(stream);
  }
  [[nodiscard]] Stream& at(Index stream) {
    return const_cast<Stream&>(std::as_const(*this).at(stream));
  }
  [[nodiscard]] ActiveLevels active(const Stream& stream) const {
    return {stream.size, options_.max_levels};
  }
  [[nodiscard]] std::size_t level_count(const Stream& stream) const {
    return array_index(active_level_count(stream.size, options_.max_levels));
  }
  [[nodiscard]] const Scalar* level(const Stream& stream, int l, Index head) const {
    return arena_.data(stream.blocks[array_index(l)]) + head * level_size();
  }
  [[nodiscard]] Scalar* level(const Stream& stream, int l, Index head) {
    return arena_.data(stream.blocks[array_index(l)]) + head * level_size();
  }

  void require_token(const std::vector<Index>& streams, const detail::BatchHeads<Scalar>& heads,
                     const HeadArray<Scalar>& out, const BatchInputs<Scalar>& in) {
    const detail::BatchShape& shape = heads.shape();
    detail::require_size("the batch", shape.batch, static_cast<Index>(streams.size()));
    if (streams.empty()) return;
    detail::require_size("the number of tokens (rows of q)", shape.tokens, 1);
    detail::require_size("cu_seqlens", static_cast<Index>(in.cu_seqlens.size()), 0);
    detail::require_size("the heads", shape.heads, options_.heads);
    detail::require_size("d_k (columns of q)", shape.d_k, options_.d_k);
    detail::require_size("d_v (columns of v)", shape.d_v, options_.d_v);
    if (in.lambda.is_absent()) {
      detail::require_size("max_levels, without lambda,", options_.max_levels, 1);
    }
    detail::require_reads("out", out, shape);
    detail::require_target(out, in);
    std::vector<bool> is_given(streams_.size());
    for (const Index number : streams) {
      static_cast<void>(at(number));
      if (is_given[array_index(number)]) detail::fail("the stream", number, "given once");
      is_given[array_index(number)] = true;
    }
  }

  [[nodiscard]] int landing(const Stream& stream) const {
    return landed_level(stream.size, options_.max_levels);
  }
  /// The block that the token's carry ends in.
  [[nodiscard]] Index target_of(const Stream& stream) {
    const int landed = landing(stream);
    const bool keeps = is_active_level(stream.size, landed, options_.max_levels);
    return keeps ? stream.blocks[array_index(landed)] : arena_.take();
  }
  /// One head undergoes the token's transition and takes its leaf; all levels below the landed one
  /// are merged into it.
  void write(Stream& stream, Index head, detail::PoolToken<Scalar>& token, Index target) {
    for (const int l : active(stream)) token.undergo(level(stream, l, head));
    const int landed = landing(stream);
    Scalar* const sum = arena_.data(target) + head * level_size();
    token.push(sum, is_active_level(stream.size, landed, options_.max_levels));
    for (int l = 0; l < landed; ++l) {
      detail::add(sum, level(stream, l, head), level_size(), sum);
    }
    stream.magnitudes[array_index(head)] = token.magnitude();
  }
  /// Updates the stream's blocks and its size after `write` of all heads.
  void carry(Stream& stream, Index target) {
    const int landed = landing(stream);
    for (int l = 0; l < landed; ++l) arena_.give_back(stream.blocks[array_index(l)]);
    stream.blocks[array_index(landed)] = target;
    ++stream.size;
  }

  Options options_;
  detail::LevelArena<Scalar> arena_;
  std::vector<Stream> streams_{};
  std::vector<detail::PoolToken<Scalar>> tokens_{};  // scratch
  Index first_free_ = 0;
};

}  // namespace loglinear

#endif  // LOGLINEAR_POOL_STREAM_POOL_HPP
