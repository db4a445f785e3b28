// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_LOG_LINEAR_STATE_HPP
#define LOGLINEAR_STREAM_LOG_LINEAR_STATE_HPP

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/alive.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/levels.hpp"
#include "loglinear/stream/detail/levels_of.hpp"
#include "loglinear/stream/detail/plain_reads.hpp"
#include "loglinear/stream/detail/state_arguments.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear {

/// The hierarchy of log-linear attention: one `d_k x d_v` matrix for each power-of-two bucket of
/// the past, in a shape that never changes with the stream.
///
/// After n pushes without overflow level l holds the sum of 2^l consecutive leaves iff bit l of n
/// is set (Guo et al., arXiv:2506.04761, section 2); a carry beyond the last level is added into
/// the last level, which then holds `2^(M-1) floor(n / 2^(M-1))` tokens. Nothing is ever lost, only
/// resolution: `max_levels = floor(log2 T) + 1` covers T tokens without overflow.
///
/// Class invariant: `size()` says which levels are active, inactive levels are zero, every
/// coefficient is finite. A plain value: copyable, movable, comparable, safe for concurrent const
/// readers. Storage is contiguous, `max_levels x d_k x d_v`, row-major. It is allocated once, by
/// the constructor; with all three sizes fixed at compile time and up to 16 KiB it lies inside the
/// object instead.
///
/// With a narrow scalar, Eigen::bfloat16 or Eigen::half, levels are stored narrow and everything is
/// computed in float: arguments and results are float, and a coefficient is rounded once for each
/// operation that rewrites its level. A level in bfloat16 cannot decay by 0.999, since rounding
/// takes that back at each token: use a layer, which keeps such factors apart, instead of `undergo`
/// for each token. bfloat16 has the range of float. Half numbers end at 65504: a call that would
/// take the sum of the levels' Frobenius norms above a quarter of that throws, in mid-stream. Equal
/// leaves of unit vectors k and v get there after 16,376 tokens, leaves of k and v of 64
/// coefficients of size 1 after 255. Numbers below std::numeric_limits<Scalar>::min() count as
/// zero, see docs/numerics.md.
///
/// \tparam Scalar_    float, double, long double, a narrow scalar or a number type with
///                    Eigen::NumTraits
/// \tparam KeyDim     d_k at compile time, or Eigen::Dynamic
/// \tparam ValueDim   d_v at compile time, or Eigen::Dynamic
/// \tparam MaxLevels  max_levels at compile time (1 to 64), or Eigen::Dynamic
/// \tparam Overflow   what the last level does when it is full, see `LastLevel`; sequence forms
///                    take states that fold
template <class Scalar_, int KeyDim = Eigen::Dynamic, int ValueDim = Eigen::Dynamic,
          int MaxLevels = Eigen::Dynamic, LastLevel Overflow = LastLevel::fold>
class LogLinearState {
  static_assert(!Eigen::NumTraits<Scalar_>::IsInteger,
                "LogLinearState needs a floating-point scalar: decays and level weights are "
                "fractions; use float or double");
  static_assert(MaxLevels == Eigen::Dynamic || (MaxLevels >= 1 && MaxLevels <= max_level_limit),
                "MaxLevels must be between 1 and 64, or Eigen::Dynamic");
  static_assert((KeyDim == Eigen::Dynamic || KeyDim >= 1) &&
                    (ValueDim == Eigen::Dynamic || ValueDim >= 1),
                "KeyDim and ValueDim must be at least 1, or Eigen::Dynamic");
  using Levels = detail::Levels<Scalar_, KeyDim, ValueDim, MaxLevels, Overflow>;
  using Storage = typename Levels::Storage;
  using Flush = detail::FlushToZero<detail::Accumulator<Scalar_>>;

