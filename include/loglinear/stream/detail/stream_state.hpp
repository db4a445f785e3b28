// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP

// The state as a layer keeps it, so that a token costs one read of it and little more:
//
// * the newest tokens stand apart as they came, keys beside values, in a buffer of B = 2^b leaves
//   in place of the b lowest levels: attending to some B/2 leaves costs less than reading b/2
//   matrices, and one carry every B tokens less than B carries;
// * older tokens are in the levels of a LogLinearState, which are rewritten only at such a carry,
//   and there only as far as the carry reaches. What higher levels have yet to undergo is kept as
//   the product of the transitions, tier by tier: a level of tier i is still to undergo P_0 P_1 ...
//   P_i, the latest first. A read takes its query down through these products instead.
//
// Diagonal products are cheap, so each level is a tier of its own. A dense one costs as much as a
// level to read: there are few tiers, the first of which takes part in every flush.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/admitted.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/level_reads.hpp"
#include "loglinear/stream/detail/levels.hpp"
#include "loglinear/stream/detail/pending.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/stream/snapshot.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

template <class Kind, int MaxLevels, class Stored = typename Kind::Scalar,
          LastLevel Overflow = LastLevel::fold>
class StreamState {
 public:
  static constexpr LastLevel overflow = Overflow;
  using Scalar = typename Kind::Scalar;
  using Levels = detail::Levels<Stored, Eigen::Dynamic, Eigen::Dynamic, MaxLevels, Overflow>;
  using Product = PendingProduct<Kind>;
  using Recent = RecentProduct<Kind>;

  StreamState(int max_levels, Index key_rows, Index d_v, Index leaves)
      : levels_(max_levels, key_rows, d_v),
        leaves_(leaves),
        buffer_level_(buffer_level(max_levels, key_rows, d_v)),
        keys_(RowMajorMatrix<Scalar>::Zero(capacity() * leaves, key_rows)),
        values_(RowMajorMatrix<Scalar>::Zero(capacity() * leaves, d_v)),
        factors_(Vector<Scalar>::Ones(has_factors ? capacity() * leaves : 0)),
        bucket_(key_rows, buffer_level_ > 0 ? d_v : 0),
        scratch_(Product::scratch_size(key_rows)),
        recent_(make_recent<Kind>(key_rows, d_v, capacity())),
        pending_(static_cast<std::size_t>(tier_of(max_levels - 1) + 1), Product(key_rows, d_v)) {}

  [[nodiscard]] int max_levels() const { return levels_.max_levels(); }
  [[nodiscard]] Index key_rows() const { return levels_.d_k(); }
  [[nodiscard]] Index d_v() const { return levels_.d_v(); }
  [[nodiscard]] std::uint64_t size() const {
    return levels_.size() + static_cast<std::uint64_t>(buffered_);
  }
  /// What a workspace must have room for.
  [[nodiscard]] ReadShape read_shape() const {
    Index sums = keys_.rows();
    if constexpr (requires { recent_.score_columns(); }) {
      sums = (std::max)(sums, recent_.score_columns());
    }
    return {key_rows(), d_v(), max_levels(), sums, static_cast<Index>(pending_.size())};
  }

  /// Tokens until nothing is buffered any more; 0 if nothing is.
  [[nodiscard]] Index until_flushed() const { return buffered_ == 0 ? 0 : capacity() - buffered_; }
  /// Tokens between two such moments.
  [[nodiscard]] Index capacity() const { return Index{1} << buffer_level_; }
  /// The levels with nothing pending; all there is if nothing is buffered.
  [[nodiscard]] Levels& settled_levels() {
    if (buffer_level_ > 0) settle(last_tier());
    return levels_;
  }

  void reset() noexcept {
    levels_.reset();
    buffered_ = 0;
    growth_ = 1;
    recent_.reset();
    for (Product& product : pending_) product.reset();
  }

  /// Throws where the token may not be written; nothing is changed. `write` demands the result.
  [[nodiscard]] Admitted admit(const Token<Kind>& token) const {
    if (size() == UINT64_MAX) fail("size", size(), "below 2^64 - 1 before a push");
    return levels_.admit(token.transition.norm_bound(), token.keys, token.values,
                         [&](bool exactly) { return measured(exactly); });
  }

