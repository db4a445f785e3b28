// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_READING_APART_HPP
#define LOGLINEAR_STREAM_DETAIL_READING_APART_HPP

// Reads of a hierarchy, each level by itself, and their pullback: what reading.hpp does without the
// sum over levels. Row w of the reads is what the level weight lambda[w] would be multiplied by, so
// that `lambda^T reads` is the mixed read; rows that no level is seen at are zero.

#include <algorithm>
#include <array>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/fenwick.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/level_query.hpp"
#include "loglinear/stream/detail/read_memory.hpp"
#include "loglinear/transitions/token.hpp"

namespace loglinear::detail {

/// A weight of 1 for each level.
template <class Scalar>
[[nodiscard]] std::array<Scalar, max_level_limit + 1> unit_level_weights() {
  std::array<Scalar, max_level_limit + 1> ones;
  ones.fill(Scalar(1));
  return ones;
}

/// Rows of reads that lie one after the other, one for each level weight.
template <class Scalar>
struct ReadRows {
  Scalar* first;
  Index count, d_v;

  [[nodiscard]] Index size() const { return count * d_v; }
  [[nodiscard]] Scalar* row(Index w) const { return first + w * d_v; }
};

/// Each row undergoes r of a transition, as reads and their cotangents do.
template <class Kind, class Scalar>
void scale_read_rows(const Kind& transition, const ReadRows<Scalar>& rows) {
  for (Index w = 0; w < rows.count; ++w) scale_row(transition, rows.row(w), rows.d_v);
}

/// reads = what each level of the state as it stands says to the query, in the row where the next
/// token in `order` sees the level.
template <class State, class Scalar, class Kind>
void read_standing_apart(const State& state, const Vector<Scalar>& query, ReadOrder order,
                         ReadMemory<Kind>& memory, const ReadRows<Scalar>& reads) {
  const auto ones = unit_level_weights<Scalar>();
  std::fill_n(reads.first, reads.size(), Scalar(0));
  state.read_apart({query.data(), ones.data(), order}, memory, reads.first, nullptr, nullptr);
  require_finite("a read of a level", reads.first, reads.size());
}

/// reads = what the token reads of each level in the given order, before it is written. What
/// writing it takes lies in `memory` then.
template <class State, class Scalar, class Kind>
void read_token_apart(const State& state, const Token<Kind>& token, ReadOrder order,
                      ReadMemory<Kind>& memory, const ReadRows<Scalar>& reads) {
  const bool stands = !info_of(order).reads_written;
  const auto ones = unit_level_weights<Scalar>();
  memory.old_query = token.query;
  if (!stands) token.transition.left_transposed(memory.old_query);
  std::fill_n(reads.first, reads.size(), Scalar(0));
  state.read_apart({memory.old_query.data(), ones.data(), order}, memory, reads.first,
                   &token.transition, &memory.looked_up);
  if (!stands) {
    scale_read_rows(token.transition, reads);
    const Index key_rows = token.keys.rows();
    Scalar* const own = reads.row(seen_leaf_level(order, state.size(), state.max_levels()));
    for (Index j = 0; j < token.keys.cols(); ++j) {
      const Scalar score = dot(token.keys.data() + j * key_rows, token.query.data(), key_rows);
      axpy<Scalar>(score, token.values.data() + j * reads.d_v, reads.d_v, own);
    }
  }
  require_finite("a read of a level", reads.first, reads.size());
}

/// Computes d_token from the cotangents of the reads, which it overwrites, for what
/// `read_token_apart` read into `memory`; the states are constants. `scratch` is as long as there
/// are level weights.
template <class State, class Scalar, class Kind>
void pull_back_token_apart(const State& state, const Token<Kind>& token, ReadOrder order,
                           ReadMemory<Kind>& memory, const ReadRows<Scalar>& d_reads,
                           PullbackMemory<Kind>& t, Token<Kind>& d_token, Vector<Scalar>& scratch) {
  const Index d_v = d_reads.d_v, key_rows = token.keys.rows();
  const auto ones = unit_level_weights<Scalar>();
  const LevelQuery<Scalar> query{memory.old_query.data(), ones.data(), order};
  const Scalar* const own = d_reads.row(seen_leaf_level(order, state.size(), state.max_levels()));
  copy(own, d_v, t.d_old_read.data());  // before r
  std::fill_n(t.products.data(), d_v, Scalar(0));
  if constexpr (scales_values<Kind>) {  // the reads before r, once more: what r is multiplied by
    const ReadRows<Scalar> old_reads{t.level_cotangents.data(), d_reads.count, d_v};
    std::fill_n(old_reads.first, old_reads.size(), Scalar(0));
    state.read_apart(query, memory, old_reads.first, nullptr, nullptr);
    for (Index w = 0; w < d_reads.count; ++w) {
      add_product(old_reads.row(w), d_reads.row(w), d_v, t.products.data());
    }
  }

  // The older states: with d_l = diag(r) d_reads_l, sum_l S_l d_l is all that is needed, the
  // derivative with respect to L^T q.
  scale_read_rows(token.transition, d_reads);
  std::fill_n(scratch.data(), scratch.size(), Scalar(0));
  state.pull_back(query, memory, {d_reads.first, d_v}, t, scratch.data());
  d_token.query = t.d_old_query;
  token.transition.left(d_token.query);

  // The leaf: (k . q) v.
  for (Index j = 0; j < token.keys.cols(); ++j) {
    const Scalar* const key = token.keys.data() + j * key_rows;
    const Scalar* const value = token.values.data() + j * d_v;
    const Scalar key_query = dot(key, token.query.data(), key_rows);
    const Scalar value_d = dot(value, t.d_old_read.data(), d_v);
    axpy<Scalar>(value_d, key, key_rows, d_token.query.data());
    scale_to<Scalar>(value_d, token.query.data(), key_rows, d_token.keys.data() + j * key_rows);
    scale_to<Scalar>(key_query, t.d_old_read.data(), d_v, d_token.values.data() + j * d_v);
  }

  // sum_l d_l . (r z_l) = 1 . (r products)
  std::fill_n(t.d_old_read.data(), d_v, Scalar(1));
  token.transition.pullback(token.query, t.d_old_query, t.products, t.d_old_read,
                            d_token.transition);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READING_APART_HPP