 public:
  /// What the last level does when it is full.
  static constexpr LastLevel overflow = Overflow;
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  /// What arguments and results are made of: float where Scalar is narrower, else Scalar.
  using Accumulator = detail::Accumulator<Scalar>;
  using Vector = detail::Vector<Scalar>;  ///< a copy of all levels, one after the other

  /// Whether all three sizes are fixed at compile time.
  static constexpr bool has_fixed_shape = Storage::has_fixed_shape;
  /// The number of coefficients of all levels if the shape is fixed, else 0.
  static constexpr Index fixed_coefficients = Storage::fixed_coefficients;
  /// Whether the levels lie inside the object: a fixed shape of up to 16 KiB.
  static constexpr bool is_inline = Storage::is_inline;

  /// One level, row-major.
  using LevelMatrix = typename Levels::Matrix;
  /// A read-only view of one level; valid as long as the state is neither moved nor destroyed.
  using ConstLevel = typename Storage::ConstLevel;
  /// A read-only view of the whole storage.
  using ConstFlat = typename Storage::ConstFlat;

  /// An empty hierarchy of the compile-time shape.
  LogLinearState() requires has_fixed_shape : LogLinearState(MaxLevels, KeyDim, ValueDim) {}

  /// An empty hierarchy.
  /// \param max_levels  number of levels, 1 to 64
  /// \param d_k         rows of a level, 1 to 2^26
  /// \param d_v         columns of a level, 1 to 2^26
  /// \throws std::invalid_argument out of these ranges, or where a size fixed at compile time
  /// differs
  LogLinearState(int max_levels, Index d_k, Index d_v) : levels_(max_levels, d_k, d_v) {}

  /// \name Copies and moves
  /// Assignment does not allocate between states of as many coefficients; where it throws
  /// std::bad_alloc nothing is changed. A state that has been moved from refuses what needs levels,
  /// with std::invalid_argument, until it is assigned to; where `is_inline` a move is a copy.
  /// \{
  LogLinearState(const LogLinearState&) = default;             ///< allocates, unless `is_inline`
  LogLinearState(LogLinearState&&) = default;                  ///< does not allocate
  LogLinearState& operator=(const LogLinearState&) = default;  ///< a copy
  LogLinearState& operator=(LogLinearState&&) = default;       ///< does not allocate
  /// \}

  /// Number of levels M.
  [[nodiscard]] int max_levels() const noexcept { return levels_.max_levels(); }
  [[nodiscard]] Index d_k() const noexcept { return levels_.d_k(); }  ///< rows of a level
  [[nodiscard]] Index d_v() const noexcept { return levels_.d_v(); }  ///< columns of a level
  /// Tokens pushed since construction or `reset`.
  [[nodiscard]] std::uint64_t size() const noexcept { return levels_.size(); }
  /// Number of levels that hold a bucket: the set bits of `size()` while nothing overflows.
  [[nodiscard]] int active_level_count() const noexcept {
    return loglinear::active_level_count(size(), max_levels());
  }
  /// Whether `level` holds a bucket. \throws std::invalid_argument unless 0 <= level < max_levels
  [[nodiscard]] bool is_active(int level) const {
    return is_active_level(size(), level, max_levels());
  }
  /// The active levels, newest first, for range-for.
  [[nodiscard]] ActiveLevels active_levels() const noexcept { return levels_.active_levels(); }

  /// The matrix of one level, zero where inactive; a view, nothing is copied.
  /// \throws std::invalid_argument unless 0 <= level < max_levels
  [[nodiscard]] ConstLevel level(int level) const& {
    detail::require_between("level", level, 0, max_levels() - 1);
    return detail::levels_of(*this).level(level);
  }
  /// The same of a temporary: a copy.
  [[nodiscard]] LevelMatrix level(int level) const&& { return this->level(level); }
  /// All levels one after the other, row-major, length `max_levels * d_k * d_v`; a view.
  [[nodiscard]] ConstFlat flat_state() const& noexcept { return levels_.storage().flat(); }
  /// The same of a temporary: a copy.
  [[nodiscard]] Vector flat_state() const&& { return levels_.storage().flat(); }

