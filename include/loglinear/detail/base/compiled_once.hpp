// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP
#define LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP

// What a program that links the target loglinear::runtime need not compile itself. A header lists
// its function templates in a macro: LIST(extern, double) declares their instantiations, and
// LIST(, double), which stands in a file of cmake/runtime/, makes them. What no list has is
// compiled where it is used.

#ifdef LOGLINEAR_RUNTIME
/// Declares what the list names for float and double.
#  define LOGLINEAR_COMPILED_ONCE(LIST) \
    namespace loglinear {               \
    LIST(extern, float)                 \
    LIST(extern, double)                \
    }
/// Declares what the list names for one type.
#  define LOGLINEAR_COMPILED_ONCE_FOR(LIST, TYPE) \
    namespace loglinear {                         \
    LIST(extern, TYPE)                            \
    }
#else
#  define LOGLINEAR_COMPILED_ONCE(LIST)
#  define LOGLINEAR_COMPILED_ONCE_FOR(LIST, TYPE)
#endif

/// Makes what the list names for float and double, in a file of cmake/runtime/.
#define LOGLINEAR_COMPILE(LIST) \
  namespace loglinear {         \
  LIST(, float)                 \
  LIST(, double)                \
  }
/// Makes what the list names for one type.
#define LOGLINEAR_COMPILE_FOR(LIST, TYPE) \
  namespace loglinear {                   \
  LIST(, TYPE)                            \
  }

#endif  // LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP
