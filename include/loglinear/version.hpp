// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_VERSION_HPP
#define LOGLINEAR_VERSION_HPP

#include "loglinear/detail/base/cpp20.hpp"

/// \file
/// The library's version; CMake reads it from here.

#define LOGLINEAR_VERSION_MAJOR 0         ///< of semantic versioning
#define LOGLINEAR_VERSION_MINOR 1         ///< likewise
#define LOGLINEAR_VERSION_PATCH 0         ///< likewise
#define LOGLINEAR_VERSION_STRING "0.1.0"  ///< all three

#endif  // LOGLINEAR_VERSION_HPP
