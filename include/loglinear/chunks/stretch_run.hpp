// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_STRETCH_RUN_HPP
#define LOGLINEAR_CHUNKS_STRETCH_RUN_HPP

#include <algorithm>

#include "loglinear/chunks/chunkwise_run.hpp"
#include "loglinear/chunks/stretch.hpp"

namespace loglinear::detail {

/// Reads and writes all tokens of the source as a stretch: `states` begins without levels, at the
/// stretch's absolute count and origin, and holds its own tokens in the end. P goes through the
/// chunks as one more older state does, whose value columns do not decay.
template <class Scalar>
void forward_stretch(TokenSource<Scalar>& source, Index chunk_size, Index weights,
                     Hierarchy<Scalar>& states, ChunkwiseTape<Scalar>* tape,
                     Stretch<Scalar>& stretch) {
  using Step = ChunkStep<Scalar>;
  StretchMap<Scalar>& map = stretch.map;
  Step step(source.shape(), (std::min)(chunk_size, source.length()), weights);
  const auto take_queries = [&](Index first, Index tokens) {
    const bool has_factors = step.map().has_plain_scores();
    if (first == 0 && has_factors) stretch.factors.resize(stretch.length);
    if (first == 0 && !has_factors) resize(stretch.queries, stretch.length, step.shape().d_k);
    if (has_factors) {  // all of P's diagonal is one number
      for (Index t = 0; t < tokens; ++t) {
        stretch.factors[first + t] = *map.left.data() * step.map().query_factor(t);
      }
      return clear_negligible(stretch.factors.data() + first, tokens);
    }
    const ConstRowBlock<Scalar> queries = step.map().queries();
    const RowBlock<Scalar> to = RowBlock<Scalar>(stretch.queries).middleRows(first, tokens);
    if (map.is_dense()) product<Into::replace>(queries, map.left, to);
    for (Index t = 0; t < tokens; ++t) {
      if (!map.is_dense()) multiply(queries.row(t), map.left.data(), to.cols(), to.row(t));
      clear_negligible(to.row(t), to.cols());
    }
    if (stretch.value_decay.rows() == 0) return;
    const RowBlock<Scalar> decays = RowBlock<Scalar>(stretch.value_decay).middleRows(first, tokens);
    for (Index t = 0; t < tokens; ++t) copy(map.right.data(), decays.cols(), decays.row(t));
    step.mix().decay_from_start(decays);
  };
  for_each_chunk(source.length(), chunk_size, states, tape, [&](Index first, Index tokens) {
    if (tape != nullptr && tape->kept.size() > stretch.before_kept.size()) {
      stretch.before_kept.push_back(map);
    }
    step.load(source, first, tokens, Step::Pass::reads);
    const Index next = first + tokens, coming = (std::min)(tokens, source.length() - next);
    step.read_and_advance(
        states, [&](Index part, Index parts) { source.foresee(next, coming, part, parts); });
    source.take_out(first, step.chunk());
    take_queries(first, tokens);
    step.map().carry(0, map.left, map.left);
    clear_negligible(map.left.data(), map.left.size());
    if (map.right.size() > 0) step.mix().carry(map.right);
  });
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_STRETCH_RUN_HPP
