// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_CATCH_HPP
#define LOGLINEAR_TESTS_CATCH_HPP

// Catch2 2 (Debian 12) and 3 under one name.
#if LOGLINEAR_CATCH2_MAJOR < 3
#  include <catch2/catch.hpp>
#else
#  include <catch2/catch_all.hpp>
using Catch::Approx;  // which Catch2 2 declares there
#endif

#endif  // LOGLINEAR_TESTS_CATCH_HPP
