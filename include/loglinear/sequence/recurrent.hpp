// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_RECURRENT_HPP
#define LOGLINEAR_SEQUENCE_RECURRENT_HPP

#include <cmath>

#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/sequence/detail/results.hpp"
#include "loglinear/sequence/inputs.hpp"
#include "loglinear/stream/detail/levels_moment.hpp"
#include "loglinear/stream/log_linear_state.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear {

namespace detail {

/// The transition of token t of a sequence, as a state undergoes it.
template <class Scalar>
class SequenceTransition {
 public:
  /// `in` must outlive it.
  explicit SequenceTransition(const SequenceInputs<Scalar>& in) : in_(in) {}
  explicit SequenceTransition(const SequenceInputs<Scalar>&&) = delete;
  void move_to(Index t) { t_ = t; }

  /// m <- L m
  template <class Level>
  void left(Level& m) const {
    const Index updates = in_.updates();
    if (in_.beta.size() > 0) {
      decay(m);
      for (Index j = 0; j < updates; ++j) {
        const Row key = in_.k.row(t_ * updates + j);
        const Row found = in_.beta(t_, j) * key * m;
        m -= key.transpose() * found;
      }
      return;
    }
    for (Index j = 0; j < updates; ++j) {
      const Row found = in_.p.row(t_ * updates + j) * m;
      if (j == 0) decay(m);
      m -= in_.u.row(t_ * updates + j).transpose() * found;
    }
    if (updates == 0) decay(m);
  }
  /// q <- L^T q, as a row.
  template <class Query>
  void left_transposed(Query& q) const {
    const Index updates = in_.updates();
    const bool is_delta = in_.beta.size() > 0;
    if (updates == 0) decay_row(q);
    for (Index j = updates; j-- > 0;) {
      const Row u = is_delta ? Row(in_.beta(t_, j) * in_.k.row(t_ * updates + j))
                             : Row(in_.u.row(t_ * updates + j));
      const Scalar found = q.row(0).dot(u);
      if (j == 0 && !is_delta) decay_row(q);
      q.row(0) -= found * (is_delta ? in_.k : in_.p).row(t_ * updates + j);
      if (j == 0 && is_delta) decay_row(q);
    }
  }
  /// m <- m diag(r)
  template <class Level>
  void right(Level& m) const {
    if (in_.g_value.size() == 0) return;
    Row decay;
    detail::decays_of(in_.g_value.row(t_), decay);
    for (Index i = 0; i < m.rows(); ++i) m.row(i).array() *= decay.array();
  }
  /// A bound of the factor by which `left` and `right` can grow a norm, intermediate results
  /// included.
  [[nodiscard]] double norm_bound() const {
    const Index updates = in_.updates();
    double bound = 1;
    if (in_.g.size() > 0) bound = (std::max)(bound, std::exp(to_double(in_.g.row(t_).maxCoeff())));
    for (Index j = 0; j < updates; ++j) {
      const bool is_delta = in_.beta.size() > 0;
      const Row u = is_delta ? Row(in_.beta(t_, j) * in_.k.row(t_ * updates + j))
                             : Row(in_.u.row(t_ * updates + j));
      const double looked_up = stable_norm((is_delta ? in_.k : in_.p).row(t_ * updates + j));
      bound *= 1 + (std::max)(1.0, stable_norm(u)) * looked_up;
    }
    if (in_.g_value.size() > 0) {
      bound *= (std::max)(1.0, std::exp(to_double(in_.g_value.row(t_).maxCoeff())));
    }
    return bound;
  }

 private:
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;

  template <class Query>
  void decay_row(Query& q) const {
    if (in_.g.size() == 0) return;
    for (Index i = 0; i < q.cols(); ++i) {
      q(0, i) *= std::exp(in_.g(t_, in_.g.cols() == 1 ? 0 : i));
    }
  }
  template <class Level>
  void decay(Level& m) const {
    if (in_.g.size() == 0) return;
    for (Index i = 0; i < m.rows(); ++i) {
      m.row(i) *= std::exp(in_.g(t_, in_.g.cols() == 1 ? 0 : i));
    }
  }

  const SequenceInputs<Scalar>& in_;
  Index t_ = 0;
};

/// The leaf of token t: beta_j k_j after the later updates of its own token, and v_j, in columns.
template <class Scalar>
void leaves_of(const SequenceInputs<Scalar>& in, Index t, Matrix<Scalar>& keys,
               Matrix<Scalar>& values) {
  const Index leaves = in.leaves();
  keys = in.k.middleRows(t * leaves, leaves).transpose();
  values = in.v.middleRows(t * leaves, leaves).transpose();
  for (Index j = 0; in.beta.size() > 0 && j < leaves; ++j) {
    for (Index i = 0; i < j; ++i) {  // earlier leaves undergo update j
      const Scalar found = keys.col(i).dot(in.k.row(t * leaves + j));
      keys.col(i) -= (in.beta(t, j) * found) * in.k.row(t * leaves + j).transpose();
    }
    keys.col(j) *= in.beta(t, j);
  }
}

}  // namespace detail

/// The sequence form one token after the other: every level undergoes the token's transition, the
/// levels and the token's own leaf are read, then the leaf is pushed (arXiv:2506.04761, section
/// 3.1).
///
/// \param in     the tokens
/// \param state  the state before the tokens; becomes the one after the last push
/// \return the reads, T x d_v
/// \throws std::invalid_argument as `SequenceInputs::validate`, or where the state would overflow
/// or a read would not be finite; nothing is changed then
///
/// O(T levels d_k d_v); allocates the reads and a copy of the active levels.
template <class Scalar>
typename SequenceInputs<Scalar>::Matrix recurrent(const SequenceInputs<Scalar>& in,
                                                  LogLinearState<Scalar>& state) {
  using Eigen::Index;
  using Row = Eigen::Matrix<Scalar, 1, Eigen::Dynamic>;
  const detail::FlushToZero<Scalar> flush;
  if (in.length() > 0) {
    detail::require_size("q (columns, d_k of the state)", in.d_k(), state.d_k());
    detail::require_size("v (columns, d_v of the state)", in.d_v(), state.d_v());
  }
  in.validate(state.size(), state.max_levels());
  const Index leaves = in.leaves();
  detail::RowMajorMatrix<Scalar> out(in.length(), state.d_v());
  detail::SequenceTransition<Scalar> transition(in);
  detail::Matrix<Scalar> keys(state.d_k(), leaves), values(state.d_v(), leaves);
  auto& levels = detail::levels_of(state);
  detail::LevelsRollback rollback(levels);
  for (Index t = 0; t < in.length(); ++t) {
    transition.move_to(t);
    detail::leaves_of(in, t, keys, values);
    const detail::Admitted admitted = levels.admit(transition.norm_bound(), keys, values);
    levels.undergo(transition);
    const Row query = in.q.row(t);
    out.row(t) = (in.lambda(t, 0) * (query * keys)) * values.transpose();
    for (int l : state.active_levels()) {
      out.row(t) += in.lambda(t, l + 1) * Row(query * state.level(l));
    }
    detail::require_finite_reads(out.row(t), t);
    levels.push(keys, values, admitted);
  }
  rollback.keep();
  return out;
}

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_RECURRENT_HPP
