// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODEL_DETAIL_ATTEND_HPP
#define LOGLINEAR_MODEL_DETAIL_ATTEND_HPP

// Softmax attention of one token, and the rotation of queries and keys by their position.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"

namespace loglinear::detail {

/// The rotary position of one token: (a_j, b_j) <- (a_j cos - b_j sin, b_j cos + a_j sin) for the
/// halves a and b of a head, the angle being position / theta^(2 j / head_dim).
template <class Scalar>
class Rotation {
 public:
  Rotation(Index head_dim, double theta, std::uint64_t position)
      : cosine_(head_dim / 2), sine_(head_dim / 2) {
    for (Index j = 0; j < cosine_.size(); ++j) {
      const double exponent = -2.0 * static_cast<double>(j) / static_cast<double>(head_dim);
      const double angle = static_cast<double>(position) * std::pow(theta, exponent);
      cosine_[j] = static_cast<Scalar>(std::cos(angle));
      sine_[j] = static_cast<Scalar>(std::sin(angle));
    }
  }

  /// Turns `heads` heads that lie side by side.
  void turn(Scalar* row, Index heads) const {
    const Index half = cosine_.size();
    for (Index h = 0; h < heads; ++h, row += 2 * half) {
      for (Index j = 0; j < half; ++j) {
        const Scalar a = row[j], b = row[half + j];
        row[j] = a * cosine_[j] - b * sine_[j];
        row[half + j] = b * cosine_[j] + a * sine_[j];
      }
    }
  }

 private:
  Vector<Scalar> cosine_, sine_;
};

struct AttentionHeads {
  Index heads, kv_heads, head_dim;  // kv_heads divides heads
};

/// Keys and values of tokens, a row each, as wide as all their heads.
template <class Scalar>
struct SeenTokens {
  const Scalar* keys = nullptr;
  const Scalar* values = nullptr;
  Index rows = 0;
};

/// out = the softmax-weighted values of all seen tokens, head by head, for one row of queries;
/// the tokens lie in two places, of which either may be empty.
/// \throws std::invalid_argument where a score is not finite
template <class Scalar>
void attend(const AttentionHeads& shape, const Scalar* q, const SeenTokens<Scalar>& older,
            const SeenTokens<Scalar>& newer, Scalar* out) {
  const std::array<SeenTokens<Scalar>, 2> seen{older, newer};
  const Index stride = shape.kv_heads * shape.head_dim, shared = shape.heads / shape.kv_heads;
  const Scalar scale = Scalar(1) / std::sqrt(static_cast<Scalar>(shape.head_dim));
  Vector<Scalar> weights(seen[0].rows + seen[1].rows);
  for (Index h = 0; h < shape.heads; ++h) {
    const Index column = h / shared * shape.head_dim;
    std::array<WeightedRows<Scalar, Scalar>, 2> terms;
    Scalar* to = weights.data();
    for (std::size_t part = 0; part < seen.size(); ++part) {
      const auto& [keys, values, rows] = seen[part];
      if (rows > 0) {
        row_dots(keys + column, rows, shape.head_dim, stride, q + h * shape.head_dim, to);
      }
      terms[part] = {rows > 0 ? values + column : nullptr, rows, {to}, Scalar(1)};
      to += rows;
    }
    const Scalar largest = weights.maxCoeff();
    if (!all_finite(weights)) fail("a score of the attention", largest, "finite");
    weights = scale * (weights.array() - largest);
    exp_of(weights.data(), weights.size(), weights.data());
    weights /= weights.sum();
    weighted_rows(terms.data(), 2, shape.head_dim, stride, out + h * shape.head_dim);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODEL_DETAIL_ATTEND_HPP
