// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP
#define LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP

// The weights of a layer: all projections of x stacked into one matrix, so that a token costs one
// product and a training step one rank-one update, and all free vectors in one more.

#include <algorithm>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/random.hpp"
#include "loglinear/rules/rule.hpp"

namespace loglinear::detail {

template <class Scalar>
class Parameters {
 public:
  explicit Parameters(Index d_model) : d_model_(d_model) {}

  /// Appends an array; returns where it begins in the stacked projections or free vectors.
  /// \throws std::invalid_argument for a negative number of rows, or where the bytes exceed an
  /// Index
  Index append(const Parameter& shape) {
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

  /// Appends a free vector for each projection, in their order: its bias, which begins at 0.
  void append_biases() {
    for (std::size_t i = 0, end = arrays_.size(); i < end; ++i) {
      const Parameter shape = arrays_[i].shape;
      if (shape.is_projection) append(free_vector(arrays_[i].name + ".bias", shape.rows, 0.0));
    }
  }

  /// Allocates everything and draws it, array after array in the order of appending,
  /// row by row: `scale` times a standard normal, or the constant that the parameter names.
  void draw(Xorshift64& random, double scale = 0.01) {
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

  [[nodiscard]] Index projected_size() const { return projected_; }
  [[nodiscard]] Index free_size() const { return free_size_; }
  [[nodiscard]] Index d_model() const { return d_model_; }
  [[nodiscard]] const Vector<Scalar>& free() const { return free_; }

  // Where steps write to the weights; call `admit_growth` before.
  [[nodiscard]] Scalar* column(Index input) { return projections_.data() + input * projected_; }
  [[nodiscard]] const Scalar* column(Index input) const {
    return projections_.data() + input * projected_;
  }
  [[nodiscard]] Scalar* free_data() { return free_.data(); }
  /// Throws unless every weight stays finite when it becomes `factor` times as large at most, and
  /// then moves by `step` at most.
  void admit_growth(double factor, double step) {
    const double limit = magnitude_limit<Scalar>();
    if (!is_at_most(magnitude_ * factor + step, limit)) measure();
    const double after = magnitude_ * factor + step;
    if (!is_at_most(after, limit)) {
      fail("the largest weight after this step", after, "within the range of the scalar type");
    }
    magnitude_ = after;
  }
  /// Throws unless the other has arrays of the same names and shapes.
  void require_same_arrays(const Parameters& other) const {
    require_size("the gradient (columns, d_model)", other.d_model_, d_model_);
    require_size("the gradient (arrays)", static_cast<Index>(other.arrays_.size()),
                 static_cast<Index>(arrays_.size()));
    for (std::size_t i = 0; i < arrays_.size(); ++i) {
      const Array &own = arrays_[i], &others = other.arrays_[i];
      if (others.name != own.name) fail("an array of the gradient", others.name, own.name);
      require_size(Text("the gradient of ", own.name, " (rows)"), others.shape.rows,
                   own.shape.rows);
    }
    require_size("the gradient (rows of projections)", other.projections_.rows(),
                 projections_.rows());
    require_size("the gradient (free vectors)", other.free_.size(), free_.size());
  }

  /// raw = W x for the stacked projections from row `from` on. It begins at a whole packet, with at
  /// least one of them where there is one, and sums in one chain, so that a row's rounding does not
  /// depend on `from`.
  void project(const Vector<Scalar>& x, Vector<Scalar>& raw, Index from = 0) const {
    constexpr Index width = packet_size<Scalar>;
    from -= from % width;
    if (from > 0 && projected_ - from < width) from -= width;
    weighted_rows<false, 1>(projections_.data() + from, d_model_, projected_ - from, projected_,
                            x.data(), raw.data() + from);
  }

  /// raw = x W^T, a row a token.
  void project_rows(const ConstRowBlock<Scalar>& x, RowMajorMatrix<Scalar>& raw) const {
    product<Into::replace>(x, by_input(), raw);
  }
  /// d_x = d_raw W, a row a token.
  void project_rows_back(const RowMajorMatrix<Scalar>& d_raw, const RowBlock<Scalar>& d_x) const {
    RowMajorMatrix<Scalar> transposed, d_x_transposed(d_model_, d_raw.rows());
    transpose_into(d_raw, transposed);
    product<Into::replace>(by_input(), transposed, d_x_transposed);
    transpose_into(d_x_transposed, d_x);
  }

  /// The same arrays, all zero: for a gradient.
  [[nodiscard]] Parameters zeros() const {
    Parameters zeros(*this);
    std::fill_n(zeros.projections_.data(), projections_.size(), Scalar(0));
    std::fill_n(zeros.free_.data(), free_.size(), Scalar(0));
    zeros.magnitude_ = 0;
    return zeros;
  }
  /// W += d_raw^T x, for a gradient.
  void add_outer_rows(const ConstRowBlock<Scalar>& x, const RowMajorMatrix<Scalar>& d_raw) {
    const RowBlock<Scalar> by_input(projections_.data(), d_model_, projected_, projected_);
    product<Into::add>(x.transpose(), d_raw, by_input);
  }
  void add_free(const Vector<Scalar>& d_free) {
    add(free_.data(), d_free.data(), free_.size(), free_.data());
  }

  /// W -= learning_rate * the gradient. \throws std::invalid_argument for the gradient of other
  /// arrays, or where a weight would not be finite; nothing is changed then
  void descend(double learning_rate, const Parameters& gradient) {
    require_same_arrays(gradient);
    gradient.require_finite_gradient();
    admit_step(learning_rate, max_abs(gradient.projections_), 1, max_abs(gradient.free_));
    if (is_exactly(learning_rate, 0.0)) return;
    const auto step = -Scalar(learning_rate);
    axpy<Scalar>(step, gradient.projections_.data(), projections_.size(), projections_.data());
    axpy<Scalar>(step, gradient.free_.data(), free_.size(), free_.data());
  }

  /// Throws unless the step of `descend` leaves every weight finite.
  void require_descendable(double learning_rate, const Vector<Scalar>& d_raw,
                           const Vector<Scalar>& x, const Vector<Scalar>& d_free) {
    const double largest = max_abs(d_raw), largest_free = max_abs(d_free);
    if (!is_finite(largest) || !is_finite(largest_free)) {
      require_finite("coefficient # of the gradient", d_raw);
      require_finite("coefficient # of the gradient", d_free);
    }
    admit_step(learning_rate, largest, max_abs(x), largest_free);
  }

  /// Throws unless every number is finite, as those of a gradient.
  void require_finite_gradient() const {
    require_finite("coefficient # of the gradient", projections_);
    require_finite("coefficient # of the gradient", free_);
  }

  /// W -= learning_rate * d_raw x^T and free -= learning_rate * d_free; d_raw is scaled on the way.
  void descend(double learning_rate, Vector<Scalar>& d_raw, const Vector<Scalar>& x,
               const Vector<Scalar>& d_free) {
    const auto step = -Scalar(learning_rate);
    scale_by<Scalar>(step, d_raw.data(), d_raw.size());
    add_outer(projections_.data(), d_model_, projected_, projected_, x.data(), d_raw.data());
    axpy<Scalar>(step, d_free.data(), free_.size(), free_.data());
  }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Array& array : arrays_) names.push_back(array.name);
    return names;
  }

