// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HPP
#define LOGLINEAR_RULES_HPP

/// \file
/// All inner rules.

#include "loglinear/rules/key_only.hpp"
#include "loglinear/rules/list.hpp"

#endif  // LOGLINEAR_RULES_HPP
