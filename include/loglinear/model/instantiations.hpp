// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_INSTANTIATIONS_HPP
#define LOGLINEAR_MODEL_INSTANTIATIONS_HPP

// The model for float and double: declared with LOGLINEAR_MODEL, which the target loglinear::model
// defines, and made by its files model_float.cpp and model_double.cpp.

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/model/language_model.hpp"

/// What the target has for a scalar, see compiled_once.hpp.
#define LOGLINEAR_LANGUAGE_MODEL(EXTERN, SCALAR)                            \
  EXTERN template class TokenMixer<SCALAR, LogLinearMamba2<SCALAR>>;        \
  EXTERN template class TokenMixer<SCALAR, LogLinearGatedDeltaNet<SCALAR>>; \
  EXTERN template class SlidingWindowAttention<SCALAR>;                     \
  EXTERN template class LanguageModel<SCALAR>;

#ifdef LOGLINEAR_MODEL
LOGLINEAR_DECLARE_FOR(LOGLINEAR_LANGUAGE_MODEL, float)
LOGLINEAR_DECLARE_FOR(LOGLINEAR_LANGUAGE_MODEL, double)
#endif

#endif  // LOGLINEAR_MODEL_INSTANTIATIONS_HPP
