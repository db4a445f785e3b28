// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_BATCH_BATCH_INPUTS_HPP
#define LOGLINEAR_BATCH_BATCH_INPUTS_HPP

#include <vector>

#include "loglinear/batch/head_array.hpp"
#include "loglinear/sequence/chunkwise.hpp"
#include "loglinear/stream/log_linear_state.hpp"

namespace loglinear {

/// Sequences of T tokens, B of them with H heads each, as plain arrays. They are the arrays of
/// `SequenceInputs` for every head, under the same names; its table says which arrays make which
/// rule. Sizes are [B, rows, heads, columns], in any layout and with any strides. An array that a
/// rule does not need is left out.
///
/// H is the largest number of heads of any array. An array may have fewer, a divisor of H: head h
/// then uses head `h / (H / heads)` of that array, as grouped queries do (fewer key heads than
/// query heads) and gated delta nets (more value heads than key heads). Its gradient is summed over
/// the heads that use it.
///
/// With `cu_seqlens` B is 1, and the tokens are those of several sequences one after the other, as
/// flash-linear-attention packs them: sequence n is the tokens [cu_seqlens[n], cu_seqlens[n + 1]).
///
/// Each array is read where it lies. A head is copied once where its columns are not contiguous,
/// where its tokens share memory or run backwards, and for a beta of several strengths a token.
template <class Scalar>
struct BatchInputs {
  using Array = HeadArray<const Scalar>;

  Array q;             ///< queries, [B, T, heads, d_k]
  Array k;             ///< keys, [B, n T, heads, d_k]: n of a token, then those of the next
  Array v;             ///< values, [B, n T, heads, d_v]
  Array lambda = {};   ///< level weights, [B, T, heads, levels]; absent for one state
  Array g = {};        ///< log decays, [B, T, heads, 1] or, by key row, [B, T, heads, d_k]
  Array g_value = {};  ///< log decays of value columns, [B, T, heads, d_v]
  Array beta = {};     ///< strengths of the delta rule, [B, n T, heads, 1]; not with u and p
  Array u = {};        ///< what an update writes back, [B, m T, heads, d_k], m a token
  Array p = {};        ///< what an update looks up, like u
  std::vector<Eigen::Index> cu_seqlens = {};  ///< 0, ..., T, not decreasing; empty: not packed
};

/// Where gradients go, in the shapes of `BatchInputs`; leave out those that you do not want.
template <class Scalar>
struct BatchGradients {
  using Array = HeadArray<Scalar>;

  Array q = {};        ///< with respect to `BatchInputs::q`, and so on
  Array k = {};        ///< of k
  Array v = {};        ///< of v
  Array lambda = {};   ///< of lambda
  Array g = {};        ///< of g
  Array g_value = {};  ///< of g_value
  Array beta = {};     ///< of beta
  Array u = {};        ///< of u
  Array p = {};        ///< of p
};

/// The states of all heads, those of the first sequence before those of the second: sequence n and
/// head h have number `n H + h`. flash-linear-attention calls them `initial_state` and
/// `final_state`.
template <class Scalar>
using BatchStates = std::vector<LogLinearState<Scalar>>;

/// What `chunkwise` keeps of each head for `chunkwise_gradient`.
template <class Scalar>
struct BatchTape {
  std::vector<SequenceTape<Scalar>> heads{};  ///< in the order of `BatchStates`
};

}  // namespace loglinear

#endif  // LOGLINEAR_BATCH_BATCH_INPUTS_HPP
