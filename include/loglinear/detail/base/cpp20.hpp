// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_CPP20_HPP
#define LOGLINEAR_DETAIL_BASE_CPP20_HPP

// Every header includes this one first, or one that does, so that in an older standard the first
// thing that a compiler says is a sentence.

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#  error "loglinear needs C++20: compile with -std=c++20, or /std:c++20 for Visual C++"
#endif

#endif  // LOGLINEAR_DETAIL_BASE_CPP20_HPP
