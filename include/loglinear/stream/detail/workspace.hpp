// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_WORKSPACE_HPP
#define LOGLINEAR_STREAM_DETAIL_WORKSPACE_HPP

// The memory in which a layer works on one token, sized once so that no call allocates.

#include "loglinear/detail/base/types.hpp"
#include "loglinear/rules/rule.hpp"

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

/// How large the memory of reads must be.
struct ReadShape {
  Index max_levels = 0;
  Index columns = 0;  // of the buffer of newest leaves
  Index tiers = 0;    // of levels with pending transitions in common
};

/// Everything a read needs; the forward half of a token.
template <class Kind>
struct Workspace {
  using Scalar = typename Kind::Scalar;

  Workspace(const Layout& layout, Index d_model, Index leaves, Index weights,
            const ReadShape& shape)
      : max_levels(shape.max_levels),
        x(Vector<Scalar>::Zero(d_model)),
        raw(Vector<Scalar>::Zero(layout.end)),
        token(layout.key_rows, layout.d_v, leaves),
        lambda(Vector<Scalar>::Zero(weights)),
        old_query(Vector<Scalar>::Zero(layout.key_rows)),
        tier_queries(Matrix<Scalar>::Zero(layout.key_rows, shape.tiers)),
        tier_scales(Matrix<Scalar>::Zero(layout.d_v, shape.tiers)),
        level_read(Vector<Scalar>::Zero(layout.d_v)),
        scores(Vector<Scalar>::Zero(shape.columns)),
        pulled_p(Vector<Scalar>::Zero(layout.key_rows)),
        found(Vector<Scalar>::Zero(shape.columns)),
        old_read(Vector<Scalar>::Zero(layout.d_v)),
        read(Vector<Scalar>::Zero(layout.d_v)),
        output(Vector<Scalar>::Zero(layout.d_v)) {}

  Index max_levels;             // of the layer that it is for
  Vector<Scalar> x;             // the input
  Vector<Scalar> raw;           // all projections of x, stacked
  Token<Kind> token;            // what the rule made of them
  Vector<Scalar> lambda;        // level weights
  Vector<Scalar> old_query;     // the query as the older states see it: L^T q
  Matrix<Scalar> tier_queries;  // column i: the query as the levels of tier i see it
  Matrix<Scalar> tier_scales;   // column i: what their reads are multiplied by
  Vector<Scalar> level_read;    // one level's share of the read
  Vector<Scalar> scores;        // k . old_query of each buffered leaf
  Vector<Scalar> pulled_p;      // p of the token's update as the levels see it, and
  Vector<Scalar> found;         // p . k of each buffered leaf: what writing needs to know
  double growth = 1;            // by which the token's transition can grow a norm
  Vector<Scalar> old_read;      // their weighted sum
  Vector<Scalar> read;          // the raw read: old_read through diag(r), plus the token's own leaf
  Vector<Scalar> output;        // tanh of it
};

/// The backward half: gradients of the loss with respect to what its name says after `d_`.
template <class Kind>
struct TrainingWorkspace {
  using Scalar = typename Kind::Scalar;

  TrainingWorkspace(const Layout& layout, Index leaves, Index weights, const ReadShape& shape)
      : target(layout.d_v),
        d_read(layout.d_v),
        d_old_read(layout.d_v),
        d_old_query(layout.key_rows),
        d_lambda(weights),
        d_scores(shape.columns),
        level_weights(layout.key_rows, shape.max_levels),
        level_cotangents(layout.d_v, shape.max_levels),
        row_weights(layout.key_rows),
        pushed(layout.key_rows),
        d_token(layout.key_rows, layout.d_v, leaves),
        d_raw(layout.end),
        d_free(layout.free_end) {}

  Vector<Scalar> target;
  Vector<Scalar> d_read, d_old_read, d_old_query, d_lambda, d_scores;
  Matrix<Scalar> level_weights;     // column l: the weight of each row of level l
  Matrix<Scalar> level_cotangents;  // column l: d_old_read as level l sees it
  Vector<Scalar> row_weights;       // what is pending for a level, where that is a diagonal
  Vector<Scalar> pushed;            // scratch
  Token<Kind> d_token;
  Vector<Scalar> d_raw, d_free;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_WORKSPACE_HPP
