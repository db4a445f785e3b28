// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LEVELS_HPP
#define LOGLINEAR_STREAM_DETAIL_LEVELS_HPP

// The levels of a LogLinearState with all that a layer does to them, hence many members. Only the
// constructor, `admit`, `add`, `replace`, `cast` and reading a checkpoint check their arguments;
// log_linear_state.hpp or the layer checks those of the other members.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/admitted.hpp"
#include "loglinear/stream/detail/carry.hpp"
#include "loglinear/stream/detail/fields.hpp"
#include "loglinear/stream/detail/level_storage.hpp"

namespace loglinear::detail {

template <class Scalar_, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow>
class Levels {
 public:
  using Scalar = Scalar_;
  using Accumulator = detail::Accumulator<Scalar>;
  using Storage = LevelStorage<Scalar, KeyDim, ValueDim, MaxLevels>;
  using Matrix = typename Storage::Matrix;

  /// None active. Throws where a size is out of its range.
  Levels(int max_levels, Index d_k, Index d_v) : storage_(max_levels, d_k, d_v) {}

  [[nodiscard]] int max_levels() const noexcept { return storage_.max_levels(); }
  [[nodiscard]] Index d_k() const noexcept { return storage_.d_k(); }
  [[nodiscard]] Index d_v() const noexcept { return storage_.d_v(); }
  [[nodiscard]] Index level_size() const noexcept { return storage_.level_size(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return account_.size; }
  [[nodiscard]] ActiveLevels active_levels() const noexcept { return {size(), max_levels()}; }
  /// The running bound of the Frobenius norm of all levels and leaves together.
  [[nodiscard]] double magnitude() const noexcept { return account_.magnitude; }
  [[nodiscard]] const LevelsAccount& account() const noexcept { return account_; }
  [[nodiscard]] const Storage& storage() const noexcept { return storage_; }
  [[nodiscard]] auto level(int l) const { return storage_.level(l); }
  [[nodiscard]] auto level(int l) { return storage_.level(l); }
  /// The coefficients of one level, row-major.
  [[nodiscard]] const Scalar* data(int l) const { return storage_.data(l); }
  [[nodiscard]] Scalar* data(int l) { return storage_.data(l); }

  /// The sum of the levels' Frobenius norms; and a bound of it that takes less time.
  [[nodiscard]] double norm() const {
    double sum = 0;
    for (int l : active_levels()) sum += norm_of(data(l), level_size());
    return sum;
  }
  [[nodiscard]] double norm_bound() const {
    double sum = 0;
    for (int l : active_levels()) sum += max_abs(data(l), level_size());
    return sum * std::sqrt(static_cast<double>(level_size()));
  }
  /// Throws where the leaf `keys values^T`, after a transition that grows norms by at most
  /// `growth`, would not be finite or be too large. `measure(exactly)` bounds the magnitude of
  /// everything before that, what is deferred included, in two ways.
  template <class Keys, class Values, class Measure>
  [[nodiscard]] Admitted admit(double growth, const Keys& keys, const Values& values,
                               Measure measure) const {
    if (size() == UINT64_MAX) fail("size", size(), "below 2^64 - 1 before a push");
    const double leaf = leaf_magnitude(keys, values);
    if (!is_finite(leaf)) require_finite_leaf(keys, values);
    return detail::admit<Scalar>(magnitude(), growth, leaf, measure);
  }
  /// The same where nothing is deferred.
  template <class Keys, class Values>
  [[nodiscard]] Admitted admit(double growth, const Keys& keys, const Values& values) const {
    return admit(growth, keys, values, own_measure());
  }
  /// The same for a transition, and a leaf or another state of magnitude `leaf`.
  [[nodiscard]] Admitted admit(double growth, double leaf) const {
    return detail::admit<Scalar>(magnitude(), growth, leaf, own_measure());
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
      if (values.outerStride() != d_v()) {
        return push(keys, detail::Matrix<Accumulator>(values), admitted);
      }
    }
    carry_bucket(0, keys.cols(), {keys.data(), keys.rowStride(), keys.colStride()}, values.data());
    account_.magnitude = admitted.magnitude;
  }
  /// Every level undergoes `transition`; a push follows, or `defer`.
  template <class Kind>
  void undergo(const Kind& transition) {
    // Allocated before anything changes.
    [[maybe_unused]] RowMajorMatrix<Accumulator> wide(is_narrow<Scalar> ? d_k() : 0,
                                                      is_narrow<Scalar> ? d_v() : 0);
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
  void undergo(int l, const Product& product, Accumulator* scratch) {
    product.apply(data(l), d_k(), d_v(), scratch);
  }
  /// `defer` notes the magnitude after a leaf or a transition; `count` also counts one more token.
  void defer(double magnitude) noexcept { account_.magnitude = magnitude; }
  void count(double magnitude) noexcept { account_ = {account_.size + 1, magnitude}; }

  /// Adds level `from` to level `to` and clears it, as part of a carry that will merge both.
  void merge(int from, int to) { move_into(data(from), level_size(), data(to)); }
  /// The carry of the bucket `sum_n key(., n) value_n^T` of 2^l tokens, which begins at level l;
  /// `size()` must be a multiple of 2^l, and `value_n` begins at `values + n d_v`.
  void carry_bucket(int l, Index count, const LeafKeys<Accumulator>& key,
                    const Accumulator* values) {
    const int landed = landing(l);
    carry(data(l), landed - l, keeps_target(landed), d_k(), d_v(), count, key, values);
    account_.size += std::uint64_t{1} << l;
  }
  /// The same of a bucket that has been added up, row-major.
  void carry_bucket(int l, const Accumulator* bucket) {
    const int landed = landing(l);
    carry(data(l), landed - l, keeps_target(landed), level_size(), bucket);
    account_.size += std::uint64_t{1} << l;
  }

  void reset() noexcept {
    storage_.clear();
    account_ = {};
  }
  /// As `LogLinearState::advance_to`.
  void advance_to(std::uint64_t count) {
    const int levels = max_levels(), last = levels - 1;
    const std::uint64_t carries = (count >> last) - (size() >> last);  // into the last level
    if (is_active_level(size(), last, levels)) scale(last, kept_fraction(Overflow, carries));
    for (int l = last - 1; l >= 0; --l) {
      if (!is_active_level(size(), l, levels)) continue;
      const std::uint64_t first = bucket_of(size(), l, levels).first;
      const int to = level_of(first, count, ReadOrder::before_push, levels);
      if (to == l) continue;
      if (to == last) scale(l, kept_fraction(Overflow, carries - 1));
      merge(l, to);
    }
    account_.size = count;
  }
  /// Adds levels of the same shape and count, unless the sum could overflow.
  void add(const Levels& later) {
    const bool fits = is_at_most(magnitude() + later.magnitude(), magnitude_limit<Scalar>());
    account_.magnitude = admit(1, fits ? later.magnitude() : later.norm()).magnitude;
    add_to(later.data(0), storage_.size(), data(0));
  }

  /// Replaces everything: `level_at(l)` is the matrix of each level active after `size` tokens.
  template <class LevelAt>
  void replace(std::uint64_t size, LevelAt level_at) {
    double magnitude = 0;
    for (int l : ActiveLevels(size, max_levels())) {
      require_size("a level after these tokens (rows)", level_at(l).rows(), d_k());
      require_size("a level after these tokens (columns)", level_at(l).cols(), d_v());
      require_finite("coefficient # of the state after these tokens", level_at(l));
      magnitude += stable_norm(level_at(l));
    }
    if (!is_at_most(magnitude, magnitude_limit<Scalar>())) {
      fail("the magnitude of the state after these tokens", magnitude,
           "within the range of the scalar type");
    }
    for (int l : active_levels()) storage_.clear(l);
    for (int l : ActiveLevels(size, max_levels())) {
      auto&& from = level_at(l);
      using From = std::remove_cvref_t<decltype(from)>;
      if constexpr (std::is_same_v<From, RowMajorMatrix<Accumulator>>) {
        convert(from.data(), from.size(), level(l).data());
      } else {
        level(l) = from.template cast<Scalar>();
      }
    }
    account_ = {size, magnitude};
  }
  /// Becomes a copy of levels of the same shape, in the memory that there is.
  void copy(const Levels& other) noexcept { assign(other); }
  /// The same, in this scalar.
  template <class Other>
  void assign(const Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow>& other) noexcept {
    fields(AssignField{}, *this, other);
  }
  /// Goes back to an earlier moment: `active` holds the levels that were active then, lowest first.
  void restore(const LevelsAccount& account, const Scalar* active) noexcept {
    const std::uint64_t kept = active_mask(account.size, max_levels());
    for (int l : active_levels()) {
      if (((kept >> l) & 1) == 0) storage_.clear(l);
    }
    account_ = account;
    for (int l : active_levels()) {
      std::copy_n(active, level_size(), data(l));
      active += level_size();
    }
  }

  template <class Other>
  [[nodiscard]] Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow> cast() const {
    const double largest = max_abs(data(0), storage_.size());
    if (largest > magnitude_limit<Other>()) {
      fail("the largest coefficient", largest, "within the range of the scalar converted to");
    }
    Levels<Other, KeyDim, ValueDim, MaxLevels, Overflow> other(max_levels(), d_k(), d_v());
    other.assign(*this);
    return other;
  }

  [[nodiscard]] bool operator==(const Levels& other) const {
    return size() == other.size() && storage_ == other.storage_;
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("account", self.account_...);
    use("storage", self.storage_...);
  }
  template <class Self>
  static auto fixed(Self&) {
    return std::tie();
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
    double magnitude = (std::min)(self.magnitude(), limit);
    part("size", self.account_.size);
    part("magnitude", magnitude);
    for (int l : self.active_levels()) part("level" + std::to_string(l), self.level(l));
    if constexpr (is_written<Self>) {
      require_between("magnitude", magnitude, 0.0, limit);
      require_between("the magnitude of the levels", self.norm(), 0.0, limit);
      const double measured = measure();
      require_between("the magnitude of all tokens", measured, 0.0, limit);
      // Rounding may have made the bound a little too small, for which the limit leaves a factor of
      // 4. A bound that is much too small is replaced by what was measured.
      self.account_.magnitude = measured > 2 * magnitude ? measured : magnitude;
    }
  }

 private:
  template <class, int, int, int, LastLevel>
  friend class Levels;

  [[nodiscard]] auto own_measure() const {
    return [this](bool exactly) { return exactly ? norm() : norm_bound(); };
  }
  /// Where a carry that begins at level l ends.
  [[nodiscard]] int landing(int l) const { return l + landed_level(size() >> l, max_levels() - l); }
  /// Whether a carry adds to what its target holds; that can only be the last level.
  [[nodiscard]] bool keeps_target(int landed) {
    if (!is_active_level(size(), landed, max_levels())) return false;
    if constexpr (Overflow == LastLevel::halve) scale(landed, 0.5);
    return Overflow != LastLevel::forget;
  }
  void scale(int l, double factor) {
    if (is_exactly(factor, 1.0)) return;
    const auto wide = static_cast<Accumulator>(factor);
    detail::scale<Scalar, Accumulator>(
        data(l), 1, level_size(), level_size(), [&](Index) { return wide; }, nullptr);
  }

  Storage storage_;
  LevelsAccount account_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LEVELS_HPP
