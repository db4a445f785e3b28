// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_STATE_SHARE_HPP
#define LOGLINEAR_CHUNKS_STATE_SHARE_HPP

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// What one thread takes through the chunks: the value columns [first, first + size) of the states
/// at the levels [youngest, end); and scratch memory for that.
template <class Scalar>
struct StateShare {
  Index first, size;
  int youngest, end;
  Vector<Scalar> lambda{};                    // of each query, where it reads a level
  RowMajorMatrix<Scalar> reads{};             // of some columns
  RowMajorMatrix<Scalar> found{}, carried{};  // of `ChunkMap::carry`

  [[nodiscard]] bool has(int level) const { return youngest <= level && level < end; }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_STATE_SHARE_HPP
