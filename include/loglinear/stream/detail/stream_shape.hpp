// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_STREAM_SHAPE_HPP
#define LOGLINEAR_STREAM_DETAIL_STREAM_SHAPE_HPP

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// What two streams must have in common so that one can become the other.
struct StreamShape {
  int max_levels;
  Index key_rows, d_v;
  Index leaves;  // of a token

  [[nodiscard]] bool operator==(const StreamShape&) const = default;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_STREAM_SHAPE_HPP
