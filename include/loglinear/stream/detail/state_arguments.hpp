// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STATE_ARGUMENTS_HPP
#define LOGLINEAR_STREAM_DETAIL_STATE_ARGUMENTS_HPP

// How a LogLinearState takes keys, values and queries: any Eigen expression, row or column, checked
// once, and copied where it is not contiguous or part of the state itself.

#include <functional>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Calls `use` with `m` as a finite matrix of `rows` rows that is stored outside `own`.
/// \tparam Dim  `rows` where that is known at compile time
template <class Scalar, int Dim, class Derived, class Own, class Use>
void with_columns(const Eigen::MatrixBase<Derived>& m, Index rows, const char* name, const Own& own,
                  Use use) {
  static_assert(std::is_same_v<typename Derived::Scalar, Scalar>,
                "the argument must have the state's scalar, or float where that is narrower: "
                "convert it with .cast<Scalar>()");
  if constexpr (Derived::RowsAtCompileTime == 1 && Derived::ColsAtCompileTime != 1) {
    if (rows != 1 || m.cols() == 1) {
      return with_columns<Scalar, Dim>(m.transpose(), rows, name, own, use);
    }
  }
  require_size(name, m.rows(), rows);
  constexpr bool is_vector = Derived::ColsAtCompileTime == 1;
  // A vector of the state's own size where that is known, so that nothing can allocate.
  constexpr int given = Derived::RowsAtCompileTime;
  constexpr bool is_own = is_vector && (given == Eigen::Dynamic || given == Dim);
  using Plain = Eigen::Matrix<Scalar, is_own ? Dim : Eigen::Dynamic, is_vector ? 1 : Eigen::Dynamic,
                              Eigen::ColMajor>;
  const Eigen::Ref<const Plain> stored(m.derived());
  require_finite(name, stored);
  const void* const begin = own.data();
  const void* const end = own.data() + own.size();
  const void* const argument = stored.data();
  const bool is_ours = std::less_equal<>{}(begin, argument) && std::less<>{}(argument, end);
  if (is_ours) {
    use(Plain(stored));
  } else {
    use(stored);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STATE_ARGUMENTS_HPP
