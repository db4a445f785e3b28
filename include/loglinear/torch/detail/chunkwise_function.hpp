// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_DETAIL_CHUNKWISE_FUNCTION_HPP
#define LOGLINEAR_TORCH_DETAIL_CHUNKWISE_FUNCTION_HPP

// The chunkwise form and its gradient over all heads, and both as one operation of autograd.

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/basic_ops.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>
#include <utility>
#include <vector>

#include "loglinear/batch/batch_chunkwise.hpp"
#include "loglinear/batch/batch_gradient.hpp"
#include "loglinear/torch/detail/given_tensors.hpp"
#include "loglinear/torch/detail/heads_of_tensors.hpp"

namespace loglinear::detail {

/// Which tensors are given, the options, and what the reads leave for the gradient.
template <class Scalar>
struct ChunkwiseRecord final : ::torch::CustomClassHolder {
  ChunkwiseRecord(const TensorInputs& in, const ChunkwiseOptions& given_options)
      : given(in), options(given_options) {}

  GivenTensors given;
  ChunkwiseOptions options;
  BatchTape<Scalar> tape{};
};

/// The reads of all heads, [B, T, H, d_v]; `tape` takes what the gradient needs, if given.
template <class Scalar>
[[nodiscard]] at::Tensor read_heads(const TensorInputs& in, const ChunkwiseOptions& options,
                                    BatchTape<Scalar>* tape = nullptr) {
  at::Tensor out =
      at::empty({in.q.size(0), in.q.size(1), in.q.size(2), in.v.size(3)}, in.q.options());
  if (out.numel() == 0) return out;
  chunkwise(batch_of<Scalar, BatchInputs<Scalar>>(in), array_of<Scalar>(out), options, tape);
  return out;
}

/// Fills the tensors of `gradients` that are defined, from the gradient with respect to the reads.
template <class Scalar>
void differentiate_heads(const TensorInputs& in, const BatchTape<Scalar>& tape,
                         const at::Tensor& d_out, const TensorInputs& gradients) {
  if (d_out.numel() == 0) return;
  chunkwise_gradient(batch_of<Scalar, BatchInputs<Scalar>>(in), tape, array_of<Scalar>(d_out),
                     batch_of<Scalar, BatchGradients<Scalar>>(gradients));
}

/// Both as one operation of autograd. Its arguments are the tensors that are given, and the record.
/// It saves the tensors themselves, so that autograd notices changes in place.
template <class Scalar>
struct ChunkwiseFunction final : ::torch::autograd::Function<ChunkwiseFunction<Scalar>> {
  using Record = ChunkwiseRecord<Scalar>;
  using Context = ::torch::autograd::AutogradContext;
  using Tensors = ::torch::autograd::variable_list;

  static at::Tensor forward(Context* context, at::TensorList given,
                            const c10::intrusive_ptr<Record>& record) {
    context->save_for_backward(given.vec());
    context->saved_data["record"] = c10::IValue::make_capsule(record);
    return read_heads(record->given.inputs(given), record->options, &record->tape);
  }

  static Tensors backward(Context* context, const Tensors& d_outs) {
    const auto record =
        c10::static_intrusive_pointer_cast<Record>(context->saved_data.at("record").toCapsule());
    const Tensors given = context->get_saved_variables();
    Tensors gradients(given.size() + 1);  // none for the record
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (context->needs_input_grad(i)) {
        gradients[i] = at::empty_like(given[i], at::MemoryFormat::Contiguous);
      }
    }
    differentiate_heads(record->given.inputs(given), record->tape, d_outs[0].detach().resolve_neg(),
                        record->given.inputs(gradients));
    refuse_second_derivatives(given, d_outs, gradients);
    return gradients;
  }

 private:
  /// Without this, a gradient of the gradient would silently be that of a constant.
  static void refuse_second_derivatives(Tensors given, const Tensors& d_outs, Tensors& gradients) {
    if (!at::GradMode::is_enabled()) return;  // nobody asked for it: no create_graph
    given.push_back(d_outs[0]);
    const std::shared_ptr<::torch::autograd::Node> error(
        new ::torch::autograd::Error(
            "loglinear: the gradient of chunkwise has itself no gradient; only its reads can be "
            "differentiated, and once",
            ::torch::autograd::collect_next_edges(given)),
        ::torch::autograd::deleteNode);
    for (at::Tensor& gradient : gradients) {
      if (gradient.defined()) ::torch::autograd::set_history(gradient, error);
    }
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TORCH_DETAIL_CHUNKWISE_FUNCTION_HPP
