// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_CHUNK_MAP_HPP
#define LOGLINEAR_CHUNKS_CHUNK_MAP_HPP

// What a chunk of tokens does, as four matrices, whatever the transitions are:
//
//     scores    C x Cn    q_t^T A_t ... A_{s+1} k_s of each query and leaf of the chunk
//     queries   C x d_k   (A_t ... A_0)^T q_t: what meets the states from before the chunk
//     keys      Cn x d_k  A_{C-1} ... A_{s+1} k_s: the leaves as they are at the end of the chunk
//     A         d_k x d_k A_{C-1} ... A_0: what the older states undergo
//
// With D the decays of chunk_decay.hpp and <x, y>_D the Gram matrix of rows decayed in between, a
// diagonal transition gives them at once: <q, k>_D, q D, k D and D. Rank-one updates D - u p^T
// remove what the rows p find. With L = <p, u>_D, strictly lower triangular, and T = (I + L)^-1
// (the WY form; Yang et al., arXiv:2406.06484, section 3, and arXiv:2412.06464, section 3.3),
//
//     found    F = T (p D),  T <p, k>_D       what p finds of older states, and of the leaves
//     scores   = <q, k>_D - <q, u>_D T <p, k>_D         queries = q D - <q, u>_D F
//     keys     = k D - (T <p, k>_D)^T u D               A       = D - (u D)^T F
//
// In the delta rules u is the leaf's own key. Then <p, k>_D = L and I - T L = T, so that
//
//     scores   = <q, k>_D T         keys = T^T k D
//     queries  = q D - scores p D   A    = D - keys^T p D

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/chunks/chunk_decay.hpp"
#include "loglinear/chunks/pairs.hpp"
#include "loglinear/chunks/triangular.hpp"

namespace loglinear::detail {

/// The four matrices. It has many members: each term of the equations above is one, with a name.
template <class Scalar>
class ChunkMap {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Block = RowBlock<Scalar>;
  using ConstBlock = ConstRowBlock<Scalar>;
  using Views = typename Chunk<Scalar>::Views;

  ChunkMap(const SequenceShape& shape, Index capacity)
      : shape_(shape),
        decay_(shape.d_k, shape.decays, capacity * shape.moments(),
               capacity * (std::max)(shape.moments(), shape.leaves)) {}

  /// What a pass over a chunk is for: its states alone, reads as well, or gradients, which a pass
  /// for states may have preceded.
  enum class Pass { states, reads, gradients, gradients_after_states };

  /// What a pass for states computes.
  struct Kept {
    Matrix decayed_keys{};                      // k D
    Matrix lookups{}, removals{};               // p D, u D
    Matrix lower{}, lookup_key{};               // L = <p, u>_D, <p, k>_D
    Matrix inverse{}, found{}, found_leaves{};  // T, T p D, T <p, k>_D
    Matrix keys{}, transition{};  // the matrices of the same names; A only if `is_formed`
    bool is_formed = false;
    std::vector<Matrix> found_states{};  // if not: F S of each older state, (p D) S for delta rules
  };
  /// Exchanges what is kept. Call it after a pass for states, and again before the pass for
  /// gradients of the same chunk.
  void swap_kept(Kept& kept) { std::swap(kept_, kept); }

  /// Computes the four matrices, or only `keys` and A for states alone. `rows` must stay where they
  /// are while the matrices are in use.
  void forward(const Chunk<Scalar>& chunk, const Views& rows, Pass pass) {
    pass_ = pass;
    rows_ = rows;
    tokens_ = chunk.tokens;
    leaves_ = tokens_ * shape_.leaves;
    moments_ = tokens_ * shape_.moments();
    const bool reads = pass != Pass::states, has_kept = pass == Pass::gradients_after_states;
    decay_.prepare(chunk.decay, moments_, reads || shape_.steps > 0);
    if (!has_kept && (shape_.decays > 0 || shape_.steps > 0)) {
      resize(kept_.decayed_keys, leaves_, shape_.d_k);
      decay_.decay_to_end(rows.k, shape_.leaves_at(), kept_.decayed_keys);
    }
    if (!has_kept && shape_.steps > 0) forward_updates(chunk, rows);
    if (!reads) return;
    if (has_plain_scores()) decay_.prepare_right(rows.k);
    if (has_plain_scores() && pass == Pass::reads) return;
    // The weighting of scores may read beyond the last of them, see `weight_scores`.
    if (query_key_.size() != tokens_ * leaves_) set_zero(query_key_, tokens_, leaves_);
    resize(query_key_, tokens_, leaves_);
    if (has_plain_scores()) return fold_scores(0, query_key_);
    resize(decayed_queries_, tokens_, shape_.d_k);
    decay_.decay_from_start(rows.q, shape_.queries_at(), decayed_queries_);
    decay_.gram(rows.q, shape_.queries_at(), rows.k, shape_.leaves_at(), query_key_,
                shape_.is_delta && !has_kept);
    if (shape_.steps > 0) forward_updated_reads(chunk, rows);
  }