  /// Writes a token as it was admitted, with what a read found out for it; the state is still what
  /// it was for both.
  void write(const Token<Kind>& token, const Admitted& admitted, const LookUp<Kind>& looked_up) {
    if (buffer_level_ == 0) {
      levels_.write(token.transition, token.keys, token.values, admitted);
      return;
    }
    bound_products(admitted.growth);
    undergo(token.transition, looked_up);
    const Index n = buffered_ * leaves_;
    // Column by column there, row by row here: the same order in memory.
    std::copy_n(token.keys.data(), token.keys.size(), keys_.row(n).data());
    std::copy_n(token.values.data(), token.values.size(), values_.row(n).data());
    if constexpr (has_factors) factors_.segment(n, leaves_).setOnes();
    levels_.defer(admitted.magnitude);
    if (++buffered_ == capacity()) flush();
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

  /// For the `read` of `query` in `memory` and a cotangent d = t.d_old_read of the read:
  /// t.d_old_query = sum_l lambda[seen(l)] S_l d, and d_lambda[seen(l)] += d . S_l^T query.
  void pull_back(const LevelQuery<Scalar>& query, const ReadMemory<Kind>& memory,
                 PullbackMemory<Kind>& t, Scalar* d_lambda) const {
    const SeenLevels seen = seen_in(query.order);
    LevelReads<Kind, Stored>::pull_back(*this, query, seen, memory, t, d_lambda);
    if (buffered_ == 0) return;
    const Index n = buffered_ * leaves_;
    Scalar* const d_scores = t.d_scores.data();
    row_dots(values_.data(), n, d_v(), t.d_old_read.data(), d_scores);
    for_each_buffered_level([&](int l, Index first, Index count) {
      const int at = seen(l);
      d_lambda[at] += dot(d_scores + first, memory.scores.data() + first, count);
      scale_by(query.lambda[at], d_scores + first, count);
    });
    if constexpr (has_factors) multiply(d_scores, factors_.data(), n, d_scores);
    weighted_rows<true>(keys_.data(), n, key_rows(), key_rows(), d_scores, t.d_old_query.data());
  }

  /// The plain form, exactly as if every token had been pushed; `out` must have the same shape.
  void copy_to(Levels& out) const {
    Vector<Scalar> scratch(scratch_.size());
    with_recent([&](const auto& recent) {
      out.copy(levels_);
      for (int l : levels_.active_levels()) {
        for (int i = tier_of(l); i > 0; --i) out.undergo(l, pending(i), scratch);
        if (buffer_level_ > 0) out.undergo(l, recent, scratch);
      }
    });
    for (Index token = 0; token < buffered_; ++token) {
      const Index first = token * leaves_;
      out.carry_bucket(
          0, leaves_, [&](Index i, Index n) { return key(first + n, i); },
          values_.row(first).data());
    }
  }

  /// For checkpoints: the buffer, what is pending, and the levels before that.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    std::int64_t buffered = self.buffered_;  // the same in a file whatever Index is
    part("buffered", buffered);
    require_between("buffered", buffered, std::int64_t{0}, std::int64_t{self.capacity() - 1});
    if constexpr (is_written<Self>)
      self.buffered_ = static_cast<decltype(self.buffered_)>(buffered);
    const Index n = self.buffered_ * self.leaves_;
    part("buffered_keys", self.keys_.topRows(n));
    part("buffered_values", self.values_.topRows(n));
    if constexpr (has_factors) part("buffered_factors", self.factors_.head(n));
    if (self.buffer_level_ > 0) {
      part("recent", self.recent_);
      for (int i = 1; i <= self.last_tier(); ++i) {
        part("pending" + std::to_string(i), self.pending(i));
      }
      part("growth", self.growth_);
    }
    for (Index i = 0; i < n && is_written<Self>; ++i) {
      const double leaf = Levels::leaf_magnitude(self.keys_.row(i), self.values_.row(i));
      require_between("the magnitude of a buffered leaf", leaf, 0.0, magnitude_limit<Scalar>());
    }
    Parts::visit(self.levels_, part, [&] { return self.measured(true); });
    if (self.levels_.size() % static_cast<std::uint64_t>(self.capacity()) != 0) {
      fail("size", self.levels_.size(), "a multiple of " + std::to_string(self.capacity()));
    }
  }

