// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TORCH_DETAIL_GIVEN_TENSORS_HPP
#define LOGLINEAR_TORCH_DETAIL_GIVEN_TENSORS_HPP

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <vector>

#include "loglinear/torch/tensor_inputs.hpp"

namespace loglinear::detail {

inline constexpr std::array<at::Tensor TensorInputs::*, 9> tensor_members = {
    &TensorInputs::q,      &TensorInputs::k, &TensorInputs::v,
    &TensorInputs::lambda, &TensorInputs::g, &TensorInputs::g_value,
    &TensorInputs::beta,   &TensorInputs::u, &TensorInputs::p};
inline constexpr std::array<const char*, 9> tensor_names = {"q",       "k",    "v", "lambda", "g",
                                                            "g_value", "beta", "u", "p"};

/// The same without tensors that have no numbers although there are tokens: they are absent, as
/// arrays of size 0 are. q, k and v stay, which have to be there.
[[nodiscard]] inline TensorInputs without_absent(TensorInputs in) {
  if (!in.q.defined() || in.q.numel() == 0) return in;
  for (std::size_t i = 3; i < tensor_members.size(); ++i) {
    at::Tensor& tensor = in.*tensor_members[i];
    if (tensor.defined() && tensor.numel() == 0) tensor = at::Tensor();
  }
  return in;
}

/// Which tensors are given: autograd takes a list of those alone, in the order of the struct.
class GivenTensors {
 public:
  explicit GivenTensors(const TensorInputs& in) {
    for (std::size_t i = 0; i < is_given_.size(); ++i) {
      is_given_[i] = (in.*tensor_members[i]).defined();
    }
  }

  [[nodiscard]] std::vector<at::Tensor> list(const TensorInputs& in) const {
    std::vector<at::Tensor> given;
    for (std::size_t i = 0; i < is_given_.size(); ++i) {
      if (is_given_[i]) given.push_back(in.*tensor_members[i]);
    }
    return given;
  }
  [[nodiscard]] TensorInputs inputs(at::TensorList given) const {
    TensorInputs in;
    for (std::size_t i = 0, next = 0; i < is_given_.size(); ++i) {
      if (is_given_[i]) in.*tensor_members[i] = given[next++];
    }
    return in;
  }

 private:
  std::array<bool, 9> is_given_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_TORCH_DETAIL_GIVEN_TENSORS_HPP