  /// Row t times `score_factors(t)`, unless that is null, is what reads the leaves that query t
  /// sees.
  [[nodiscard]] const Matrix& scores() const { return shape_.steps ? scores_ : query_key_; }
  /// Whether scores and queries are without their decays, which are factors beside them. A pass for
  /// reads then has no `scores`; `fold_scores` gives those of a few queries at a time.
  [[nodiscard]] bool has_plain_scores() const {
    return shape_.steps == 0 && shape_.decays <= 1 && !shape_.decays_values &&
           shape_.leaves_at().is_dense();
  }
  /// scores = those of the queries from `first` on.
  void fold_scores(Index first, const Block& scores) const {
    decay_.gram_of_seen(rows_.q.middleRows(first, scores.rows()), shape_.queries_at().from(first),
                        shape_.leaves_at(), scores);
  }
  [[nodiscard]] const Scalar* score_factors(Index t) const {
    return has_plain_scores() ? decay_.until(shape_.queries_at()[t]) : nullptr;
  }
  /// Row t times `query_factor(t)` is what meets older states.
  [[nodiscard]] ConstBlock queries() const {
    return has_plain_scores() ? rows_.q : ConstBlock(shape_.steps ? queries_ : decayed_queries_);
  }
  [[nodiscard]] Scalar query_factor(Index t) const {
    return has_plain_scores() ? decay_.factor_from_start(shape_.queries_at()[t]) : Scalar(1);
  }
  [[nodiscard]] ConstBlock keys() const {
    if (shape_.steps > 0) return ConstBlock(kept_.keys);
    return shape_.decays > 0 ? ConstBlock(kept_.decayed_keys) : rows_.k;
  }

  /// Decides whether A is worth forming. Call it before `carry`, or its pullback, of `states` older
  /// states. It is where 2 N d_k^2 operations to form it and 2 d_k^2 d_v for each state are fewer
  /// than 4 N d_k d_v for each, with N moments.
  void prepare_carry(Index states) {
    if (pass_ == Pass::gradients_after_states) return;
    kept_.is_formed = shape_.steps > 0 &&
                      states * shape_.d_v * (2 * moments_ - shape_.d_k) > moments_ * shape_.d_k;
    if (!kept_.is_formed) return;
    set_zero(kept_.transition, shape_.d_k, shape_.d_k);
    for (Index i = 0; i < shape_.d_k; ++i) kept_.transition(i, i) = decay_.total(i);
    product<Into::subtract>(ConstBlock(written()).transpose(), sought(), kept_.transition);
  }

  /// to = A s, d_k x d_v, for older state n; in place where `to` is s.
  void carry(std::size_t n, const Matrix& s, Matrix& to) {
    if (kept_.found_states.size() <= n) kept_.found_states.resize(n + 1);
    carry(s, to, kept_.found_states[n], carried_);
  }
  /// The same for some value columns of any older state; `found` and `carried` are scratch.
  void carry(const Matrix& s, Matrix& to, Matrix& found, Matrix& carried) const {
    if (kept_.is_formed) {
      resize(carried, s.rows(), s.cols());
      product<Into::replace>(kept_.transition, s, carried);
      to.swap(carried);
      return;
    }
    if (shape_.steps > 0) find(s, found);
    decay_.decay_state(s, to);
    if (shape_.steps > 0) product<Into::subtract>(ConstBlock(written()).transpose(), found, to);
  }

  /// \name For the pullback
  /// \{

  [[nodiscard]] const SequenceShape& shape() const { return shape_; }
  [[nodiscard]] ChunkDecay<Scalar>& decay() { return decay_; }
  [[nodiscard]] Pass pass() const { return pass_; }
  [[nodiscard]] const Kept& kept() const { return kept_; }
  [[nodiscard]] Index tokens() const { return tokens_; }
  [[nodiscard]] Index leaves() const { return leaves_; }
  [[nodiscard]] Index moments() const { return moments_; }
  [[nodiscard]] const Matrix& query_key() const { return query_key_; }          // <q, k>_D
  [[nodiscard]] const Matrix& query_removal() const { return query_removal_; }  // <q, u>_D

