// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_ERROR_HPP
#define LOGLINEAR_DETAIL_BASE_ERROR_HPP

// How an error leaves the library: through `raise`, and from there through LOGLINEAR_THROW.

#include "loglinear/detail/base/cpp20.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>

#ifdef LOGLINEAR_THROW
#  define LOGLINEAR_HAS_OWN_THROW  // same_flags.hpp compares it
#endif

/// What happens to an error, a `const std::exception&` whose `what()` says everything: it is
/// thrown, or printed before std::abort() where exceptions are off (-fno-exceptions). Define this
/// macro before the first include, the same in the whole program, to do something else; it must not
/// return, and the program is aborted if it does. A program that links `loglinear::runtime` defines
/// it for that target, too: with add_compile_definitions for the whole project.
///
///     #define LOGLINEAR_THROW(error) my_panic((error).what())
#ifndef LOGLINEAR_THROW
#  ifdef __cpp_exceptions
#    define LOGLINEAR_THROW(error) throw error
#  else
#    define LOGLINEAR_THROW(error) std::fprintf(stderr, "%s\n", (error).what())
#  endif
#endif

namespace loglinear::detail {

template <class Error>
[[noreturn]] void raise([[maybe_unused]] const Error& error) {
  LOGLINEAR_THROW(error);
  std::abort();
}

/// What `work()` throws, or nothing. Where exceptions are off an error does not come back.
template <class Work>
[[nodiscard]] std::exception_ptr caught(Work work) {
#ifdef __cpp_exceptions
  try {
    work();
  } catch (...) {
    return std::current_exception();
  }
#else
  work();
#endif
  return nullptr;
}

/// Calls `work()`, and `handle(error)` with the `Error` that it throws.
template <class Error, class Work, class Handle>
void handling(Work work, [[maybe_unused]] Handle handle) {
#ifdef __cpp_exceptions
  try {
    work();
  } catch (const Error& error) {
    handle(error);
  }
#else
  work();
#endif
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_ERROR_HPP
