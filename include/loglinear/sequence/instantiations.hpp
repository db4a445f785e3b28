// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP
#define LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP

// The sequence forms, compiled once, see compiled_once.hpp.

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"
#include "loglinear/sequence/dense.hpp"
#include "loglinear/sequence/recurrent.hpp"

#define LOGLINEAR_SEQUENCE(EXTERN, SCALAR)                                                       \
  EXTERN template SequenceInputs<SCALAR>::Matrix dense(const SequenceInputs<SCALAR>&,            \
                                                       const LogLinearState<SCALAR>&);           \
  EXTERN template SequenceInputs<SCALAR>::Matrix recurrent(const SequenceInputs<SCALAR>&,        \
                                                           LogLinearState<SCALAR>&);             \
  EXTERN template void chunkwise(const SequenceInputs<SCALAR>&, LogLinearState<SCALAR>&,         \
                                 SequenceInputs<SCALAR>::Matrix&, const ChunkwiseOptions&,       \
                                 SequenceTape<SCALAR>*);                                         \
  EXTERN template void chunkwise(const SequenceInputs<SCALAR>&, SequenceInputs<SCALAR>::Matrix&, \
                                 const ChunkwiseOptions&, SequenceTape<SCALAR>*);                \
  EXTERN template void chunkwise_gradient(                                                       \
      const SequenceInputs<SCALAR>&, const SequenceTape<SCALAR>&,                                \
      const SequenceInputs<SCALAR>::Rows&, SequenceGradients<SCALAR>&,                           \
      const SequenceInputs<SCALAR>::Rows&);                                                      \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                                  \
      const SequenceInputs<SCALAR>&, const LogLinearState<SCALAR>&,                              \
      const SequenceInputs<SCALAR>::Rows&, const ChunkwiseOptions&,                              \
      const SequenceInputs<SCALAR>::Rows&);                                                      \
  EXTERN template SequenceGradients<SCALAR> chunkwise_gradient(                                  \
      const SequenceInputs<SCALAR>&, const SequenceInputs<SCALAR>::Rows&,                        \
      const ChunkwiseOptions&);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_SEQUENCE)

#endif  // LOGLINEAR_SEQUENCE_INSTANTIATIONS_HPP
