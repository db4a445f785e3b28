// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_FAIL_HPP
#define LOGLINEAR_DETAIL_BASE_FAIL_HPP

// How an argument is refused. Needs no Eigen, and no streams, locales or heap where exceptions are
// off.

#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string_view>

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/detail/base/text.hpp"

namespace loglinear::detail {

#ifndef __cpp_exceptions
/// Stands for std::invalid_argument where exceptions are off, for that brings 70 KB of code along.
class InvalidArgument final : public std::exception {
 public:
  explicit InvalidArgument(const Text& text) : text_(text) {}
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  Text text_;
};
#endif

/// A template, so that it can be compiled once.
template <class Part>
[[noreturn, gnu::cold, gnu::noinline]] void fail_with(std::string_view argument, const Part& value,
                                                      std::initializer_list<Part> legal) {
  const Text text("loglinear: ", argument, " is ", Text{value}, "; it must be ", Text(legal));
#ifdef __cpp_exceptions
  raise(std::invalid_argument(text.c_str()));
#else
  raise(InvalidArgument(text));
#endif
}

/// The same from values that `told` has converted; out of line, so that the code of checks stays
/// short.
template <class Value, class... Legal>
[[noreturn, gnu::cold, gnu::noinline]] void fail_told(std::string_view argument, Value value,
                                                      Legal... legal) {
  fail_with(argument, TextPart(value), {TextPart(legal)...});
}

/// Raises std::invalid_argument: "<argument> is <value>; it must be <legal>". What is legal may
/// come in parts, words and numbers.
template <class Value, class... Legal>
[[noreturn, gnu::always_inline]] inline void fail(std::string_view argument, const Value& value,
                                                  const Legal&... legal) {
  fail_told(argument, told(value), told(legal)...);
}

}  // namespace loglinear::detail

#define LOGLINEAR_FAIL_WITH(EXTERN, PART)                                       \
  EXTERN template void detail::fail_with(std::string_view, const detail::PART&, \
                                         std::initializer_list<detail::PART>);
LOGLINEAR_COMPILED_ONCE_FOR(LOGLINEAR_FAIL_WITH, TextPart)

#endif  // LOGLINEAR_DETAIL_BASE_FAIL_HPP
