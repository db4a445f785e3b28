// SPDX-License-Identifier: MIT
// No matrix passes between this file and others: their flags may differ in what matters to Eigen.
#ifndef LOGLINEAR_ALLOW_MIXED_FLAGS
#  define LOGLINEAR_ALLOW_MIXED_FLAGS
#endif
#include "loglinear/checkpoint/safetensors.hpp"

#include "loglinear/checkpoint/detail/safetensors_file.hpp"
