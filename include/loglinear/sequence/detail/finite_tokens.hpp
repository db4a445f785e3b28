// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_FINITE_TOKENS_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_FINITE_TOKENS_HPP

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/row_block.hpp"
#include "loglinear/sequence/inputs.hpp"

namespace loglinear::detail {

/// Whether the numbers of tokens [first, first + tokens) are finite, in lambda those of the first
/// `levels` columns. Log decays of -infinity count as not finite.
template <class Scalar>
[[nodiscard]] bool are_finite(const SequenceInputs<Scalar>& in, Index levels, Index first,
                              Index tokens) {
  bool finite = true;
  for_each_array(
      [&](const char*, const SequenceArray<Scalar>& all) {
        const Index each = all.rows() / in.length();
        const Index columns = &all == &in.lambda ? levels : all.cols();
        finite = finite && all_finite(block_of(all).block(first * each, 0, tokens * each, columns));
      },
      in);
  return finite;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_FINITE_TOKENS_HPP
