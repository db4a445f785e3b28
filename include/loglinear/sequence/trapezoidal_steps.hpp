// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_TRAPEZOIDAL_STEPS_HPP
#define LOGLINEAR_SEQUENCE_TRAPEZOIDAL_STEPS_HPP

#include <cmath>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/sequence/array.hpp"
#include "loglinear/sequence/detail/rows_a_token.hpp"

namespace loglinear {

/// The exponential-trapezoidal steps of Mamba-3 around a sequence: a token writes its own key and
/// value and, with another weight, those of the token before it.
///
///     S_t = alpha_t S_{t-1} + beta_t k_{t-1} v_{t-1}^T + gamma_t k_t v_t^T
///     alpha_t = exp(dt_t a_t),  beta_t = (1 - m_t) dt_t alpha_t,  gamma_t = m_t dt_t
///
/// (Lahoti et al., *Mamba-3: Improved Sequence Modeling using State Space Principles*,
/// arXiv:2603.15569, the exponential-trapezoidal discretization; m is its lambda, and m = 1 is
/// Mamba-2.) A token is two leaves of `SequenceInputs`, so that all forms, gradients, batches and
/// the hierarchy compute it:
///
///     const TrapezoidalSteps<double> steps(log_decay, dt, mix);
///     SequenceInputs<double> in{.q = q, .k = steps.keys(k), .v = steps.values(v),
///                               .lambda = lambda, .g = steps.log_decay};
///
/// `RotaryPhases` adds the complex transitions: rotate queries and keys first. With r keys and
/// values a token (multiple inputs), k and v have r rows a token; each of its r queries (multiple
/// outputs) is one more call with another q.
///
/// \tparam Scalar  float or double
template <class Scalar>
struct TrapezoidalSteps {
  using Matrix = detail::RowMajorMatrix<Scalar>;
  using Rows = SequenceArray<Scalar>;

  /// The gradients with respect to what `keys` and the log decays were made from.
  struct Gradient {
    Matrix k;          ///< rT x d_k
    Matrix log_decay;  ///< T x 1
    Matrix dt;         ///< T x 1
    Matrix mix;        ///< T x 1
  };

  Matrix log_decay;  ///< dt_t a_t, T x 1: `SequenceInputs::g`
  Matrix dt;         ///< T x 1
  Matrix mix;        ///< m_t, T x 1
  Matrix earlier;    ///< beta_t, T x 1: the weight of the token before
  Matrix own;        ///< gamma_t, T x 1: the weight of the token itself

  /// \param log_decays  dt_t a_t, T x 1, finite
  /// \param steps  dt, T x 1, finite
  /// \param mixes  m, T x 1, from 0 to 1
  /// \throws std::invalid_argument for another shape or number, or where a weight is not finite.
  /// O(T); allocates its members
  TrapezoidalSteps(const Rows& log_decays, const Rows& steps, const Rows& mixes)
      : log_decay(log_decays), dt(steps), mix(mixes) {
    const detail::FlushToZero<Scalar> flush;
    const detail::Index tokens = log_decay.rows();
    detail::require_matrix("log_decays", log_decay, tokens, 1);
    detail::require_matrix("steps", dt, tokens, 1);
    detail::require_matrix("mixes", mix, tokens, 1);
    for (detail::Index t = 0; t < tokens; ++t) {
      if (mix(t, 0) >= Scalar(0) && mix(t, 0) <= Scalar(1)) continue;
      detail::fail(detail::Text("mixes[", t, "]"), mix(t, 0), "from 0 to 1");
    }
    earlier = ((Scalar(1) - mix.array()) * dt.array() * log_decay.array().exp()).matrix();
    own = mix.cwiseProduct(dt);
    detail::require_finite("the weight of the token before", earlier);
    detail::require_finite("the weight of the token itself", own);
  }

  /// The keys of `SequenceInputs`, 2rT x d_k: for each token gamma_t k_t and then
  /// beta_t k_{t-1}, r rows each. \param k  rT x d_k \param before  the r keys of the token before
  /// the first one; absent at a stream's beginning, where they count as 0. \throws
  /// std::invalid_argument unless k has a multiple of T rows and `before` has r, or where a number
  /// is not finite, of an argument or of the result. O(rT d_k); allocates its result
  [[nodiscard]] Matrix keys(const Rows& k, const Rows& before = {}) const {
    const detail::FlushToZero<Scalar> flush;
    Matrix pairs = with_earlier("k", k, before);
    const detail::Index each = rows_a_token("k", k);
    for (detail::Index row = 0; row < pairs.rows(); ++row) {
      const detail::Index t = row / (2 * each);
      pairs.row(row) *= row % (2 * each) < each ? own(t, 0) : earlier(t, 0);
    }
    detail::require_finite("the keys", pairs);
    return pairs;
  }
  /// The values of `SequenceInputs`, 2rT x d_v: for each token v_t and then v_{t-1}, r rows each.
  /// Parameters, errors and cost are those of `keys`.
  [[nodiscard]] Matrix values(const Rows& v, const Rows& before = {}) const {
    return with_earlier("v", v, before);
  }