  /// Empties all levels and sets `size()` to 0. Does not allocate.
  void reset() noexcept { levels_.reset(); }

  /// Jumps to a later count, as if `count - size()` zero leaves had been pushed and no transition
  /// undergone: each bucket falls whole into the level that holds its tokens at the new count.
  /// `LastLevel` says what is left of the last level's content. An empty state jumps to the
  /// beginning of a part of a stream that is computed apart; see `add`. \throws
  /// std::invalid_argument unless count >= size(); nothing is changed then. O(active levels x d_k x
  /// d_v) whatever the count. Does not allocate
  void advance_to(std::uint64_t count) {
    const Flush flush;
    if (count < size()) detail::fail("the count to advance to", count, "at least size()");
    detail::levels_of(*this).advance_to(count);
  }

  /// Adds a state of the same count, level by level. This joins consecutive parts of a stream that
  /// were computed apart: the later part begins as an empty state with `advance_to(n)`, n being the
  /// number of tokens before it, and then
  ///
  ///     earlier.undergo(product);  // of all transitions of the later part, if there are any
  ///     earlier.advance_to(later.size());
  ///     earlier.add(later);
  ///
  /// gives the state of the whole exactly, for every pair of counts. \throws std::invalid_argument
  /// for another shape or count, or where the sum could overflow; nothing is changed then. Does not
  /// allocate
  void add(const LogLinearState& later) {
    const Flush flush;
    detail::require_size("max_levels of the state to add", later.max_levels(), max_levels());
    detail::require_size("d_k of the state to add", later.d_k(), d_k());
    detail::require_size("d_v of the state to add", later.d_v(), d_v());
    if (later.size() != size()) detail::fail("size() of the state to add", later.size(), size());
    detail::levels_of(*this).add(detail::levels_of(later));
  }

  /// Appends the leaf `k v^T`: a binary-counter carry merges all active levels below the landed one
  /// into it, in one pass, and clears them.
  ///
  /// \param k  length d_k, or `d_k x n` for the leaf `k v^T = sum_j k_j v_j^T`
  /// \param v  length d_v, or `d_v x n`
  ///
  /// Rows are accepted where columns are; an argument may be part of this state. \throws
  /// std::invalid_argument for a wrong size, a coefficient that is not finite, a leaf so large that
  /// the state could overflow, or when 2^64 - 1 tokens are in; nothing is changed then. Costs one
  /// pass over the merged levels, O(d_k d_v) amortised. Does not allocate, except to copy an
  /// argument that is not contiguous in memory.
  template <class Key, class Value>
  void push_leaf(const Eigen::MatrixBase<Key>& k, const Eigen::MatrixBase<Value>& v) {
    const Flush flush;
    with_columns<KeyDim>(k, d_k(), "k", [&](const auto& keys) {
      with_columns<ValueDim>(v, d_v(), "v", [&](const auto& values) {
        detail::require_positive("the number of keys (columns of k)", keys.cols());
        detail::require_size("the number of values (columns of v)", values.cols(), keys.cols());
        detail::levels_of(*this).push(keys, values, levels_.admit(1, keys, values));
      });
    });
  }

  /// Lets every level undergo `S <- L S diag(r)`: one pass over the active levels. \throws
  /// std::invalid_argument if the transition has another shape or is not finite, or the state could
  /// overflow; nothing is changed then. Does not allocate, unless the scalar is narrow.
  template <Transition<detail::Accumulator<Scalar_>> Kind>
  void undergo(const Kind& transition) {
    const Flush flush;
    if (!transition.fits(d_k(), d_v())) {
      detail::fail("transition", "of another shape", "made for this state's d_k and d_v");
    }
    if (!transition.all_finite()) detail::fail("transition", "not finite", "finite");
    auto& levels = detail::levels_of(*this);
    const detail::Admitted admitted = levels.admit(transition.norm_bound(), 0);
    levels.undergo(transition);
    levels.defer(admitted.magnitude);
  }

