// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MIXERS_HEADS_HPP
#define LOGLINEAR_MIXERS_HEADS_HPP

// The heads of a mixer between its projections: each is one sequence of the sequence form, with
// queries and keys that the heads of a group share.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "loglinear/detail/base/product.hpp"
#include "loglinear/parallel/detail/parallel_for.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/sequence/chunkwise_gradient.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear::detail {

/// The inputs of all heads side by side, a row a token; or their gradients.
template <class Scalar>
struct HeadInputs {
  Index groups = 1, heads = 1;      // heads is a multiple of groups
  RowMajorMatrix<Scalar> q{}, k{};  // T x (groups d_k)
  RowMajorMatrix<Scalar> v{};       // T x (heads d_v)
  RowMajorMatrix<Scalar> lambda{};  // T x (heads levels)
  RowMajorMatrix<Scalar> g{};       // T x heads
  RowMajorMatrix<Scalar> beta{};    // T x heads, or empty: no delta rule

  [[nodiscard]] Index length() const { return v.rows(); }
  [[nodiscard]] Index d_k() const { return k.cols() / groups; }
  [[nodiscard]] Index d_v() const { return v.cols() / heads; }
  [[nodiscard]] Index group_of(Index head) const { return head / (heads / groups); }

  /// One head as a sequence: views of these arrays.
  [[nodiscard]] SequenceInputs<Scalar> head(Index h) const {
    SequenceInputs<Scalar> one;
    match_arrays(*this, h, one,
                 [](const auto& columns, auto& of_head, bool) { of_head = view_of(columns); });
    return one;
  }

  /// Calls `use(columns of head h, array of one, whether the heads of a group share them)` for the
  /// six arrays; `one` is a head's sequence or its gradients.
  template <class All, class One, class Use>
  static void match_arrays(All& all, Index h, One& one, Use use) {
    const auto match = [&](auto& array, Index parts, Index which, auto& of_head) {
      const Index width = array.cols() / parts;
      use(array.middleCols(which * width, width), of_head, parts < all.heads);
    };
    match(all.q, all.groups, all.group_of(h), one.q);
    match(all.k, all.groups, all.group_of(h), one.k);
    match(all.v, all.heads, h, one.v);
    match(all.lambda, all.heads, h, one.lambda);
    match(all.g, all.heads, h, one.g);
    match(all.beta, all.heads, h, one.beta);
  }
};

/// Calls `use(first, end)` for the heads [first, end) of each group, on threads: the calls share
/// nothing they write.
template <class Scalar, class Use>
void for_each_group(const HeadInputs<Scalar>& in, Use use) {
  const Index width = in.heads / in.groups;
  parallel_for<Scalar>(in.groups, thread_count(),
                       [&](Index group) { use(group * width, (group + 1) * width); });
}

/// What a gradient needs of each head; nullptr if there will be no gradient.
template <class Scalar>
using HeadTapes = std::vector<SequenceTape<Scalar>>*;

/// The reads of all heads, T x (heads d_v); `state_of(h)` is the state that head h goes on from, a
/// reference or a value.
template <class Scalar, class StateOf>
[[nodiscard]] RowMajorMatrix<Scalar> read_heads_from(const HeadInputs<Scalar>& in,
                                                     const ChunkwiseOptions& options,
                                                     HeadTapes<Scalar> tapes, StateOf state_of) {
  RowMajorMatrix<Scalar> reads(in.length(), in.v.cols());
  parallel_for<Scalar>(in.heads, thread_count(), [&](Index h) {
    auto&& state = state_of(h);
    reads.middleCols(h * in.d_v(), in.d_v()) =
        chunkwise(in.head(h), state, options,
                  tapes == nullptr ? nullptr : &(*tapes)[static_cast<std::size_t>(h)]);
  });
  return reads;
}

/// The reads from given states; each state goes on by T tokens.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> read_heads(const HeadInputs<Scalar>& in,
                                                std::vector<LogLinearState<Scalar>>& states,
                                                const ChunkwiseOptions& options,
                                                HeadTapes<Scalar> tapes = nullptr) {
  return read_heads_from<Scalar>(in, options, tapes, [&](Index h) -> LogLinearState<Scalar>& {
    return states[static_cast<std::size_t>(h)];
  });
}

/// The reads from empty states, with as many of `max_levels` levels as T tokens fill. Discards the
/// final states.
template <class Scalar>
[[nodiscard]] RowMajorMatrix<Scalar> read_heads(const HeadInputs<Scalar>& in, int max_levels,
                                                const ChunkwiseOptions& options,
                                                HeadTapes<Scalar> tapes = nullptr) {
  const int needed = levels_needed(static_cast<std::uint64_t>(in.length()));
  return read_heads_from<Scalar>(in, options, tapes, [&](Index) {
    return LogLinearState<Scalar>((std::min)(max_levels, needed), in.d_k(), in.d_v());
  });
}

/// The gradients of `sum(d_reads * reads)` with respect to the inputs of all heads; those of shared
/// queries and keys are summed over the heads of a group.
template <class Scalar>
[[nodiscard]] HeadInputs<Scalar> read_heads_gradient(
    const HeadInputs<Scalar>& in, const RowMajorMatrix<Scalar>& d_reads,
    const std::vector<SequenceTape<Scalar>>& tapes) {
  HeadInputs<Scalar> d = in;  // its shapes: every column is written
  for_each_group(in, [&](Index first, Index end) {
    for (Index h = first; h < end; ++h) {
      const SequenceGradients<Scalar> of_head =
          chunkwise_gradient<Scalar>(in.head(h), tapes[static_cast<std::size_t>(h)],
                                     view_of(d_reads.middleCols(h * in.d_v(), in.d_v())));
      HeadInputs<Scalar>::match_arrays(d, h, of_head,
                                       [&](auto columns, const auto& gradient, bool is_shared) {
                                         if (is_shared && h > first) {
                                           columns += gradient;
                                         } else {
                                           columns = gradient;
                                         }
                                       });
    }
  });
  return d;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MIXERS_HEADS_HPP
