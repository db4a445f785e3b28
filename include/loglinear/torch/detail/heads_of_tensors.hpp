// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_DETAIL_HEADS_OF_TENSORS_HPP
#define LOGLINEAR_TORCH_DETAIL_HEADS_OF_TENSORS_HPP

// A head of a tensor [B, rows, H, columns] is a rows x columns matrix in place: contiguous rows,
// each H columns after the one before it.

#include <ATen/TensorIterator.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/detail/base/error.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/torch/detail/given_tensors.hpp"
#include "loglinear/torch/tensor_inputs.hpp"

namespace loglinear::detail {

/// One of the heads of a batch.
struct Head {
  std::int64_t batch = 0, head = 0;
};

/// Whether heads of a tensor [B, rows, H, columns] can be read where they are.
[[nodiscard]] inline bool has_rows(const at::Tensor& tensor) {
  const bool is_contiguous = tensor.size(3) <= 1 || tensor.stride(3) == 1;
  const bool shares_rows = tensor.size(1) > 1 && tensor.stride(1) == 0;  // Eigen has no such stride
  return is_contiguous && !shares_rows && !tensor.is_neg();
}
/// The tensor, or a copy where it has to be one; autograd sees both.
[[nodiscard]] inline at::Tensor with_rows(const at::Tensor& tensor) {
  return has_rows(tensor) ? tensor : tensor.clone(at::MemoryFormat::Contiguous);
}

/// All that is given as [B, rows, H, columns]: g with a column at least, beta with the n strengths
/// of a token in a row.
[[nodiscard]] inline TensorInputs with_rows(TensorInputs in) {
  if (in.g.defined() && in.g.dim() == 3) in.g = in.g.unsqueeze(3);
  if (in.beta.defined()) {
    const std::int64_t tokens = in.q.size(1), each = tokens == 0 ? 1 : in.beta.size(1) / tokens;
    in.beta = in.beta.unflatten(1, {tokens, each}).transpose(2, 3);
  }
  for_each_array(
      [](const char*, at::Tensor& tensor) {
        if (tensor.defined()) tensor = with_rows(tensor);
      },
      in);
  return in;
}

/// A head of a tensor that `has_rows`; without rows for an undefined one, and for an empty one,
/// whose memory may be null.
template <class Scalar>
[[nodiscard]] RowsView<Scalar> rows_of(const at::Tensor& tensor, const Head& at) {
  if (!tensor.defined()) return {nullptr, 0, 0, Eigen::OuterStride<>(0)};
  if (tensor.numel() == 0) {
    return {nullptr, tensor.size(1), tensor.size(3), Eigen::OuterStride<>(tensor.size(3))};
  }
  const Scalar* const first =
      tensor.data_ptr<Scalar>() + at.batch * tensor.stride(0) + at.head * tensor.stride(2);
  const Index stride = tensor.size(1) > 1 ? tensor.stride(1) : tensor.size(3);
  return {first, tensor.size(1), tensor.size(3), Eigen::OuterStride<>(stride)};
}
/// The same of a contiguous one, to be written to.
template <class Scalar>
[[nodiscard]] RowsTarget<Scalar> target_rows_of(const at::Tensor& tensor, const Head& at) {
  const RowsView<Scalar> rows = rows_of<Scalar>(tensor, at);
  return {const_cast<Scalar*>(rows.data()), rows.rows(), rows.cols(),
          Eigen::OuterStride<>(rows.outerStride())};
}

/// Calls `work(head, number)` for all heads on as many threads as LibTorch uses within an
/// operation, each head on one. An error names its head.
///
/// at::parallel_for is a template: under OpenMP, compiled here without -fopenmp, it would be a
/// plain loop. An element-wise loop of LibTorch over the heads' numbers is the same function
/// compiled in its library, whatever the flags here.
template <class Work>
void for_each_head(std::int64_t batches, std::int64_t heads, Work work) {
  if (batches * heads == 0) return;
  const auto one = [&](std::int64_t number) {
    const Head at{number / heads, number % heads};
    handling<std::invalid_argument>(
        [&] { work(at, static_cast<std::size_t>(number)); },
        [&](const std::invalid_argument& error) {
          raise(std::invalid_argument(error.what() + (" (batch " + std::to_string(at.batch) +
                                                      ", head " + std::to_string(at.head) + ")")));
        });
  };
  at::Tensor numbers = at::arange(batches * heads, at::kLong);
  auto loop = at::TensorIterator::nullary_op(numbers);
  loop.for_each(
      [&](char** data, const std::int64_t* strides, std::int64_t count) {
        for (std::int64_t i = 0; i < count; ++i) {
          one(*reinterpret_cast<const std::int64_t*>(data[0] + i * strides[0]));
        }
      },
      1);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TORCH_DETAIL_HEADS_OF_TENSORS_HPP
