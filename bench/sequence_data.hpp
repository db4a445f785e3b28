// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_SEQUENCE_DATA_HPP
#define LOGLINEAR_BENCH_SEQUENCE_DATA_HPP

// Random sequences for benchmarks of the sequence form. Every gate keeps 1 - 2^-20 a token, so that
// no level ever becomes negligible.

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <random>

#include "loglinear/sequence.hpp"

namespace bench {

using Eigen::Index;

enum class Rule { scalar_gate, gated_delta };

/// The arrays that `loglinear::SequenceInputs` refers to.
template <class Scalar>
struct SequenceData {
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  Matrix q, k, v, lambda, g, beta;  // beta is empty but for the gated delta rule

  [[nodiscard]] loglinear::SequenceInputs<Scalar> inputs() const {
    return {.q = q, .k = k, .v = v, .lambda = lambda, .g = g, .beta = beta};
  }
  /// The first tokens alone, in any precision.
  template <class Other = Scalar>
  [[nodiscard]] SequenceData<Other> head(Index tokens) const {
    const auto rows = [&](const Matrix& all) -> typename SequenceData<Other>::Matrix {
      return all.topRows(all.size() == 0 ? 0 : tokens).template cast<Other>();
    };
    return {rows(q), rows(k), rows(v), rows(lambda), rows(g), rows(beta)};
  }
};

inline SequenceData<float> random_sequence(Rule rule, Index length, Index d) {
  using Matrix = SequenceData<float>::Matrix;
  std::mt19937 random(1);
  const auto uniform = [&](Index columns, float from, float to) -> Matrix {
    return Matrix::NullaryExpr(length, columns, [&, from, to] {
      return from + (to - from) * static_cast<float>(random() >> 8) * 0x1p-24F;
    });
  };
  const int weights =
      loglinear::SequenceInputs<float>::levels_read(0, length, loglinear::max_level_limit);
  SequenceData<float> data{.q = uniform(d, -1, 1),
                           .k = uniform(d, -1, 1),
                           .v = uniform(d, -1, 1),
                           .lambda = uniform(weights, 0.5F, 1.5F),
                           .g = Matrix::Constant(length, 1, std::log1p(-0x1p-20F)),
                           .beta = Matrix()};
  data.q /= std::sqrt(static_cast<float>(d));
  data.k.rowwise().normalize();
  if (rule == Rule::gated_delta) data.beta = uniform(1, 0.1F, 0.9F);
  return data;
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_SEQUENCE_DATA_HPP
