// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_VALUE_COLUMNS_HPP
#define LOGLINEAR_CHUNKS_VALUE_COLUMNS_HPP

#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// The value columns [first, first + size) of the states, which go through chunks together, and
/// scratch memory for that.
template <class Scalar>
struct ValueColumns {
  Index first, size;
  Vector<Scalar> lambda{};                    // of each query, where it reads a level
  RowMajorMatrix<Scalar> reads{};             // of the columns
  RowMajorMatrix<Scalar> found{}, carried{};  // of `ChunkMap::carry`
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_VALUE_COLUMNS_HPP
