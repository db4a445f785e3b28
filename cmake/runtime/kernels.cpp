// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/kernels/dotted_rows.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"

LOGLINEAR_COMPILE(LOGLINEAR_PRODUCT)
LOGLINEAR_COMPILE(LOGLINEAR_DOTTED_ROWS)
LOGLINEAR_COMPILE(LOGLINEAR_ROW_DOTS)
LOGLINEAR_COMPILE(LOGLINEAR_STEP_ROWS)
LOGLINEAR_COMPILE(LOGLINEAR_WEIGHTED_ROWS)