  /// A = D - written^T sought.
  [[nodiscard]] const Matrix& written() const {
    return shape_.is_delta ? kept_.keys : kept_.removals;
  }
  [[nodiscard]] const Matrix& sought() const {
    return shape_.is_delta ? kept_.lookups : kept_.found;
  }

  /// What rank-one updates find of older state n.
  const Matrix& find(std::size_t n, const Matrix& s) {
    if (kept_.found_states.size() <= n) kept_.found_states.resize(n + 1);
    find(s, kept_.found_states[n]);
    return kept_.found_states[n];
  }
  /// \}

 private:
  void find(const Matrix& s, Matrix& found) const {
    resize(found, moments_, s.cols());
    product<Into::replace>(sought(), s, found);
  }
  /// What rank-one updates need, whether anything is read or not.
  void forward_updates(const Chunk<Scalar>& chunk, const Views& rows) {
    const ConstBlock& k = rows.k;
    const ConstBlock p = block_of(chunk.p).topRows(moments_);
    const Moments k_at = shape_.leaves_at(), p_at = SequenceShape::lookups_at();
    resize(kept_.lookups, moments_, shape_.d_k);
    resize(kept_.keys, leaves_, shape_.d_k);
    resize(kept_.lower, moments_, moments_);
    decay_.decay_from_start(p, p_at, kept_.lookups);
    if (shape_.is_delta) {
      decay_.gram(p, p_at, k, k_at, kept_.lower);
      invert_unit_lower(kept_.lower, kept_.inverse, scratch_);
      return product_of_transposed_pairs<Into::replace>(kept_.inverse, k_at, k_at,
                                                        kept_.decayed_keys, Block(kept_.keys));
    }
    const ConstBlock u = block_of(chunk.u).topRows(moments_);
    const Moments u_at = SequenceShape::removals_at();
    resize(kept_.removals, moments_, shape_.d_k);
    resize(kept_.lookup_key, moments_, leaves_);
    resize(kept_.found, moments_, shape_.d_k);
    resize(kept_.found_leaves, moments_, leaves_);
    decay_.decay_to_end(u, u_at, kept_.removals);
    decay_.gram(p, p_at, u, u_at, kept_.lower);
    decay_.gram(p, p_at, k, k_at, kept_.lookup_key);
    invert_unit_lower(kept_.lower, kept_.inverse, scratch_);
    product<Into::replace>(kept_.inverse, kept_.lookups, kept_.found);
    product<Into::replace>(kept_.inverse, kept_.lookup_key, kept_.found_leaves);
    assign(kept_.keys, kept_.decayed_keys);
    product<Into::subtract>(ConstBlock(kept_.found_leaves).transpose(), kept_.removals, kept_.keys);
  }

  /// What they change in scores and queries.
  void forward_updated_reads(const Chunk<Scalar>& chunk, const Views& rows) {
    const Moments q_at = shape_.queries_at();
    assign(queries_, decayed_queries_);
    if (shape_.is_delta) {
      const Moments k_at = shape_.leaves_at();
      resize(scores_, tokens_, leaves_);
      product_within_pairs<Into::replace>(query_key_, q_at, k_at, kept_.inverse, Block(scores_));
      clear_unseen(q_at, k_at, Block(scores_));
      return product_of_pairs<Into::subtract>(scores_, q_at, k_at, kept_.lookups, Block(queries_));
    }
    resize(query_removal_, tokens_, moments_);
    decay_.gram(rows.q, q_at, block_of(chunk.u).topRows(moments_), SequenceShape::removals_at(),
                query_removal_);
    assign(scores_, query_key_);
    product<Into::subtract>(query_removal_, kept_.found_leaves, scores_);
    product<Into::subtract>(query_removal_, kept_.found, queries_);
  }

  SequenceShape shape_;
  ChunkDecay<Scalar> decay_;
  Views rows_{};
  Index tokens_ = 0, leaves_ = 0, moments_ = 0;
  Pass pass_ = Pass::states;
  Kept kept_{};
  Matrix decayed_queries_{}, query_key_{};  // q D, <q, k>_D
  Matrix query_removal_{};                  // <q, u>_D
  Matrix scores_{}, queries_{};
  Matrix scratch_{}, carried_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_CHUNK_MAP_HPP
