// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_SEQUENCE_FORMS_HPP
#define LOGLINEAR_TESTS_SEQUENCE_FORMS_HPP

// The sequence form in float and double, compiled once for all test programs: link
// loglinear_test_sequence.

#include "loglinear/sequence.hpp"

#define LOGLINEAR_TEST_SEQUENCE_FORMS(prefix, Scalar)                                              \
  prefix template loglinear::detail::RowMajorMatrix<Scalar> loglinear::dense(                      \
      const SequenceInputs<Scalar>&, const LogLinearState<Scalar>&);                               \
  prefix template loglinear::detail::RowMajorMatrix<Scalar> loglinear::recurrent(                  \
      const SequenceInputs<Scalar>&, LogLinearState<Scalar>&);                                     \
  prefix template loglinear::detail::RowMajorMatrix<Scalar> loglinear::chunkwise(                  \
      const SequenceInputs<Scalar>&, LogLinearState<Scalar>&, const ChunkwiseOptions&,             \
      SequenceTape<Scalar>*);                                                                      \
  prefix template loglinear::detail::RowMajorMatrix<Scalar> loglinear::chunkwise(                  \
      const SequenceInputs<Scalar>&, const ChunkwiseOptions&, SequenceTape<Scalar>*);              \
  prefix template loglinear::SequenceGradients<Scalar> loglinear::chunkwise_gradient(              \
      const SequenceInputs<Scalar>&, const SequenceTape<Scalar>&,                                  \
      const typename SequenceInputs<Scalar>::Rows&, const typename SequenceInputs<Scalar>::Rows&); \
  prefix template loglinear::SequenceGradients<Scalar> loglinear::chunkwise_gradient(              \
      const SequenceInputs<Scalar>&, const LogLinearState<Scalar>&,                                \
      const typename SequenceInputs<Scalar>::Rows&, const ChunkwiseOptions&,                       \
      const typename SequenceInputs<Scalar>::Rows&)

LOGLINEAR_TEST_SEQUENCE_FORMS(extern, float);
LOGLINEAR_TEST_SEQUENCE_FORMS(extern, double);

#endif  // LOGLINEAR_TESTS_SEQUENCE_FORMS_HPP
