// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP
#define LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP

// The chunkwise algorithm, compiled once, see compiled_once.hpp.

#include "loglinear/chunks/chunkwise_run.hpp"
#include "loglinear/detail/base/compiled_once.hpp"

#define LOGLINEAR_CHUNKS(EXTERN, SCALAR)                                                  \
  EXTERN template void detail::forward_chunks(detail::TokenSource<SCALAR>&, Eigen::Index, \
                                              Eigen::Index, detail::Hierarchy<SCALAR>&,   \
                                              detail::ChunkwiseTape<SCALAR>*, bool);      \
  EXTERN template void detail::pull_back_chunks(                                          \
      detail::TokenSource<SCALAR>&, Eigen::Index, Eigen::Index,                           \
      const detail::ChunkwiseTape<SCALAR>&, detail::Hierarchy<SCALAR>&);
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_CHUNKS)

#endif  // LOGLINEAR_CHUNKS_INSTANTIATIONS_HPP
