// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP
#define LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP

// The sequence forms for float and double, as chunks/instantiations.hpp has the chunkwise
// algorithm: declared with LOGLINEAR_RUNTIME, defined in runtime/sequence.cpp.

#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"
#include "loglinear/sequence/dense.hpp"
#include "loglinear/sequence/recurrent.hpp"

/// LOGLINEAR_SEQUENCE(extern, double) declares the instantiations, LOGLINEAR_SEQUENCE(, double)
/// makes them.
#define LOGLINEAR_SEQUENCE(EXTERN, SCALAR)                                                \
  namespace loglinear {                                                                   \
  EXTERN template SequenceInputs<SCALAR>::Matrix dense(const SequenceInputs<SCALAR>&,     \
                                                       const LogLinearState<SCALAR>&);    \
  EXTERN template SequenceInputs<SCALAR>::Matrix recurrent(const SequenceInputs<SCALAR>&, \
                                                           LogLinearState<SCALAR>&);      \
  EXTERN template SequenceInputs<SCALAR>::Matrix chunkwise(const SequenceInputs<SCALAR>&, \
                                                           LogLinearState<SCALAR>&,       \
                                                           const ChunkwiseOptions&,       \
                                                           SequenceTape<SCALAR>*);        \
  EXTERN template SequenceInputs<SCALAR>::Matrix chunkwise(const SequenceInputs<SCALAR>&, \
                                                           const ChunkwiseOptions&,       \
                                                           SequenceTape<SCALAR>*);        \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                           \
      const SequenceInputs<SCALAR>&, const SequenceTape<SCALAR>&,                         \
      const SequenceInputs<SCALAR>::Rows&, const SequenceInputs<SCALAR>::Rows&);          \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                           \
      const SequenceInputs<SCALAR>&, const LogLinearState<SCALAR>&,                       \
      const SequenceInputs<SCALAR>::Rows&, const ChunkwiseOptions&,                       \
      const SequenceInputs<SCALAR>::Rows&);                                               \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                           \
      const SequenceInputs<SCALAR>&, const SequenceInputs<SCALAR>::Rows&,                 \
      const ChunkwiseOptions&);                                                           \
  }

#ifdef LOGLINEAR_RUNTIME
LOGLINEAR_SEQUENCE(extern, float)
LOGLINEAR_SEQUENCE(extern, double)
#endif

#endif  // LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP
