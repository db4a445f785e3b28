// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_PENDING_TIERS_HPP
#define LOGLINEAR_STREAM_DETAIL_PENDING_TIERS_HPP

// What the levels of a stream have yet to undergo, tier by tier: a level of tier i is still to
// undergo P_0 P_1 ... P_i, the latest first, P_0 being the product of the transitions of the
// buffered tokens. So a carry rewrites the levels only as far as it reaches.
//
// Diagonal products are cheap, so each level is a tier of its own. A dense one costs as much as a
// level to read: there are few tiers, the first of which takes part in every flush.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/fields.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/pending_product.hpp"
#include "loglinear/stream/detail/read_memory.hpp"

namespace loglinear::detail {

/// Class invariant: the product of the first tier but for P_0 is I; `growth` bounds what P_0
/// multiplies a norm by. Without a buffer there are no tiers, and nothing is pending.
template <class Kind, class Stored>
class PendingTiers {
 public:
  using Scalar = typename Kind::Scalar;
  using Product = PendingProduct<Kind>;
  using Recent = RecentProduct<Kind>;

  /// For levels above a buffer in place of `buffer_level` of them, of tokens with so many leaves.
  PendingTiers(int buffer_level, int max_levels, Index key_rows, Index d_v, Index leaves)
      : buffer_level_(buffer_level),
        max_levels_(max_levels),
        key_rows_(key_rows),
        d_v_(d_v),
        recent_(make_recent<Kind>(key_rows, d_v, Index{1} << buffer_level, leaves)),
        later_(static_cast<std::size_t>(last_tier() + 1), Product(key_rows, d_v)),
        scratch_(zeros<Scalar>(Product::scratch_size(key_rows))) {}

  [[nodiscard]] Index tier_count() const { return static_cast<Index>(later_.size()); }
  /// The tier of a level above the buffer; -1 where there are none.
  [[nodiscard]] int tier_of(int level) const {
    if (buffer_level_ == 0) return -1;
    const int above = level - static_cast<int>(buffer_level_);
    if (Product::is_diagonal) return above;
    return is_narrow<Stored> ? above / dense_tier_height : (std::min)(above / dense_tier_height, 1);
  }
  /// P_0
  [[nodiscard]] const Recent& recent() const { return recent_; }
  /// Calls `use` with P_i, where i is `tier`.
  template <class Use>
  void with_tier(int tier, Use use) const {
    if (tier == 0) {
      use(recent_);
    } else {
      use(later(tier));
    }
  }
  /// The number of sums that a read of P_0 needs.
  [[nodiscard]] Index score_columns() const {
    if constexpr (requires { recent_.score_columns(); }) return recent_.score_columns();
    return 0;
  }
  /// A bound of what everything pending multiplies a norm by, at least 1.
  [[nodiscard]] double norm_bound() const {
    double bound = (std::max)(1.0, recent_.norm_bound());
    for (int i = 1; i <= last_tier(); ++i) bound *= (std::max)(1.0, later(i).norm_bound());
    return bound;
  }

  /// The levels are to undergo one more transition, for which a read has found `looked_up`.
  void follow(const Kind& transition, [[maybe_unused]] const LookUp<Kind>& looked_up) {
    if constexpr (looks_up<Kind>) {
      if (!recent_.is_identity()) return recent_.follow(transition, looked_up.pulled_p.data());
    }  // else p may have been looked up before the levels were settled
    recent_.follow(transition);
  }
  void clear_negligible() { recent_.clear_negligible(); }

  /// Products must neither overflow nor have rounded much away: where transitions make states grow,
  /// levels are rewritten in time, before a transition that grows a norm by `growth`.
  template <class Levels>
  void bound(double growth, Levels& levels) {
    growth_ *= (std::max)(1.0, growth);
    if (is_at_most(growth_, most_growth)) return;
    growth_ = recent_.growth() * (std::max)(1.0, growth);
    if (is_at_most(growth_, most_growth)) return;
    settle(levels);
    growth_ = (std::max)(1.0, growth);
  }
  /// Call it before a carry of the buffer to level `landed`: the levels that the carry merges
  /// undergo all that is pending for them.
  template <class Levels>
  void settle_below(int landed, Levels& levels) {
    settle(tier_of(landed), levels, merge_within_tiers(landed, levels));
  }
  /// Between carries: the levels of the first tier undergo P_0 as soon as it has `some_updates`
  /// updates of rank one, if these are few beside the rows of a level. That takes time in
  /// proportion to the updates, so that no step takes long and P_0 stays short to read.
  template <class Levels>
  void settle_some(Levels& levels) {
    if constexpr (requires { recent_.update_count(); }) {
      const Index updates = recent_.update_count();
      if (updates < some_updates || 4 * updates > key_rows_ || !can_apply_recent()) return;
      settle(0, levels, 0);
      begin_buffer(levels);
    }
  }
  /// Call it after P_0 has been passed on.
  template <class Levels>
  void begin_buffer(Levels& levels) {
    growth_ = 1;
    double growth = 1;
    for (const Product& product : later_) growth *= product.growth();
    if (!is_at_most(growth, most_growth)) settle(levels);
  }
  /// All levels undergo what is pending for them.
  template <class Levels>
  void settle(Levels& levels) {
    if (buffer_level_ > 0) settle(last_tier(), levels, 0);
  }
  /// The same, and the bound of the next product starts anew.
  template <class Levels>
  void settle_anew(Levels& levels) {
    settle(levels);
    growth_ = 1;
  }
  /// out = the levels after what is pending for them; `levels` stays. Allocates before it changes
  /// `out`.
  template <class Levels>
  void settle_copy(const Levels& levels, Levels& out) const {
    Vector<Scalar> scratch(scratch_.size());
    with_applicable([&](const auto& recent) {
      out.copy(levels);
      for (int l : levels.active_levels()) {
        for (int i = tier_of(l); i > 0; --i) out.undergo(l, later(i), scratch.data());
        if (buffer_level_ > 0) out.undergo(l, recent, scratch.data());
      }
    });
  }
  void reset() noexcept {
    growth_ = 1;
    recent_.reset();
    for (Product& product : later_) product.reset();
  }

