// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_STATE_SHARE_HPP
#define LOGLINEAR_CHUNKS_STATE_SHARE_HPP

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// What one thread takes through the chunks: the value columns [first, first + size) of the states
/// at the levels [youngest, end), which are all levels, or those on one side of a border; and
/// scratch memory for that.
template <class Scalar>
struct StateShare {
  Index first, size;
  int youngest, end;
  Vector<Scalar> lambda{};                    // of each query, where it reads a level
  RowMajorMatrix<Scalar> reads{};             // of some columns
  RowMajorMatrix<Scalar> found{}, carried{};  // of `ChunkMap::carry`

  [[nodiscard]] bool has(int level) const { return youngest <= level && level < end; }
  [[nodiscard]] bool is_older() const { return youngest > 0; }
  /// Where the older share begins.
  [[nodiscard]] int border() const { return is_older() ? youngest : end; }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_STATE_SHARE_HPP
