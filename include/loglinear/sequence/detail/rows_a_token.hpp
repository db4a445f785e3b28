// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_ROWS_A_TOKEN_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_ROWS_A_TOKEN_HPP

#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// How many of the rows of `name` each token has, 0 without tokens. Throws unless all tokens have
/// as many.
[[nodiscard]] inline Index rows_a_token(std::string_view name, Index rows, Index tokens) {
  const Index each = tokens == 0 ? 0 : rows / tokens;
  if (each * tokens != rows) {
    fail(Text("the number of rows of ", name), rows, "a multiple of the number of tokens, ",
         tokens);
  }
  return each;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_ROWS_A_TOKEN_HPP
