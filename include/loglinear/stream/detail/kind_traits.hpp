// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_KIND_TRAITS_HPP
#define LOGLINEAR_STREAM_DETAIL_KIND_TRAITS_HPP

// What a stream asks of a kind of transition, and how it gives it vectors.

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// A row that lies somewhere, for `right`.
template <class Scalar>
using RowView = Eigen::Map<Eigen::Matrix<Scalar, 1, Eigen::Dynamic>>;
/// Columns that lie one after the other, for `left`.
template <class Scalar>
using ColumnsView = Eigen::Map<Matrix<Scalar>>;

/// Whether the kind multiplies everything by one number, `factor()`.
template <class Kind>
concept OneFactor = requires(const Kind& kind) {
  kind.factor();
};

/// Whether r can differ from 1; assumed of kinds that do not say.
template <class Kind>
inline constexpr bool scales_values = [] {
  if constexpr (requires { Kind::scales_values; }) {
    return Kind::scales_values;
  } else {
    return true;
  }
}();

/// A row that lies somewhere undergoes r of a transition.
template <class Kind>
void scale_row([[maybe_unused]] const Kind& transition, [[maybe_unused]] typename Kind::Scalar* row,
               [[maybe_unused]] Index d_v) {
  if constexpr (scales_values<Kind>) transition.right(RowView<typename Kind::Scalar>(row, d_v));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_KIND_TRAITS_HPP
