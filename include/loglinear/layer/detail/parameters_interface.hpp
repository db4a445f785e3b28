// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_DETAIL_PARAMETERS_INTERFACE_HPP
#define LOGLINEAR_LAYER_DETAIL_PARAMETERS_INTERFACE_HPP

// The weights of a layer: all projections of x stacked into one matrix, so that a token costs one
// product and a training step one rank-one update, and all free vectors in one more. Include
// parameters.hpp, which defines the members.

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
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
  Index append(const Parameter& shape);

  /// Appends a free vector for each projection, in their order: its bias, which begins at 0.
  void append_biases();

  /// Allocates everything and draws it, array after array in the order of appending,
  /// row by row: `scale` times a standard normal, or the constant that the parameter names.
  void draw(Xorshift64& random, double scale = 0.01);

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
  void admit_growth(double factor, double step);
  /// Throws unless the other has arrays of the same names and shapes.
  void require_same_arrays(const Parameters& other) const;

  /// raw = W x for the stacked projections from row `from` on. It begins at a whole packet, with at
  /// least one of them where there is one, and sums in one chain, so that a row's rounding does not
  /// depend on `from`.
  void project(const Vector<Scalar>& x, Vector<Scalar>& raw, Index from = 0) const;

  /// raw = x W^T, a row a token.
  void project_rows(const ConstRowBlock<Scalar>& x, RowMajorMatrix<Scalar>& raw) const;
  /// d_x = d_raw W, a row a token.
  void project_rows_back(const RowMajorMatrix<Scalar>& d_raw, const RowBlock<Scalar>& d_x) const;

  /// The same arrays, all zero: for a gradient.
  [[nodiscard]] Parameters zeros() const {
    Parameters zeros(*this);
    std::fill_n(zeros.projections_.data(), projections_.size(), Scalar(0));
    std::fill_n(zeros.free_.data(), free_.size(), Scalar(0));
    zeros.magnitude_ = 0;
    return zeros;
  }
  /// W += d_raw^T x, for a gradient.
  void add_outer_rows(const ConstRowBlock<Scalar>& x, const RowMajorMatrix<Scalar>& d_raw);
  void add_free(const Vector<Scalar>& d_free) {
    add(free_.data(), d_free.data(), free_.size(), free_.data());
  }

  /// W -= learning_rate * the gradient. \throws std::invalid_argument for the gradient of other
  /// arrays, or where a weight would not be finite; nothing is changed then
  void descend(double learning_rate, const Parameters& gradient);

  /// Throws unless the step of `descend` leaves every weight finite.
  void require_descendable(double learning_rate, const Vector<Scalar>& d_raw,
                           const Vector<Scalar>& x, const Vector<Scalar>& d_free);

  /// Throws unless every number is finite, as those of a gradient.
  void require_finite_gradient() const {
    require_finite("coefficient # of the gradient", projections_);
    require_finite("coefficient # of the gradient", free_);
  }

  /// W -= learning_rate * d_raw x^T and free -= learning_rate * d_free; d_raw is scaled on the way.
  void descend(double learning_rate, Vector<Scalar>& d_raw, const Vector<Scalar>& x,
               const Vector<Scalar>& d_free);

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const Array& array : arrays_) names.push_back(array.name);
    return names;
  }

  /// A read-only view of one array: `rows x d_model`, or `1 x rows` for a free vector.
  [[nodiscard]] ConstMatrixView<Scalar> get(std::string_view name) const;

  void set(std::string_view name, const Matrix<Scalar>& value);

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

  [[nodiscard]] const Array& find(std::string_view name) const;

  /// Every step of the weights passes here: throws unless it leaves all of them finite. A gradient
  /// of the projections is a product of a number up to `largest` and one up to `largest_x`.
  void admit_step(double learning_rate, double largest, double largest_x, double largest_free);

  void measure() { magnitude_ = (std::max)(max_abs(projections_), max_abs(free_)); }

  std::vector<Array> arrays_{};
  Matrix<Scalar> projections_{};  // column-major: W x runs along contiguous outputs
  Vector<Scalar> free_{};
  Index d_model_, projected_ = 0, free_size_ = 0;
  double magnitude_ = 0;  // an upper bound of every weight's absolute value
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_LAYER_DETAIL_PARAMETERS_INTERFACE_HPP
