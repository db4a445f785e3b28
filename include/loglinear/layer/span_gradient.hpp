// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_LAYER_SPAN_GRADIENT_HPP
#define LOGLINEAR_LAYER_SPAN_GRADIENT_HPP

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "loglinear/detail/base/fail.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/layer/detail/parameters.hpp"

namespace loglinear {

namespace detail {

/// Which of several heads the name of a weight belongs to, as in `head0.w_key`, and its name there;
/// no head and the whole name for a weight of all heads.
[[nodiscard]] inline std::pair<std::optional<std::size_t>, std::string_view> head_of(
    std::string_view name, std::size_t heads) {
  for (std::size_t h = 0; h < heads; ++h) {
    const std::string prefix = "head" + std::to_string(h) + '.';
    if (name.starts_with(prefix)) return {h, name.substr(prefix.size())};
  }
  return {{}, name};
}

/// The names that `head_of` takes apart: those of one head for each of them, and `w_out`.
[[nodiscard]] inline std::vector<std::string> names_in_heads(const std::vector<std::string>& of_one,
                                                             std::size_t heads) {
  std::vector<std::string> names;
  for (std::size_t h = 0; h < heads; ++h) {
    const std::string prefix = "head" + std::to_string(h) + '.';
    for (const std::string& name : of_one) names.push_back(prefix + name);
  }
  names.emplace_back("w_out");
  return names;
}

}  // namespace detail

/// The gradient of a loss over a span of T tokens with respect to what the layer was given.
template <class Scalar>
struct SpanGradient {
  using Rows = detail::RowMajorMatrix<Scalar>;         ///< a row a token
  using Matrix = detail::Matrix<Scalar>;               ///< a copy of an array
  using MatrixView = detail::ConstMatrixView<Scalar>;  ///< an array where it lies

  Rows x;  ///< with respect to the inputs, T x d_model

  /// With respect to one weight array, by its name in the layer; a read-only view, valid as long as
  /// this object. \throws std::invalid_argument for a name that is not one of the layer's weights
  [[nodiscard]] MatrixView weight(std::string_view name) const& { return weights.get(name); }
  /// The same of a temporary: a copy.
  [[nodiscard]] Matrix weight(std::string_view name) const&& { return weights.get(name); }

  detail::Parameters<Scalar> weights;  ///< all of them, in the layer's own layout
};

/// The gradient of a loss over a span with respect to what a multi-head layer was given.
template <class Scalar>
struct MultiHeadSpanGradient {
  using Rows = detail::RowMajorMatrix<Scalar>;  ///< a row a token

  Rows x;                                   ///< with respect to the inputs, T x d_model
  std::vector<SpanGradient<Scalar>> heads;  ///< with respect to each head's weights; no x in them
  Rows w_out;                               ///< with respect to W_out, d_model x n_heads d_v

  /// With respect to one weight array, by its name in the layer, such as `head0.w_key` or `w_out`;
  /// a copy. \throws std::invalid_argument for a name that is not one of the layer's weights
  [[nodiscard]] detail::Matrix<Scalar> weight(std::string_view name) const {
    const auto [head, rest] = detail::head_of(name, heads.size());
    if (head) return heads[*head].weight(rest);
    if (rest != "w_out") detail::fail("weight name", name, "w_out, or one such as head0.w_key");
    return w_out;
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_LAYER_SPAN_GRADIENT_HPP
