// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP
#define LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP

// What the members of `Parameters` do; the class itself is in parameters_interface.hpp. Outside of
// it they are no inline functions, and can be compiled once.

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/layer/detail/parameters_interface.hpp"
#include "loglinear/random.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear::detail {

template <class Scalar>
Index Parameters<Scalar>::append(const Parameter& shape) {
  Index& end = shape.is_projection ? projected_ : free_size_;
  const Index begin = end, columns = shape.is_projection ? d_model_ : Index{1};
  constexpr Index most = (std::numeric_limits<Index>::max)() / Index{sizeof(Scalar)};
  if (shape.rows < 0 || shape.rows > most / columns - end) {
    fail(Text("the number of rows of ", shape.name), shape.rows, "between 0 and ",
         most / columns - end);
  }
  end += shape.rows;
  if (shape.rows > 0) arrays_.push_back({std::string(shape.name), shape, begin});
  return begin;
}

template <class Scalar>
void Parameters<Scalar>::append_biases() {
  for (std::size_t i = 0, end = arrays_.size(); i < end; ++i) {
    const Parameter shape = arrays_[i].shape;
    if (shape.is_projection) append(free_vector(arrays_[i].name + ".bias", shape.rows, 0.0));
  }
}

template <class Scalar>
void Parameters<Scalar>::draw(Xorshift64& random, double scale) {
  projections_ = detail::zeros<Matrix<Scalar>>(projected_, d_model_);
  free_ = detail::zeros<Scalar>(free_size_);
  const auto weight = [&](const Parameter& shape) {
    const double value = shape.initial ? *shape.initial : scale * random.normal();
    if (!is_finite(Scalar(value))) fail(shape.name, value, "finite in the layer's scalar");
    return Scalar(value);
  };
  for (const Array& array : arrays_) {
    for (Index i = array.begin; i < array.begin + array.shape.rows; ++i) {
      if (!array.shape.is_projection) free_[i] = weight(array.shape);
      for (Index j = 0; array.shape.is_projection && j < d_model_; ++j) {
        projections_(i, j) = weight(array.shape);
      }
    }
  }
  measure();
}

template <class Scalar>
void Parameters<Scalar>::admit_growth(double factor, double step) {
  const double limit = magnitude_limit<Scalar>();
  if (!is_at_most(magnitude_ * factor + step, limit)) measure();
  const double after = magnitude_ * factor + step;
  if (!is_at_most(after, limit)) {
    fail("the largest weight after this step", after, "within the range of the scalar type");
  }
  magnitude_ = after;
}

template <class Scalar>
void Parameters<Scalar>::require_same_arrays(const Parameters& other) const {
  require_size("the gradient (columns, d_model)", other.d_model_, d_model_);
  require_size("the gradient (arrays)", static_cast<Index>(other.arrays_.size()),
               static_cast<Index>(arrays_.size()));
  for (std::size_t i = 0; i < arrays_.size(); ++i) {
    const Array &own = arrays_[i], &others = other.arrays_[i];
    if (others.name != own.name) fail("an array of the gradient", others.name, own.name);
    require_size(Text("the gradient of ", own.name, " (rows)"), others.shape.rows, own.shape.rows);
  }
  require_size("the gradient (rows of projections)", other.projections_.rows(),
               projections_.rows());
  require_size("the gradient (free vectors)", other.free_.size(), free_.size());
}

template <class Scalar>
void Parameters<Scalar>::project(const Vector<Scalar>& x, Vector<Scalar>& raw, Index from) const {
  constexpr Index width = packet_size<Scalar>;
  from -= from % width;
  if (from > 0 && projected_ - from < width) from -= width;
  weighted_rows<false, 1>(projections_.data() + from, d_model_, projected_ - from, projected_,
                          x.data(), raw.data() + from);
}

template <class Scalar>
void Parameters<Scalar>::project_rows(const ConstRowBlock<Scalar>& x,
                                      RowMajorMatrix<Scalar>& raw) const {
  product<Into::replace>(x, by_input(), raw);
}

template <class Scalar>
void Parameters<Scalar>::project_rows_back(const RowMajorMatrix<Scalar>& d_raw,
                                           const RowBlock<Scalar>& d_x) const {
  RowMajorMatrix<Scalar> transposed, d_x_transposed(d_model_, d_raw.rows());
  transpose_into(d_raw, transposed);
  product<Into::replace>(by_input(), transposed, d_x_transposed);
  transpose_into(d_x_transposed, d_x);
}

