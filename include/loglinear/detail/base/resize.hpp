// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_RESIZE_HPP
#define LOGLINEAR_DETAIL_BASE_RESIZE_HPP

// Another size for a matrix that has one. Eigen's own `resize`, and with it assignment, frees the
// old memory before it allocates the new; where that throws, the matrix would free the old memory
// once more when it is destroyed. Here it is empty by then.

#include "loglinear/detail/base/cpp20.hpp"

#include <Eigen/Core>
#include <algorithm>

namespace loglinear::detail {

/// m becomes rows x columns, or a vector of the given size; its coefficients are not specified.
template <class Plain, class... Sizes>
void resize(Plain& m, Sizes... sizes) {
  if ((sizes * ...) != m.size()) m.resize((Sizes{0} * sizes)...);
  m.resize(sizes...);
}

/// The same, with zeros.
template <class Plain, class... Sizes>
void set_zero(Plain& m, Sizes... sizes) {
  resize(m, sizes...);
  std::fill_n(m.data(), m.size(), typename Plain::Scalar(0));
}

/// to = from, which may have another size.
template <class Plain, class From>
void assign(Plain& to, const Eigen::MatrixBase<From>& from) {
  if (from.size() != to.size()) to.resize(from.rows() * 0, from.cols());
  to = from;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_RESIZE_HPP
