// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_GATES_HPP
#define LOGLINEAR_MIXERS_GATES_HPP

// What the mixers' projections pass through before they meet the hierarchy, for all tokens at once,
// each with its pullback: silu, the decay gate, the level weights, unit keys.

#include <cmath>
#include <string>
#include <string_view>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/math.hpp"
#include "loglinear/detail/kernels/softplus.hpp"

namespace loglinear::detail {

/// sg(z) = 1 / (1 + exp(-z)).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> sigmoid_of(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> out(z.rows(), z.cols());
  sigmoids(z.data(), z.size(), out.data());
  return out;
}
/// z sg(z).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> silu_of(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> out(z.rows(), z.cols());
  exp_of_negative(z.data(), z.size(), out.data());
  out = z.array() / (Scalar(1) + out.array());
  for (Index i = 0; i < z.size(); ++i) {  // where exp(-z) overflows the quotient is 0
    if (z.data()[i] < lowest_exponent<Scalar>) out.data()[i] = Scalar(0);
  }
  return out;
}
/// The derivative of z sg(z).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> silu_slope(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> s = sigmoid_of(z);
  s.array() *= Scalar(1) + z.array() * (Scalar(1) - s.array());
  return s;
}
/// log(1 + exp(z)), stable for any z.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> softplus_of(const RowMajorMatrix<Scalar>& z) {
  RowMajorMatrix<Scalar> out(z.rows(), z.cols());
  softplus(z.data(), z.size(), out.data());
  return out;
}

/// The derivative of softplus, sg(z) = 1 - exp(-softplus(z)), from softplus(z). Not by Eigen's
/// expm1, which divides 0 by 0 on the way.
template <class Softplus>
[[nodiscard]] auto softplus_slope(const Eigen::ArrayBase<Softplus>& softplus) {
  using Scalar = typename Softplus::Scalar;
  return softplus.derived().unaryExpr([](Scalar value) { return -std::expm1(-value); });
}

/// The decay gate of Mamba-2 and Gated DeltaNet: a step size and the log decay it makes,
/// `step = softplus(raw + dt_bias)`, `g = -exp(A_log) step`; T x heads each.
template <class Scalar>
struct DecayGate {
  RowMajorMatrix<Scalar> step{}, g{};

  DecayGate() = default;
  DecayGate(const RowMajorMatrix<Scalar>& raw, const Matrix<Scalar>& dt_bias,
            const Matrix<Scalar>& a_log) {
    RowMajorMatrix<Scalar> shifted = raw;
    shifted.rowwise() += dt_bias.col(0).transpose();
    step = softplus_of(shifted);
    g = -(step.array().rowwise() * a_log.col(0).transpose().array().exp());
  }

  /// Takes the gradients with respect to `step` and `g`; adds to those of dt_bias and A_log.
  /// \return the gradient with respect to raw
  [[nodiscard]] RowMajorMatrix<Scalar> pullback(const RowMajorMatrix<Scalar>& d_step,
                                                const RowMajorMatrix<Scalar>& d_g,
                                                const Matrix<Scalar>& a_log,
                                                Matrix<Scalar>& d_dt_bias,
                                                Matrix<Scalar>& d_a_log) const {
    RowMajorMatrix<Scalar> d_raw = d_step;
    for (Index h = 0; h < g.cols(); ++h) {
      const Scalar rate = std::exp(a_log(h, 0));
      if (!is_finite(rate)) continue;  // exact forgetting, whatever the step
      d_raw.col(h) -= rate * d_g.col(h);
      for (Index t = 0; t < g.rows(); ++t) {
        if (is_finite(g(t, h))) d_a_log(h, 0) += d_g(t, h) * g(t, h);
      }
    }
    d_raw.array() *= softplus_slope(step.array());
    d_dt_bias += d_raw.colwise().sum().transpose();
    return d_raw;
  }
};

/// The paper's level weights, `lambda = softplus(L . dl)` coefficient by coefficient
/// (arXiv:2506.04761, appendix): L is heads x levels, dl and lambda T x (heads levels).
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> scaled_levels(const RowMajorMatrix<Scalar>& dl,
                                                   const Matrix<Scalar>& scale) {
  RowMajorMatrix<Scalar> z = dl;
  for (Index h = 0; h < scale.rows(); ++h) {
    z.middleCols(h * scale.cols(), scale.cols()).array().rowwise() *= scale.row(h).array();
  }
  return softplus_of(z);
}
/// The pullback of `scaled_levels`; adds to the gradient of L. \return the gradient with respect to
/// dl
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> scaled_levels_pullback(const RowMajorMatrix<Scalar>& dl,
                                                            const Matrix<Scalar>& scale,
                                                            const RowMajorMatrix<Scalar>& lambda,
                                                            const RowMajorMatrix<Scalar>& d_lambda,
                                                            Matrix<Scalar>& d_scale) {
  RowMajorMatrix<Scalar> d = d_lambda.array() * softplus_slope(lambda.array());
  for (Index h = 0; h < scale.rows(); ++h) {
    auto of_head = d.middleCols(h * scale.cols(), scale.cols());
    d_scale.row(h) +=
        of_head.cwiseProduct(dl.middleCols(h * scale.cols(), scale.cols())).colwise().sum();
    of_head.array().rowwise() *= scale.row(h).array();
  }
  return d;
}

/// Added to the squared length of a key or query before it is made a unit vector.
inline constexpr double unit_rows_epsilon = 1e-6;

/// `x / sqrt(|x|^2 + 1e-6)` for each run of `width` columns of a row. \throws
/// std::invalid_argument, which names a run `what`, where a square overflows
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> unit_rows(RowMajorMatrix<Scalar> x, Index width,
                                               std::string_view what) {
  Eigen::Map<RowMajorMatrix<Scalar>> runs(x.data(), x.size() / width, width);
  for (Index i = 0; i < runs.rows(); ++i) {
    const Scalar squared = runs.row(i).squaredNorm();
    if (!is_finite(squared)) fail("the squared length of " + std::string(what), squared, "finite");
    runs.row(i) /= std::sqrt(squared + Scalar(unit_rows_epsilon));
  }
  return x;
}
/// The pullback of `unit_rows`. \return the gradient with respect to x
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> unit_rows_pullback(const RowMajorMatrix<Scalar>& x,
                                                        RowMajorMatrix<Scalar> d, Index width) {
  using Runs = Eigen::Map<const RowMajorMatrix<Scalar>>;
  const Runs from(x.data(), x.size() / width, width);
  Eigen::Map<RowMajorMatrix<Scalar>> runs(d.data(), d.size() / width, width);
  for (Index i = 0; i < runs.rows(); ++i) {
    const Scalar squared = from.row(i).squaredNorm() + Scalar(unit_rows_epsilon);
    const Scalar along = from.row(i).dot(runs.row(i)) / squared;
    runs.row(i) = (runs.row(i) - along * from.row(i)) / std::sqrt(squared);
  }
  return d;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_GATES_HPP