  /// The gradients with respect to k, the log decays, the steps and the mixes, from that of `keys`,
  /// 2rT x d_k, and that of `log_decay`, T x 1. The keys before the sequence count as constant.
  /// \throws std::invalid_argument for another shape, or where a number is not finite, of an
  /// argument or of the result. O(rT d_k); allocates its result
  [[nodiscard]] Gradient gradient(const Rows& k, const Rows& d_keys, const Rows& d_log_decay,
                                  const Rows& before = {}) const {
    const detail::FlushToZero<Scalar> flush;
    const Matrix pairs = with_earlier("k", k, before);
    detail::require_matrix("d_keys", d_keys, pairs.rows(), pairs.cols());
    detail::require_matrix("d_log_decay", d_log_decay, dt.rows(), 1);
    const detail::Index each = rows_a_token("k", k), tokens = dt.rows();
    Matrix d_own(tokens, 1), d_earlier(tokens, 1);
    for (detail::Index t = 0; t < tokens; ++t) {
      const auto weight = [&](detail::Index first) {
        return pairs.middleRows(first, each).cwiseProduct(d_keys.middleRows(first, each)).sum();
      };
      d_own(t, 0) = weight(2 * t * each);
      d_earlier(t, 0) = weight((2 * t + 1) * each);
    }
    const Matrix decay = log_decay.array().exp().matrix(),
                 lagging = (d_earlier.array() * decay.array()).matrix();
    Gradient d{unpaired(d_keys, each, true), d_log_decay + d_earlier.cwiseProduct(earlier),
               d_own.cwiseProduct(mix) + lagging.cwiseProduct((Scalar(1) - mix.array()).matrix()),
               (d_own - lagging).cwiseProduct(dt)};
    detail::require_finite("the gradient of k", d.k);
    detail::require_finite("the gradient of the log decays", d.log_decay);
    detail::require_finite("the gradient of the steps", d.dt);
    detail::require_finite("the gradient of the mixes", d.mix);
    return d;
  }
  /// The gradient with respect to v, rT x d_v, from that of `values`, 2rT x d_v. \throws
  /// std::invalid_argument unless there is an even number of rows a token, or where a number is not
  /// finite, of the argument or of the result. O(rT d_v); allocates its result
  [[nodiscard]] Matrix values_gradient(const Rows& d_values) const {
    const detail::FlushToZero<Scalar> flush;
    detail::require_finite("d_values", d_values);
    const detail::Index pairs = detail::rows_a_token("d_values", d_values.rows(), 2 * dt.rows());
    Matrix d_v = unpaired(d_values, pairs, false);
    detail::require_finite("the gradient of v", d_v);
    return d_v;
  }

 private:
  [[nodiscard]] detail::Index rows_a_token(const char* name, const Rows& rows) const {
    return detail::rows_a_token(name, rows.rows(), dt.rows());
  }
  /// For each token its rows, and then those of the token before.
  [[nodiscard]] Matrix with_earlier(const char* name, const Rows& rows, const Rows& before) const {
    detail::require_finite(name, rows);
    const detail::Index each = rows_a_token(name, rows);
    if (!before.is_absent()) {
      detail::require_matrix(detail::Text("the rows of ", name, " before the sequence"), before,
                             each, rows.cols());
    }
    Matrix pairs(2 * rows.rows(), rows.cols());
    for (detail::Index t = 0; t < dt.rows(); ++t) {
      pairs.middleRows(2 * t * each, each) = rows.middleRows(t * each, each);
      auto lagging = pairs.middleRows((2 * t + 1) * each, each);
      if (t > 0) {
        lagging = rows.middleRows((t - 1) * each, each);
      } else if (before.is_absent()) {
        lagging.setZero();
      } else {
        lagging = before;
      }
    }
    return pairs;
  }
  /// The gradient with respect to each row: that of its own leaf and that of the next token's
  /// second leaf.
  [[nodiscard]] Matrix unpaired(const Rows& d, detail::Index each, bool are_weighted) const {
    Matrix sum(d.rows() / 2, d.cols());
    for (detail::Index t = 0; t < dt.rows(); ++t) {
      auto rows = sum.middleRows(t * each, each);
      rows = d.middleRows(2 * t * each, each);
      if (are_weighted) rows *= own(t, 0);
      if (t + 1 == dt.rows()) continue;
      const auto next = d.middleRows((2 * t + 3) * each, each);
      rows += (are_weighted ? earlier(t + 1, 0) : Scalar(1)) * next;
    }
    return sum;
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_TRAPEZOIDAL_STEPS_HPP
