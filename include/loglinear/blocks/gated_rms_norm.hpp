// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BLOCKS_GATED_RMS_NORM_HPP
#define LOGLINEAR_BLOCKS_GATED_RMS_NORM_HPP

// The gated norm before a block's output projection, over runs of n columns of a row:
//     rms(u)_i = w_i u_i / sqrt(mean(u^2) + eps)
//     gate first:  rms(y silu(z)),   as flash-linear-attention's
//     RMSNormGated(norm_before_gate=False) norm first:  rms(y) silu(z),   as its FusedRMSNormGated;
//     without z, rms(y)

#include <cmath>

#include "loglinear/blocks/gates.hpp"
#include "loglinear/detail/product.hpp"
#include "loglinear/detail/types.hpp"

namespace loglinear::detail {

/// w u / sqrt(mean(u^2) + eps) over runs of `weight.rows()` columns.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> rms_norm(RowMajorMatrix<Scalar> u,
                                              const Matrix<Scalar>& weight, double eps) {
  const Index width = weight.rows();
  Eigen::Map<RowMajorMatrix<Scalar>> runs(u.data(), u.size() / width, width);
  for (Index i = 0; i < runs.rows(); ++i) {
    const Scalar mean = runs.row(i).squaredNorm() / static_cast<Scalar>(width);
    runs.row(i).array() *=
        weight.col(0).transpose().array() / std::sqrt(mean + static_cast<Scalar>(eps));
  }
  return u;
}
/// Its pullback; adds to the gradient of w. \return with respect to u
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> rms_norm_pullback(const RowMajorMatrix<Scalar>& u,
                                                       const Matrix<Scalar>& weight, double eps,
                                                       RowMajorMatrix<Scalar> d,
                                                       Matrix<Scalar>& d_weight) {
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  const Index width = weight.rows();
  const Eigen::Map<const RowMajorMatrix<Scalar>> from(u.data(), u.size() / width, width);
  Eigen::Map<RowMajorMatrix<Scalar>> runs(d.data(), d.size() / width, width);
  Row unit(width), d_unit(width);
  for (Index i = 0; i < runs.rows(); ++i) {
    const Scalar mean = from.row(i).squaredNorm() / static_cast<Scalar>(width);
    const Scalar inverse = Scalar(1) / std::sqrt(mean + static_cast<Scalar>(eps));
    unit = inverse * from.row(i);
    d_weight.col(0) += runs.row(i).cwiseProduct(unit).transpose();
    d_unit = runs.row(i).cwiseProduct(weight.col(0).transpose());
    const Scalar along = unit.dot(d_unit) / static_cast<Scalar>(width);
    runs.row(i) = inverse * (d_unit - along * unit);
  }
  return d;
}

enum class GateOrder { gate_first, norm_first };

/// \param z  as y, or empty for no gate
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> gated_rms_norm(GateOrder order,
                                                    const RowMajorMatrix<Scalar>& y,
                                                    const RowMajorMatrix<Scalar>& z,
                                                    const Matrix<Scalar>& weight, double eps) {
  if (z.size() == 0) return rms_norm<Scalar>(y, weight, eps);
  const RowMajorMatrix<Scalar> gate = silu_of(z);
  if (order == GateOrder::gate_first) {
    return rms_norm<Scalar>(y.cwiseProduct(gate), weight, eps);
  }
  return rms_norm<Scalar>(y, weight, eps).cwiseProduct(gate);
}
/// Its pullback; adds to the gradient of w and sets that of z. \return with respect to y
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> gated_rms_norm_pullback(
    GateOrder order, const RowMajorMatrix<Scalar>& y, const RowMajorMatrix<Scalar>& z,
    const Matrix<Scalar>& weight, double eps, const RowMajorMatrix<Scalar>& d,
    RowMajorMatrix<Scalar>& d_z, Matrix<Scalar>& d_weight) {
  if (z.size() == 0) return rms_norm_pullback<Scalar>(y, weight, eps, d, d_weight);
  const RowMajorMatrix<Scalar> gate = silu_of(z), slope = silu_slope(z);
  if (order == GateOrder::gate_first) {
    const RowMajorMatrix<Scalar> d_u =
        rms_norm_pullback<Scalar>(y.cwiseProduct(gate), weight, eps, d, d_weight);
    d_z = d_u.cwiseProduct(y).cwiseProduct(slope);
    return d_u.cwiseProduct(gate);
  }
  d_z = d.cwiseProduct(rms_norm<Scalar>(y, weight, eps)).cwiseProduct(slope);
  return rms_norm_pullback<Scalar>(y, weight, eps, d.cwiseProduct(gate), d_weight);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_BLOCKS_GATED_RMS_NORM_HPP