  /// The weighted read `out = sum_l lambda_l S_l^T q` over the active levels, in the order
  /// `before_push`.
  ///
  /// \param q        length d_k
  /// \param lambdas  length max_levels; weights of inactive levels are not read
  /// \param out      length d_v, overwritten; must not overlap q or lambdas
  ///
  /// \throws std::invalid_argument for a wrong size, a coefficient of q or lambdas that is not
  /// finite, or where the read would not be finite; `out` is as it was then. O(active levels x d_k
  /// x d_v). Does not allocate, except to copy an argument that is not contiguous in memory.
  template <class Query, class Lambdas, class Out>
  void query_mixed(const Eigen::MatrixBase<Query>& q, const Eigen::MatrixBase<Lambdas>& lambdas,
                   Eigen::MatrixBase<Out> const& out) const {
    const Flush flush;
    static_assert(Query::IsVectorAtCompileTime && Lambdas::IsVectorAtCompileTime &&
                      Out::IsVectorAtCompileTime,
                  "query_mixed takes vectors: rows or columns whose type says so");
    detail::require_size("q", q.size(), d_k());
    detail::require_size("lambdas", lambdas.size(), max_levels());
    detail::require_size("out", out.size(), d_v());
    const Eigen::Matrix<Accumulator, Eigen::Dynamic, 1, Eigen::ColMajor, max_level_limit, 1>
        weights = detail::as_column(lambdas);
    detail::require_finite("lambdas", weights);
    with_columns<KeyDim>(detail::as_column(q), d_k(), "q", [&](const auto& query) {
      detail::read_levels(detail::levels_of(*this), query.data(), weights.data(),
                          detail::as_writable_column(out));
    });
  }

  /// The same state in another scalar, coefficient by coefficient. Allocates unless `is_inline`.
  /// \throws std::invalid_argument if a coefficient is out of the other scalar's range.
  template <class Other>
  [[nodiscard]] LogLinearState<Other, KeyDim, ValueDim, MaxLevels, Overflow> cast() const {
    const detail::FlushToZero<detail::Accumulator<Other>> flush;
    return LogLinearState<Other, KeyDim, ValueDim, MaxLevels, Overflow>(
        detail::levels_of(*this).template cast<Other>());
  }

  /// Replaces the stream position and all levels: `level_at(l)` is the matrix of each level that is
  /// active after `size` tokens, and may be part of this state. \throws std::invalid_argument where
  /// one of them is not d_k x d_v, not finite or too large; nothing is changed then. Allocates,
  /// unless `is_inline`
  template <class LevelAt>
  void replace(std::uint64_t size, LevelAt level_at) {
    const Flush flush;
    Levels levels(max_levels(), d_k(), d_v());
    levels.replace(size, level_at);
    *this = LogLinearState(std::move(levels));
  }

  /// Whether shape, size and every coefficient are equal.
  [[nodiscard]] bool operator==(const LogLinearState&) const = default;

 private:
  template <class, int, int, int, LastLevel>
  friend class LogLinearState;
  friend struct detail::Parts;
  friend struct detail::LevelsOf;

  explicit LogLinearState(Levels levels) : levels_(std::move(levels)) {}

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    detail::Parts::visit(detail::levels_of(self), part);
  }

  template <int Dim, class Derived, class Use>
  void with_columns(const Eigen::MatrixBase<Derived>& m, Index rows, const char* name,
                    Use use) const {
    detail::with_columns<Accumulator, Dim>(m, rows, name, levels_.storage().flat(), use);
  }

  [[no_unique_address]] std::conditional_t<is_inline, detail::AlwaysAlive, detail::Alive> alive_{};
  Levels levels_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_LOG_LINEAR_STATE_HPP
