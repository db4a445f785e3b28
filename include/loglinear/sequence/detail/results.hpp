// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_RESULTS_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_RESULTS_HPP

// Where results go, and which are refused. Finite tokens can have results that are not finite.
// Every form looks at what it has computed, while it is still in the cache, and refuses the tokens
// before it changes a state.

#include <functional>
#include <string>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/text.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/sequence/detail/arrays.hpp"

namespace loglinear::detail {

/// Throws unless all rows are finite; `first` is the number of the first one.
template <class Rows>
void require_finite_rows(std::string_view what, const Rows& rows, Index first) {
  if (all_finite(rows)) return;
  for (Index i = 0; i < rows.rows(); ++i) {
    for (Index j = 0; j < rows.cols(); ++j) {
      if (is_finite(rows(i, j))) continue;
      fail(std::string(what) + std::to_string(first + i) + ", column " + std::to_string(j) + ",",
           to_double(rows(i, j)), "finite: a result leaves the range of the scalar type");
    }
  }
}

/// The same for reads, from token `first` on.
template <class Rows>
void require_finite_reads(const Rows& reads, Index first) {
  require_finite_rows("the read of token ", reads, first);
}

/// The same for the rows of a gradient.
template <class Rows>
void require_finite_gradient(std::string_view name, const Rows& rows, Index first = 0) {
  if (all_finite(rows)) return;
  require_finite_rows("the gradient of " + std::string(name) + ", row ", rows, first);
}

/// Throws if an array lies where `result` may be written to.
template <class Scalar, class Rows>
void require_apart(std::string_view what, const RowMajorMatrix<Scalar>& result, const char* name,
                   const Rows& array) {
  if (result.size() == 0 || array.size() == 0) return;
  constexpr std::less<const Scalar*> before;
  const Scalar* const end = array.data() + (array.rows() - 1) * array.outerStride() + array.cols();
  if (before(array.data(), result.data() + result.size()) && before(result.data(), end)) {
    fail(Text("the memory of ", what), Text("shared with ", name), "its own");
  }
}
/// The same for each array of a sequence.
template <class Scalar, class Inputs>
void require_apart_from_inputs(std::string_view what, const RowMajorMatrix<Scalar>& result,
                               const Inputs& in) {
  for_each_array(
      [&](const char* name, const auto& array) { require_apart(what, result, name, array); }, in);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_RESULTS_HPP
