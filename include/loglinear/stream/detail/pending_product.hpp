// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_PENDING_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_PENDING_PRODUCT_HPP

// What levels have yet to undergo: the product of the transitions of several tokens, kept apart so
// that the levels need not be rewritten at every token. A read takes its query back through the
// product instead, (P S diag(r))^T q = diag(r) S^T (P^T q).
//
// Products of diagonal kinds are of the same kind; those of all others are dense, once they are
// products of more than a few transitions.

#include <type_traits>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/stream/detail/dense_product.hpp"
#include "loglinear/stream/detail/diagonal_product.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/stream/detail/low_rank_product.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear::detail {

/// The product of any number of transitions.
template <class Kind>
using PendingProduct =
    std::conditional_t<HasOwnProducts<Kind>, DiagonalProduct<Kind>, DenseProduct<Kind>>;

/// The product of so few transitions that it need not be dense.
template <class Kind>
using RecentProduct =
    std::conditional_t<!HasOwnProducts<Kind> && HasSteps<Kind> && !scales_values<Kind>,
                       LowRankProduct<Kind>, PendingProduct<Kind>>;

template <class Kind>
[[nodiscard]] RecentProduct<Kind> make_recent(Index key_rows, Index d_v,
                                              [[maybe_unused]] Index tokens,
                                              [[maybe_unused]] Index leaves) {
  if constexpr (std::is_same_v<RecentProduct<Kind>, LowRankProduct<Kind>>) {
    return {key_rows, tokens, leaves};
  } else {
    return {key_rows, d_v};
  }
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_PENDING_PRODUCT_HPP
