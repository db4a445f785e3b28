// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_LEVEL_READS_HPP
#define LOGLINEAR_STREAM_LEVEL_READS_HPP

/// \file
/// Reads each level of a state by itself: `S_l^T q` for every l, where `query_mixed` gives their
/// weighted sum.

#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/levels_of.hpp"
#include "loglinear/stream/detail/plain_reads.hpp"
#include "loglinear/stream/detail/state_arguments.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

/// Reads each level by itself: row l of `reads` becomes `q^T S_l`, 0 where the level is empty.
/// Hence `lambda^T reads` is what `query_mixed` gives.
///
/// \param state  as it stands (`before_push`)
/// \param q      length d_k
/// \param reads  max_levels x d_v, overwritten; must not overlap q or the state
///
/// \throws std::invalid_argument for a wrong size, a coefficient of q that is not finite, or where
/// a read would not be finite; `reads` is as it was then. Costs what `query_mixed` does. Does not
/// allocate, except to copy an argument that is not contiguous in memory.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow, class Query,
          class Reads>
void level_reads(const LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>& state,
                 const Eigen::MatrixBase<Query>& q, Eigen::MatrixBase<Reads> const& reads) {
  using Accumulator = detail::Accumulator<Scalar>;
  static_assert(Query::IsVectorAtCompileTime, "level_reads takes a vector q: a row or a column");
  static_assert(std::is_same_v<typename Reads::Scalar, Accumulator>,
                "the reads must have the state's scalar, or float where that is narrower");
  const detail::FlushToZero<Accumulator> flush;
  detail::require_size("q", q.size(), state.d_k());
  detail::require_size("the reads (rows, one a level)", reads.rows(), state.max_levels());
  detail::require_size("the reads (columns, d_v)", reads.cols(), state.d_v());
  detail::with_columns<Accumulator, KeyDim>(
      detail::as_column(q), state.d_k(), "q", state.flat_state(), [&](const auto& query) {
        detail::read_levels_apart(detail::levels_of(state), query.data(),
                                  const_cast<Eigen::MatrixBase<Reads>&>(reads).derived());
      });
}

/// The pullback of `level_reads` with the state constant: d_q = sum_l S_l d_l, where row l of
/// `d_reads` is the gradient d_l with respect to row l of the reads.
///
/// \param d_reads  max_levels x d_v; rows of empty levels are ignored
/// \param d_q      length d_k, overwritten; must not overlap d_reads or the state
///
/// \throws std::invalid_argument for a wrong size, a coefficient that is not finite, or where the
/// result would not be finite. Costs what `level_reads` does. Does not allocate if the rows of
/// `d_reads` are contiguous in memory.
template <class Scalar, int KeyDim, int ValueDim, int MaxLevels, LastLevel Overflow, class DReads,
          class DQuery>
void level_reads_pullback(
    const LogLinearState<Scalar, KeyDim, ValueDim, MaxLevels, Overflow>& state,
    const Eigen::MatrixBase<DReads>& d_reads, Eigen::MatrixBase<DQuery> const& d_q) {
  using Accumulator = detail::Accumulator<Scalar>;
  static_assert(std::is_same_v<typename DReads::Scalar, Accumulator>,
                "the gradient must have the state's scalar, or float where that is narrower");
  const detail::FlushToZero<Accumulator> flush;
  detail::require_size("the gradient of the reads (rows, one a level)", d_reads.rows(),
                       state.max_levels());
  detail::require_size("the gradient of the reads (columns, d_v)", d_reads.cols(), state.d_v());
  detail::require_size("d_q", d_q.size(), state.d_k());
  detail::require_finite("the gradient of the reads", d_reads);
  const Eigen::Ref<const detail::RowMajorMatrix<Accumulator>> rows(d_reads.derived());
  detail::pull_back_levels_apart(detail::levels_of(state), rows.data(), rows.outerStride(),
                                 detail::as_writable_column(d_q));
}

}  // namespace loglinear

#endif  // LOGLINEAR_STREAM_LEVEL_READS_HPP
