// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_TORCH_TENSORS_HPP
#define LOGLINEAR_TESTS_TORCH_TENSORS_HPP

// Random sequences of several heads, as tensors and as one `Tokens` a head.

#include "loglinear/torch.hpp"

#include <ATen/Functions.h>

#include <cstdint>
#include <vector>

#include "sequence/settings.hpp"
#include "sequence/tokens.hpp"

namespace loglinear::test {

// A tensor that is added to the struct and not to the list of all arrays fails here.
static_assert(sizeof(TensorInputs) == loglinear::detail::array_count * sizeof(at::Tensor));

/// A tensor with its name.
struct Named {
  const char* name;
  at::Tensor* tensor;
};
/// All of them, in the order of the struct.
inline std::vector<Named> named_tensors(TensorInputs& in) {
  std::vector<Named> all;
  loglinear::detail::for_each_array(
      [&](const char* name, at::Tensor& tensor) {
        all.push_back({name, &tensor});
      },
      in);
  return all;
}

struct Shape {
  Index batches = 2, tokens = 0, heads = 2, d_k = 3, d_v = 2;
};

/// The level weights that T tokens from the beginning of a stream read.
inline int weights_of(Index tokens) {
  return loglinear::SequenceInputs<double>::levels_read(0, tokens, loglinear::max_level_limit);
}

/// Heads of a batch, [batch * heads + head].
inline std::vector<Tokens<double>> random_heads(test::Random& random, const Kind& kind,
                                                const Shape& shape) {
  std::vector<Tokens<double>> heads;
  for (Index n = 0; n < shape.batches * shape.heads; ++n) {
    heads.push_back(test::random_tokens<double>(random, kind, shape.tokens, shape.d_k, shape.d_v,
                                                weights_of(shape.tokens)));
  }
  return heads;
}

/// [B, rows, H, columns] from the same array of all heads; undefined where it is empty.
template <class Select>
at::Tensor tensor_of(const std::vector<Tokens<double>>& heads, const Shape& shape, Select select) {
  const Array<double>& first = select(heads[0]);
  if (first.size() == 0) return {};
  at::Tensor tensor =
      at::empty({shape.batches, first.rows(), shape.heads, first.cols()}, at::kDouble);
  double* const data = tensor.data_ptr<double>();
  for (Index b = 0; b < shape.batches; ++b) {
    for (Index h = 0; h < shape.heads; ++h) {
      const Array<double>& from = select(heads[static_cast<std::size_t>(b * shape.heads + h)]);
      for (Index i = 0; i < from.rows(); ++i) {
        for (Index j = 0; j < from.cols(); ++j) {
          data[((b * from.rows() + i) * shape.heads + h) * from.cols() + j] = from(i, j);
        }
      }
    }
  }
  return tensor;
}

/// All heads as tensors of the shapes that TensorInputs documents.
inline TensorInputs tensors_of(const std::vector<Tokens<double>>& heads, const Shape& shape) {
  TensorInputs in;
  const auto all = [&](auto member) {
    return tensor_of(heads, shape,
                     [&](const Tokens<double>& t) -> const Array<double>& { return t.*member; });
  };
  using T = Tokens<double>;
  in.q = all(&T::q);
  in.k = all(&T::k);
  in.v = all(&T::v);
  in.lambda = all(&T::lambda);
  in.g = all(&T::g);
  in.g_value = all(&T::g_value);
  in.u = all(&T::u);
  in.p = all(&T::p);
  if (in.g.defined() && in.g.size(3) == 1) in.g = in.g.squeeze(3);
  const at::Tensor beta = all(&T::beta);  // [B, T, H, n]
  if (beta.defined()) in.beta = beta.transpose(2, 3).reshape({shape.batches, -1, shape.heads});
  return in;
}

inline TensorInputs random_tensors(std::uint64_t seed, const Kind& kind, const Shape& shape) {
  test::Random random(seed);
  return tensors_of(random_heads(random, kind, shape), shape);
}

/// What `change(tensor)` makes of every tensor that is given.
template <class Change>
TensorInputs changed(TensorInputs in, Change change) {
  for (const Named& one : named_tensors(in)) {
    if (one.tensor->defined()) *one.tensor = change(*one.tensor);
  }
  return in;
}

/// New leaves of the graph with the same numbers.
inline TensorInputs with_gradients(const TensorInputs& in) {
  return changed(in, [](const at::Tensor& t) { return t.detach().clone().requires_grad_(true); });
}

/// A head of a tensor [B, T, H, d] as a matrix.
inline Array<double> head_of(const at::Tensor& tensor, Index batch, Index head) {
  const at::Tensor part = tensor.select(0, batch).select(1, head).to(at::kDouble).contiguous();
  return Eigen::Map<const Array<double>>(part.data_ptr<double>(), part.size(0), part.size(1));
}

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_TORCH_TENSORS_HPP
