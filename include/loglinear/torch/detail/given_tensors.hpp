// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_DETAIL_GIVEN_TENSORS_HPP
#define LOGLINEAR_TORCH_DETAIL_GIVEN_TENSORS_HPP

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <vector>

#include "loglinear/sequence/detail/arrays.hpp"
#include "loglinear/torch/tensor_inputs.hpp"

namespace loglinear::detail {

/// The inputs without those tensors that have no numbers although there are tokens: they are
/// absent, as arrays of size 0 are. q, k and v are required and stay.
[[nodiscard]] inline TensorInputs without_absent(TensorInputs in) {
  if (!in.q.defined() || in.q.numel() == 0) return in;
  for_each_array(
      [&](const char*, at::Tensor& tensor) {
        if (&tensor == &in.q || &tensor == &in.k || &tensor == &in.v) return;
        if (tensor.defined() && tensor.numel() == 0) tensor = at::Tensor();
      },
      in);
  return in;
}

/// Which tensors are given: autograd takes a list of those alone, in the order of the struct.
class GivenTensors {
 public:
  explicit GivenTensors(const TensorInputs& in) {
    std::size_t i = 0;
    for_each_array(
        [&](const char*, const at::Tensor& tensor) { is_given_[i++] = tensor.defined(); }, in);
  }

  [[nodiscard]] std::vector<at::Tensor> list(const TensorInputs& in) const {
    std::vector<at::Tensor> given;
    std::size_t i = 0;
    for_each_array(
        [&](const char*, const at::Tensor& tensor) {
          if (is_given_[i++]) given.push_back(tensor);
        },
        in);
    return given;
  }
  [[nodiscard]] TensorInputs inputs(at::TensorList given) const {
    TensorInputs in;
    std::size_t i = 0, next = 0;
    for_each_array(
        [&](const char*, at::Tensor& tensor) {
          if (is_given_[i++]) tensor = given[next++];
        },
        in);
    return in;
  }

 private:
  std::array<bool, static_cast<std::size_t>(array_count)> is_given_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TORCH_DETAIL_GIVEN_TENSORS_HPP
