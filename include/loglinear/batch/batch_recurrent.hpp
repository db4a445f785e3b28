// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_BATCH_RECURRENT_HPP
#define LOGLINEAR_BATCH_BATCH_RECURRENT_HPP

#include <cstddef>
#include <vector>

#include "loglinear/batch/batch_inputs.hpp"
#include "loglinear/batch/detail/batch_heads.hpp"
#include "loglinear/batch/detail/token_step.hpp"
#include "loglinear/sequence/recurrent.hpp"

namespace loglinear {

namespace detail {

/// Checks the arguments of both functions below, before any work.
template <class Scalar>
void require_batch(const BatchHeads<Scalar>& heads, const BatchInputs<Scalar>& in,
                   const HeadArray<Scalar>& out, const BatchStates<Scalar>& states) {
  require_reads("out", out, heads.shape());
  require_target(out, in);
  require_states(states, in, heads.shape());
  heads.validate([&](Index n) { return states[static_cast<std::size_t>(n)].size(); },
                 [&](Index n) { return states[static_cast<std::size_t>(n)].max_levels(); });
}

}  // namespace detail

/// What `chunkwise` of a batch computes, one token after the other: for each head what `recurrent`
/// gives, to the bit. Arguments and errors are those of `chunkwise`. O(T levels d_k d_v) a head;
/// copies the states.
template <class Scalar>
void recurrent(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
               BatchStates<Scalar>& states) {
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_batch(heads, in, out, states);
  BatchStates<Scalar> after(states);
  heads.for_each([&](Eigen::Index n) {
    detail::put_rows(recurrent(heads[n], after[static_cast<std::size_t>(n)]), out, heads.rows(n));
  });
  states.swap(after);
}

/// One token of every sequence and head: T is 1. The states are those of `recurrent`, to the bit,
/// and the reads are the same to rounding. They are taken from the states before the token, by
/// queries that go back through its transition, so that no state needs to be copied.
///
/// \param out  where reads go, [B, 1, H, d_v]; must not overlap any input
/// \throws std::invalid_argument as `chunkwise` of a batch, or unless T is 1; where a result would
/// leave the range of the scalar type, all states are unchanged, and `out` may hold some of the
/// reads. O(active levels x d_k x d_v) a head
template <class Scalar>
void step(const BatchInputs<Scalar>& in, const HeadArray<Scalar>& out,
          BatchStates<Scalar>& states) {
  const detail::BatchHeads<Scalar> heads(in);
  detail::require_size("the number of tokens (rows of q)", heads.shape().tokens, 1);
  detail::require_size("cu_seqlens", static_cast<Eigen::Index>(in.cu_seqlens.size()), 0);
  detail::require_batch(heads, in, out, states);
  std::vector<detail::TokenStep<Scalar>> tokens(states.size());
  heads.for_each([&](Eigen::Index n) {
    const auto at = static_cast<std::size_t>(n);
    detail::put_rows(tokens[at].read(heads[n], states[at]), out, heads.rows(n));
  });
  heads.for_each([&](Eigen::Index n) {
    const auto at = static_cast<std::size_t>(n);
    tokens[at].write(heads[n], states[at]);
  });
}

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_RECURRENT_HPP