  template <class OtherKind, class OtherStored>
  [[nodiscard]] StreamState<OtherKind, MaxLevels, OtherStored, Overflow> cast() const {
    using Other = typename OtherKind::Scalar;
    StreamState<OtherKind, MaxLevels, OtherStored, Overflow> other(max_levels(), key_rows(), d_v(),
                                                                   leaves_);
    if constexpr (is_narrow<Stored> == is_narrow<OtherStored>) {
      other.levels_ = levels_.template cast<OtherStored>();
      other.recent_.assign(recent_);
      for (std::size_t i = 0; i < pending_.size(); ++i) other.pending_[i].assign(pending_[i]);
      other.growth_ = growth_;
    } else {  // with other tiers
      StreamState settled(*this);
      other.levels_ = settled.settled_levels().template cast<OtherStored>();
    }
    const Index n = buffered_ * leaves_;
    other.keys_.topRows(n) = keys_.topRows(n).template cast<Other>();
    other.values_.topRows(n) = values_.topRows(n).template cast<Other>();
    if constexpr (has_factors) other.factors_.head(n) = factors_.head(n).template cast<Other>();
    other.buffered_ = buffered_;
    require_finite("a buffered key", other.keys_.topRows(n));
    require_finite("a buffered value", other.values_.topRows(n));
    return other;
  }

 private:
  template <class, int, class, LastLevel>
  friend class StreamState;
  friend struct StreamParts;
  template <class, class>
  friend struct LevelReads;
  friend class loglinear::StreamSnapshot<Kind, Stored>;

  /// Levels of a tier of dense products but for the last tier, which has all higher ones.
  static constexpr int dense_tier_height = 3;
  static constexpr double most_growth = 1e9;
  static constexpr int most_buffer_levels = 6;
  /// Whether leaves decay by a number each, which is kept apart from their keys.
  static constexpr bool has_factors = OneFactor<Kind> && !std::is_same_v<Kind, Identity<Scalar>>;

  /// b, so that B is about the smaller side of a level, but no more levels than there are.
  static int buffer_level(int max_levels, Index key_rows, Index d_v) {
    const auto side = static_cast<std::uint64_t>((std::min)(key_rows, d_v));
    const int level = static_cast<int>(std::bit_width(side)) - 1;
    return std::clamp(level, 0, (std::min)(most_buffer_levels, max_levels - 1));
  }

  /// The tier of a level above the buffer; none without a buffer.
  [[nodiscard]] int tier_of(int level) const {
    if (buffer_level_ == 0) return -1;
    const int above = level - buffer_level_;
    if (Product::is_diagonal) return above;
    return is_narrow<Stored> ? above / dense_tier_height : (std::min)(above / dense_tier_height, 1);
  }
  [[nodiscard]] int last_tier() const { return tier_of(max_levels() - 1); }
  [[nodiscard]] const Product& pending(int tier) const {
    return pending_[static_cast<std::size_t>(tier)];
  }
  [[nodiscard]] Product& pending(int tier) { return pending_[static_cast<std::size_t>(tier)]; }

  /// Calls `use` with the product that tier `tier` has to undergo after those below it.
  template <class Use>
  void with_tier(int tier, Use use) const {
    if (tier == 0) {
      use(recent_);
    } else {
      use(pending(tier));
    }
  }

  /// Calls `use` with what has followed the last flush, in a form that applies to levels: where
  /// that were too many updates of rank one, a dense product, which is allocated before.
  template <class Use>
  void with_recent(Use use) const {
    if constexpr (requires { recent_.can_apply(); }) {
      if (!recent_.can_apply()) {
        Recent used_up(recent_);
        Product dense(key_rows(), d_v());
        dense.take(used_up);
        return use(dense);
      }
    }
    use(recent_);
  }

