// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_HPP

// The levels of a LogLinearState with what a layer does to them. Nothing here looks at its
// arguments but the constructor, `admit`, `add`, `replace` and `cast`, which throw before anything
// has changed: what else must hold is checked in log_linear_state.hpp or by the layer.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/admitted.hpp"
#include "loglinear/stream/detail/carry.hpp"

namespace loglinear::detail {

template <class Scalar_, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
class Levels {
 public:
  using Scalar = Scalar_;
  using Accumulator = detail::Accumulator<Scalar>;

  static constexpr bool has_fixed_shape =
      KeyDim != Eigen::Dynamic && ValueDim != Eigen::Dynamic && MaxLevels != Eigen::Dynamic;
  static constexpr Index fixed_coefficients =
      has_fixed_shape ? Index{KeyDim} * Index{ValueDim} * Index{MaxLevels} : 0;
  static constexpr bool is_inline =
      has_fixed_shape &&
      fixed_coefficients * static_cast<Index>(sizeof(Scalar)) <= Index{16 * 1024};

  using Matrix = Eigen::Matrix<Scalar, KeyDim, ValueDim,
                               ValueDim == 1 && KeyDim != 1 ? Eigen::ColMajor : Eigen::RowMajor>;
  using ConstLevel = Eigen::Map<const Matrix>;
  using Level = Eigen::Map<Matrix>;
  using ConstFlat = Eigen::Map<const Vector<Scalar>>;

  Levels(int max_levels, Index d_k, Index d_v) {
    require_between("max_levels", max_levels, 1, max_level_limit);
    require_length("d_k", d_k);
    require_length("d_v", d_v);
    constexpr Index most = (std::numeric_limits<Index>::max)() / Index{sizeof(Scalar)};
    require_between("d_v", d_v, Index{1}, most / max_levels / d_k);
    if constexpr (MaxLevels != Eigen::Dynamic) require_size("max_levels", max_levels, MaxLevels);
    if constexpr (KeyDim != Eigen::Dynamic) require_size("d_k", d_k, KeyDim);
    if constexpr (ValueDim != Eigen::Dynamic) require_size("d_v", d_v, ValueDim);
    max_levels_ = max_levels;
    d_k_ = d_k;
    d_v_ = d_v;
    coefficients_ = Storage::Zero(Index{max_levels} * d_k * d_v);
  }
  Levels(const Levels&) = default;
  Levels(Levels&&) = default;
  Levels& operator=(const Levels& other) {
    if (coefficients_.size() == other.coefficients_.size()) {
      coefficients_ = other.coefficients_;
    } else {  // Eigen's own assignment frees before it allocates
      Storage coefficients(other.coefficients_);
      coefficients_ = std::move(coefficients);
    }
    d_k_ = other.d_k_;
    d_v_ = other.d_v_;
    size_ = other.size_;
    magnitude_ = other.magnitude_;
    max_levels_ = other.max_levels_;
    return *this;
  }
  Levels& operator=(Levels&&) = default;

  [[nodiscard]] int max_levels() const noexcept { return max_levels_; }
  [[nodiscard]] Index d_k() const noexcept { return d_k_; }
  [[nodiscard]] Index d_v() const noexcept { return d_v_; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] ActiveLevels active_levels() const noexcept { return {size_, max_levels_}; }
  /// The running bound of the Frobenius norm of all levels and leaves together.
  [[nodiscard]] double magnitude() const noexcept { return magnitude_; }

  [[nodiscard]] ConstLevel level(int l) const { return ConstLevel(data(l), d_k_, d_v_); }
  [[nodiscard]] Level level(int l) { return Level(data(l), d_k_, d_v_); }
  /// The coefficients of one level, row-major.
  [[nodiscard]] const Scalar* data(int l) const { return coefficients_.data() + l * d_k_ * d_v_; }
  [[nodiscard]] Scalar* data(int l) { return coefficients_.data() + l * d_k_ * d_v_; }
  /// All levels one after the other.
  [[nodiscard]] ConstFlat flat() const noexcept {
    return ConstFlat(coefficients_.data(), coefficients_.size());
  }

