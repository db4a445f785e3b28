// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_COLUMN_PANELS_HPP
#define LOGLINEAR_DETAIL_COLUMN_PANELS_HPP

// A matrix that grows by columns, in panels of some columns each, row-major within a panel: all
// its columns are multiplied by a vector at once without sums across a register, and however few
// of them there are yet, they lie together in memory.

#include <algorithm>
#include <cstddef>

#include "loglinear/detail/checks.hpp"
#include "loglinear/detail/kernels.hpp"
#include "loglinear/detail/product.hpp"
#include "loglinear/detail/types.hpp"

namespace loglinear::detail {

template <class Scalar>
class ColumnPanels {
 public:
  static constexpr Index width = std::max<Index>(16, packet_size<Scalar>);

  ColumnPanels(Index rows, Index columns)
      : rows_(rows), data_(Vector<Scalar>::Zero(rows * padded(columns))) {}

  /// Whole panels that hold so many columns, in columns.
  [[nodiscard]] static constexpr Index padded(Index columns) {
    return (columns + width - 1) / width * width;
  }

  [[nodiscard]] Scalar operator()(Index row, Index column) const {
    return data_[place(row, column)];
  }
  [[nodiscard]] Scalar& operator()(Index row, Index column) { return data_[place(row, column)]; }
  void set_column(Index column, const auto& values) {
    Scalar* const first = &(*this)(0, column);
    for (Index row = 0; row < rows_; ++row) first[row * width] = values[row];
  }
  void set_zero() { data_.setZero(); }

  /// Calls `visit(first column, panel)` for the panels of the first `columns` columns.
  template <class Visit>
  void for_each_panel(Index columns, Visit visit) {
    for (Index first = 0; first < columns; first += width) {
      visit(first, Eigen::Map<RowMajorMatrix<Scalar>>(&(*this)(0, first), rows_, width));
    }
  }
  template <class Visit>
  void for_each_panel(Index columns, Visit visit) const {
    for (Index first = 0; first < columns; first += width) {
      visit(first, Eigen::Map<const RowMajorMatrix<Scalar>>(&data_[place(0, first)], rows_, width));
    }
  }

  /// out[j] = column j . q for the first `columns` columns; whole panels of `out` are written.
  void dots(const Scalar* q, Index columns, Scalar* out) const {
    for (Index first = 0; first < columns; first += width) {
      weighted_rows<false, 8>(data_.data() + rows_ * first, rows_, width, width, q, out + first);
    }
  }

  /// The same with two vectors at once.
  void dots(const Scalar* q, const Scalar* p, Index columns, Scalar* with_q, Scalar* with_p) const {
    for (Index first = 0; first < columns; first += width) {
      weighted_rows_pair(data_.data() + rows_ * first, rows_, width, width, q, p, with_q + first,
                         with_p + first);
    }
  }

  [[nodiscard]] double max_abs(Index columns) const {
    return detail::max_abs(data_.head(rows_ * padded(columns)));
  }
  void clear_negligible(Index columns) {
    detail::clear_negligible(data_.data(), rows_ * padded(columns));
  }

 private:
  [[nodiscard]] Index place(Index row, Index column) const {
    return (column / width * rows_ + row) * width + column % width;
  }

  Index rows_;
  Vector<Scalar> data_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_COLUMN_PANELS_HPP
