// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_EXPONENTIAL_GATES_HPP
#define LOGLINEAR_SEQUENCE_EXPONENTIAL_GATES_HPP

#include <algorithm>
#include <cmath>
#include <limits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/sequence/array.hpp"

namespace loglinear {

/// The exponential gates, the stabiliser and the normaliser of xLSTM's matrix memory around a
/// sequence or a stream: with them the forms of a sequence, its gradients, batches and states
/// compute mLSTM as published.
///
///     m_t = max(log f_t + m_{t-1}, log i_t)                       the stabiliser
///     S_t = exp(log f_t + m_{t-1} - m_t) S_{t-1} + exp(log i_t - m_t) k_t [v_t, 1]^T
///     [r_t, n_t] = S_t^T q_t                                      the normaliser is a value column
///     h_t = r_t / max(|n_t|, exp(-m_t))
///
/// (Beck et al., *xLSTM: Extended Long Short-Term Memory*, arXiv:2405.04517, section 2.3 and
/// appendix A.) Every factor of a token is then at most 1 and no state overflows, whatever the
/// gates. In the hierarchy every level undergoes the same transitions and holds exp(-m_t) times
/// what it would hold without a stabiliser, so that
///
///     h_t = sum_l lambda_l C_l^T q / max(|sum_l lambda_l n_l . q|, 1)
///
/// with C_l and n_l the matrix memory and the normaliser of level l: the level weights weigh both.
/// The result does not depend on m, so that gradients may treat `log_scale` as constant.
///
///     ExponentialGates<double> gates(log_i, log_f);
///     SequenceInputs<double> in{.q = q, .k = gates.keys(k), .v = gates.values(v),
///                               .lambda = lambda, .g = gates.log_decay};
///     h = gates.outputs(chunkwise(in));
///
/// \tparam Scalar  float or double
template <class Scalar>
struct ExponentialGates {
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = SequenceArray<Scalar>;

  Matrix log_decay;  ///< log f_t + m_{t-1} - m_t, T x 1, at most 0: `SequenceInputs::g`
  Matrix input;      ///< exp(log i_t - m_t), T x 1, at most 1
  Matrix log_scale;  ///< m_t, T x 1

  /// \param log_input  log i, T x 1, finite: the projection itself where i is its exponential
  /// \param log_forget  log f, T x 1, finite: of f = sg(z) it is -softplus(-z)
  /// \param before  m of the token before the first one; -infinity if the state is empty
  /// \throws std::invalid_argument for another shape, for numbers that are not finite, or where
  /// m_t is not. O(T); allocates its members
  ExponentialGates(const Rows& log_input, const Rows& log_forget,
                   Scalar before = -std::numeric_limits<Scalar>::infinity())
      : log_decay(log_input.rows(), 1), input(log_input.rows(), 1), log_scale(log_input.rows(), 1) {
    const detail::FlushToZero<Scalar> flush;
    detail::require_matrix("log_input", log_input, log_input.rows(), 1);
    detail::require_matrix("log_forget", log_forget, log_input.rows(), 1);
    if (!(before <= (std::numeric_limits<Scalar>::max)())) {
      detail::fail("the stabiliser before the sequence", detail::to_double(before),
                   "finite or -infinity");
    }
    using std::exp;
    for (detail::Index t = 0; t < log_input.rows(); ++t) {
      const Scalar kept = log_forget(t, 0) + before, m = (std::max)(kept, log_input(t, 0));
      if (!detail::is_finite(m)) {
        detail::fail(detail::Text("the stabiliser of token ", t), detail::to_double(m), "finite");
      }
      log_decay(t, 0) = kept - m;
      input(t, 0) = exp(log_input(t, 0) - m);
      log_scale(t, 0) = before = m;
    }
  }

  /// The keys of `SequenceInputs`, T x d_k: each times the input gate of its token. With d the
  /// gradient with respect to them, that of k_t is input_t d_t and that of log i_t is keys_t . d_t;
  /// that of log f_t is the gradient with respect to `log_decay`. \throws std::invalid_argument
  /// unless k has a row a token. O(T d_k); allocates its result
  [[nodiscard]] Matrix keys(const Rows& k) const {
    const detail::FlushToZero<Scalar> flush;
    detail::require_size("k (rows)", k.rows(), input.rows());
    Matrix scaled = k;
    for (detail::Index t = 0; t < k.rows(); ++t) scaled.row(t) *= input(t, 0);
    return scaled;
  }
  /// The values of `SequenceInputs`, T x (d_v + 1): with a column of ones, which reads the
  /// normaliser. \throws std::invalid_argument unless v has a row a token. O(T d_v); allocates its
  /// result
  [[nodiscard]] Matrix values(const Rows& v) const {
    detail::require_size("v (rows)", v.rows(), input.rows());
    Matrix wider = Matrix::Ones(v.rows(), v.cols() + 1);
    wider.leftCols(v.cols()) = v;
    return wider;
  }

  /// What mLSTM reads, T x d_v, from the reads of the widened values, T x (d_v + 1). \throws
  /// std::invalid_argument for another number of rows, where there is no normaliser, or where a
  /// result is not finite. O(T d_v); allocates its result
  [[nodiscard]] Matrix outputs(const Rows& reads) const {
    const detail::FlushToZero<Scalar> flush;
    require_reads(reads);
    const detail::Index d_v = reads.cols() - 1;
    Matrix out(reads.rows(), d_v);
    for (detail::Index t = 0; t < reads.rows(); ++t) {
      out.row(t) = reads.row(t).head(d_v) / divisor(t, reads(t, d_v));
    }
    detail::require_finite("the outputs", out);
    return out;
  }
  /// The gradient with respect to the reads, T x (d_v + 1), from that with respect to the outputs,
  /// T x d_v. \throws std::invalid_argument for reads as `outputs`, a gradient of another shape, or
  /// where a result is not finite. O(T d_v); allocates its result
  [[nodiscard]] Matrix outputs_gradient(const Rows& reads, const Rows& d_outputs) const {
    const detail::FlushToZero<Scalar> flush;
    require_reads(reads);
    const detail::Index d_v = reads.cols() - 1;
    detail::require_matrix("d_outputs", d_outputs, reads.rows(), d_v);
    Matrix d_reads = Matrix::Zero(reads.rows(), reads.cols());
    for (detail::Index t = 0; t < reads.rows(); ++t) {
      const Scalar n = reads(t, d_v), by = divisor(t, n);
      d_reads.row(t).head(d_v) = d_outputs.row(t) / by;
      if (by > abs_of(n)) continue;
      const Scalar along = d_outputs.row(t).dot(reads.row(t).head(d_v)) / by;
      d_reads(t, d_v) = -along / n;
    }
    detail::require_finite("the gradient of the reads", d_reads);
    return d_reads;
  }

 private:
  void require_reads(const Rows& reads) const {
    detail::require_size("the reads (rows)", reads.rows(), input.rows());
    detail::require_positive("the columns of the reads without the normaliser", reads.cols() - 1);
    detail::require_finite("the reads", reads);
  }
  [[nodiscard]] static Scalar abs_of(const Scalar& n) { return n < Scalar(0) ? Scalar(-n) : n; }
  /// max(|n|, exp(-m)), but never 0, which exp(-m) may round to: a query of zeros reads zeros.
  [[nodiscard]] Scalar divisor(detail::Index t, const Scalar& n) const {
    using std::exp;
    const Scalar least = (std::numeric_limits<Scalar>::min)();
    return (std::max)({abs_of(n), Scalar(exp(-log_scale(t, 0))), least});
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_EXPONENTIAL_GATES_HPP
