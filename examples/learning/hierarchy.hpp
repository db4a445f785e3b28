// SPDX-License-Identifier: MIT
#ifndef LEARNING_HIERARCHY_HPP
#define LEARNING_HIERARCHY_HPP

#include <loglinear/torch/tensor_inputs.hpp>

#include <bit>
#include <cstdint>

namespace learning {

/// Levels that a sequence of this many tokens has, from 1 token.
[[nodiscard]] inline std::int64_t levels_of(std::int64_t tokens) {
  return static_cast<std::int64_t>(std::bit_width(static_cast<std::uint64_t>(tokens - 1))) + 1;
}

/// `loglinear::chunkwise`, compiled in one file for all mixers. Where lambda has fewer levels than
/// the sequence the last of its weights is that of all older levels, as in the library's streams.
/// \param inputs  batch x time x heads x channels
/// \param count   tokens that came before and wrote nothing: the levels begin with such a count
[[nodiscard]] at::Tensor read_hierarchy(const loglinear::TensorInputs& inputs,
                                        std::int64_t count = 0);

}  // namespace learning

#endif  // LEARNING_HIERARCHY_HPP
