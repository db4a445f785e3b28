// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_DENSE_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_DENSE_PRODUCT_HPP

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/stream/detail/fields.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/low_rank_product.hpp"

namespace loglinear::detail {

/// The product of any transitions, a matrix P and a vector r.
template <class Kind>
class DenseProduct {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = false;

  DenseProduct(Index key_rows, Index d_v)
      : left_(zeros<RowMajorMatrix<Scalar>>(key_rows, key_rows)), right_(ones<Scalar>(d_v)) {
    reset();
  }

  /// The length of the scratch memory for columns that are too long for the stack.
  [[nodiscard]] static Index scratch_size(Index key_rows) {
    return key_rows > most_on_stack ? 2 * columns_at_once * key_rows : 0;
  }
  [[nodiscard]] bool fits(Index key_rows, Index d_v) const {
    return left_.rows() == key_rows && right_.size() == d_v;
  }
  void reset() {
    std::fill_n(left_.data(), left_.size(), Scalar(0));
    for (Index i = 0; i < left_.rows(); ++i) left_(i, i) = Scalar(1);
    std::fill_n(right_.data(), right_.size(), Scalar(1));
  }
  void follow(const Kind& later) {
    later.left(left_);
    scale_row(later, right_.data(), right_.size());
  }
  void follow(const DenseProduct& later, Scalar* scratch) {
    later.apply(left_.data(), left_.rows(), left_.cols(), nullptr, scratch);
    if constexpr (scales_values<Kind>) later.right(right_.data());
  }
  /// P <- the product of few transitions times P; resets `later`.
  void follow(LowRankProduct<Kind>& later) {
    later.apply(left_.data(), left_.rows(), left_.cols(), nullptr);
    later.reset();
  }
  void take(DenseProduct& other) {
    std::swap(left_, other.left_);
    std::swap(right_, other.right_);
    other.reset();
  }
  void take(LowRankProduct<Kind>& other) {
    other.write_to(left_.data());
    other.reset();
  }
  void clear_negligible() {
    detail::clear_negligible(left_.data(), left_.size());
    detail::clear_negligible(right_.data(), right_.size());
  }

  void pull(const Scalar* q, Scalar* pulled, Scalar*) const {
    weighted_rows(left_.data(), left_.rows(), left_.cols(), left_.cols(), q, pulled);
  }
  void push(Scalar* s, Scalar* scratch) const {
    row_dots(left_.data(), left_.rows(), left_.cols(), left_.cols(), s, scratch);
    copy(scratch, left_.rows(), s);
  }
  void right(Scalar* z) const { multiply(z, right_.data(), right_.size(), z); }
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(left_.rows()) * max_abs(left_) * max_abs(right_);
  }
  [[nodiscard]] double growth() const {
    return (std::max)(1.0, max_abs(left_)) * (std::max)(1.0, max_abs(right_));
  }

  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Scalar* scratch) const {
    apply(m, rows, columns, scales_values<Kind> ? right_.data() : nullptr, scratch);
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("left", rows_field(self.left_, self.left_.rows())...);
    if constexpr (scales_values<Kind>) use("right", rows_field(self.right_, self.right_.rows())...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    if constexpr (scales_values<Kind>) {
      return std::tie();
    } else {
      return std::tie(self.right_);  // ones
    }
  }
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
  }
  template <class OtherKind>
  void assign(const DenseProduct<OtherKind>& other) {
    fields(AssignField{}, *this, other);
  }

 private:
  template <class>
  friend class DenseProduct;

  static constexpr Index most_on_stack = 32 * 1024 / sizeof(Scalar);
  static constexpr Index columns_at_once = 64;

  /// Applies the product to some columns at a time, which are copied to the stack, or to `scratch`
  /// if they are too long for it.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, const Scalar* of_column, Scalar* scratch) const {
    const auto by_pieces = [&](Index width, Scalar* before, Scalar* after) {
      for (Index first = 0; first < columns; first += width) {
        apply_to_piece(m + first, rows, (std::min)(width, columns - first), columns,
                       of_column == nullptr ? nullptr : of_column + first, before, after);
      }
    };
    if (rows > most_on_stack) {
      by_pieces(columns_at_once, scratch, scratch + columns_at_once * rows);
      return;
    }
    std::array<Scalar, array_size(most_on_stack)> before;
    std::array<Scalar, is_narrow<Stored> ? array_size(most_on_stack) : 1> after;
    const Index whole = most_on_stack / rows;
    by_pieces(whole > columns_at_once ? whole / columns_at_once * columns_at_once : whole,
              before.data(), after.data());
  }
  template <class Stored>
  void apply_to_piece(Stored* m, Index rows, Index columns, Index stride, const Scalar* of_column,
                      Scalar* before, Scalar* after) const {
    for (Index i = 0; i < rows; ++i) convert(m + i * stride, columns, before + i * columns);
    if constexpr (is_narrow<Stored>) {
      write_product(before, rows, columns, after, columns, of_column);
      for (Index i = 0; i < rows; ++i) convert(after + i * columns, columns, m + i * stride);
    } else {
      write_product(before, rows, columns, m, stride, of_column);
    }
  }
  /// changed = P old diag(of_column); a null `of_column` stands for ones.
  void write_product(const Scalar* old, Index rows, Index columns, Scalar* changed, Index stride,
                     const Scalar* of_column) const {
    const LeftOperand<Scalar> left{left_.data(), left_.cols(), 1};
    product_kernel(Into::replace, left, rows, rows, columns, old, columns, changed, stride);
    if (of_column != nullptr) {
      scale(
          changed, rows, columns, stride, [](Index) { return Scalar(1); }, of_column);
    }
    for (Index i = 0; i < rows; ++i) detail::clear_negligible(changed + i * stride, columns);
  }

  RowMajorMatrix<Scalar> left_;
  Vector<Scalar> right_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_DENSE_PRODUCT_HPP
