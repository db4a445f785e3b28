// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_TENSOR_INPUTS_HPP
#define LOGLINEAR_TORCH_TENSOR_INPUTS_HPP

// This include comes first: in C++20 Clang 14 refuses LibTorch 1.13's other headers unless it has
// seen this one.
#include "loglinear/detail/base/cpp20.hpp"

#include <ATen/core/ivalue.h>

#include <ATen/core/Tensor.h>

namespace loglinear {

/// Sequences of T tokens, B of them with H heads each, as tensors. They are the arrays of
/// `SequenceInputs` for every head, under the same names; its table says which arrays make which
/// rule. Leave an array that is absent undefined. If T > 0, a tensor without numbers is absent too,
/// whatever its shape.
///
/// All are float or all double, on the CPU, strided. Nothing is copied unless a tensor's last
/// dimension is not contiguous, or tokens share memory (a stride of 0 along T, as `expand` makes),
/// or beta has n > 1: each head of such a tensor is copied once.
struct TensorInputs {
  at::Tensor q;             ///< queries, [B, T, H, d_k]
  at::Tensor k;             ///< keys, [B, nT, H, d_k]: n of a token, then those of the next
  at::Tensor v;             ///< values, [B, nT, H, d_v]
  at::Tensor lambda = {};   ///< level weights, [B, T, H, levels]; undefined for one state
  at::Tensor g = {};        ///< log decays, [B, T, H] or, by key row, [B, T, H, d_k]
  at::Tensor g_value = {};  ///< log decays of value columns, [B, T, H, d_v]
  at::Tensor beta = {};     ///< strengths of the delta rule, [B, nT, H]; not together with u and p
  at::Tensor u = {};        ///< what an update writes back, [B, mT, H, d_k], m a token
  at::Tensor p = {};        ///< what an update looks up, like u
};

}  // namespace loglinear

#endif  // LOGLINEAR_TORCH_TENSOR_INPUTS_HPP
