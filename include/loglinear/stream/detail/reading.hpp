// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_READING_HPP
#define LOGLINEAR_STREAM_DETAIL_READING_HPP

// Reads of a hierarchy in every order, and their pullback. A read never needs the token to be
// written first: what the older states become is read through the token's transition,
//
//     (L S diag(r))^T q = diag(r) S^T (L^T q),
//
// under the level weight of where the carry will take them, and the token's own leaf is added.

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/workspace.hpp"

namespace loglinear::detail {

/// Where a token's query belongs: what stands is read with it as it is.
template <class Kind>
[[nodiscard]] Vector<typename Kind::Scalar>& query_for(Workspace<Kind>& w, ReadOrder order) {
  return order == ReadOrder::before_push ? w.old_query : w.token.query;
}

/// The weight index under which the next token sees a level.
template <class State>
struct SeenLevels {
  const State& state;
  ReadOrder order;

  int operator()(int level) const {
    return seen_level(order, level, state.size(), state.max_levels());
  }
  /// What the token's carry leaves of what the level holds.
  double kept(int level) const requires(State::overflow != LastLevel::fold) {
    const int last = state.max_levels() - 1;
    const bool gives_way = order == ReadOrder::after_push && level == last &&
                           landed_level(state.size(), state.max_levels()) == last;
    return kept_fraction(State::overflow, gives_way ? 1 : 0);
  }
};

/// Level weights are looked at when they have been read with: the read does not wait.
template <class Kind>
void require_finite_read(const Workspace<Kind>& w) {
  if (all_finite(w.lambda) && all_finite(w.read)) return;
  require_finite("a level weight", w.lambda);
  require_finite("the raw read", w.read);
}

/// The state as it stands with the query w.old_query, level l under weight l + shift; `next` is the
/// token to be written then.
template <class State, class Kind>
void read_standing(const State& state, Workspace<Kind>& w, int shift,
                   const Token<Kind>* next = nullptr) {
  state.read(
      w, [shift](int l) { return l + shift; }, next);
  w.read.swap(w.old_read);
  require_finite_read(w);
}

/// What the token reads in the given order, before it is written; its query is in `query_for(w,
/// order)`.
template <class State, class Kind>
void read_token(const State& state, Workspace<Kind>& w, ReadOrder order) {
  const Token<Kind>& token = w.token;
  if (order == ReadOrder::before_push) return read_standing(state, w, 0, &token);
  w.old_query = token.query;
  token.transition.left_transposed(w.old_query);
  state.read(w, SeenLevels<State>{state, order}, &token);
  w.read = w.old_read;
  token.transition.right(w.read.transpose());
  const auto& weight = w.lambda[seen_leaf_level(order, state.size(), state.max_levels())];
  for (Index j = 0; j < token.keys.cols(); ++j) {
    w.read += (weight * token.keys.col(j).dot(token.query)) * token.values.col(j);
  }
  require_finite_read(w);
}

/// From t.d_read to t.d_token and t.d_lambda, for what `read_token` read; the states are constants.
template <class State, class Kind>
void pull_back_token(const State& state, const Workspace<Kind>& w, TrainingWorkspace<Kind>& t,
                     ReadOrder order) {
  using Scalar = typename Kind::Scalar;
  const Token<Kind>& token = w.token;
  t.d_lambda.setZero();

  // The older states: with d = diag(r) d_read, p = sum_l lambda_l S_l d is all that is needed, the
  // derivative with respect to L^T q.
  t.d_old_read = t.d_read;
  token.transition.right(t.d_old_read.transpose());
  state.pull_back(w, t, SeenLevels<State>{state, order});
  token.transition.pullback(token.query, t.d_old_query, w.old_read, t.d_read, t.d_token.transition);
  t.d_token.query = t.d_old_query;
  token.transition.left(t.d_token.query);

  // The leaf: lambda_c (k . q) v.
  const int own = seen_leaf_level(order, state.size(), state.max_levels());
  const Scalar& weight = w.lambda[own];
  for (Index j = 0; j < token.keys.cols(); ++j) {
    const Scalar key_query = token.keys.col(j).dot(token.query);
    const Scalar value_d = token.values.col(j).dot(t.d_read);
    t.d_lambda[own] += key_query * value_d;
    t.d_token.query += (weight * value_d) * token.keys.col(j);
    t.d_token.keys.col(j) = (weight * value_d) * token.query;
    t.d_token.values.col(j) = (weight * key_query) * t.d_read;
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READING_HPP