  /// The sum of the levels' Frobenius norms; and a bound of it that takes less time.
  [[nodiscard]] double norm() const {
    double sum = 0;
    for (int l : active_levels()) {
      sum += norm_of(data(l), d_k_ * d_v_);
    }
    return sum;
  }
  [[nodiscard]] double norm_bound() const {
    double sum = 0;
    for (int l : active_levels()) sum += max_abs(level(l));
    return sum * std::sqrt(static_cast<double>(d_k_ * d_v_));
  }
  /// A bound of the Frobenius norm of `keys values^T`.
  template <class Keys, class Values>
  [[nodiscard]] static double leaf_magnitude(const Keys& keys, const Values& values) {
    return static_cast<double>(keys.cols()) *
           std::sqrt(static_cast<double>(keys.rows()) * static_cast<double>(values.rows())) *
           max_abs(keys) * max_abs(values);
  }

  /// Throws where the leaf `keys values^T`, after a transition that grows norms by at most
  /// `growth`, would not be finite or be too large. `measure(exactly)` bounds the magnitude of
  /// everything before that, what is deferred included, in two ways.
  template <class Keys, class Values, class Measure>
  [[nodiscard]] Admitted admit(double growth, const Keys& keys, const Values& values,
                               Measure measure) const {
    if (size_ == UINT64_MAX) fail("size", size_, "below 2^64 - 1 before a push");
    const double leaf = leaf_magnitude(keys, values);
    if (!is_finite(leaf)) require_finite_leaf(keys, values);
    return admit(growth, leaf, measure);
  }
  /// The same where nothing is deferred.
  template <class Keys, class Values>
  [[nodiscard]] Admitted admit(double growth, const Keys& keys, const Values& values) const {
    return admit(growth, keys, values, own_measure());
  }
  /// The same for a transition, and a leaf or another state of magnitude `leaf`.
  [[nodiscard]] Admitted admit(double growth, double leaf) const {
    return admit(growth, leaf, own_measure());
  }

  /// out = sum_l weights[l] S_l^T query over the active levels.
  template <class Out>
  void read(const Accumulator* query, const Accumulator* weights, Out&& out) const {
    constexpr Index piece = 4 * column_block;
    std::array<WeightedRows<Scalar, Accumulator>, max_level_limit> terms;
    std::array<Accumulator, piece> sums;
    for (Index first = 0; first < d_v_; first += piece) {
      const Index length = (std::min)(piece, d_v_ - first);
      std::size_t count = 0;
      for (int l : active_levels()) {
        terms[count++] = {data(l) + first, d_k_, {query}, weights[l]};
      }
      weighted_rows(terms.data(), static_cast<int>(count), length, d_v_, sums.data());
      out.segment(first, length) = Eigen::Map<const Vector<Accumulator>>(sums.data(), length);
    }
  }

  /// Undergoes `transition`, then pushes the leaf `keys values^T`.
  template <class Kind, class Keys, class Values>
  void write(const Kind& transition, const Keys& keys, const Values& values,
             const Admitted& admitted) {
    undergo(transition);
    push(keys, values, admitted);
  }
  /// The leaf alone.
  template <class Keys, class Values>
  void push(const Keys& keys, const Values& values, const Admitted& admitted) {
    if constexpr (Values::ColsAtCompileTime != 1) {
      if (values.outerStride() != d_v_) {
        return push(keys, detail::Matrix<Accumulator>(values), admitted);
      }
    }
    carry_bucket(
        0, keys.cols(), [&](Index i, Index n) { return keys.coeff(i, n); }, values.data());
    magnitude_ = admitted.magnitude;
  }
  /// Every level undergoes `transition`; a push follows, or `defer`.
  template <class Kind>
  void undergo(const Kind& transition) {
    // Allocated before anything changes.
    [[maybe_unused]] RowMajorMatrix<Accumulator> wide(is_narrow<Scalar> ? d_k_ : 0,
                                                      is_narrow<Scalar> ? d_v_ : 0);
    for (int l : active_levels()) {
      if constexpr (is_narrow<Scalar>) {
        convert(data(l), wide.size(), wide.data());
        transition.left(wide);
        transition.right(wide);
        convert(wide.data(), wide.size(), data(l));
      } else {
        auto one = level(l);
        transition.left(one);
        transition.right(one);
      }
    }
  }
  /// One level undergoes a `product` of transitions.
  template <class Product>
  void undergo(int l, const Product& product, Vector<typename Product::Scalar>& scratch) {
    product.apply(data(l), d_k_, d_v_, scratch);
  }
  /// Takes note of what a leaf or a transition makes of the magnitude.
  void defer(double magnitude) noexcept { magnitude_ = magnitude; }