  /// A buffered key as it is now.
  [[nodiscard]] Scalar key(Index leaf, Index row) const {
    if constexpr (has_factors) {
      return factors_[leaf] * keys_(leaf, row);
    } else {
      return keys_(leaf, row);
    }
  }

  /// Calls `visit(level, first column, columns)` for the levels that the buffer stands for.
  template <class Visit>
  void for_each_buffered_level(Visit visit) const {
    const auto count = static_cast<std::uint64_t>(buffered_);
    for (int l : ActiveLevels(count, max_level_limit)) {
      const Bucket bucket = bucket_of(count, l, max_level_limit);
      visit(l, static_cast<Index>(bucket.first) * leaves_,
            static_cast<Index>(bucket.size) * leaves_);
    }
  }

  [[nodiscard]] SeenLevels seen_in(ReadOrder order) const {
    return {order, size(), max_levels(), Overflow};
  }
  void read(const LevelQuery<Scalar>& query, ReadMemory<Kind>& memory, Scalar* out,
            const Kind* next, LookUp<Kind>* looked_up) const {
    const SeenLevels seen = seen_in(query.order);
    LevelReads<Kind, Stored>::read(*this, query, seen, memory, out, next, looked_up);
    if (buffered_ == 0) return;
    const Index n = buffered_ * leaves_;
    Scalar* const scores = memory.scores.data();
    bool looks_up_p = false;
    if constexpr (looks_up<Kind>) {
      if (next != nullptr) {
        row_dots(keys_.data(), n, key_rows(), query.query, next->p.data(), scores,
                 looked_up->found.data());
        looks_up_p = true;
      }
    }
    if (!looks_up_p) row_dots(keys_.data(), n, key_rows(), query.query, scores);
    if constexpr (has_factors) multiply(scores, factors_.data(), n, scores);
    std::array<WeightedRows<Scalar, Scalar>, most_buffer_levels> terms;
    int levels = 0;
    for_each_buffered_level([&](int l, Index first, Index count) {
      terms[static_cast<std::size_t>(levels++)] = {
          values_.data() + first * d_v(), count, {scores + first}, query.lambda[seen(l)]};
    });
    weighted_rows<true, 8>(terms.data(), levels, d_v(), d_v(), out);
  }

  /// Everything but the levels undergoes a transition, and they are to undergo it later.
  void undergo(const Kind& transition, [[maybe_unused]] const LookUp<Kind>& looked_up) {
    const Index n = buffered_ * leaves_;
    if constexpr (has_factors) {
      factors_.head(n) *= transition.factor();
    } else if constexpr (looks_up<Kind>) {
      transition.left(keys_.topRows(n).transpose(), looked_up.found.data());
    } else if constexpr (!OneFactor<Kind>) {
      if (n > 0) transition.left(keys_.topRows(n).transpose());
      if constexpr (scales_values<Kind>) transition.right(values_.topRows(n));
    }
    if constexpr (looks_up<Kind>) {
      if (recent_.is_identity()) {
        recent_.follow(transition);  // p was looked up before the levels were settled
      } else {
        recent_.follow(transition, looked_up.pulled_p);
      }
    } else {
      recent_.follow(transition);
    }
    // Now and then, what has decayed to nothing: denormal numbers would take their time.
    if (buffered_ % 8 != 7) return;
    clear_negligible(factors_.data(), has_factors ? n : 0);
    clear_negligible(keys_.data(), OneFactor<Kind> ? 0 : n * key_rows());
    clear_negligible(values_.data(), scales_values<Kind> ? n * d_v() : 0);
    recent_.clear_negligible();
  }

  /// A bound of the Frobenius norm of everything: from the bounds of its parts, or, at the cost of
  /// a copy, of the plain form.
  [[nodiscard]] double measured(bool exactly) const {
    if (exactly) {
      Levels plain(max_levels(), key_rows(), d_v());
      copy_to(plain);
      return plain.norm();
    }
    double product = (std::max)(1.0, recent_.norm_bound());
    for (int i = 1; i <= last_tier(); ++i) product *= (std::max)(1.0, pending(i).norm_bound());
    const Index n = buffered_ * leaves_;
    const double buffer = static_cast<double>(n) *
                          std::sqrt(static_cast<double>(key_rows() * d_v())) *
                          max_abs(keys_.topRows(n)) * max_abs(values_.topRows(n));
    return levels_.norm_bound() * product + buffer;
  }