template <class Scalar>
void Parameters<Scalar>::add_outer_rows(const ConstRowBlock<Scalar>& x,
                                        const RowMajorMatrix<Scalar>& d_raw) {
  const RowBlock<Scalar> by_input(projections_.data(), d_model_, projected_, projected_);
  product<Into::add>(x.transpose(), d_raw, by_input);
}

template <class Scalar>
void Parameters<Scalar>::descend(double learning_rate, const Parameters& gradient) {
  require_same_arrays(gradient);
  gradient.require_finite_gradient();
  admit_step(learning_rate, max_abs(gradient.projections_), 1, max_abs(gradient.free_));
  if (is_exactly(learning_rate, 0.0)) return;
  const auto step = -Scalar(learning_rate);
  axpy<Scalar>(step, gradient.projections_.data(), projections_.size(), projections_.data());
  axpy<Scalar>(step, gradient.free_.data(), free_.size(), free_.data());
}

template <class Scalar>
void Parameters<Scalar>::require_descendable(double learning_rate, const Vector<Scalar>& d_raw,
                                             const Vector<Scalar>& x,
                                             const Vector<Scalar>& d_free) {
  const double largest = max_abs(d_raw), largest_free = max_abs(d_free);
  if (!is_finite(largest) || !is_finite(largest_free)) {
    require_finite("coefficient # of the gradient", d_raw);
    require_finite("coefficient # of the gradient", d_free);
  }
  admit_step(learning_rate, largest, max_abs(x), largest_free);
}

template <class Scalar>
void Parameters<Scalar>::descend(double learning_rate, Vector<Scalar>& d_raw,
                                 const Vector<Scalar>& x, const Vector<Scalar>& d_free) {
  const auto step = -Scalar(learning_rate);
  scale_by<Scalar>(step, d_raw.data(), d_raw.size());
  add_outer(projections_.data(), d_model_, projected_, projected_, x.data(), d_raw.data());
  axpy<Scalar>(step, d_free.data(), free_.size(), free_.data());
}

template <class Scalar>
ConstMatrixView<Scalar> Parameters<Scalar>::get(std::string_view name) const {
  const Array& array = find(name);
  using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  if (!array.shape.is_projection) {
    return {free_.data() + array.begin, 1, array.shape.rows, Strides(1, 1)};
  }
  return {projections_.data() + array.begin, array.shape.rows, d_model_, Strides(projected_, 1)};
}

template <class Scalar>
void Parameters<Scalar>::set(std::string_view name, const Matrix<Scalar>& value) {
  const Array& array = find(name);
  const ConstMatrixView<Scalar> old = get(name);
  require_size(Text("rows of ", array.name), value.rows(), old.rows());
  require_size(Text("columns of ", array.name), value.cols(), old.cols());
  require_finite(name, value);
  require_between(Text("the largest coefficient of ", array.name), max_abs(value), 0.0,
                  magnitude_limit<Scalar>());
  Scalar* const to = array.shape.is_projection ? projections_.data() : free_.data();
  for (Index j = 0; j < value.cols(); ++j) {
    copy(value.data() + j * value.rows(), value.rows(), to + array.begin + j * old.outerStride());
  }
  measure();
}

template <class Scalar>
auto Parameters<Scalar>::find(std::string_view name) const -> const Array& {
  for (const Array& array : arrays_) {
    if (array.name == name) return array;
  }
  std::string legal = "one of";
  for (const Array& array : arrays_) legal += ' ' + array.name;
  fail("weight name", name, legal);
}

template <class Scalar>
void Parameters<Scalar>::admit_step(double learning_rate, double largest, double largest_x,
                                    double largest_free) {
  // An infinite rate would turn a gradient of 0 into NaN. `descend` multiplies d_raw first: x may
  // be so small that only their product is finite.
  const double rate = learning_rate * largest_x, limit = magnitude_limit<Scalar>();
  require_between("the learning rate times the largest gradient of a projection",
                  learning_rate * largest, 0.0, limit);
  require_between("the learning rate times the largest |x|, or 1,", (std::max)(rate, learning_rate),
                  0.0, limit);
  admit_growth(1, (std::max)(rate * largest, learning_rate * largest_free));
}

}  // namespace loglinear::detail

#define LOGLINEAR_PARAMETERS(EXTERN, SCALAR) EXTERN template class detail::Parameters<SCALAR>;
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_PARAMETERS)

#endif  // LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP
