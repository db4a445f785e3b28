// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_HPP
#define LOGLINEAR_RULES_HPP

/// \file
/// All inner rules. A new one is a file in `rules/` and a line here.

#include "loglinear/rules/delta_net.hpp"
#include "loglinear/rules/delta_product.hpp"
#include "loglinear/rules/gated_delta_net.hpp"
#include "loglinear/rules/gla.hpp"
#include "loglinear/rules/gla_vector.hpp"
#include "loglinear/rules/hawk.hpp"
#include "loglinear/rules/hgrn2.hpp"
#include "loglinear/rules/key_only.hpp"
#include "loglinear/rules/mamba2.hpp"
#include "loglinear/rules/mlstm.hpp"
#include "loglinear/rules/retnet.hpp"
#include "loglinear/rules/rwkv.hpp"
#include "loglinear/rules/rwkv7.hpp"

#endif  // LOGLINEAR_RULES_HPP
