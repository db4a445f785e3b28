// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_ROW_BLOCK_HPP
#define LOGLINEAR_DETAIL_BASE_ROW_BLOCK_HPP

#include <algorithm>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

template <class Number>
class TransposedBlock;

/// A block of a row-major matrix, where it lies: one type whatever it is a part of, where Eigen has
/// one for each expression. It copies as a pointer does.
///
/// \tparam Number  a scalar, const where it is not to be written to
template <class Number>
class RowBlock {
 public:
  using Scalar = std::remove_const_t<Number>;
  static constexpr bool IsRowMajor = true;  // by the name that Eigen has for it
  static constexpr bool is_const = std::is_const_v<Number>;
  using Matrix = std::conditional_t<is_const, const RowMajorMatrix<Scalar>, RowMajorMatrix<Scalar>>;

  RowBlock() = default;
  RowBlock(Number* data, Index rows, Index cols, Index stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}
  RowBlock(Matrix& m) : RowBlock(m.data(), m.rows(), m.cols(), m.cols()) {}
  template <class Other>
  requires(is_const&& std::is_same_v<Other, Scalar>) RowBlock(const RowBlock<Other>& other)
      : RowBlock(other.data(), other.rows(), other.cols(), other.outerStride()) {}

  [[nodiscard]] Number* data() const { return data_; }
  [[nodiscard]] Index rows() const { return rows_; }
  [[nodiscard]] Index cols() const { return cols_; }
  [[nodiscard]] Index outerStride() const { return stride_; }
  [[nodiscard]] Number* row(Index i) const { return data_ + i * stride_; }
  [[nodiscard]] Number& operator()(Index i, Index j) const { return data_[i * stride_ + j]; }

  [[nodiscard]] RowBlock block(Index row, Index column, Index rows, Index columns) const {
    return {data_ + row * stride_ + column, rows, columns, stride_};
  }
  [[nodiscard]] RowBlock middleRows(Index first, Index rows) const {
    return block(first, 0, rows, cols_);
  }
  [[nodiscard]] RowBlock topRows(Index rows) const { return block(0, 0, rows, cols_); }
  [[nodiscard]] RowBlock leftCols(Index columns) const { return block(0, 0, rows_, columns); }
  [[nodiscard]] TransposedBlock<Number> transpose() const { return TransposedBlock<Number>(*this); }

  /// Whether one row follows the other without a gap.
  [[nodiscard]] bool is_contiguous() const { return cols_ == stride_; }

  void setZero() const {
    if (is_contiguous()) return void(std::fill_n(data_, rows_ * cols_, Scalar(0)));
    for (Index i = 0; i < rows_; ++i) std::fill_n(row(i), cols_, Scalar(0));
  }

 private:
  Number* data_ = nullptr;
  Index rows_ = 0, cols_ = 0, stride_ = 0;
};

/// The transpose of a block, as the left operand of a product.
template <class Number>
class TransposedBlock {
 public:
  using Scalar = std::remove_const_t<Number>;
  static constexpr bool IsRowMajor = false;

  explicit TransposedBlock(const RowBlock<Number>& block) : block_(block) {}
  [[nodiscard]] Number* data() const { return block_.data(); }
  [[nodiscard]] Index rows() const { return block_.cols(); }
  [[nodiscard]] Index cols() const { return block_.rows(); }
  [[nodiscard]] Index outerStride() const { return block_.outerStride(); }

 private:
  RowBlock<Number> block_;
};

template <class Scalar>
using ConstRowBlock = RowBlock<const Scalar>;

/// A block to be read, of anything row-major that lies in memory.
template <class Rows>
[[nodiscard]] ConstRowBlock<typename Rows::Scalar> block_of(const Rows& rows) {
  static_assert(Rows::IsRowMajor);
  return {rows.data(), rows.rows(), rows.cols(), rows.outerStride()};
}
/// The same to be written to.
template <class Rows>
[[nodiscard]] auto writable_block_of(Rows&& rows) {
  using Plain = std::remove_cvref_t<Rows>;
  static_assert(Plain::IsRowMajor);
  return RowBlock<typename Plain::Scalar>(rows.data(), rows.rows(), rows.cols(),
                                          rows.outerStride());
}

/// The rows of `from` are copied to the first rows of `to`, which may have more columns.
template <class Number>
void copy_rows(const RowBlock<Number>& from,
               const std::type_identity_t<RowBlock<std::remove_const_t<Number>>>& to) {
  if (from.is_contiguous() && to.is_contiguous() && from.cols() == to.cols()) {
    return void(std::copy_n(from.data(), from.rows() * from.cols(), to.data()));
  }
  for (Index i = 0; i < from.rows(); ++i) std::copy_n(from.row(i), from.cols(), to.row(i));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_ROW_BLOCK_HPP
