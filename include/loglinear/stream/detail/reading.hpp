// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_READING_HPP
#define LOGLINEAR_STREAM_DETAIL_READING_HPP

// Reads of a hierarchy in every order, and their pullback. A read never needs the token to be
// written first: what the older states become is read through the token's transition,
//
//     (L S diag(r))^T q = diag(r) S^T (L^T q),
//
// under the level weight of where the carry will take them, and the token's own leaf is added.

#include <algorithm>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

/// Throws unless the read is finite. A level weight that is not finite makes the read of its level
/// so; such a weight is named first. The weight of a level that holds nothing is not used.
template <class Scalar>
void require_finite_read(const Vector<Scalar>& lambda, const Vector<Scalar>& read) {
  if (are_finite(read.data(), read.size())) return;
  require_finite("level weight #", lambda);
  require_finite("coefficient # of the raw read", read);
}

/// read = what the state as it stands says to the query, with each level under the weight that the
/// next token in `order` gives it.
template <class State, class Scalar, class Kind>
void read_standing(const State& state, const Vector<Scalar>& query, const Vector<Scalar>& lambda,
                   ReadOrder order, ReadMemory<Kind>& memory, Vector<Scalar>& read) {
  state.read({query.data(), lambda.data(), order}, memory, read.data());
  require_finite_read(lambda, read);
}

/// read = what the token reads in the given order, before it is written. Returns what writing it
/// takes, which lies in `memory`.
template <class State, class Scalar, class Kind>
const LookUp<Kind>& read_token(const State& state, const Token<Kind>& token,
                               const Vector<Scalar>& lambda, ReadOrder order,
                               ReadMemory<Kind>& memory, Vector<Scalar>& read) {
  const Index d_v = token.values.rows(), key_rows = token.keys.rows();
  const bool stands = !info_of(order).reads_written;
  const Vector<Scalar>& old_query = stands ? token.query : memory.old_query;
  if (!stands) {
    memory.old_query = token.query;
    token.transition.left_transposed(memory.old_query);
  }
  const LevelQuery<Scalar> query{old_query.data(), lambda.data(), order};
  state.read(query, memory, read.data(), token.transition, memory.looked_up);
  if (!stands) {
    memory.old_read = read;
    scale_row(token.transition, read.data(), d_v);
    const Scalar weight = lambda[seen_leaf_level(order, state.size(), state.max_levels())];
    for (Index j = 0; j < token.keys.cols(); ++j) {
      const Scalar score = dot(token.keys.data() + j * key_rows, token.query.data(), key_rows);
      axpy<Scalar>(weight * score, token.values.data() + j * d_v, d_v, read.data());
    }
  }
  require_finite_read(lambda, read);
  return memory.looked_up;
}

/// Computes d_token and d_lambda from d_read, for what `read_token` read into `memory`; the states
/// are constants.
template <class State, class Scalar, class Kind>
void pull_back_token(const State& state, const Token<Kind>& token, const Vector<Scalar>& lambda,
                     ReadOrder order, const ReadMemory<Kind>& memory, const Vector<Scalar>& d_read,
                     PullbackMemory<Kind>& t, Token<Kind>& d_token, Vector<Scalar>& d_lambda) {
  const Index d_v = token.values.rows(), key_rows = token.keys.rows();
  std::fill_n(d_lambda.data(), d_lambda.size(), Scalar(0));

  // The older states: with d = diag(r) d_read, p = sum_l lambda_l S_l d is all that is needed, the
  // derivative with respect to L^T q.
  t.d_old_read = d_read;
  scale_row(token.transition, t.d_old_read.data(), d_v);
  state.pull_back({memory.old_query.data(), lambda.data(), order}, memory, {t.d_old_read.data()}, t,
                  d_lambda.data());
  token.transition.pullback(token.query, t.d_old_query, memory.old_read, d_read,
                            d_token.transition);
  d_token.query = t.d_old_query;
  token.transition.left(d_token.query);

  // The leaf: lambda_c (k . q) v.
  const int own = seen_leaf_level(order, state.size(), state.max_levels());
  const Scalar weight = lambda[own];
  for (Index j = 0; j < token.keys.cols(); ++j) {
    const Scalar* const key = token.keys.data() + j * key_rows;
    const Scalar* const value = token.values.data() + j * d_v;
    const Scalar key_query = dot(key, token.query.data(), key_rows);
    const Scalar value_d = dot(value, d_read.data(), d_v);
    d_lambda[own] += key_query * value_d;
    axpy<Scalar>(weight * value_d, key, key_rows, d_token.query.data());
    scale_to<Scalar>(weight * value_d, token.query.data(), key_rows,
                     d_token.keys.data() + j * key_rows);
    scale_to<Scalar>(weight * key_query, d_read.data(), d_v, d_token.values.data() + j * d_v);
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READING_HPP
