// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HPP
#define LOGLINEAR_RULES_HPP

/// \file
/// All inner rules. A new one is a file in `rules/` and a line here.

#include "loglinear/rules/delta_net.hpp"
#include "loglinear/rules/gated_delta_net.hpp"
#include "loglinear/rules/gla.hpp"
#include "loglinear/rules/gla_vector.hpp"
#include "loglinear/rules/key_only.hpp"
#include "loglinear/rules/retnet.hpp"

#endif  // LOGLINEAR_RULES_HPP
