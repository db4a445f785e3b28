// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_WORKSPACE_HPP
#define LOGLINEAR_DETAIL_WORKSPACE_HPP

// The memory in which a layer works on one token, sized once so that no call allocates.

#include "loglinear/detail/types.hpp"
#include "loglinear/rule.hpp"

namespace loglinear::detail {

/// Where each part of a token's stacked projections, and of the free vectors, begins.
struct Layout {
  Index d_k = 0, d_v = 0, key_rows = 0;
  Index v = 0, q = 0, lambda = 0, own = 0, end = 0;  // k begins at 0
  Index free_own = 0, free_end = 0;                  // the level weights' free vector at 0

  /// The rule's share of stacked projections and free vectors, as a rule sees it.
  template <class Vec, class Raw>
  [[nodiscard]] Projections<Vec> rule_part(Raw* raw, Raw* free) const {
    return {Vec(raw, d_k), Vec(raw + v, d_v), Vec(raw + q, d_k), Vec(raw + own, end - own),
            Vec(free + free_own, free_end - free_own)};
  }
  /// The level weights' share.
  template <class Vec, class Raw>
  [[nodiscard]] Vec lambda_part(Raw* raw) const {
    return Vec(raw + lambda, own - lambda);
  }
  template <class Vec, class Raw>
  [[nodiscard]] Vec lambda_free_part(Raw* free) const {
    return Vec(free, free_own);
  }
};

/// Everything a read needs; the forward half of a token.
template <class Kind>
struct Workspace {
  using Scalar = typename Kind::Scalar;

  Workspace(const Layout& layout, Index d_model, Index leaves, Index max_levels, Index weights,
            Index score_columns)
      : x(Vector<Scalar>::Zero(d_model)),
        raw(Vector<Scalar>::Zero(layout.end)),
        token(layout.key_rows, layout.d_v, leaves),
        lambda(Vector<Scalar>::Zero(weights)),
        old_query(Vector<Scalar>::Zero(layout.key_rows)),
        levels_query(Vector<Scalar>::Zero(layout.key_rows)),
        level_reads(Matrix<Scalar>::Zero(layout.d_v, max_levels)),
        scores(Vector<Scalar>::Zero(score_columns)),
        coefficients(Vector<Scalar>::Zero(score_columns)),
        old_read(Vector<Scalar>::Zero(layout.d_v)),
        read(Vector<Scalar>::Zero(layout.d_v)),
        output(Vector<Scalar>::Zero(layout.d_v)) {}

  Vector<Scalar> x;             // the input
  Vector<Scalar> raw;           // all projections of x, stacked
  Token<Kind> token;            // what the rule made of them
  Vector<Scalar> lambda;        // level weights
  Vector<Scalar> old_query;     // the query as the older states see it: L^T q
  Vector<Scalar> levels_query;  // the same times what is deferred of their decay
  Matrix<Scalar> level_reads;   // column l: S_l^T levels_query, for active levels
  Vector<Scalar> scores;        // k . old_query of each buffered leaf, times its decay
  Vector<Scalar> coefficients;  // the same times the leaf's level weight
  Vector<Scalar> old_read;      // their weighted sum
  Vector<Scalar> read;          // the raw read: old_read through diag(r), plus the token's own leaf
  Vector<Scalar> output;        // tanh of it
};

/// The backward half: gradients of the loss with respect to what its name says after `d_`.
template <class Kind>
struct TrainingWorkspace {
  using Scalar = typename Kind::Scalar;

  TrainingWorkspace(const Layout& layout, Index leaves, Index weights, Index score_columns)
      : target(layout.d_v),
        d_read(layout.d_v),
        d_old_read(layout.d_v),
        d_old_query(layout.key_rows),
        d_lambda(weights),
        d_scores(score_columns),
        d_token(layout.key_rows, layout.d_v, leaves),
        d_raw(layout.end),
        d_free(layout.free_end) {}

  Vector<Scalar> target;
  Vector<Scalar> d_read, d_old_read, d_old_query, d_lambda, d_scores;
  Token<Kind> d_token;
  Vector<Scalar> d_raw, d_free;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_WORKSPACE_HPP
