// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_HPP
#define LOGLINEAR_TORCH_HPP

/// \file
/// The chunkwise sequence form as an operation of LibTorch that autograd differentiates.
///
/// Needs LibTorch (Debian: libtorch-dev), CMake target `loglinear::torch`. Neither loglinear.hpp
/// nor the single header includes it. With Clang 14 include it before LibTorch's own headers.

#include "loglinear/torch/tensor_inputs.hpp"

#include <algorithm>
#include <vector>

#include "loglinear/torch/detail/chunkwise_function.hpp"
#include "loglinear/torch/detail/given_tensors.hpp"
#include "loglinear/torch/detail/heads_of_tensors.hpp"
#include "loglinear/torch/detail/tensor_checks.hpp"

namespace loglinear {

namespace detail {

template <class Scalar>
[[nodiscard]] at::Tensor chunkwise_of(const TensorInputs& in, const ChunkwiseOptions& options) {
  auto record = c10::make_intrusive<ChunkwiseRecord<Scalar>>(in, options);
  const std::vector<at::Tensor> given = record->given.list(in);
  const bool is_recorded = at::GradMode::is_enabled() &&
                           std::any_of(given.begin(), given.end(), [](const at::Tensor& tensor) {
                             return tensor.requires_grad();
                           });
  if (!is_recorded) return read_heads<Scalar>(in, options);
  return ChunkwiseFunction<Scalar>::apply(at::TensorList(given), record);
}

}  // namespace detail

/// The reads of `SequenceInputs` for B sequences of H heads, differentiable with respect to every
/// tensor:
///
///     o_t = sum_{s <= t} lambda[t][bit_width(t ^ s)] q_t^T A_t A_{t-1} ... A_{s+1} C_s
///
/// from empty states (Guo et al., arXiv:2506.04761, equations 4 and 5). What is given decides A and
/// C, see the table of `SequenceInputs`; keys and queries are used as they are, neither normalised
/// nor scaled.
///
/// Without lambda there is one state, as in plain linear attention, at its cost: the same as a
/// lambda of ones, up to rounding.
///
/// \param given    the tensors, shaped as `TensorInputs` says
/// \param options  the size of chunks
/// \return the reads, [B, T, H, d_v], contiguous, of the inputs' dtype
/// \throws std::invalid_argument for a tensor that is missing, of another shape, dtype, device or
/// layout, and for a chunk size below 1, before any work; for numbers that are not finite (g and
/// g_value may be -infinity), which the message locates. So does the backward pass for a gradient
/// of the reads that is not finite
///
/// It computes on the tensors where they lie, as `chunkwise` of a batch does and at its cost; the
/// gradient costs two and a half times that. Heads are shared out to `thread_count()` threads of
/// the library, not of LibTorch, with the same bits on any number of them. Where a gradient is
/// asked for, autograd keeps the tensors and, for chunks of C tokens, O(T / C d_k d_v) numbers a
/// head. Autograd detects tensors that are changed in place between the two passes. Second
/// derivatives are refused when they are asked for.
[[nodiscard]] inline at::Tensor chunkwise(const TensorInputs& given,
                                          const ChunkwiseOptions& options = {}) {
  const TensorInputs in = detail::without_absent(given);
  detail::chunk_size_of(options);
  detail::require_kinds(in);
  detail::require_shapes(in);
  const TensorInputs all = detail::resolved(in);
  return in.q.scalar_type() == at::kFloat ? detail::chunkwise_of<float>(all, options)
                                          : detail::chunkwise_of<double>(all, options);
}

}  // namespace loglinear

#endif  // LOGLINEAR_TORCH_HPP
