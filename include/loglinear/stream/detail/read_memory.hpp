// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_READ_MEMORY_HPP
#define LOGLINEAR_STREAM_DETAIL_READ_MEMORY_HPP

// The memory in which a stream is read, sized once so that no read allocates.

#include "loglinear/detail/base/types.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear::detail {

/// How large the memory of reads must be.
struct ReadShape {
  Index key_rows = 0, d_v = 0;
  Index max_levels = 0;
  Index columns = 0;  // of the buffer of newest leaves
  Index tiers = 0;    // of levels with pending transitions in common
};

/// Whether a write takes products of the state with p; a read then forms them in the same pass.
template <class Kind>
inline constexpr bool looks_up = is_rank_one_update<Kind>&& HasSteps<Kind>;

/// What a read finds for the write of the next token, if the kind `looks_up`.
template <class Kind>
struct LookUp {
  using Scalar = typename Kind::Scalar;

  explicit LookUp(const ReadShape& shape)
      : pulled_p(zeros<Scalar>(looks_up<Kind> ? shape.key_rows : 0)),
        found(zeros<Scalar>(looks_up<Kind> ? shape.columns : 0)),
        of_state(zeros<Scalar>(looks_up<Kind> && shape.max_levels == 1 ? shape.d_v : 0)) {}

  Vector<Scalar> pulled_p;  // p of the token's update as the levels see it
  Vector<Scalar> found;     // p . k of each buffered leaf
  Vector<Scalar> of_state;  // S^T p where there is one level
};

/// The memory of a read, in which it leaves what its pullback takes.
template <class Kind>
struct ReadMemory {
  using Scalar = typename Kind::Scalar;

  explicit ReadMemory(const ReadShape& shape)
      : old_query(zeros<Scalar>(shape.key_rows)),
        old_read(zeros<Scalar>(shape.d_v)),
        tier_queries(zeros<Matrix<Scalar>>(shape.key_rows, shape.tiers)),
        tier_scales(zeros<Matrix<Scalar>>(shape.d_v, shape.tiers)),
        level_read(zeros<Scalar>(shape.d_v)),
        scores(zeros<Scalar>(shape.columns)),
        looked_up(shape) {}

  Vector<Scalar> old_query;     // a token's query as the older states see it: L^T q
  Vector<Scalar> old_read;      // what it reads of them, before diag(r)
  Matrix<Scalar> tier_queries;  // column i: the query as the levels of tier i see it
  Matrix<Scalar> tier_scales;   // column i: what their reads are multiplied by
  Vector<Scalar> level_read;    // one level's share of the read
  Vector<Scalar> scores;        // k . query of each buffered leaf
  LookUp<Kind> looked_up;
};

/// The memory of the pullback of a read.
template <class Kind>
struct PullbackMemory {
  using Scalar = typename Kind::Scalar;

  explicit PullbackMemory(const ReadShape& shape)
      : d_old_read(zeros<Scalar>(shape.d_v)),
        d_old_query(zeros<Scalar>(shape.key_rows)),
        d_scores(zeros<Scalar>(shape.columns)),
        level_weights(zeros<Matrix<Scalar>>(shape.key_rows, shape.max_levels)),
        level_cotangents(zeros<Matrix<Scalar>>(shape.d_v, shape.max_levels + 1)),
        products(zeros<Scalar>(shape.d_v)),
        row_weights(zeros<Scalar>(shape.key_rows)),
        pushed(zeros<Scalar>(shape.key_rows)) {}

  Vector<Scalar> d_old_read, d_old_query, d_scores;
  Matrix<Scalar> level_weights;     // column l: the weight of each row of level l
  Matrix<Scalar> level_cotangents;  // column l: d_old_read as level l sees it; one is to spare
  Vector<Scalar> products;          // of reads of levels and their cotangents, summed
  Vector<Scalar> row_weights;       // what is pending for a level, where that is a diagonal
  Vector<Scalar> pushed;            // scratch
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_READ_MEMORY_HPP