  /// Adds level `from` to level `to` and clears it, as part of a carry that will merge both.
  void merge(int from, int to) { move_into(data(from), d_k_ * d_v_, data(to)); }
  /// The carry of the bucket `sum_n key(., n) value_n^T` of 2^l tokens, which begins at level l;
  /// `size()` must be a multiple of 2^l, and `value_n` begins at `values + n d_v`.
  template <class KeyAt>
  void carry_bucket(int l, Index count, KeyAt key, const Accumulator* values) {
    const int landed = landing(l);
    carry(data(l), landed - l, keeps_target(landed), d_k_, d_v_, count, key, values);
    size_ += std::uint64_t{1} << l;
  }
  /// The same of a bucket that has been added up, row-major.
  void carry_bucket(int l, const Accumulator* bucket) {
    const int landed = landing(l);
    carry(data(l), landed - l, keeps_target(landed), d_k_ * d_v_, bucket);
    size_ += std::uint64_t{1} << l;
  }

  void reset() noexcept {
    coefficients_.setZero();
    size_ = 0;
    magnitude_ = 0;
  }
  /// As `LogLinearState::advance_to`.
  void advance_to(std::uint64_t count) {
    const int last = max_levels_ - 1;
    const std::uint64_t carries = (count >> last) - (size_ >> last);  // into the last level
    if (is_active_level(size_, last, max_levels_)) scale(last, kept_fraction(Overflow, carries));
    for (int l = last - 1; l >= 0; --l) {
      if (!is_active_level(size_, l, max_levels_)) continue;
      const std::uint64_t first = bucket_of(size_, l, max_levels_).first;
      const int to = level_of(first, count, ReadOrder::before_push, max_levels_);
      if (to == l) continue;
      if (to == last) scale(l, kept_fraction(Overflow, carries - 1));
      merge(l, to);
    }
    size_ = count;
  }
  /// Adds levels of the same shape and count, unless the sum could overflow.
  void add(const Levels& later) {
    const bool fits = is_at_most(magnitude_ + later.magnitude_, magnitude_limit<Scalar>());
    magnitude_ = admit(1, fits ? later.magnitude_ : later.norm()).magnitude;
    add_to(later.coefficients_.data(), coefficients_.size(), coefficients_.data());
  }

  /// Replaces the stream position and all levels: `level_at(l)` is the matrix of each level that is
  /// active after `size` tokens.
  template <class LevelAt>
  void replace(std::uint64_t size, LevelAt level_at) {
    double magnitude = 0;
    for (int l : ActiveLevels(size, max_levels_)) {
      require_size("a level after these tokens (rows)", level_at(l).rows(), d_k_);
      require_size("a level after these tokens (columns)", level_at(l).cols(), d_v_);
      require_finite("a coefficient of the state after these tokens", level_at(l));
      magnitude += stable_norm(level_at(l));
    }
    if (!is_at_most(magnitude, magnitude_limit<Scalar>())) {
      fail("the magnitude of the state after these tokens", magnitude,
           "within the range of the scalar type");
    }
    for (int l : active_levels()) level(l).setZero();
    for (int l : ActiveLevels(size, max_levels_)) level(l) = level_at(l).template cast<Scalar>();
    size_ = size;
    magnitude_ = magnitude;
  }
  /// Becomes a copy of levels of the same shape, in the memory that there is.
  void copy(const Levels& other) noexcept {
    std::copy_n(other.coefficients_.data(), coefficients_.size(), coefficients_.data());
    size_ = other.size_;
    magnitude_ = other.magnitude_;
  }
  /// Becomes what it was after `size` tokens: `active` holds the levels that were active, lowest
  /// first.
  void restore(std::uint64_t size, double magnitude, const Scalar* active) noexcept {
    const std::uint64_t kept = active_mask(size, max_levels_);
    for (int l : active_levels()) {
      if (((kept >> l) & 1) == 0) level(l).setZero();
    }
    for (int l : ActiveLevels(size, max_levels_)) {
      level(l) = ConstLevel(active, d_k_, d_v_);
      active += d_k_ * d_v_;
    }
    size_ = size;
    magnitude_ = magnitude;
  }

  template <class Other>
  [[nodiscard]] Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow> cast() const {
    Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow> other(max_levels_, d_k_, d_v_);
    if (max_abs(coefficients_) > magnitude_limit<Other>()) {
      fail("the largest coefficient", max_abs(coefficients_),
           "within the range of the scalar converted to");
    }
    if constexpr (std::is_same_v<Accumulator, detail::Accumulator<Other>>) {
      convert(coefficients_.data(), coefficients_.size(), other.coefficients_.data());
    } else {
      other.coefficients_ = coefficients_.template cast<Other>();
    }
    other.size_ = size_;
    other.magnitude_ = magnitude_;
    return other;
  }

