// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STATE_HPP
#define LOGLINEAR_STATE_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "loglinear/detail/carry.hpp"
#include "loglinear/detail/checks.hpp"
#include "loglinear/detail/narrow.hpp"
#include "loglinear/detail/parts.hpp"
#include "loglinear/detail/product.hpp"
#include "loglinear/detail/types.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/transition.hpp"

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
/// object and the heap is never used.
///
/// With a narrow scalar, Eigen::bfloat16 or Eigen::half, the levels are stored narrow and
/// everything is computed in float: arguments and results are float, and a coefficient is rounded
/// once for each operation that rewrites its level. A level in bfloat16 cannot decay by 0.999,
/// which is rounded away at each token: use a layer, which keeps such factors apart, and let no
/// stream `undergo` them one by one.
///
/// \tparam Scalar_    float, double, long double, a narrow scalar or a number type with
///                    Eigen::NumTraits
/// \tparam KeyDim     d_k at compile time, or Eigen::Dynamic
/// \tparam ValueDim   d_v at compile time, or Eigen::Dynamic
/// \tparam MaxLevels  max_levels at compile time (1 to 64), or Eigen::Dynamic
/// \tparam Overflow   what the last level does when it is full, see `LastLevel`; sequence forms
/// take
///                    states that fold
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

 public:
  /// What the last level does when it is full.
  static constexpr LastLevel overflow = Overflow;
  using Scalar = Scalar_;
  using Index = Eigen::Index;
  /// What arguments and results are made of: float where Scalar is narrower, else Scalar.
  using Accumulator = detail::Accumulator<Scalar>;

  /// Whether all three sizes are fixed at compile time.
  static constexpr bool has_fixed_shape =
      KeyDim != Eigen::Dynamic && ValueDim != Eigen::Dynamic && MaxLevels != Eigen::Dynamic;
  /// Coefficients of all levels if they are, else 0.
  static constexpr Index fixed_coefficients =
      has_fixed_shape ? Index{KeyDim} * Index{ValueDim} * Index{MaxLevels} : 0;
  /// Whether the levels lie inside the object: a fixed shape of up to 16 KiB.
  static constexpr bool is_inline =
      has_fixed_shape &&
      fixed_coefficients * static_cast<Index>(sizeof(Scalar)) <= Index{16 * 1024};

  /// One level, row-major.
  using LevelMatrix =
      Eigen::Matrix<Scalar, KeyDim, ValueDim,
                    ValueDim == 1 && KeyDim != 1 ? Eigen::ColMajor : Eigen::RowMajor>;
  /// A read-only view of one level; valid as long as the state is neither moved nor destroyed.
  using ConstLevel = Eigen::Map<const LevelMatrix>;
  /// A read-only view of the whole storage.
  using ConstFlat = Eigen::Map<const detail::Vector<Scalar>>;

  /// An empty hierarchy of the compile-time shape.
  LogLinearState() requires has_fixed_shape : LogLinearState(MaxLevels, KeyDim, ValueDim) {}

  /// An empty hierarchy.
  /// \param max_levels  number of levels, 1 to 64
  /// \param d_k         rows of a level, at least 1
  /// \param d_v         columns of a level, at least 1
  /// \throws std::invalid_argument out of these ranges, or where a size fixed at compile time
  /// differs
  LogLinearState(int max_levels, Index d_k, Index d_v) {
    detail::require_between("max_levels", max_levels, 1, max_level_limit);
    detail::require_positive("d_k", d_k);
    detail::require_positive("d_v", d_v);
    constexpr Index most = std::numeric_limits<Index>::max() / Index{sizeof(Scalar)};
    detail::require_between("d_k", d_k, Index{1}, most / max_levels);
    detail::require_between("d_v", d_v, Index{1}, most / max_levels / d_k);
    if constexpr (MaxLevels != Eigen::Dynamic)
      detail::require_size("max_levels", max_levels, MaxLevels);
    if constexpr (KeyDim != Eigen::Dynamic) detail::require_size("d_k", d_k, KeyDim);
    if constexpr (ValueDim != Eigen::Dynamic) detail::require_size("d_v", d_v, ValueDim);
    max_levels_ = max_levels;
    d_k_ = d_k;
    d_v_ = d_v;
    levels_ = Storage::Zero(Index{max_levels} * d_k * d_v);
  }

  /// \name Copies and moves
  /// Assignment does not allocate between states of as many coefficients; where it throws
  /// std::bad_alloc nothing is changed. A state that has been moved from is to be assigned to or
  /// destroyed, nothing else.
  /// \{
  LogLinearState(const LogLinearState&) = default;  ///< allocates, unless `is_inline`
  LogLinearState(LogLinearState&&) = default;       ///< does not allocate
  LogLinearState& operator=(const LogLinearState& other) {
    if (levels_.size() == other.levels_.size()) {
      levels_ = other.levels_;
    } else {  // Eigen's own assignment frees before it allocates
      Storage levels(other.levels_);
      levels_ = std::move(levels);
    }
    d_k_ = other.d_k_;
    d_v_ = other.d_v_;
    size_ = other.size_;
    magnitude_ = other.magnitude_;
    max_levels_ = other.max_levels_;
    return *this;
  }                                                       ///< a copy
  LogLinearState& operator=(LogLinearState&&) = default;  ///< does not allocate
  /// \}

  [[nodiscard]] int max_levels() const noexcept { return max_levels_; }  ///< number of levels M
  [[nodiscard]] Index d_k() const noexcept { return d_k_; }              ///< rows of a level
  [[nodiscard]] Index d_v() const noexcept { return d_v_; }              ///< columns of a level
  /// Tokens pushed since construction or `reset`.
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Number of levels that hold a bucket: the set bits of `size()` while nothing overflows.
  [[nodiscard]] int active_level_count() const noexcept {
    return loglinear::active_level_count(size_, max_levels_);
  }
  /// Whether `level` holds a bucket. \throws std::invalid_argument unless 0 <= level < max_levels
  [[nodiscard]] bool is_active(int level) const {
    detail::require_between("level", level, 0, max_levels_ - 1);
    return is_active_level(size_, level, max_levels_);
  }
  /// The active levels, newest first, for range-for.
  [[nodiscard]] ActiveLevels active_levels() const noexcept { return {size_, max_levels_}; }

  /// The matrix of one level, zero where inactive; a view, nothing is copied.
  /// \throws std::invalid_argument unless 0 <= level < max_levels
  [[nodiscard]] ConstLevel level(int level) const {
    detail::require_between("level", level, 0, max_levels_ - 1);
    return view(level);
  }
  /// All levels one after the other, row-major, length `max_levels * d_k * d_v`; a view.
  [[nodiscard]] ConstFlat flat_state() const noexcept {
    return ConstFlat(levels_.data(), levels_.size());
  }

  /// Empties all levels and sets `size()` to 0. Does not allocate.
  void reset() noexcept {
    levels_.setZero();
    size_ = 0;
    magnitude_ = 0;
  }

  /// Jumps to a later count, as if `count - size()` zero leaves had been pushed and no transition
  /// undergone: each bucket falls whole into the level that holds its tokens then. What the last
  /// level keeps of those it held is up to `LastLevel`. An empty state jumps to the beginning of a
  /// part of a stream that is computed apart; see `add`. \throws std::invalid_argument unless
  /// count >= size(); nothing is changed then. O(active levels x d_k x d_v) whatever the count.
  /// Does not allocate
  void advance_to(std::uint64_t count) {
    if (count < size_) detail::fail("the count to advance to", count, "at least size()");
    const int last = max_levels_ - 1;
    const std::uint64_t carries = (count >> last) - (size_ >> last);  // into the last level
    if (is_active_level(size_, last, max_levels_)) {
      scale_level(last, kept_fraction(Overflow, carries));
    }
    for (int l = last - 1; l >= 0; --l) {
      if (!is_active_level(size_, l, max_levels_)) continue;
      const std::uint64_t first = bucket_of(size_, l, max_levels_).first;
      const int level = level_of(first, count, ReadOrder::before_push, max_levels_);
      if (level == l) continue;
      if (level == last) scale_level(l, kept_fraction(Overflow, carries - 1));
      merge_level(l, level);
    }
    size_ = count;
  }

  /// Adds a state of the same count, level by level: the state of a stream from those of two parts
  /// of its leaves. So the states of consecutive parts that were computed apart make that of the
  /// whole: the later part begins by `advance_to(n)` on an empty state, n being the tokens before
  /// it; then
  ///
  ///     earlier.undergo(product);  // of all transitions of the later part, if there are any
  ///     earlier.advance_to(later.size());
  ///     earlier.add(later);
  ///
  /// is exact, for every pair of counts. \throws std::invalid_argument for another shape or count,
  /// or where the sum could overflow; nothing is changed then. Does not allocate
  void add(const LogLinearState& later) {
    detail::require_size("max_levels of the state to add", later.max_levels_, max_levels_);
    detail::require_size("d_k of the state to add", later.d_k_, d_k_);
    detail::require_size("d_v of the state to add", later.d_v_, d_v_);
    if (later.size_ != size_) {
      detail::fail("size() of the state to add", later.size_, std::to_string(size_));
    }
    const double limit = detail::magnitude_limit<Scalar>();
    const bool fits = detail::is_at_most(magnitude_ + later.magnitude_, limit);
    magnitude_ = bounded(1, fits ? later.magnitude_ : later.norm(),
                         [&](bool exactly) { return exactly ? norm() : norm_bound(); });
    levels_ += later.levels_;
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
    with_columns(k, d_k_, "k", [&](const auto& keys) {
      with_columns(v, d_v_, "v", [&](const auto& values) {
        detail::require_positive("the number of keys (columns of k)", keys.cols());
        detail::require_size("the number of values (columns of v)", values.cols(), keys.cols());
        const double magnitude = require_writable(1, keys, values);
        push_unchecked(keys, values);
        magnitude_ = magnitude;
      });
    });
  }

  /// Lets every level undergo `S <- L S diag(r)`. \throws std::invalid_argument if the transition
  /// has another shape or is not finite or the state could overflow; nothing is changed then. Does
  /// not allocate, unless the scalar is narrow.
  template <Transition<detail::Accumulator<Scalar_>> Kind>
  void undergo(const Kind& transition) {
    if (!transition.fits(d_k_, d_v_)) {
      detail::fail("transition", "of another shape", "made for this state's d_k and d_v");
    }
    if (!transition.all_finite()) detail::fail("transition", "not finite", "finite");
    const double magnitude = bounded(transition.norm_bound(), 0,
                                     [&](bool exactly) { return exactly ? norm() : norm_bound(); });
    undergo_unchecked(transition);
    magnitude_ = magnitude;
  }

  /// The weighted read `out = sum_l lambda_l S_l^T q` over the active levels, in the order
  /// `before_push`.
  ///
  /// \param q        length d_k
  /// \param lambdas  length max_levels; weights of inactive levels are not read
  /// \param out      length d_v, overwritten; must not overlap q or lambdas
  ///
  /// \throws std::invalid_argument for a wrong size or a coefficient of q or lambdas that is not
  /// finite. O(active levels x d_k x d_v). Does not allocate, except to copy an argument that is
  /// not contiguous in memory.
  template <class Query, class Lambdas, class Out>
  void query_mixed(const Eigen::MatrixBase<Query>& q, const Eigen::MatrixBase<Lambdas>& lambdas,
                   Eigen::MatrixBase<Out> const& out) const {
    static_assert(Query::IsVectorAtCompileTime && Lambdas::IsVectorAtCompileTime &&
                      Out::IsVectorAtCompileTime,
                  "query_mixed takes vectors: rows or columns whose type says so");
    detail::require_size("q", q.size(), d_k_);
    detail::require_size("lambdas", lambdas.size(), max_levels_);
    detail::require_size("out", out.size(), d_v_);
    const Eigen::Matrix<Accumulator, Eigen::Dynamic, 1, Eigen::ColMajor, max_level_limit, 1>
        weights = detail::as_column(lambdas);
    detail::require_finite("lambdas", weights);
    with_columns(detail::as_column(q), d_k_, "q", [&](const auto& query) {
      auto&& read = detail::as_writable_column(out);
      read.setZero();
      for (int l : active_levels()) {
        if constexpr (detail::is_narrow<Scalar>) {
          for (Index i = 0; i < d_k_; ++i) {
            read += (weights[l] * query[i]) * view(l).row(i).template cast<float>().transpose();
          }
        } else {
          read.noalias() += weights[l] * (view(l).transpose() * query);
        }
      }
    });
  }

  /// The same stream position and levels in another scalar, coefficient by coefficient. \throws
  /// std::invalid_argument if a coefficient is out of the other scalar's range.
  template <class Other>
  [[nodiscard]] LogLinearState<Other, KeyDim, ValueDim, MaxLevels, Overflow> cast() const {
    LogLinearState<Other, KeyDim, ValueDim, MaxLevels, Overflow> other(max_levels_, d_k_, d_v_);
    if (detail::max_abs(levels_) > detail::magnitude_limit<Other>()) {
      detail::fail("the largest coefficient", detail::max_abs(levels_),
                   "within the range of the scalar converted to");
    }
    other.levels_ = levels_.template cast<Other>();
    other.size_ = size_;
    other.magnitude_ = magnitude_;
    return other;
  }

  /// Whether shape, size and every coefficient are equal.
  [[nodiscard]] bool operator==(const LogLinearState& other) const {
    return max_levels_ == other.max_levels_ && d_k_ == other.d_k_ && d_v_ == other.d_v_ &&
           size_ == other.size_ && levels_ == other.levels_;
  }

  /// \name For layers: a token in two steps
  /// First `require_writable`, which throws, then one of the others, which do not.
  /// \{

  /// The bound of the state's magnitude after undergoing something that grows it by at most
  /// `growth` and a leaf `keys values^T`. `measure(exactly)` bounds the magnitude of everything
  /// before that, what the layer has deferred included, in two ways. \throws
  /// std::invalid_argument as `push_leaf`
  template <class Keys, class Values, class Measure>
  [[nodiscard]] double require_writable(double growth, const Keys& keys, const Values& values,
                                        Measure measure) {
    if (size_ == UINT64_MAX) detail::fail("size", size_, "below 2^64 - 1 before a push");
    const double leaf = leaf_magnitude(keys, values);
    if (!detail::is_finite(leaf)) detail::require_finite_leaf(keys, values);
    return bounded(growth, leaf, measure);
  }
  /// The same where nothing is deferred.
  template <class Keys, class Values>
  [[nodiscard]] double require_writable(double growth, const Keys& keys, const Values& values) {
    return require_writable(growth, keys, values,
                            [&](bool exactly) { return exactly ? norm() : norm_bound(); });
  }
  /// The sum of the levels' Frobenius norms; and a bound of it that takes less time.
  [[nodiscard]] double norm() const {
    double sum = 0;
    for (int l : active_levels()) {
      // As a vector: Eigen 3.4 asserts in the stableNorm of a matrix of fixed size.
      const ConstFlat level(view(l).data(), d_k_ * d_v_);
      sum += detail::to_double(level.template cast<Accumulator>().stableNorm());
    }
    return sum;
  }
  [[nodiscard]] double norm_bound() const {
    double sum = 0;
    for (int l : active_levels()) sum += detail::max_abs(view(l));
    return sum * std::sqrt(static_cast<double>(d_k_ * d_v_));
  }

  /// A bound of the Frobenius norm of `keys values^T`.
  template <class Keys, class Values>
  [[nodiscard]] static double leaf_magnitude(const Keys& keys, const Values& values) {
    return static_cast<double>(keys.cols()) *
           std::sqrt(static_cast<double>(keys.rows()) * static_cast<double>(values.rows())) *
           detail::max_abs(keys) * detail::max_abs(values);
  }

  /// Undergoes `transition`, then pushes the leaf `keys values^T`; `magnitude` is what
  /// `require_writable` returned for them.
  template <class Kind, class Keys, class Values>
  void write(const Kind& transition, const Keys& keys, const Values& values, double magnitude) {
    undergo_unchecked(transition);
    push_unchecked(keys, values);
    magnitude_ = magnitude;
  }

  /// Lets every level undergo `transition` alone; `write` with the Identity follows.
  template <class Kind>
  void undergo_unchecked(const Kind& transition) {
    // Allocated before anything changes.
    [[maybe_unused]] detail::RowMajorMatrix<Accumulator> wide(detail::is_narrow<Scalar> ? d_k_ : 0,
                                                              detail::is_narrow<Scalar> ? d_v_ : 0);
    for (int l : active_levels()) {
      auto level = view(l);
      if constexpr (detail::is_narrow<Scalar>) {
        wide = level.template cast<Accumulator>();
        transition.left(wide);
        transition.right(wide);
        level = wide.template cast<Scalar>();
      } else {
        transition.left(level);
        transition.right(level);
      }
    }
  }

  /// Replaces the stream position and all levels: `level_at(l)` is the matrix of each level that is
  /// active after `size` tokens. \throws std::invalid_argument where one of them is not finite or
  /// too large; nothing is changed then
  template <class LevelAt>
  void replace(std::uint64_t size, LevelAt level_at) {
    double magnitude = 0;
    for (int l : ActiveLevels(size, max_levels_)) {
      detail::require_finite("a coefficient of the state after these tokens", level_at(l));
      magnitude += detail::to_double(level_at(l).stableNorm());
    }
    if (!detail::is_at_most(magnitude, detail::magnitude_limit<Scalar>())) {
      detail::fail("the magnitude of the state after these tokens", magnitude,
                   "within the range of the scalar type");
    }
    for (int l : active_levels()) view(l).setZero();
    for (int l : ActiveLevels(size, max_levels_)) view(l) = level_at(l).template cast<Scalar>();
    size_ = size;
    magnitude_ = magnitude;
  }

  /// The running bound of the Frobenius norm of all levels and leaves together.
  [[nodiscard]] double magnitude() const noexcept { return magnitude_; }

  /// Becomes a copy of a state of the same shape, in the memory that it has.
  void copy(const LogLinearState& other) noexcept {
    std::copy_n(other.levels_.data(), levels_.size(), levels_.data());
    size_ = other.size_;
    magnitude_ = other.magnitude_;
  }
  /// Becomes what it was after `size` tokens: `active` holds the levels that were active, lowest
  /// first. Does not allocate.
  void restore(std::uint64_t size, double magnitude, const Scalar* active) noexcept {
    const std::uint64_t kept = active_mask(size, max_levels_);
    for (int l : active_levels()) {
      if (((kept >> l) & 1) == 0) view(l).setZero();
    }
    for (int l : ActiveLevels(size, max_levels_)) {
      view(l) = ConstLevel(active, d_k_, d_v_);
      active += d_k_ * d_v_;
    }
    size_ = size;
    magnitude_ = magnitude;
  }

  /// Takes note of a leaf that the layer keeps for later.
  void defer(double magnitude) noexcept { magnitude_ = magnitude; }

  /// The coefficients of one level, row-major.
  [[nodiscard]] const Scalar* level_data(int level) const {
    return levels_.data() + level * d_k_ * d_v_;
  }

  /// Lets one level undergo a `product` of transitions.
  template <class Product>
  void transform_level(int level, const Product& product,
                       detail::Vector<typename Product::Scalar>& scratch) {
    product.apply(view(level).data(), d_k_, d_v_, scratch);
  }

  /// Adds level `from` to level `to` and clears it, as part of a carry that will merge both.
  void merge_level(int from, int to) {
    detail::move_into(view(from).data(), d_k_ * d_v_, view(to).data());
  }

  /// The carry of the bucket `sum_n key(., n) value_n^T` of 2^level tokens, which begins at
  /// `level`; `size()` must be a multiple of 2^level, and `value_n` begins at `values + n d_v`.
  template <class KeyAt>
  void carry_bucket(int level, Index count, KeyAt key, const Accumulator* values) {
    const int landed = level + landed_level(size_ >> level, max_levels_ - level);
    detail::carry(levels_.data() + level * d_k_ * d_v_, landed - level, keeps_target(landed), d_k_,
                  d_v_, count, key, values);
    size_ += std::uint64_t{1} << level;
  }
  /// The same of a bucket that has been added up, row-major.
  void carry_bucket(int level, const Accumulator* bucket) {
    const int landed = level + landed_level(size_ >> level, max_levels_ - level);
    detail::carry(levels_.data() + level * d_k_ * d_v_, landed - level, keeps_target(landed),
                  d_k_ * d_v_, bucket);
    size_ += std::uint64_t{1} << level;
  }
  /// \}

 private:
  template <class, int, int, int, LastLevel>
  friend class LogLinearState;
  friend struct detail::Parts;

  /// For checkpoints: the active levels alone. An owner that defers something passes a function
  /// that measures the norm of everything, once the levels are in place.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    visit(self, part, [&] { return self.norm(); });
  }
  template <class Self, class Visit, class Measure>
  static void visit(Self& self, Visit&& part, [[maybe_unused]] Measure measure) {
    if constexpr (detail::is_written<Self>) self.reset();
    const double limit = detail::magnitude_limit<Scalar>();
    double magnitude = std::min(self.magnitude_, limit);
    part("size", self.size_);
    part("magnitude", magnitude);
    for (int l : self.active_levels()) part("level" + std::to_string(l), self.view(l));
    if constexpr (detail::is_written<Self>) {
      detail::require_between("magnitude", magnitude, 0.0, limit);
      detail::require_between("the magnitude of the levels", self.norm(), 0.0, limit);
      const double measured = measure();
      detail::require_between("the magnitude of all tokens", measured, 0.0, limit);
      // A bound may have lost to rounding, of which the limit leaves a factor of 4; never more.
      self.magnitude_ = measured > 2 * magnitude ? measured : magnitude;
    }
  }

  using Storage =
      detail::Vector<Scalar, is_inline ? static_cast<int>(fixed_coefficients) : Eigen::Dynamic>;
  using Level = Eigen::Map<LevelMatrix>;

  [[nodiscard]] ConstLevel view(int level) const {
    return ConstLevel(levels_.data() + level * d_k_ * d_v_, d_k_, d_v_);
  }
  [[nodiscard]] Level view(int level) {
    return Level(levels_.data() + level * d_k_ * d_v_, d_k_, d_v_);
  }

  /// Whether a carry adds to what its target holds; that can only be the last level.
  [[nodiscard]] bool keeps_target(int landed) {
    if (!is_active_level(size_, landed, max_levels_)) return false;
    if constexpr (Overflow == LastLevel::halve) scale_level(landed, 0.5);
    return Overflow != LastLevel::forget;
  }
  void scale_level(int level, double factor) {
    if (factor == 1) return;
    view(level) *= static_cast<Scalar>(static_cast<Accumulator>(factor));
  }

  /// Calls `use` with `m` as a finite matrix of `rows` rows that is stored outside this state.
  template <class Derived, class Use>
  void with_columns(const Eigen::MatrixBase<Derived>& m, Index rows, const char* name,
                    Use use) const {
    static_assert(std::is_same_v<typename Derived::Scalar, Accumulator>,
                  "the argument must have the state's scalar, or float where that is narrower: "
                  "convert it with .cast<Scalar>()");
    if constexpr (Derived::RowsAtCompileTime == 1 && Derived::ColsAtCompileTime != 1) {
      if (rows != 1 || m.cols() == 1) return with_columns(m.transpose(), rows, name, use);
    }
    detail::require_size(name, m.rows(), rows);
    constexpr bool is_vector = Derived::ColsAtCompileTime == 1;
    using Plain =
        std::conditional_t<is_vector, detail::Vector<Accumulator>, detail::Matrix<Accumulator>>;
    const Eigen::Ref<const Plain> stored(m.derived());
    detail::require_finite(name, stored);
    const void* const begin = levels_.data();
    const void* const end = levels_.data() + levels_.size();
    const void* const argument = stored.data();
    const bool is_ours = std::less_equal<>{}(begin, argument) && std::less<>{}(argument, end);
    if (is_ours) {
      use(Plain(stored));
    } else {
      use(stored);
    }
  }

  /// The new bound of the Frobenius norm of all levels together. The running bound only grows, so
  /// when it passes the limit the levels are measured before anything is refused.
  template <class Measure>
  [[nodiscard]] double bounded(double growth, double leaf, Measure measure) {
    const double limit = detail::magnitude_limit<Scalar>();
    double magnitude = magnitude_ * growth + leaf;
    for (const bool exactly : {false, true}) {
      if (detail::is_at_most(magnitude, limit)) return magnitude;
      magnitude_ = measure(exactly);
      magnitude = magnitude_ * growth + leaf;
    }
    if (!detail::is_at_most(magnitude, limit))
      detail::fail("the magnitude of the state after this token", magnitude,
                   "within the range of the scalar type");
    return magnitude;
  }

  template <class Keys, class Values>
  void push_unchecked(const Keys& keys, const Values& values) {
    if (values.outerStride() == d_v_) {
      carry_bucket(
          0, keys.cols(), [&](Index i, Index n) { return keys.coeff(i, n); }, values.data());
    } else {
      push_unchecked(keys, detail::Matrix<Accumulator>(values));
    }
  }

  Storage levels_;
  Index d_k_ = 0, d_v_ = 0;
  std::uint64_t size_ = 0;
  double magnitude_ = 0;
  int max_levels_ = 0;
};

}  // namespace loglinear

#endif  // LOGLINEAR_STATE_HPP
