// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/detail/base/fail.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/text.hpp"
#include "loglinear/detail/kernels/dotted_rows.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/softplus.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"
#include "loglinear/stream/detail/carry.hpp"

LOGLINEAR_COMPILE_FOR(LOGLINEAR_APPEND_PARTS, TextPart)
LOGLINEAR_COMPILE_FOR(LOGLINEAR_FAIL_WITH, TextPart)
LOGLINEAR_COMPILE(LOGLINEAR_CHECKS)
LOGLINEAR_COMPILE(LOGLINEAR_MATH)
LOGLINEAR_COMPILE(LOGLINEAR_SOFTPLUS)
LOGLINEAR_COMPILE(LOGLINEAR_PRODUCT)
LOGLINEAR_COMPILE(LOGLINEAR_DOTTED_ROWS)
LOGLINEAR_COMPILE(LOGLINEAR_ROW_DOTS)
LOGLINEAR_COMPILE(LOGLINEAR_STEP_ROWS)
LOGLINEAR_COMPILE(LOGLINEAR_WEIGHTED_ROWS)
LOGLINEAR_COMPILE(LOGLINEAR_CARRY)
LOGLINEAR_COMPILE(LOGLINEAR_RUN_LOOP)
