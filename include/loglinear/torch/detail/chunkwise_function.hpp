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

#include "loglinear/sequence/chunkwise_gradient.hpp"
#include "loglinear/torch/detail/given_tensors.hpp"
#include "loglinear/torch/detail/heads_of_tensors.hpp"

namespace loglinear::detail {

/// Which tensors are given, the options, and what the reads of each head leave for its gradient.
template <class Scalar>
struct ChunkwiseRecord final : ::torch::CustomClassHolder {
  ChunkwiseRecord(const TensorInputs& in, const ChunkwiseOptions& given_options)
      : given(in), options(given_options) {}

  GivenTensors given;
  ChunkwiseOptions options;
  std::vector<SequenceTape<Scalar>> tapes{};  // of each head
};

/// Level weights of one state, which is a hierarchy of one level with all weights 1.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> weights_of_one_state(const TensorInputs& in) {
  if (in.lambda.defined()) return {};
  return RowMajorMatrix<Scalar>::Ones(in.q.size(1), 2);
}

/// A head of all arrays, where they are; they must have rows.
template <class Scalar>
[[nodiscard]] SequenceInputs<Scalar> head_of(const TensorInputs& in, const Head& at,
                                             const RowMajorMatrix<Scalar>& weights_of_one) {
  SequenceInputs<Scalar> head{};
  for_each_array([&](const char*, const at::Tensor& tensor,
                     SequenceArray<Scalar>& rows) { rows = rows_of<Scalar>(tensor, at); },
                 in, head);
  if (!in.lambda.defined()) head.lambda = view_of(weights_of_one);
  return head;
}

/// The reads of all heads, [B, T, H, d_v]; `tapes` gets one for each head, if given.
template <class Scalar>
[[nodiscard]] at::Tensor read_heads(const TensorInputs& in, const ChunkwiseOptions& options,
                                    std::vector<SequenceTape<Scalar>>* tapes = nullptr) {
  const std::int64_t batches = in.q.size(0), heads = in.q.size(2);
  at::Tensor out = at::empty({batches, in.q.size(1), heads, in.v.size(3)}, in.q.options());
  if (tapes != nullptr) tapes->resize(static_cast<std::size_t>(batches * heads));
  const RowMajorMatrix<Scalar> weights_of_one = weights_of_one_state<Scalar>(in);
  for_each_head(batches, heads, [&](const Head& at, std::size_t number) {
    const auto head = head_of<Scalar>(in, at, weights_of_one);
    SequenceTape<Scalar>* const tape = tapes == nullptr ? nullptr : &(*tapes)[number];
    if (in.lambda.defined()) {
      target_rows_of<Scalar>(out, at) = chunkwise(head, options, tape);
    } else {
      LogLinearState<Scalar> state(1, head.d_k(), head.d_v());
      target_rows_of<Scalar>(out, at) = chunkwise(head, state, options, tape);
    }
  });
  return out;
}

/// Fills the tensors of `gradients` that are defined, from the gradient with respect to the reads.
template <class Scalar>
void differentiate_heads(const TensorInputs& in, const std::vector<SequenceTape<Scalar>>& tapes,
                         const at::Tensor& d_out, const TensorInputs& gradients) {
  const RowMajorMatrix<Scalar> weights_of_one = weights_of_one_state<Scalar>(in);
  for_each_head(in.q.size(0), in.q.size(2), [&](const Head& at, std::size_t number) {
    const auto of_head = chunkwise_gradient(head_of<Scalar>(in, at, weights_of_one), tapes[number],
                                            rows_of<Scalar>(d_out, at));
    for_each_array(
        [&](const char*, const at::Tensor& tensor, const RowMajorMatrix<Scalar>& gradient) {
          if (tensor.defined()) target_rows_of<Scalar>(tensor, at) = gradient;
        },
        gradients, of_head);
  });
}

/// Both as autograd sees them. Arguments: the tensors that are given, all with rows, and the
/// record. What is saved are the tensors themselves, so that autograd notices changes in place.
template <class Scalar>
struct ChunkwiseFunction final : ::torch::autograd::Function<ChunkwiseFunction<Scalar>> {
  using Record = ChunkwiseRecord<Scalar>;
  using Context = ::torch::autograd::AutogradContext;
  using Tensors = ::torch::autograd::variable_list;

  static at::Tensor forward(Context* context, at::TensorList given,
                            const c10::intrusive_ptr<Record>& record) {
    context->save_for_backward(given.vec());
    context->saved_data["record"] = c10::IValue::make_capsule(record);
    return read_heads(record->given.inputs(given), record->options, &record->tapes);
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
    differentiate_heads(record->given.inputs(given), record->tapes, with_rows(d_outs[0].detach()),
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
