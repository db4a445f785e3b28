// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_MAP_PULLBACK_HPP
#define LOGLINEAR_CHUNKS_CHUNK_MAP_PULLBACK_HPP

#include <cstddef>

#include "loglinear/chunks/chunk_map.hpp"

namespace loglinear::detail {

/// The gradients of a chunk's tokens from those of the four matrices of chunk_map.hpp: call
/// `start`, then `carry` for every older state, then `finish`.
template <class Scalar>
class ChunkMapPullback {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Views = typename Chunk<Scalar>::Views;
  using Pass = typename ChunkMap<Scalar>::Pass;

  /// \param map  whose matrices are those of the chunk at hand, made for gradients
  explicit ChunkMapPullback(ChunkMap<Scalar>& map)
      : map_(map), kept_(map.kept()), decay_(map.decay()), shape_(map.shape()) {}

  /// Call it after `ChunkMap::prepare_carry`.
  void start() {
    decay_.start_pull_back();
    if (shape_.steps == 0) return;
    if (kept_.is_formed) {
      set_zero(d_transition_, shape_.d_k, shape_.d_k);
    } else {
      set_zero(d_written_transposed_, shape_.d_k, map_.moments());
      set_zero(d_sought_transposed_, shape_.d_k, map_.moments());
    }
  }

  /// d_s = A^T d_next for older state n, which is s before the chunk; notes the gradient of A. d_s
  /// may be d_next itself.
  void carry(std::size_t n, const Matrix& s, const Matrix& d_next, Matrix& d_s) {
    if (kept_.is_formed) {
      transpose_into(s, transposed_);
      product<Into::add>(d_next, transposed_, d_transition_);
      resize(carried_, s.rows(), s.cols());
      product<Into::replace>(ConstBlock(kept_.transition).transpose(), d_next, carried_);
      d_s.swap(carried_);
      return;
    }
    if (shape_.steps > 0) {
      const bool has_found = map_.pass() == Pass::gradients_after_states;
      transpose_into(has_found ? kept_.found_states[n] : map_.find(n, s), transposed_);
      product<Into::subtract>(d_next, transposed_, d_written_transposed_);
      resize(carried_, map_.moments(), s.cols());
      product<Into::replace>(map_.written(), d_next, carried_);
      transpose_into(carried_, transposed_);
      product<Into::subtract>(s, transposed_, d_sought_transposed_);
    }
    decay_.pull_back_state(s, d_next, d_s);
    if (shape_.steps > 0) {
      product<Into::subtract>(ConstBlock(map_.sought()).transpose(), carried_, d_s);
    }
  }

  /// Writes the gradients of the chunk's q, k, u and p and adds to those of its log decays, from
  /// those of scores, queries and keys, which it overwrites, and from what was noted of A. Where
  /// scores and queries are plain, q already has that of the queries.
  void finish(const Chunk<Scalar>& chunk, const Views& rows, Matrix& d_scores, Matrix& d_queries,
              Matrix& d_keys, const typename Chunk<Scalar>::Targets& targets,
              Chunk<Scalar>& gradient) {
    const auto q_at = shape_.queries_at(), k_at = shape_.leaves_at();
    const auto p_at = SequenceShape::lookups_at(), u_at = SequenceShape::removals_at();
    const ConstBlock q = rows.q, k = rows.k;
    const Block d_q = targets.q, d_k = targets.k;
    if (shape_.steps > 0) {
      for (Index i = 0; kept_.is_formed && i < shape_.d_k; ++i) {
        decay_.pull_back_total(i, d_transition_(i, i) * decay_.total(i));
      }
      const ConstBlock p = block_of(chunk.p).topRows(map_.moments());
      const Block d_p = writable_block_of(gradient.p).topRows(map_.moments());
      resize(d_lookups_, map_.moments(), shape_.d_k);
      resize(d_lower_, map_.moments(), map_.moments());
      if (shape_.is_delta) {
        pull_back_delta(d_scores, d_queries, d_keys);
      } else {
        pull_back_removals(d_scores, d_queries, d_keys);
      }
      decay_.pull_back_from_start(p, p_at, d_lookups_, d_p);
      decay_.pull_back_to_end(k, k_at, d_keys, d_k);
      decay_.pull_back_from_start(q, q_at, d_queries, d_q);
      if (shape_.is_delta) {
        decay_.pull_back_gram(p, p_at, k, k_at, kept_.lower, d_lower_, d_p, d_k);
      } else {
        const ConstBlock u = block_of(chunk.u).topRows(map_.moments());
        const Block d_u = writable_block_of(gradient.u).topRows(map_.moments());
        decay_.pull_back_to_end(u, u_at, d_removals_, d_u);
        decay_.pull_back_gram(p, p_at, u, u_at, kept_.lower, d_lower_, d_p, d_u);
        decay_.pull_back_gram(p, p_at, k, k_at, kept_.lookup_key, d_lookup_key_, d_p, d_k);
        decay_.pull_back_gram(q, q_at, u, u_at, map_.query_removal(), d_query_removal_, d_q, d_u);
      }
    } else {
      decay_.pull_back_to_end(k, k_at, d_keys, d_k);
      if (!map_.has_plain_scores()) decay_.pull_back_from_start(q, q_at, d_queries, d_q);
    }
    decay_.pull_back_gram(q, q_at, k, k_at, map_.query_key(), d_scores, d_q, d_k,
                          !map_.has_plain_scores());
    decay_.finish_pull_back(gradient.decay);
  }

