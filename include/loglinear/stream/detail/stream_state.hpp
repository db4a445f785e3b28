// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP

// The state as a layer keeps it, so that a token costs one read of it and little more: the newest
// tokens stand apart in a buffer, older ones are in levels that are rewritten only where the buffer
// is carried into them, and only as far as the carry reaches. What higher levels have yet to
// undergo is pending: a read takes its query down through it instead.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/admitted.hpp"
#include "loglinear/stream/detail/leaf_buffer.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/level_reads.hpp"
#include "loglinear/stream/detail/levels.hpp"
#include "loglinear/stream/detail/one_state.hpp"
#include "loglinear/stream/detail/pending_tiers.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/stream/detail/stream_shape.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

/// Class invariant: the levels hold the first `size()` tokens but for those in the buffer, a
/// multiple of its capacity, before what is pending for them. It has many members: all that a layer
/// asks of its stream passes through here.
///
/// \tparam HasOneState  whether a stream of one level takes the step of its own (one_state.hpp).
/// Layers that are not made for one level say no, or every program would compile it; they are right
/// with one level, too, by the path of several.
template <class Kind, class Stored = typename Kind::Scalar, LastLevel Overflow = LastLevel::fold,
          bool HasOneState = true>
class StreamState {
 public:
  static constexpr LastLevel overflow = Overflow;
  using Scalar = typename Kind::Scalar;
  using Levels = detail::Levels<Stored, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, Overflow>;
  using Buffer = LeafBuffer<Kind>;
  using Tiers = PendingTiers<Kind, Stored>;

  StreamState(int max_levels, Index key_rows, Index d_v, Index leaves)
      : levels_(max_levels, key_rows, d_v),
        buffer_(Buffer::level_for(max_levels, key_rows, d_v), leaves, key_rows, d_v),
        tiers_(buffer_.level(), max_levels, key_rows, d_v, leaves),
        bucket_(zeros<RowMajorMatrix<Scalar>>(key_rows, buffer_.level() > 0 ? d_v : 0)),
        one_state_(HasOneState ? max_levels : 2, key_rows, d_v, leaves) {}

  [[nodiscard]] int max_levels() const { return levels_.max_levels(); }
  [[nodiscard]] Index key_rows() const { return levels_.d_k(); }
  [[nodiscard]] Index d_v() const { return levels_.d_v(); }
  [[nodiscard]] std::uint64_t size() const {
    return levels_.size() + static_cast<std::uint64_t>(buffer_.count());
  }
  /// What a workspace must have room for.
  [[nodiscard]] ReadShape read_shape() const {
    return {key_rows(), d_v(), max_levels(),
            (std::max)(buffer_.leaf_capacity(), tiers_.score_columns()), tiers_.tier_count()};
  }
  [[nodiscard]] StreamShape shape() const {
    return {max_levels(), key_rows(), d_v(), buffer_.leaves()};
  }

  /// \name What the state is made of, for those who move streams as a whole
  /// \{
  [[nodiscard]] const Levels& levels() const { return levels_; }
  [[nodiscard]] Levels& levels() { return levels_; }
  [[nodiscard]] const Buffer& buffer() const { return buffer_; }
  [[nodiscard]] Buffer& buffer() { return buffer_; }
  [[nodiscard]] const Tiers& tiers() const { return tiers_; }
  [[nodiscard]] Tiers& tiers() { return tiers_; }
  /// \}

  /// The number of tokens after which nothing is buffered any more; 0 if nothing is now.
  [[nodiscard]] Index until_flushed() const {
    return buffer_.count() == 0 ? 0 : capacity() - buffer_.count();
  }
  /// The number of tokens between two such moments.
  [[nodiscard]] Index capacity() const { return buffer_.capacity(); }
  /// The levels with nothing pending; all there is if nothing is buffered.
  [[nodiscard]] Levels& settled_levels() {
    tiers_.settle(levels_);
    return levels_;
  }
  void reset() noexcept {
    levels_.reset();
    buffer_.clear();
    tiers_.reset();
  }

  /// Throws where the token may not be written; nothing is changed. `write` takes the result.
  [[nodiscard]] Admitted admit(const Token<Kind>& token) const {
    if (size() == UINT64_MAX) fail("size", size(), "below 2^64 - 1 before a push");
    return levels_.admit(token.transition.norm_bound(), token.keys, token.values,
                         [&](bool exactly) { return measured(exactly); });
  }
  /// Writes a token. Preconditions: `admit(token)` gave `admitted`, a `read` with its transition
  /// gave `looked_up`, and the state has not changed since.
  void write(const Token<Kind>& token, const Admitted& admitted, const LookUp<Kind>& looked_up) {
    if (buffer_.level() == 0) return write_at_once(token, admitted, looked_up);
    tiers_.bound(admitted.growth, levels_);
    buffer_.undergo(token.transition, looked_up);
    tiers_.follow(token.transition, looked_up);
    if (buffer_.count() % 8 == 7) {  // now and then
      buffer_.clear_negligible();
      tiers_.clear_negligible();
    }
    buffer_.append(token);
    levels_.defer(admitted.magnitude);
    if (buffer_.count() == capacity()) return flush();
    tiers_.settle_some(levels_);
  }

