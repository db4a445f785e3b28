// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_INSTANTIATIONS_HPP
#define LOGLINEAR_MODEL_INSTANTIATIONS_HPP

// The model for float and double: declared with LOGLINEAR_MODEL, which the target loglinear::model
// defines, and made by its files model_float.cpp and model_double.cpp.

#include "loglinear/model/language_model.hpp"

/// LOGLINEAR_MODEL_OF(extern, float) declares the instantiations, LOGLINEAR_MODEL_OF(, float) makes
/// them.
#define LOGLINEAR_MODEL_OF(EXTERN, SCALAR)                                  \
  namespace loglinear {                                                     \
  EXTERN template class TokenMixer<SCALAR, LogLinearMamba2<SCALAR>>;        \
  EXTERN template class TokenMixer<SCALAR, LogLinearGatedDeltaNet<SCALAR>>; \
  EXTERN template class SlidingWindowAttention<SCALAR>;                     \
  EXTERN template class LanguageModel<SCALAR>;                              \
  }

#ifdef LOGLINEAR_MODEL
LOGLINEAR_MODEL_OF(extern, float)
LOGLINEAR_MODEL_OF(extern, double)
#endif

#endif  // LOGLINEAR_MODEL_INSTANTIATIONS_HPP