  /// Becomes a copy of the other one in this scalar; `other` was made for as many levels of the
  /// same shape.
  template <class OtherKind, class OtherStored>
  void assign(const PendingTiers<OtherKind, OtherStored>& other) {
    fields(AssignField{}, *this, other);
  }
  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("recent", self.recent_...);
    use("pending", later_field(self.later_)...);
    use("growth", self.growth_...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.buffer_level_, self.max_levels_, self.key_rows_, self.d_v_, self.scratch_);
  }
  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if (self.buffer_level_ == 0) return;
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
  }

 private:
  template <class, class>
  friend class PendingTiers;

  /// Levels of a tier of dense products but for the last tier, which has all higher ones.
  static constexpr int dense_tier_height = 3;
  static constexpr Index some_updates = 16;  // from here on products of matrices pay
  static constexpr double most_growth = 1e9;

  [[nodiscard]] int last_tier() const { return tier_of(static_cast<int>(max_levels_) - 1); }
  [[nodiscard]] const Product& later(int tier) const {
    return later_[static_cast<std::size_t>(tier)];
  }
  [[nodiscard]] Product& later(int tier) { return later_[static_cast<std::size_t>(tier)]; }

  /// Calls `use` with P_0 in a form that applies to levels: where it is of too many updates of rank
  /// one, a dense product, which is allocated before.
  template <class Use>
  void with_applicable(Use use) const {
    if constexpr (requires { recent_.can_apply(); }) {
      if (!recent_.can_apply()) {
        Recent used_up(recent_);
        Product dense(key_rows_, d_v_);
        dense.take(used_up);
        return use(dense);
      }
    }
    use(recent_);
  }

  /// Levels that a carry to `landed` merges and that are still to undergo the same are added up
  /// beforehand, to undergo it once. Returns the mask of those that are empty now.
  template <class Levels>
  [[nodiscard]] std::uint64_t merge_within_tiers(int landed, Levels& levels) const {
    std::uint64_t emptied = 0;
    if (is_narrow<Stored>) return emptied;  // each sum would be rounded
    int last = -1;
    for (int l : levels.active_levels()) {
      if (l >= landed) break;
      if (last >= 0 && tier_of(last) == tier_of(l)) {
        levels.merge(last, l);
        emptied |= std::uint64_t{1} << last;
      }
      last = l;
    }
    return emptied;
  }
  /// The levels of all tiers up to this one undergo what is pending for them, except those in the
  /// mask `empty`.
  template <class Levels>
  void settle(int tier, Levels& levels, std::uint64_t empty) {
    const bool is_recent_apart = can_apply_recent();
    if (!is_recent_apart) later(0).take(recent_);
    for (int i = 0; i <= tier; ++i) {
      if (i > 0) pass_on(i - 1, is_recent_apart);
      for (int l : levels.active_levels()) {
        if (tier_of(l) != i || ((empty >> l) & 1) != 0) continue;
        if (i == 0 && is_recent_apart) {
          levels.undergo(l, recent_, scratch_.data());
        } else {
          levels.undergo(l, later(i), scratch_.data());
        }
      }
    }
    if (tier < last_tier()) pass_on(tier, is_recent_apart);
    later(tier).reset();
    if (is_recent_apart) recent_.reset();
  }
  /// Whether P_0 is of so few updates of rank one that levels undergo it sooner than a dense
  /// matrix. Narrow levels would be rounded once for each piece.
  [[nodiscard]] bool can_apply_recent() const {
    if constexpr (requires { recent_.is_low_rank(); } && !is_narrow<Stored>) {
      return recent_.is_low_rank();
    } else {
      return false;
    }
  }
  /// What the levels of a tier have undergone is still pending for the next tier: it goes into that
  /// one's product.
  void pass_on(int tier, [[maybe_unused]] bool is_recent_apart) {
    if constexpr (requires { later(1).follow(recent_); }) {
      if (tier == 0 && is_recent_apart) return later(1).follow(recent_);
    }
    later(tier + 1).follow(later(tier), scratch_.data());
    later(tier).reset();
  }

  Index buffer_level_, max_levels_, key_rows_, d_v_;
  Recent recent_;               // P_0
  std::vector<Product> later_;  // I, P_1, P_2, ...: one for each tier
  double growth_ = 1;
  Vector<Scalar> scratch_;  // of the products
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_PENDING_TIERS_HPP