  /// out = sum_l lambda[seen(l)] S_l^T query over the active levels, those in the buffer included.
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out) const {
    read(query, memory, out, nullptr, nullptr);
  }
  /// The same, and what writing a token with the transition `next` takes is read on the way.
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out,
            const Kind& next, LookUp<Kind>& looked_up) const {
    read(query, memory, out, &next, &looked_up);
  }
  /// The same, but each term is added to row seen(l) of `rows`, of d_v columns.
  void read_apart(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* rows,
                  const Kind* next, LookUp<Kind>* looked_up) const {
    read<true>(query, memory, rows, next, looked_up);
  }
  /// For the `read` of `query` in `memory` and its cotangents d_l: t.d_old_query =
  /// sum_l lambda[seen(l)] S_l d_l, and d_lambda[seen(l)] += d_l . S_l^T query.
  void pull_back(const LevelQuery<Scalar>& query, const ReadMemory<Kind>& memory,
                 const Cotangents<Scalar>& d, PullbackMemory<Kind>& t, Scalar* d_lambda) const {
    const SeenLevels seen = seen_in(query.order);
    LevelReads<Kind, Stored>::pull_back(levels_, tiers_, query, seen, memory, d, t, d_lambda);
    buffer_.pull_back(query, seen, memory.scores.data(), d, t, d_lambda);
  }

  /// The plain form, exactly as if every token had been pushed; `out` must have the same shape.
  void copy_to(Levels& out) const {
    tiers_.settle_copy(levels_, out);
    buffer_.push_into(out);
  }
  /// A bound of the Frobenius norm of everything: from the bounds of its parts, or, at the cost of
  /// a copy, of the plain form.
  [[nodiscard]] double measured(bool exactly) const {
    if (!exactly) return levels_.norm_bound() * tiers_.norm_bound() + buffer_.norm_bound();
    Levels plain(max_levels(), key_rows(), d_v());
    copy_to(plain);
    return plain.norm();
  }
  /// The buffer becomes part of the levels, which must have nothing pending.
  void carry_buffer() {
    buffer_.move_into(bucket_.data());
    levels_.carry_bucket(buffer_.level(), bucket_.data());
  }

  /// For checkpoints: the buffer, what is pending, and the levels before that.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    Parts::visit(self.buffer_, part);
    Parts::visit(self.tiers_, part);
    Parts::visit(self.levels_, part, [&] { return self.measured(true); });
    if (self.levels_.size() % static_cast<std::uint64_t>(self.capacity()) != 0) {
      fail("size", self.levels_.size(), "a multiple of " + std::to_string(self.capacity()));
    }
  }
  template <class OtherKind, class OtherStored>
  [[nodiscard]] auto cast() const {
    StreamState<OtherKind, OtherStored, Overflow, HasOneState> other(max_levels(), key_rows(),
                                                                     d_v(), buffer_.leaves());
    if constexpr (is_narrow<Stored> == is_narrow<OtherStored>) {
      other.levels() = levels_.template cast<OtherStored>();
      other.tiers().assign(tiers_);
    } else {  // with other tiers
      StreamState settled(*this);
      other.levels() = settled.settled_levels().template cast<OtherStored>();
    }
    other.buffer().assign(buffer_);
    other.buffer().require_finite_leaves(buffer_.leaf_count());
    return other;
  }

  /// See fields.hpp: what a snapshot holds.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("buffer", self.buffer_...);
    use("tiers", self.tiers_...);
    use("levels", self.levels_...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.bucket_, self.one_state_);
  }

 private:
  [[nodiscard]] SeenLevels seen_in(ReadOrder order) const {
    return {order, size(), max_levels(), Overflow};
  }
  template <bool Apart = false>
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out,
            const Kind* next, LookUp<Kind>* looked_up) const {
    using Reads = LevelReads<Kind, Stored>;
    const SeenLevels seen = seen_in(query.order);
    if constexpr (HasOneState && looks_up<Kind>) {
      if (max_levels() == 1) {
        const Scalar weight = query.lambda[seen(0)] * static_cast<Scalar>(seen.kept(0));
        Scalar* const found = Apart ? memory.level_read.data() : out;
        OneState<Kind>::read(levels_.data(0), query.query, weight, key_rows(), d_v(), found, next,
                             looked_up);
        if (Apart) add(out + seen(0) * d_v(), found, d_v(), out + seen(0) * d_v());
        return;
      }
    }
    Reads::template read<Apart>(levels_, tiers_, query, seen, memory, out, next, looked_up);
    buffer_.template read<Apart>(query, seen, memory.scores.data(), out, next, looked_up);
  }
  /// Without a buffer levels are rewritten at every token.
  void write_at_once(const Token<Kind>& token, const Admitted& admitted,
                     [[maybe_unused]] const LookUp<Kind>& looked_up) {
    if constexpr (HasOneState && OneState<Kind>::is_known) {
      if (max_levels() == 1) {
        const double kept = kept_fraction(Overflow, size() > 0 ? 1 : 0);
        one_state_.write(token, static_cast<Scalar>(kept), looked_up, levels_.data(0));
        return levels_.count(admitted.magnitude);
      }
    }
    levels_.write(token.transition, token.keys, token.values, admitted);
  }
  /// All buffered leaves become one bucket of the level above the buffer.
  void flush() {
    const int b = buffer_.level();
    tiers_.settle_below(b + landed_level(levels_.size() >> b, max_levels() - b), levels_);
    carry_buffer();
    tiers_.begin_buffer(levels_);
  }

  Levels levels_;
  Buffer buffer_;
  Tiers tiers_;
  RowMajorMatrix<Scalar> bucket_;  // scratch
  OneState<Kind> one_state_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP
