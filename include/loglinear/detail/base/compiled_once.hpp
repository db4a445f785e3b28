// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP
#define LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP

// What a program that links loglinear::runtime or loglinear::model need not compile itself. A
// header lists in a macro its function templates, and class templates that define their members
// outside of the class: LIST(extern, double) declares their instantiations, and LIST(, double),
// which stands in a file of the target, makes them. What no list has is compiled where it is used.

/// Declares what the list names for one type.
#define LOGLINEAR_DECLARE_FOR(LIST, TYPE) \
  namespace loglinear {                   \
  LIST(extern, TYPE)                      \
  }
/// Makes what the list names for one type, in a file of a target.
#define LOGLINEAR_COMPILE_FOR(LIST, TYPE) \
  namespace loglinear {                   \
  LIST(, TYPE)                            \
  }
/// The same for float and double.
#define LOGLINEAR_COMPILE(LIST)      \
  LOGLINEAR_COMPILE_FOR(LIST, float) \
  LOGLINEAR_COMPILE_FOR(LIST, double)

// Both targets have all lists but a few, which their headers declare: layers chosen at run time are
// in the first, language models in the second.
#if defined(LOGLINEAR_COMPILED) || defined(LOGLINEAR_RUNTIME)
#  define LOGLINEAR_COMPILED_ONCE_FOR(LIST, TYPE) LOGLINEAR_DECLARE_FOR(LIST, TYPE)
#else
#  define LOGLINEAR_COMPILED_ONCE_FOR(LIST, TYPE)
#endif
/// The same for float and double.
#define LOGLINEAR_COMPILED_ONCE(LIST)      \
  LOGLINEAR_COMPILED_ONCE_FOR(LIST, float) \
  LOGLINEAR_COMPILED_ONCE_FOR(LIST, double)

#endif  // LOGLINEAR_DETAIL_BASE_COMPILED_ONCE_HPP