  /// A read-only view of one array: `rows x d_model`, or `1 x rows` for a free vector.
  [[nodiscard]] ConstMatrixView<Scalar> get(std::string_view name) const {
    const Array& array = find(name);
    using Strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
    if (!array.shape.is_projection) {
      return {free_.data() + array.begin, 1, array.shape.rows, Strides(1, 1)};
    }
    return {projections_.data() + array.begin, array.shape.rows, d_model_, Strides(projected_, 1)};
  }

  void set(std::string_view name, const Matrix<Scalar>& value) {
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

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    for (const Array& array : self.arrays_) {
      if (array.shape.is_projection) {
        part(array.name, self.projections_.middleRows(array.begin, array.shape.rows));
      } else {
        part(array.name, self.free_.segment(array.begin, array.shape.rows));
      }
    }
    if constexpr (is_written<Self>) {
      self.measure();
      require_between("the largest weight", self.magnitude_, 0.0, magnitude_limit<Scalar>());
    }
  }

  template <class Other>
  [[nodiscard]] Parameters<Other> cast() const {
    Parameters<Other> other(d_model_);
    for (const Array& array : arrays_) {
      other.append({array.name, array.shape.rows, array.shape.is_projection, array.shape.initial});
    }
    Xorshift64 random(1);
    other.draw(random);
    for (const Array& array : arrays_) {
      other.set(array.name, get(array.name).template cast<Other>());
    }
    return other;
  }

 private:
  struct Array {
    std::string name;
    Parameter shape;
    Index begin;
  };

  /// The stacked projections as d_model x outputs, row-major.
  [[nodiscard]] ConstRowBlock<Scalar> by_input() const {
    return {projections_.data(), d_model_, projected_, projected_};
  }

  [[nodiscard]] const Array& find(std::string_view name) const {
    for (const Array& array : arrays_) {
      if (array.name == name) return array;
    }
    std::string legal = "one of";
    for (const Array& array : arrays_) legal += ' ' + array.name;
    fail("weight name", name, legal);
  }

  /// Every step of the weights passes here: throws unless it leaves all of them finite. A gradient
  /// of the projections is a product of a number up to `largest` and one up to `largest_x`.
  void admit_step(double learning_rate, double largest, double largest_x, double largest_free) {
    // An infinite rate would turn a gradient of 0 into NaN. `descend` multiplies d_raw first: x may
    // be so small that only their product is finite.
    const double rate = learning_rate * largest_x, limit = magnitude_limit<Scalar>();
    require_between("the learning rate times the largest gradient of a projection",
                    learning_rate * largest, 0.0, limit);
    require_between("the learning rate times the largest |x|, or 1,",
                    (std::max)(rate, learning_rate), 0.0, limit);
    admit_growth(1, (std::max)(rate * largest, learning_rate * largest_free));
  }

  void measure() { magnitude_ = (std::max)(max_abs(projections_), max_abs(free_)); }

  std::vector<Array> arrays_{};
  Matrix<Scalar> projections_{};  // column-major: W x runs along contiguous outputs
  Vector<Scalar> free_{};
  Index d_model_, projected_ = 0, free_size_ = 0;
  double magnitude_ = 0;  // an upper bound of every weight's absolute value
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_PARAMETERS_HPP
