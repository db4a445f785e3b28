// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_INSTANTIATIONS_HPP
#define LOGLINEAR_STREAM_INSTANTIATIONS_HPP

// Streams of the library's kinds of transition, compiled once, see compiled_once.hpp. The list has
// functions, since naming a class in it would instantiate that class in every program.

#include "loglinear/detail/base/compiled_once.hpp"
#include "loglinear/stream/detail/reading.hpp"
#include "loglinear/stream/detail/reading_apart.hpp"
#include "loglinear/stream/detail/stream_state.hpp"
#include "loglinear/stream/detail/streaming.hpp"
#include "loglinear/transitions/decays.hpp"
#include "loglinear/transitions/rank_one_update.hpp"
#include "loglinear/transitions/update_per_leaf.hpp"

#define LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE) \
  detail::StreamState<KIND, SCALAR, LastLevel::fold, HAS_ONE_STATE>

#define LOGLINEAR_STREAM(EXTERN, SCALAR, KIND, HAS_ONE_STATE)                                      \
  EXTERN template LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)                               \
      detail::make_stream<LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)>(                     \
          int, Eigen::Index, Eigen::Index, Eigen::Index);                                          \
  EXTERN template detail::Admitted detail::admit_token(                                            \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const Token<KIND>&);              \
  EXTERN template void detail::write_token(LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&,    \
                                           const Token<KIND>&, const detail::Admitted&,            \
                                           const detail::LookUp<KIND>&);                           \
  EXTERN template void detail::settle_stream(LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&); \
  EXTERN template void detail::copy_plain(                                                         \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&,                                   \
      detail::Levels<SCALAR, Eigen::Dynamic, Eigen::Dynamic, Eigen::Dynamic, LastLevel::fold>&);   \
  EXTERN template void detail::read_standing(                                                      \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const detail::Vector<SCALAR>&,    \
      const detail::Vector<SCALAR>&, ReadOrder, detail::ReadMemory<KIND>&,                         \
      detail::Vector<SCALAR>&);                                                                    \
  EXTERN template const detail::LookUp<KIND>& detail::read_token(                                  \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const Token<KIND>&,               \
      const detail::Vector<SCALAR>&, ReadOrder, detail::ReadMemory<KIND>&,                         \
      detail::Vector<SCALAR>&);                                                                    \
  EXTERN template void detail::pull_back_token(                                                    \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const Token<KIND>&,               \
      const detail::Vector<SCALAR>&, ReadOrder, const detail::ReadMemory<KIND>&,                   \
      const detail::Vector<SCALAR>&, detail::PullbackMemory<KIND>&, Token<KIND>&,                  \
      detail::Vector<SCALAR>&);                                                                    \
  EXTERN template void detail::read_standing_apart(                                                \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const detail::Vector<SCALAR>&,    \
      ReadOrder, detail::ReadMemory<KIND>&, const detail::ReadRows<SCALAR>&);                      \
  EXTERN template void detail::read_token_apart(                                                   \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const Token<KIND>&, ReadOrder,    \
      detail::ReadMemory<KIND>&, const detail::ReadRows<SCALAR>&);                                 \
  EXTERN template void detail::pull_back_token_apart(                                              \
      const LOGLINEAR_STREAM_TYPE(SCALAR, KIND, HAS_ONE_STATE)&, const Token<KIND>&, ReadOrder,    \
      detail::ReadMemory<KIND>&, const detail::ReadRows<SCALAR>&, detail::PullbackMemory<KIND>&,   \
      Token<KIND>&, detail::Vector<SCALAR>&);

#define LOGLINEAR_STREAMS_OF(EXTERN, SCALAR, KIND) \
  LOGLINEAR_STREAM(EXTERN, SCALAR, KIND, false)    \
  LOGLINEAR_STREAM(EXTERN, SCALAR, KIND, true)

/// LIST(EXTERN, SCALAR, kind) for the kinds of transition of the library's rules.
#define LOGLINEAR_FOR_EACH_KIND(LIST, EXTERN, SCALAR)      \
  LIST(EXTERN, SCALAR, Identity<SCALAR>)                   \
  LIST(EXTERN, SCALAR, ScalarDecay<SCALAR>)                \
  LIST(EXTERN, SCALAR, KeyDecay<SCALAR>)                   \
  LIST(EXTERN, SCALAR, ValueDecay<SCALAR>)                 \
  LIST(EXTERN, SCALAR, RankOneUpdate<Identity<SCALAR>>)    \
  LIST(EXTERN, SCALAR, RankOneUpdate<ScalarDecay<SCALAR>>) \
  LIST(EXTERN, SCALAR, RankOneUpdate<KeyDecay<SCALAR>>)    \
  LIST(EXTERN, SCALAR, UpdatePerLeaf<SCALAR>)

#define LOGLINEAR_STREAMS(EXTERN, SCALAR) \
  LOGLINEAR_FOR_EACH_KIND(LOGLINEAR_STREAMS_OF, EXTERN, SCALAR)
LOGLINEAR_COMPILED_ONCE(LOGLINEAR_STREAMS)

#endif  // LOGLINEAR_STREAM_INSTANTIATIONS_HPP
