// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_INPUT_SCALES_HPP
#define LOGLINEAR_LAYER_DETAIL_INPUT_SCALES_HPP

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// The scale of each input, for steps that do not depend on it (`StepRule::normalized`): the root
/// mean square of its values that are not 0, over some 10,000 of them. `look` finds the scales with
/// one more token, `take` keeps them.
///
/// A value below 1e-6 of the largest scale may be the rounding residue of a 0: it does not count,
/// unless its input's scale is known and not below that bound. While only such values have come,
/// the scale is that bound.
///
/// Class invariant: scales lie between the root of the smallest normal number and its inverse.
template <class Scalar>
class InputScales {
 public:
  InputScales(Index d_model, bool normalizes);

  void reset();
  void settle() { follows_ = 0; }
  [[nodiscard]] bool is_normalizing() const { return normalizes_; }

  /// Multiplies x_j by the ratio by which the weights of input j are about to be rescaled. So the
  /// present weights make of the new x what the rescaled ones make of the old.
  void look(Vector<Scalar>& x);
  /// Looks at a token without changing any scale.
  void see(const Vector<Scalar>& x) {
    hold();
    for (Index j = 0; j < x.size(); ++j) unit_[j] = x[j] / scales_[j];
  }
  /// Nothing new is seen: scales stay.
  void hold() {
    copy(scales_.data(), scales_.size(), next_scales_.data());
    copy(counts_.data(), counts_.size(), next_counts_.data());
    std::fill_n(ratios_.data(), ratios_.size(), Scalar(1));
  }
  void take() {
    copy(next_scales_.data(), scales_.size(), scales_.data());
    copy(next_counts_.data(), counts_.size(), counts_.data());
  }

  /// The input that was looked at, each value in units of its scale.
  [[nodiscard]] const Vector<Scalar>& unit() const { return unit_; }
  [[nodiscard]] const Scalar& scale(Index j) const { return scales_[j]; }
  [[nodiscard]] const Scalar& ratio(Index j) const { return ratios_[j]; }
  /// The largest of all ratios and 1; `largest_inverse` is the largest of 1 and of 1 over each next
  /// scale.
  [[nodiscard]] double largest_ratio() const { return (std::max)(1.0, max_abs(ratios_)); }
  [[nodiscard]] double largest_inverse() const {
    double least = 1;
    for (Index j = 0; j < next_scales_.size(); ++j) {
      least = (std::min)(least, to_double(next_scales_[j]));
    }
    return 1 / least;
  }

  template <class Other>
  void assign(const InputScales<Other>& other) {
    follows_ = other.follows_;
    scales_ = other.scales_.template cast<Scalar>();
    counts_ = other.counts_.template cast<Scalar>();
    for (Index j = 0; j < scales_.size(); ++j) {
      scales_[j] = clamped(scales_[j]);
    }
  }
  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("follows", self.follows_);
    part("scales", self.scales_);
    part("counts", self.counts_);
    if constexpr (is_written<Self>) {
      for (Index j = 0; j < self.scales_.size(); ++j) {
        require_between("the scale of an input", self.scales_[j], smallest(),
                        Scalar(Scalar(1) / smallest()));
        require_between("the count of an input", self.counts_[j], Scalar(0), Scalar(most));
      }
    }
  }

 private:
  template <class>
  friend class InputScales;
  static constexpr double most = 10000, followed = 32, negligible = 1e-6;
  static constexpr double longest = 1e9;  // the most scales a value counts as, after the first ones

  /// The root mean square of n values whose own is `scale`, and one more of this size. It may jump
  /// to any size while weights follow it: the first values may be residues, or of another unit.
  [[nodiscard]] static Scalar mean_with(const Scalar& size, const Scalar& scale, const Scalar& n) {
    using std::sqrt;
    if (is_exactly(n, Scalar(0))) return size;
    if (n < Scalar(followed) && size > Scalar(longest) * scale) {
      return size / sqrt(Scalar(n + 1));  // its square hides those before, and may overflow
    }
    const Scalar times = (std::min)(Scalar(size / scale), Scalar(longest));
    return scale * sqrt(Scalar((n + times * times) / (n + 1)));
  }
  [[nodiscard]] static Scalar clamped(const Scalar& scale) {
    return std::clamp(scale, smallest(), Scalar(Scalar(1) / smallest()));
  }

  [[nodiscard]] static Scalar smallest() {
    return Scalar(std::sqrt(to_double((std::numeric_limits<Scalar>::min)())));
  }

  bool normalizes_;
  std::uint64_t follows_ = 1;  // whether weights are rescaled with the first values
  Vector<Scalar> scales_, counts_;
  Vector<Scalar> next_scales_, next_counts_, ratios_, unit_;
};

template <class Scalar>
InputScales<Scalar>::InputScales(Index d_model, bool normalizes)
    : normalizes_(normalizes),
      scales_(ones<Scalar>(d_model)),
      counts_(zeros<Scalar>(d_model)),
      next_scales_(scales_),
      next_counts_(counts_),
      ratios_(scales_),
      unit_(counts_) {}

template <class Scalar>
void InputScales<Scalar>::reset() {
  follows_ = 1;
  std::fill_n(scales_.data(), scales_.size(), Scalar(1));
  std::fill_n(counts_.data(), counts_.size(), Scalar(0));
}

template <class Scalar>
void InputScales<Scalar>::look(Vector<Scalar>& x) {
  using std::abs;
  hold();
  Scalar largest{0};
  for (Index j = 0; normalizes_ && j < x.size(); ++j) {
    const Scalar size = abs(x[j]);
    if (size > Scalar(0)) {
      next_scales_[j] = clamped(mean_with(size, scales_[j], counts_[j]));
      next_counts_[j] = (std::min)(Scalar(counts_[j] + 1), Scalar(most));
    }
    if (next_counts_[j] > Scalar(0)) largest = (std::max)(largest, next_scales_[j]);
  }
  const Scalar least = Scalar(negligible) * largest;
  for (Index j = 0; j < x.size(); ++j) {
    const Scalar size = abs(x[j]), n = counts_[j];
    if (normalizes_ && size > Scalar(0)) {
      if (size < least && (is_exactly(n, Scalar(0)) || scales_[j] < least)) {
        next_scales_[j] = n > Scalar(0) ? scales_[j] : clamped(least);
        next_counts_[j] = n;
      }
      if (follows_ != 0 && n < Scalar(followed)) ratios_[j] = scales_[j] / next_scales_[j];
    }
    unit_[j] = x[j] / next_scales_[j];
    x[j] *= ratios_[j];
  }
}

}  // namespace loglinear::detail

#define LOGLINEAR_INPUT_SCALES(EXTERN, SCALAR) EXTERN template class detail::InputScales<SCALAR>;
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_INPUT_SCALES)

#endif  // LOGLINEAR_LAYER_DETAIL_INPUT_SCALES_HPP
