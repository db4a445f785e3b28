// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BENCH_SEQUENCE_DATA_HPP
#define LOGLINEAR_BENCH_SEQUENCE_DATA_HPP

// Random sequences for benchmarks of the sequence form. Every gate keeps 1 - 2^-20 a token, so that
// no level becomes negligible by it; or, in `faded_copy`, little or nothing.

#include <Eigen/Core>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "loglinear/sequence.hpp"

namespace bench {

using Eigen::Index;

/// Kinds of transition, and the rules that the rivals are held against.
enum class Rule {
  none,
  scalar_gate,
  key_gate,
  value_gate,
  delta,
  gated_delta,
  delta_product,
  rwkv7
};

/// Keys and values a token.
[[nodiscard]] inline Index leaves_of(Rule rule) {
  return rule == Rule::delta_product ? 2 : 1;
}

/// The arrays that `loglinear::SequenceInputs` refers to.
template <class Scalar>
struct SequenceData {
  using Matrix = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  Matrix q, k, v, lambda, g, beta;  // g and beta are empty where the rule has none
  Matrix g_value = Matrix(), u = Matrix(), p = Matrix();  // likewise

  [[nodiscard]] loglinear::SequenceInputs<Scalar> inputs() const {
    return {.q = q,
            .k = k,
            .v = v,
            .lambda = lambda,
            .g = g,
            .g_value = g_value,
            .beta = beta,
            .u = u,
            .p = p};
  }
  /// The first tokens alone, in any precision.
  template <class Other = Scalar>
  [[nodiscard]] SequenceData<Other> head(Index tokens) const {
    const auto rows = [&](const Matrix& all) -> typename SequenceData<Other>::Matrix {
      return all.topRows(tokens * all.rows() / q.rows()).template cast<Other>();
    };
    return {rows(q),    rows(k),       rows(v), rows(lambda), rows(g),
            rows(beta), rows(g_value), rows(u), rows(p)};
  }
};

inline SequenceData<float> random_sequence(Rule rule, Index length, Index d) {
  using Matrix = SequenceData<float>::Matrix;
  std::mt19937 random(1);
  const auto uniform = [&](Index rows, Index columns, float from, float to) -> Matrix {
    return Matrix::NullaryExpr(rows, columns, [&, from, to] {
      return from + (to - from) * static_cast<float>(random() >> 8) * 0x1p-24F;
    });
  };
  const auto decays = [&](Index columns) -> Matrix {
    return Matrix::Constant(length, columns, std::log1p(-0x1p-20F));
  };
  const int weights =
      loglinear::SequenceInputs<float>::levels_read(0, length, loglinear::max_level_limit);
  const Index leaves = leaves_of(rule);
  SequenceData<float> data{.q = uniform(length, d, -1, 1),
                           .k = uniform(length * leaves, d, -1, 1),
                           .v = uniform(length * leaves, d, -1, 1),
                           .lambda = uniform(length, weights, 0.5F, 1.5F),
                           .g = Matrix(),
                           .beta = Matrix()};
  data.q /= std::sqrt(static_cast<float>(d));
  data.k.rowwise().normalize();
  if (rule == Rule::key_gate || rule == Rule::rwkv7) {
    data.g = decays(d);
  } else if (rule == Rule::value_gate) {
    data.g_value = decays(d);
  } else if (rule != Rule::none && rule != Rule::delta) {
    data.g = decays(1);
  }
  if (rule == Rule::delta || rule == Rule::gated_delta || rule == Rule::delta_product) {
    data.beta = uniform(length, leaves, 0.1F, 0.9F);
  }
  if (rule == Rule::rwkv7) {
    data.p = uniform(length, d, -1, 1).rowwise().normalized();
    data.u = data.p.cwiseProduct(uniform(length, d, 0.1F, 0.9F));
  }
  return data;
}

/// The same tokens under gates that halve, or keep e^-5 at every seventh token and nothing at every
/// hundredth, with values of 1e-15.
inline SequenceData<float> faded_copy(const SequenceData<float>& slow) {
  SequenceData<float> fast = slow;
  for (Index t = 0; t < fast.g.rows(); ++t) {
    const float gate = t % 100 == 99 ? -std::numeric_limits<float>::infinity()
                       : t % 7 == 6  ? -5.0F
                                     : std::log(0.5F);
    fast.g.row(t).setConstant(gate);
  }
  fast.v *= 1e-15F;
  return fast;
}

}  // namespace bench

#endif  // LOGLINEAR_BENCH_SEQUENCE_DATA_HPP
