// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP
#define LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP

// A program that links the library of runtime/ need not compile the chunkwise algorithm itself:
// with LOGLINEAR_RUNTIME it is declared here for float and double, and runtime/chunks.cpp defines
// it.

#include "loglinear/chunks/chunkwise_run.hpp"

/// LOGLINEAR_CHUNKS(extern, double) declares the instantiations, LOGLINEAR_CHUNKS(, double) makes
/// them.
#define LOGLINEAR_CHUNKS(EXTERN, SCALAR)                                                      \
  namespace loglinear::detail {                                                               \
  EXTERN template void product_kernel(Into, const LeftOperand<SCALAR>&, Index, Index, Index,  \
                                      const SCALAR*, Index, SCALAR*, Index);                  \
  EXTERN template void forward_chunks(TokenSource<SCALAR>&, Index, Index, Hierarchy<SCALAR>&, \
                                      ChunkwiseTape<SCALAR>*, bool);                          \
  EXTERN template void pull_back_chunks(TokenSource<SCALAR>&, Index, Index,                   \
                                        const ChunkwiseTape<SCALAR>&, Hierarchy<SCALAR>&);    \
  }

#ifdef LOGLINEAR_RUNTIME
LOGLINEAR_CHUNKS(extern, float)
LOGLINEAR_CHUNKS(extern, double)
#endif

#endif  // LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP
