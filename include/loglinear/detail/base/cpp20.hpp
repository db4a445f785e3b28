// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_CPP20_HPP
#define LOGLINEAR_DETAIL_BASE_CPP20_HPP

// The first thing that a compiler says about an older standard is a sentence: every header begins
// with this one or with one that does.

#if (defined(_MSVC_LANG) ? _MSVC_LANG : __cplusplus) < 202002L
#  error "loglinear needs C++20: compile with -std=c++20, or /std:c++20 for Visual C++"
#endif

#endif  // LOGLINEAR_DETAIL_BASE_CPP20_HPP
