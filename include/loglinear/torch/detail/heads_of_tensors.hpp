// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_DETAIL_HEADS_OF_TENSORS_HPP
#define LOGLINEAR_TORCH_DETAIL_HEADS_OF_TENSORS_HPP

// Tensors as the arrays of a batch: where they lie, with the strides that they have.

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/sequence/detail/arrays.hpp"
#include "loglinear/torch/tensor_inputs.hpp"

namespace loglinear::detail {

/// A tensor [B, rows, H, columns], or [B, rows, H] for one column; an undefined one is absent.
template <class Scalar>
[[nodiscard]] HeadArray<Scalar> array_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  const bool has_columns = tensor.dim() == 4;
  return {
      tensor.data_ptr<Scalar>(),
      {tensor.size(0), tensor.size(1), tensor.size(2), has_columns ? tensor.size(3) : 1},
      {tensor.stride(0), tensor.stride(1), tensor.stride(2), has_columns ? tensor.stride(3) : 1}};
}

/// All arrays of a set, `BatchInputs` or `BatchGradients`.
template <class Scalar, class Batch>
[[nodiscard]] Batch batch_of(const TensorInputs& in) {
  Batch batch{};
  for_each_array(
      [](const char*, const at::Tensor& tensor, auto& array) { array = array_of<Scalar>(tensor); },
      in, batch);
  return batch;
}

/// The same tensors, with lazy negations carried out.
[[nodiscard]] inline TensorInputs resolved(TensorInputs in) {
  for_each_array(
      [](const char*, at::Tensor& tensor) {
        if (tensor.defined()) tensor = tensor.resolve_neg();
      },
      in);
  return in;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TORCH_DETAIL_HEADS_OF_TENSORS_HPP
