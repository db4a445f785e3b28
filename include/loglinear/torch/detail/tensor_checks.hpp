// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_DETAIL_TENSOR_CHECKS_HPP
#define LOGLINEAR_TORCH_DETAIL_TENSOR_CHECKS_HPP

// What is refused before any work: tensors of the wrong kind, or whose shapes do not fit together.

#include <ATen/core/Tensor.h>

#include <locale>
#include <sstream>
#include <string>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/torch/detail/given_tensors.hpp"
#include "loglinear/torch/tensor_inputs.hpp"

namespace loglinear::detail {

/// A value of LibTorch as LibTorch prints it, under any locale.
template <class Value>
[[nodiscard]] std::string printed(const Value& value) {
  std::ostringstream text;
  text.imbue(std::locale::classic());
  text << value;
  return text.str();
}

/// What may differ from the shape that `require_shape` is given.
enum class Leeway { none, several_rows, more_columns };

/// Throws unless the tensor has the shape `legal`; with leeway dimension 1 may be a multiple of
/// what is given there, or the last one larger.
inline void require_shape(const char* name, const at::Tensor& tensor, at::IntArrayRef legal,
                          Leeway leeway = Leeway::none) {
  const at::IntArrayRef sizes = tensor.sizes();
  const auto fits = [&](std::size_t i) {
    if (leeway == Leeway::several_rows && i == 1) {
      return legal[i] == 0 ? sizes[i] == 0 : sizes[i] > 0 && sizes[i] % legal[i] == 0;
    }
    if (leeway == Leeway::more_columns && i + 1 == legal.size()) return sizes[i] >= legal[i];
    return sizes[i] == legal[i];
  };
  bool is_legal = sizes.size() == legal.size();
  for (std::size_t i = 0; is_legal && i < legal.size(); ++i) is_legal = fits(i);
  if (is_legal) return;
  std::string text;
  for (std::size_t i = 0; i < legal.size(); ++i) {
    text += (i == 0 ? "[" : ", ") + std::to_string(legal[i]);
    if (leeway == Leeway::several_rows && i == 1) text += " n";
    if (leeway == Leeway::more_columns && i + 1 == legal.size()) text += " or more";
  }
  text += leeway == Leeway::several_rows ? "], n at least 1" : "]";
  fail(Text("the shape of ", name), printed(sizes), text);
}

/// Throws unless all that is given lies on the CPU as strided numbers of one type, float or double.
inline void require_kinds(const TensorInputs& in) {
  const auto required = [](const char* name, const at::Tensor& tensor, const char* shape) {
    if (!tensor.defined()) {
      fail(name, "an undefined tensor", std::string("given, of shape ") + shape);
    }
  };
  required("q", in.q, "[B, T, H, d_k]");
  required("k", in.k, "[B, n T, H, d_k]");
  required("v", in.v, "[B, n T, H, d_v]");
  for_each_array(
      [&](const std::string& name, const at::Tensor& tensor) {
        if (!tensor.defined()) return;
        if (!tensor.device().is_cpu()) {
          fail("the device of " + name, printed(tensor.device()), "cpu");
        }
        if (tensor.layout() != at::kStrided) {
          fail("the layout of " + name, printed(tensor.layout()), "Strided");
        }
        const at::ScalarType type = tensor.scalar_type();
        if (type != at::kFloat && type != at::kDouble) {
          fail("the dtype of " + name, printed(type), "Float or Double");
        }
        if (type != in.q.scalar_type()) {
          fail("the dtype of " + name, printed(type),
               std::string(toString(in.q.scalar_type())) + ", as of q");
        }
      },
      in);
}

/// Throws unless all shapes fit together.
inline void require_shapes(const TensorInputs& in) {
  const auto four = [](const char* name, const at::Tensor& tensor, const char* legal) {
    if (tensor.dim() != 4 || tensor.size(3) < 1) {
      fail(Text("the shape of ", name), printed(tensor.sizes()), legal);
    }
  };
  four("q", in.q, "[B, T, H, d_k], d_k at least 1");
  four("v", in.v, "[B, n T, H, d_v], n and d_v at least 1");
  const std::int64_t batch = in.q.size(0), tokens = in.q.size(1), heads = in.q.size(2),
                     d_k = in.q.size(3), d_v = in.v.size(3);
  require_shape("k", in.k, {batch, tokens, heads, d_k}, Leeway::several_rows);
  const std::int64_t leaves = in.k.size(1);
  require_shape("v", in.v, {batch, leaves, heads, d_v});
  if (in.lambda.defined()) {
    const int levels = SequenceInputs<float>::levels_read(0, tokens, max_level_limit);
    require_shape("lambda", in.lambda, {batch, tokens, heads, levels}, Leeway::more_columns);
  }
  if (in.g.defined() && in.g.dim() == 4) {
    require_shape("g", in.g, {batch, tokens, heads, d_k});
  } else if (in.g.defined()) {
    require_shape("g", in.g, {batch, tokens, heads});
  }
  if (in.g_value.defined()) require_shape("g_value", in.g_value, {batch, tokens, heads, d_v});
  if (in.beta.defined()) {
    require_shape("beta", in.beta, {batch, leaves, heads});
    if (in.u.defined()) fail("u", "given, beside beta", "an undefined tensor");
    if (in.p.defined()) fail("p", "given, beside beta", "an undefined tensor");
  }
  if (in.u.defined() != in.p.defined()) {
    fail(in.u.defined() ? "p" : "u", "an undefined tensor", "given, as u and p go together");
  }
  if (in.u.defined()) {
    require_shape("u", in.u, {batch, tokens, heads, d_k}, Leeway::several_rows);
    require_shape("p", in.p, {batch, in.u.size(1), heads, d_k});
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TORCH_DETAIL_TENSOR_CHECKS_HPP
