// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_GATED_RMS_NORM_HPP
#define LOGLINEAR_MIXERS_GATED_RMS_NORM_HPP

// The gated norm before a mixer's output projection, over runs of n columns of a row:
//     rms(u)_i = w_i u_i / sqrt(mean(u^2) + eps)
//     gate first:  rms(y silu(z)),  as flash-linear-attention's RMSNormGated
//     norm first:  rms(y) silu(z),  as its FusedRMSNormGated; without z, rms(y)
// w has a number for each column of one run or of several; it repeats along the row.

#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/mixers/gates.hpp"

namespace loglinear::detail {

enum class GateOrder { gate_first, norm_first };

template <class Scalar>
class GatedRmsNorm {
 public:
  using Rows = RowMajorMatrix<Scalar>;

  /// \param width   columns of a run; it divides the number of the weight's rows
  /// \param weight  n x 1, where n divides the columns of what is normalised; it must outlive this
  GatedRmsNorm(GateOrder order, Index width, double eps, const Matrix<Scalar>& weight)
      : order_(order), width_(width), eps_(static_cast<Scalar>(eps)), weight_(weight) {}

  /// \param z  as y, or empty for no gate \throws std::invalid_argument where a square overflows
  [[nodiscard]] Rows operator()(const Rows& y, const Rows& z) const {
    if (z.size() == 0) return normalised(y);
    const Rows gate = silu_of(z);
    if (order_ == GateOrder::gate_first) return normalised(y.cwiseProduct(gate));
    return normalised(y).cwiseProduct(gate);
  }

  /// Adds to the gradient of the weight and sets that of z. \return the gradient with respect to y
  [[nodiscard]] Rows pullback(const Rows& y, const Rows& z, const Rows& d, Rows& d_z,
                              Matrix<Scalar>& d_weight) const {
    if (z.size() == 0) return normalised_pullback(y, d, d_weight);
    const Rows gate = silu_of(z), slope = silu_slope(z);
    if (order_ == GateOrder::gate_first) {
      const Rows d_u = normalised_pullback(y.cwiseProduct(gate), d, d_weight);
      d_z = d_u.cwiseProduct(y).cwiseProduct(slope);
      return d_u.cwiseProduct(gate);
    }
    d_z = d.cwiseProduct(normalised(y)).cwiseProduct(slope);
    return normalised_pullback(y, d.cwiseProduct(gate), d_weight);
  }

 private:
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

  /// The part of the weight that multiplies run i.
  template <class Weight>
  [[nodiscard]] auto of_run(Weight& weight, Index i) const {
    return weight.col(0).segment(i * width_ % weight.rows(), width_);
  }
  /// 1 / sqrt(mean(run^2) + eps)
  template <class Run>
  [[nodiscard]] Scalar inverse_root(const Run& run) const {
    const Scalar mean = run.squaredNorm() / static_cast<Scalar>(width_);
    if (!is_finite(mean)) fail("the mean square of the reads under the norm", mean, "finite");
    return Scalar(1) / std::sqrt(mean + eps_);
  }

  [[nodiscard]] Rows normalised(Rows u) const {
    Eigen::Map<Rows> runs(u.data(), u.size() / width_, width_);
    for (Index i = 0; i < runs.rows(); ++i) {
      const Scalar inverse = inverse_root(runs.row(i));
      runs.row(i).array() *= inverse * of_run(weight_, i).transpose().array();
    }
    return u;
  }
  /// Adds to the gradient of the weight. \return the gradient with respect to u
  [[nodiscard]] Rows normalised_pullback(const Rows& u, Rows d, Matrix<Scalar>& d_weight) const {
    const Eigen::Map<const Rows> from(u.data(), u.size() / width_, width_);
    Eigen::Map<Rows> runs(d.data(), d.size() / width_, width_);
    Row unit(width_), d_unit(width_);
    for (Index i = 0; i < runs.rows(); ++i) {
      const Scalar inverse = inverse_root(from.row(i));
      unit = inverse * from.row(i);
      of_run(d_weight, i) += runs.row(i).cwiseProduct(unit).transpose();
      d_unit = runs.row(i).cwiseProduct(of_run(weight_, i).transpose());
      const Scalar along = unit.dot(d_unit) / static_cast<Scalar>(width_);
      runs.row(i) = inverse * (d_unit - along * unit);
    }
    return d;
  }

  GateOrder order_;
  Index width_;
  Scalar eps_;
  const Matrix<Scalar>& weight_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_GATED_RMS_NORM_HPP