  /// Products must neither overflow nor have rounded much away: where transitions make states
  /// grow, levels are rewritten in time.
  void bound_products(double growth) {
    if (buffer_level_ == 0) return;
    growth_ *= (std::max)(1.0, growth);
    if (is_at_most(growth_, most_growth)) return;
    growth_ = recent_.growth() * (std::max)(1.0, growth);
    if (is_at_most(growth_, most_growth)) return;
    settle(last_tier());
    growth_ = (std::max)(1.0, growth);
  }

  /// All buffered leaves become one bucket of the level above the buffer.
  void flush() {
    const int landed =
        buffer_level_ + landed_level(levels_.size() >> buffer_level_, max_levels() - buffer_level_);
    settle(tier_of(landed), merge_within_tiers(landed));
    sum_up_buffer();
    levels_.carry_bucket(buffer_level_, bucket_.data());
    buffered_ = 0;
    growth_ = 1;
    double growth = 1;
    for (const Product& product : pending_) growth *= product.growth();
    if (!is_at_most(growth, most_growth)) settle(last_tier());
  }

  /// bucket_ = sum_n key_n value_n^T
  void sum_up_buffer() {
    const Index n = buffered_ * leaves_;
    if constexpr (has_factors) {
      const auto factor = [&](Index j) { return factors_[j]; };
      scale<Scalar, Scalar>(keys_.data(), n, key_rows(), key_rows(), factor, nullptr);
    }
    product<Into::replace>(keys_.topRows(n).transpose(), values_.topRows(n), bucket_);
  }

  /// Levels that a carry to `landed` merges and that are still to undergo the same are added up
  /// beforehand, to undergo it once. Returns the mask of those that are empty now.
  std::uint64_t merge_within_tiers(int landed) {
    std::uint64_t emptied = 0;
    if (is_narrow<Stored>) return emptied;  // each sum would be rounded
    int last = -1;
    for (int l : levels_.active_levels()) {
      if (l >= landed) break;
      if (last >= 0 && tier_of(last) == tier_of(l)) {
        levels_.merge(last, l);
        emptied |= std::uint64_t{1} << last;
      }
      last = l;
    }
    return emptied;
  }

  /// The levels of all tiers up to this one undergo what is pending for them, the empty ones apart.
  void settle(int tier, std::uint64_t empty = 0) {
    pending(0).take(recent_);
    for (int i = 0; i <= tier; ++i) {
      if (i > 0) pass_on(i - 1);
      for (int l : levels_.active_levels()) {
        if (tier_of(l) != i || ((empty >> l) & 1) != 0) continue;
        levels_.undergo(l, pending(i), scratch_);
      }
    }
    if (tier < last_tier()) pass_on(tier);
    pending(tier).reset();
  }
  /// What is pending for a tier whose levels have undergone it still is for the next.
  void pass_on(int tier) {
    pending(tier + 1).follow(pending(tier), scratch_);
    pending(tier).reset();
  }

  Levels levels_;  // the first size() - buffered_ tokens, before what is pending
  Index leaves_;
  int buffer_level_;             // b; 0 for no buffer: then levels are rewritten at every token
  RowMajorMatrix<Scalar> keys_;  // one row a leaf, as it is now but for a factor
  RowMajorMatrix<Scalar> values_;
  Vector<Scalar> factors_;         // what keys are still to be multiplied by, of OneFactor kinds
  RowMajorMatrix<Scalar> bucket_;  // scratch
  Vector<Scalar> scratch_;         // of the products
  Recent recent_;                  // P_0, the transitions of the buffered tokens
  std::vector<Product> pending_;   // P_1, P_2, ...: one for each tier but the first, whose is I
  double growth_ = 1;              // a bound of what P_0 multiplies a norm by
  Index buffered_ = 0;             // tokens in the buffer, below 2^b
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_STATE_HPP
