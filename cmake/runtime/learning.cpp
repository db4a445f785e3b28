// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/layer/detail/adam_kernel.hpp"
#include "loglinear/layer/detail/head_weights.hpp"
#include "loglinear/layer/detail/input_scales.hpp"
#include "loglinear/layer/detail/parameters.hpp"
#include "loglinear/layer/detail/stepper.hpp"
#include "loglinear/layer/instantiations.hpp"
#include "loglinear/rules/normalized_mixture.hpp"

LOGLINEAR_COMPILE(LOGLINEAR_NORMALIZED_MIXTURE)
LOGLINEAR_COMPILE(LOGLINEAR_PARAMETERS)
LOGLINEAR_COMPILE(LOGLINEAR_INPUT_SCALES)
LOGLINEAR_COMPILE(LOGLINEAR_ADAM)
LOGLINEAR_COMPILE(LOGLINEAR_STEPPER)
LOGLINEAR_COMPILE(LOGLINEAR_HEAD_WEIGHTS)
LOGLINEAR_COMPILE(LOGLINEAR_WORKSPACES)
