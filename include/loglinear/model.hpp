// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_HPP
#define LOGLINEAR_MODEL_HPP

/// \file
/// Whole language models: a model on Eigen alone, its streams, and the choice of the next token.
/// `loglinear.hpp` does not include them; the target `loglinear::model` has them compiled.

#include "loglinear/model/instantiations.hpp"
#include "loglinear/model/language_model.hpp"
#include "loglinear/model/sampling.hpp"

#endif  // LOGLINEAR_MODEL_HPP