  [[nodiscard]] bool operator==(const Levels& other) const {
    return max_levels_ == other.max_levels_ && d_k_ == other.d_k_ && d_v_ == other.d_v_ &&
           size_ == other.size_ && coefficients_ == other.coefficients_;
  }

  /// For checkpoints: the active levels alone. An owner that defers something passes a function
  /// that measures the norm of everything, once the levels are in place.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    visit(self, part, [&] { return self.norm(); });
  }
  template <class Self, class Visit, class Measure>
  static void visit(Self& self, Visit&& part, [[maybe_unused]] Measure measure) {
    if constexpr (is_written<Self>) self.reset();
    const double limit = magnitude_limit<Scalar>();
    double magnitude = (std::min)(self.magnitude_, limit);
    part("size", self.size_);
    part("magnitude", magnitude);
    for (int l : self.active_levels()) part("level" + std::to_string(l), self.level(l));
    if constexpr (is_written<Self>) {
      require_between("magnitude", magnitude, 0.0, limit);
      require_between("the magnitude of the levels", self.norm(), 0.0, limit);
      const double measured = measure();
      require_between("the magnitude of all tokens", measured, 0.0, limit);
      // A bound may have lost to rounding, of which the limit leaves a factor of 4; never more.
      self.magnitude_ = measured > 2 * magnitude ? measured : magnitude;
    }
  }

 private:
  template <class, int, int, int, LastLevel>
  friend class Levels;

  using Storage = Vector<Scalar, is_inline ? static_cast<int>(fixed_coefficients) : Eigen::Dynamic>;

  /// The Frobenius norm of one level.
  [[nodiscard]] static double norm_of(const Scalar* m, Index size) {
    if constexpr (is_narrow<Scalar>) {
      constexpr Index piece = 4 * column_block;
      std::array<Accumulator, piece> wide;
      double norm = 0;
      for (Index first = 0; first < size; first += piece) {
        const Index length = (std::min)(piece, size - first);
        convert(m + first, length, wide.data());
        norm = std::hypot(norm,
                          stable_norm(Eigen::Map<const Vector<Accumulator>>(wide.data(), length)));
      }
      return norm;
    } else {
      return stable_norm(ConstFlat(m, size));
    }
  }

  [[nodiscard]] auto own_measure() const {
    return [this](bool exactly) { return exactly ? norm() : norm_bound(); };
  }
  /// The running bound only grows, so when it passes the limit the levels are measured before
  /// anything is refused.
  template <class Measure>
  [[nodiscard]] Admitted admit(double growth, double leaf, Measure measure) const {
    const double limit = magnitude_limit<Scalar>();
    double magnitude = magnitude_ * growth + leaf;
    for (const bool exactly : {false, true}) {
      if (is_at_most(magnitude, limit)) return {magnitude, growth};
      magnitude = measure(exactly) * growth + leaf;
    }
    if (!is_at_most(magnitude, limit)) {
      fail("the magnitude of the state after this token", magnitude,
           "within the range of the scalar type");
    }
    return {magnitude, growth};
  }

  /// Where a carry that begins at level l ends.
  [[nodiscard]] int landing(int l) const { return l + landed_level(size_ >> l, max_levels_ - l); }
  /// Whether a carry adds to what its target holds; that can only be the last level.
  [[nodiscard]] bool keeps_target(int landed) {
    if (!is_active_level(size_, landed, max_levels_)) return false;
    if constexpr (Overflow == LastLevel::halve) scale(landed, 0.5);
    return Overflow != LastLevel::forget;
  }
  void scale(int l, double factor) {
    if (is_exactly(factor, 1.0)) return;
    const auto wide = static_cast<Accumulator>(factor);
    detail::scale<Scalar, Accumulator>(
        data(l), 1, d_k_ * d_v_, d_k_ * d_v_, [&](Index) { return wide; }, nullptr);
  }

  Storage coefficients_{};
  Index d_k_ = 0, d_v_ = 0;
  std::uint64_t size_ = 0;
  double magnitude_ = 0;
  int max_levels_ = 0;
};

/// The way to the levels of a LogLinearState, for what the library itself does with them.
struct LevelsOf {
  template <class State>
  [[nodiscard]] static auto& get(State& state) noexcept {
    return state.levels_;
  }
};
template <class State>
[[nodiscard]] auto& levels_of(State& state) noexcept {
  return LevelsOf::get(state);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_HPP