 private:
  /// Adds to the gradients of written and sought what the states contribute through A = D -
  /// written^T sought.
  void add_carries(Matrix& d_sought, Matrix& d_written) {
    if (kept_.is_formed) {
      product<Into::subtract>(map_.written(), d_transition_, d_sought);
      transpose_into(d_transition_, transposed_);
      product<Into::subtract>(map_.sought(), transposed_, d_written);
    } else {
      transpose_into(d_sought_transposed_, transposed_);
      add(d_sought.data(), transposed_.data(), d_sought.size(), d_sought.data());
      transpose_into(d_written_transposed_, transposed_);
      add(d_written.data(), transposed_.data(), d_written.size(), d_written.data());
    }
  }

  /// Backwards through scores = G T, keys = T^T K, queries = q D - scores P and A = D - keys^T P,
  /// with T = (I + L)^-1: dG = d_scores T^T, dK = T d_keys, and
  ///
  ///     dL = -T^T dT T^T = -T^T (G^T d_scores + K d_keys^T) T^T = -(scores^T dG + keys dK^T)
  ///
  /// On return d_scores is dG and d_keys is dK.
  void pull_back_delta(Matrix& d_scores, const Matrix& d_queries, Matrix& d_keys) {
    const Moments q_at = shape_.queries_at(), k_at = shape_.leaves_at();
    Block(d_lookups_).setZero();
    product_of_transposed_pairs<Into::subtract>(map_.scores(), q_at, k_at, d_queries,
                                                Block(d_lookups_));
    add_carries(d_lookups_, d_keys);
    transpose_into(kept_.lookups, transposed_);
    product_to_pairs<Into::subtract>(d_queries, q_at, transposed_, k_at, Block(d_scores));
    transpose_into(kept_.inverse, transposed_);
    set_zero(d_query_removal_, map_.tokens(), map_.leaves());
    product_within_pairs<Into::replace>(d_scores, q_at, k_at, transposed_, Block(d_query_removal_));
    d_scores.swap(d_query_removal_);
    resize(carried_, map_.leaves(), shape_.d_k);
    product_of_pairs<Into::replace>(kept_.inverse, k_at, k_at, d_keys, Block(carried_));
    d_keys.swap(carried_);
    Block(d_lower_).setZero();
    product_of_transposed_pairs<Into::subtract>(map_.scores(), q_at, k_at, d_scores,
                                                Block(d_lower_));
    transpose_into(d_keys, transposed_);
    product_to_pairs<Into::subtract>(kept_.keys, k_at, transposed_, k_at, Block(d_lower_));
  }

  /// Backwards through the general form; the names are those of the equations in chunk_map.hpp.
  void pull_back_removals(const Matrix& d_scores, const Matrix& d_queries, const Matrix& d_keys) {
    set_zero(d_query_removal_, map_.tokens(), map_.moments());
    transpose_into(kept_.found, transposed_);
    product<Into::subtract>(d_queries, transposed_, d_query_removal_);
    transpose_into(kept_.found_leaves, transposed_);
    product<Into::subtract>(d_scores, transposed_, d_query_removal_);

    set_zero(d_removals_, map_.moments(), shape_.d_k);
    product<Into::subtract>(kept_.found_leaves, d_keys, d_removals_);

    set_zero(d_found_, map_.moments(), shape_.d_k);
    product<Into::subtract>(ConstBlock(map_.query_removal()).transpose(), d_queries, d_found_);
    add_carries(d_found_, d_removals_);
    product<Into::replace>(ConstBlock(kept_.inverse).transpose(), d_found_, d_lookups_);

    set_zero(d_found_leaves_, map_.moments(), map_.leaves());
    product<Into::subtract>(ConstBlock(map_.query_removal()).transpose(), d_scores,
                            d_found_leaves_);
    transpose_into(d_keys, transposed_);
    product<Into::subtract>(kept_.removals, transposed_, d_found_leaves_);
    resize(d_lookup_key_, map_.moments(), map_.leaves());
    product<Into::replace>(ConstBlock(kept_.inverse).transpose(), d_found_leaves_, d_lookup_key_);

    Block(d_lower_).setZero();
    transpose_into(kept_.found, transposed_);
    product<Into::subtract>(d_lookups_, transposed_, d_lower_);
    transpose_into(kept_.found_leaves, transposed_);
    product<Into::subtract>(d_lookup_key_, transposed_, d_lower_);
  }

  ChunkMap<Scalar>& map_;
  const typename ChunkMap<Scalar>::Kept& kept_;
  ChunkDecay<Scalar>& decay_;
  SequenceShape shape_;
  Matrix d_transition_{};                                  // where A is formed
  Matrix d_written_transposed_{}, d_sought_transposed_{};  // where it is not
  Matrix d_lookups_{}, d_removals_{}, d_lower_{}, d_query_removal_{}, d_lookup_key_{};
  Matrix d_found_{}, d_found_leaves_{};
  Matrix carried_{}, transposed_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_MAP_PULLBACK_HPP
