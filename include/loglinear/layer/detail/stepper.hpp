// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_STEPPER_HPP
#define LOGLINEAR_LAYER_DETAIL_STEPPER_HPP

// What the members of `Stepper` do; the class itself is in stepper_interface.hpp. Outside of it
// they are no inline functions, and can be compiled once.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/layer/detail/input_scales.hpp"
#include "loglinear/layer/detail/parameters.hpp"
#include "loglinear/layer/detail/stepper_interface.hpp"
#include "loglinear/layer/step.hpp"

namespace loglinear::detail {

template <class Scalar>
Stepper<Scalar>::Stepper(const Parameters<Scalar>& parameters, const Step& step, double rate,
                         bool follows)
    : step_(step), scales_(parameters.d_model(), follows && step.rule == StepRule::normalized) {
  step.validate();
  set_rate(rate);
  if (is_plain()) return;
  square_ = zeros<Matrix<Scalar>>(parameters.projected_size(), parameters.d_model());
  free_square_ = zeros<Scalar>(parameters.free_size());
  if (!has_mean()) return;
  mean_ = zeros<Matrix<Scalar>>(parameters.projected_size(), parameters.d_model());
  free_mean_ = zeros<Scalar>(parameters.free_size());
}

template <class Scalar>
void Stepper<Scalar>::reset() {
  scales_.reset();
  std::fill_n(mean_.data(), mean_.size(), Scalar(0));
  std::fill_n(square_.data(), square_.size(), Scalar(0));
  std::fill_n(free_mean_.data(), free_mean_.size(), Scalar(0));
  std::fill_n(free_square_.data(), free_square_.size(), Scalar(0));
  count_ = 0;
}

template <class Scalar>
void Stepper<Scalar>::admit(Parameters<Scalar>& parameters, const Vector<Scalar>& d_raw,
                            const Vector<Scalar>& x, const Vector<Scalar>& d_free) {
  shortened_ = 1;
  if (step_.clip > 0) {
    require_finite_gradient(d_raw, d_free);
    shorten(std::hypot(stable_norm(d_raw) * stable_norm(is_plain() ? x : scales_.unit()),
                       stable_norm(d_free)));
  }
  if (is_plain()) {
    return parameters.require_descendable(rate_ * shortened_, d_raw, x, d_free);
  }
  require_finite_gradient(d_raw, d_free);
  admit_adaptive(parameters, (std::max)(max_abs(d_raw) * max_abs(scales_.unit()), max_abs(d_free)));
}

template <class Scalar>
void Stepper<Scalar>::take(Parameters<Scalar>& parameters, Vector<Scalar>& d_raw,
                           const Vector<Scalar>& x, const Vector<Scalar>& d_free) {
  if (is_plain()) return parameters.descend(rate_ * shortened_, d_raw, x, d_free);
  if (stays()) return;
  scales_.take();
  begin_step();
  const Index rows = parameters.projected_size();
  for (Index j = 0; j < parameters.d_model(); ++j) {
    Scalar* const weights = parameters.column(j);
    const Scalar ratio = scales_.ratio(j);
    if (!is_exactly(ratio, Scalar(1))) scale_by(ratio, weights, rows);
    adam_.size = size_ / scales_.scale(j);
    update(factor_ * scales_.unit()[j], d_raw.data(), rows, j * rows, mean_, square_, weights);
  }
  step_free(parameters, d_free);
}

template <class Scalar>
void Stepper<Scalar>::look_at_rows(Parameters<Scalar>& parameters,
                                   const RowMajorMatrix<Scalar>& x) {
  if (is_plain() || stays() || !scales_.is_normalizing()) return;
  Vector<Scalar> row(x.cols());
  for (Index t = 0; t < x.rows(); ++t) {
    copy(x.data() + t * x.cols(), x.cols(), row.data());
    scales_.look(row);
    parameters.admit_growth(scales_.largest_ratio(), 0);
    scales_.take();
    for (Index j = 0; j < x.cols(); ++j) {
      const Scalar ratio = scales_.ratio(j);
      if (is_exactly(ratio, Scalar(1))) continue;
      scale_by(ratio, parameters.column(j), parameters.projected_size());
    }
  }
}

template <class Scalar>
void Stepper<Scalar>::take(Parameters<Scalar>& parameters, const Parameters<Scalar>& gradient) {
  parameters.require_same_arrays(gradient);
  gradient.require_finite_gradient();
  const Index rows = parameters.projected_size();
  double largest = max_abs(gradient.free()), norm = stable_norm(gradient.free());
  for (Index j = 0; j < gradient.d_model() && (step_.clip > 0 || !is_plain()); ++j) {
    const Pieces<Scalar> column{gradient.column(j), 1, rows, 0};
    const double scale = is_plain() ? 1 : to_double(scales_.scale(j));
    largest = (std::max)(largest, max_abs(column) / scale);
    norm = std::hypot(norm, stable_norm(column) / scale);
  }
  shortened_ = 1;
  if (step_.clip > 0) shorten(norm);
  if (is_plain()) return parameters.descend(rate_ * shortened_, gradient);
  if (stays()) return;
  scales_.hold();
  admit_adaptive(parameters, largest);
  begin_step();
  for (Index j = 0; j < gradient.d_model(); ++j) {
    adam_.size = size_ / scales_.scale(j);
    update(factor_ / scales_.scale(j), gradient.column(j), rows, j * rows, mean_, square_,
           parameters.column(j));
  }
  step_free(parameters, gradient.free());
}

template <class Scalar>
void Stepper<Scalar>::require_legal() const {
  if (is_plain()) return;
  require_finite("step.mean", mean_);
  require_finite("step.free_mean", free_mean_);
  require_between("step.count", count_, std::uint64_t{0}, most_steps);
  const double limit = magnitude_limit<Scalar>() / correction(count_ + 1);
  for (const auto& squares : {ConstVectorView<Scalar>(square_.data(), square_.size()),
                              ConstVectorView<Scalar>(free_square_.data(), free_square_.size())}) {
    for (Index i = 0; i < squares.size(); ++i) {
      require_between("a mean square of gradients", to_double(squares[i]), 0.0, limit);
    }
  }
}

template <class Scalar>
void Stepper<Scalar>::admit_adaptive(Parameters<Scalar>& parameters, double largest) {
  const double shortest = largest * shortened_;
  require_between("the square of the largest gradient", shortest * shortest, 0.0,
                  magnitude_limit<Scalar>());
  const double size = rate_ / (1 - std::pow(beta1(), static_cast<double>(count_) + 1));
  parameters.admit_growth(scales_.largest_ratio(), size * reach() * scales_.largest_inverse());
}

template <class Scalar>
void Stepper<Scalar>::begin_step() {
  count_ = (std::min)(count_ + 1, most_steps);
  const auto t = static_cast<double>(count_);
  const double falling = has_mean() ? 1 : (std::max)(0.1, 300 / (299 + t));
  const double smallest = std::sqrt(to_double((std::numeric_limits<Scalar>::min)()));
  size_ = Scalar(rate_ * falling / (1 - std::pow(beta1(), t)));
  factor_ = Scalar(shortened_);
  adam_.beta1 = Scalar(beta1());
  adam_.rest1 = Scalar(1 - beta1());
  adam_.beta2 = Scalar(step_.beta2);
  adam_.rest2 = Scalar(1 - step_.beta2);
  adam_.correction = Scalar(correction(count_));
  adam_.reach = Scalar(reach());
  // What is below counts as 0: a square that vanishes must not be divided by.
  adam_.epsilon = Scalar((std::max)(has_mean() ? step_.epsilon : 0.0, smallest));
}

}  // namespace loglinear::detail

#define LOGLINEAR_STEPPER(EXTERN, SCALAR) EXTERN template class detail::Stepper<SCALAR>;
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_STEPPER)

#endif  // LOGLINEAR_LAYER_DETAIL_STEPPER_HPP
