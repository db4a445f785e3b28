// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP
#define LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP

// What a program that links the library of runtime/ need not compile itself. A header lists its
// templates in a macro: LIST(extern, double) declares their instantiations, and LIST(, double),
// which stands in a file of runtime/, makes them.

#ifdef LOGLINEAR_RUNTIME
/// Declares what the list names for float and double.
#  define LOGLINEAR_COMPILED_ONCE(LIST) \
    namespace loglinear {               \
    LIST(extern, float)                 \
    LIST(extern, double)                \
    }
#else
#  define LOGLINEAR_COMPILED_ONCE(LIST)
#endif

/// Makes what the list names for float and double, in a file of runtime/.
#define LOGLINEAR_COMPILE(LIST) \
  namespace loglinear {         \
  LIST(, float)                 \
  LIST(, double)                \
  }

#endif  // LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP
