// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_ROTARY_PHASES_HPP
#define LOGLINEAR_SEQUENCE_ROTARY_PHASES_HPP

#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/sequence/array.hpp"
#include "loglinear/sequence/detail/rows_a_token.hpp"

namespace loglinear {

/// Rotations of pairs of key rows from token to token, the complex transitions of Mamba-3,
/// expressed as rotations of the queries and keys of a sequence or a stream:
///
///     S_t = a_t R_t S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t
///     P_t = R_t R_{t-1} ... R_1            o_t = sum_s a_t ... a_{s+1} (P_t^T q_t).(P_s^T k_s) v_s
///
/// R_t turns coefficients 2i and 2i + 1 by the i-th angle of token t and leaves all after the pairs
/// as they are. (Lahoti et al., *Mamba-3*, arXiv:2603.15569, complex-valued state space models:
/// the angles are the token's step times its frequencies.) All levels of a hierarchy undergo the
/// same transitions, so that the same change serves each of them.
///
///     const RotaryPhases<double> phases(angles);
///     SequenceInputs<double> in{.q = phases.rotated(q), .k = phases.rotated(k), .v = v, ...};
///
/// \tparam Scalar  float or double
template <class Scalar>
struct RotaryPhases {
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = SequenceArray<Scalar>;

  /// A gradient with respect to rows that were rotated, and to the phases by which they were.
  struct Gradient {
    Matrix rows;    ///< of the shape of the rows
    Matrix phases;  ///< T x n
  };

  /// The angles of P_t in radians, T x n: sums of angles, kept within [-pi, pi].
  Matrix phases;

  /// \param angles  of R_t, in radians, T x n, finite
  /// \param before  phases of the token before the first one, 1 x n; absent at a stream's beginning
  /// \throws std::invalid_argument for another shape or a number that is not finite. O(T n);
  /// allocates its member
  explicit RotaryPhases(const Rows& angles, const Rows& before = {}) : phases(angles) {
    const detail::FlushToZero<Scalar> flush;
    detail::require_finite("angles", angles);
    if (angles.rows() == 0) return;
    if (!before.is_absent()) {
      detail::require_matrix("the phases before the sequence", before, 1, angles.cols());
      phases.row(0) += before;
    }
    wrap(0);
    for (detail::Index t = 1; t < phases.rows(); ++t) {
      phases.row(t) += phases.row(t - 1);
      wrap(t);
    }
  }

  /// P_t^T of each row of token t: queries or keys, with any number of rows a token. \throws
  /// std::invalid_argument unless there are 2n columns or more and as many rows for each token, or
  /// where a number is not finite, of the rows or of the result. O(rows (n + columns)); allocates
  /// its result
  [[nodiscard]] Matrix rotated(const Rows& rows) const {
    const detail::FlushToZero<Scalar> flush;
    const detail::Index each = rows_a_token("the rows to rotate", rows);
    Matrix result = rows;
    turn(result, each, Scalar(-1));
    detail::require_finite("the rotated rows", result);
    return result;
  }

  /// The gradients with respect to x and to the phases, from `rotated(x)` and the gradient with
  /// respect to it. Queries and keys share the phases, so that their gradients add up. \throws as
  /// `rotated`. O(rows (n + columns)); allocates its result
  [[nodiscard]] Gradient rotated_gradient(const Rows& result, const Rows& d_result) const {
    const detail::FlushToZero<Scalar> flush;
    const detail::Index each = rows_a_token("the rotated rows", result);
    detail::require_matrix("d_rotated", d_result, result.rows(), result.cols());
    Gradient d{d_result, Matrix::Zero(phases.rows(), phases.cols())};
    for (detail::Index row = 0; row < result.rows(); ++row) {
      const detail::Index t = row / each;
      for (detail::Index i = 0; i < phases.cols(); ++i) {
        d.phases(t, i) += d_result(row, 2 * i) * result(row, 2 * i + 1) -
                          d_result(row, 2 * i + 1) * result(row, 2 * i);
      }
    }
    turn(d.rows, each, Scalar(1));
    detail::require_finite("the gradient of the rows", d.rows);
    detail::require_finite("the gradient of the phases", d.phases);
    return d;
  }

  /// The gradient with respect to the angles, from that with respect to the phases. An angle is
  /// part of the phases of its own token and of all later ones. \throws std::invalid_argument for
  /// another shape, or where a number is not finite, of the argument or of the result. O(T n);
  /// allocates its result
  [[nodiscard]] Matrix angles_gradient(const Rows& d_phases) const {
    const detail::FlushToZero<Scalar> flush;
    detail::require_matrix("d_phases", d_phases, phases.rows(), phases.cols());
    Matrix d_angles = d_phases;
    for (detail::Index t = d_angles.rows() - 1; t > 0; --t) d_angles.row(t - 1) += d_angles.row(t);
    detail::require_finite("the gradient of the angles", d_angles);
    return d_angles;
  }

 private:
  void wrap(detail::Index t) {
    detail::require_finite("the sum of angles", phases.row(t));
    const auto turn = Scalar(6.283185307179586476925286766559L);
    for (detail::Index i = 0; i < phases.cols(); ++i) {
      phases(t, i) = std::remainder(phases(t, i), turn);
    }
  }
  [[nodiscard]] detail::Index rows_a_token(const char* name, const Rows& rows) const {
    detail::require_finite(name, rows);
    if (rows.cols() < 2 * phases.cols()) {
      detail::fail(detail::Text("the columns of ", name), rows.cols(), "at least ",
                   2 * phases.cols(), ", two for each angle");
    }
    return detail::rows_a_token(name, rows.rows(), phases.rows());
  }
  /// rows = P_t rows for sign 1, P_t^T rows for sign -1.
  void turn(Matrix& rows, detail::Index each, Scalar sign) const {
    for (detail::Index row = 0; row < rows.rows(); ++row) {
      const detail::Index t = row / each;
      for (detail::Index i = 0; i < phases.cols(); ++i) {
        const Scalar c = std::cos(phases(t, i)), s = sign * std::sin(phases(t, i));
        const Scalar x = rows(row, 2 * i), y = rows(row, 2 * i + 1);
        rows(row, 2 * i) = c * x - s * y;
        rows(row, 2 * i + 1) = s * x + c * y;
      }
    }
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_ROTARY_PHASES_HPP
