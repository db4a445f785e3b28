// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_MODE_SYNTAX_ERROR_HPP
#define LOGLINEAR_MODE_MODE_SYNTAX_ERROR_HPP

/// \file
/// What is wrong with the text of a mode.

#include "loglinear/detail/base/cpp20.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>

namespace loglinear {

/// What `parse_mode` throws: a std::invalid_argument whose message names the column, what was found
/// there and what would have been legal.
class ModeSyntaxError : public std::invalid_argument {
 public:
  /// \param column  as `column()`
  /// \param what    what was found and what would have been legal
  ModeSyntaxError(std::size_t column, const std::string& what)
      : std::invalid_argument("loglinear: mode, column " + std::to_string(column) + ": " + what),
        column_(column) {}

  /// The column in the text: 1 is its first byte, its size + 1 its end.
  [[nodiscard]] std::size_t column() const noexcept { return column_; }

 private:
  std::size_t column_;
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_SYNTAX_ERROR_HPP
