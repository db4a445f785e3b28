// SPDX-License-Identifier: MIT
#ifndef STREAM_FORECAST_SAVED_ROWS_HPP
#define STREAM_FORECAST_SAVED_ROWS_HPP

// Queues of records as one array of a checkpoint, a row a record, oldest first.

#include <Eigen/Core>
#include <cstddef>
#include <loglinear/detail/base/checks.hpp>
#include <loglinear/detail/base/parts.hpp>
#include <string>

#include "ring.hpp"

namespace stream_forecast {

template <class Scalar>
using Rows = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Reads rows of `width` numbers, `most` of them at most, from a checkpoint.
template <class Scalar, class Visit>
Rows<Scalar> loaded_rows(Visit& part, const char* name, Eigen::Index width, std::size_t most) {
  Rows<Scalar> rows;  // empty: takes the size that the file says
  part(name, rows);
  if (rows.rows() > 0)
    loglinear::detail::require_size(std::string("a row of ") + name, rows.cols(), width);
  loglinear::detail::require_between(std::string("the number of rows of ") + name, rows.rows(),
                                     Eigen::Index{0}, static_cast<Eigen::Index>(most));
  return rows;
}

/// A ring to or from a checkpoint. `to_row(item, row)` writes `width` numbers, `from_row(row)`
/// makes an item of them.
template <class Scalar, class AnyRing, class Visit, class ToRow, class FromRow>
void visit_ring(AnyRing& ring, Visit& part, const char* name, Eigen::Index width, ToRow to_row,
                FromRow from_row) {
  if constexpr (loglinear::detail::is_written<AnyRing>) {
    const Rows<Scalar> rows = loaded_rows<Scalar>(part, name, width, ring.capacity());
    ring.clear();
    for (Eigen::Index i = 0; i < rows.rows(); ++i) ring.push(from_row(rows.row(i)));
  } else {
    Rows<Scalar> rows(static_cast<Eigen::Index>(ring.size()), width);
    for (Eigen::Index i = 0; i < rows.rows(); ++i) {
      to_row(ring.ago(ring.size() - 1 - static_cast<std::size_t>(i)), rows.row(i));
    }
    part(name, rows);
  }
}

}  // namespace stream_forecast

#endif  // STREAM_FORECAST_SAVED_ROWS_HPP
