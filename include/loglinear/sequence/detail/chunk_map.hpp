// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_DETAIL_CHUNK_MAP_HPP
#define LOGLINEAR_SEQUENCE_DETAIL_CHUNK_MAP_HPP

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

#include "loglinear/sequence/detail/chunk.hpp"
#include "loglinear/sequence/detail/chunk_decay.hpp"
#include "loglinear/sequence/detail/pairs.hpp"
#include "loglinear/sequence/detail/triangular.hpp"

namespace loglinear::detail {

template <class Scalar>
class ChunkMap {
 public:
  using Matrix = RowMajorMatrix<Scalar>;
  using Views = typename Chunk<Scalar>::Views;

  ChunkMap(const SequenceShape& shape, Index capacity)
      : shape_(shape),
        decay_(shape.d_k, shape.decays, capacity * shape.moments(),
               capacity * std::max(shape.moments(), shape.leaves)) {}

  /// Computes the four matrices, or only `keys` and A where nothing is read.
  void forward(const Chunk<Scalar>& chunk, const Views& rows, bool reads) {
    tokens_ = chunk.tokens;
    leaves_ = tokens_ * shape_.leaves;
    moments_ = tokens_ * shape_.moments();
    decay_.prepare(chunk.decay.topRows(shape_.decays > 0 ? moments_ : 0), moments_);
    decayed_keys_ = rows.k;
    decay_.decay_to_end(decayed_keys_, shape_.leaves_at());
    if (reads) {
      decayed_queries_ = rows.q;
      decay_.decay_from_start(decayed_queries_, shape_.queries_at());
      query_key_.resize(tokens_, leaves_);
      decay_.gram(rows.q, shape_.queries_at(), rows.k, shape_.leaves_at(), query_key_);
    }
    if (shape_.steps > 0) forward_updates(chunk, rows, reads);
  }

  [[nodiscard]] const Matrix& scores() const { return shape_.steps ? scores_ : query_key_; }
  [[nodiscard]] const Matrix& queries() const { return shape_.steps ? queries_ : decayed_queries_; }
  [[nodiscard]] const Matrix& keys() const { return shape_.steps ? keys_ : decayed_keys_; }

  /// Before `carry` and `pull_back_carry` of so many states: decides whether A is worth forming.
  void prepare_carry(Index states) {
    is_formed_ = shape_.steps > 0 && states > 1 && shape_.d_k <= moments_;
    if (!is_formed_) return;
    transition_.setZero(shape_.d_k, shape_.d_k);
    for (Index i = 0; i < shape_.d_k; ++i) transition_(i, i) = decay_.total(i);
    product<Into::subtract>(written().transpose(), sought(), transition_);
  }

  /// s <- A s, d_k x d_v.
  void carry(Matrix& s) {
    if (is_formed_) {
      carried_.resize(s.rows(), s.cols());
      product<Into::replace>(transition_, s, carried_);
      s.swap(carried_);
      return;
    }
    if (shape_.steps > 0) {
      carried_.resize(moments_, s.cols());
      product<Into::replace>(sought(), s, carried_);
    }
    decay_.decay_state(s);
    if (shape_.steps > 0) product<Into::subtract>(written().transpose(), carried_, s);
  }

  void start_pull_back() {
    decay_.start_pull_back();
    d_transition_.setZero(shape_.steps ? shape_.d_k : 0, shape_.steps ? shape_.d_k : 0);
  }

  /// d_s <- A^T d_s for a state s from before the chunk, and what that says of A.
  void pull_back_carry(const Matrix& s, Matrix& d_s) {
    if (shape_.steps > 0) {
      transpose_into(s, transposed_);
      product<Into::add>(d_s, transposed_, d_transition_);
    }
    if (is_formed_) {
      carried_.resize(s.rows(), s.cols());
      product<Into::replace>(transition_.transpose(), d_s, carried_);
      d_s.swap(carried_);
      return;
    }
    if (shape_.steps > 0) {
      carried_.resize(moments_, s.cols());
      product<Into::replace>(written(), d_s, carried_);
    }
    decay_.decay_state(d_s);
    if (shape_.steps > 0) {
      product<Into::subtract>(sought().transpose(), carried_, d_s);
    } else {
      for (Index i = 0; shape_.decays > 0 && i < s.rows(); ++i) {
        decay_.pull_back_total(i, s.row(i).dot(d_s.row(i)));
      }
    }
  }

  /// From the gradients of scores, queries and keys, which are used up, and what was noted of A to
  /// that of the chunk's q, k, u, p and log decays, which are added to.
  void pull_back(const Chunk<Scalar>& chunk, const Views& rows, Matrix& d_scores, Matrix& d_queries,
                 Matrix& d_keys, Chunk<Scalar>& gradient) {
    const auto q_at = shape_.queries_at(), k_at = shape_.leaves_at();
    const auto p_at = SequenceShape::lookups_at(), u_at = SequenceShape::removals_at();
    const auto& q = rows.q;
    const auto& k = rows.k;
    auto d_q = gradient.q.topRows(tokens_);
    auto d_k = gradient.k.topRows(leaves_);
    if (shape_.steps > 0) {
      for (Index i = 0; i < shape_.d_k; ++i) {
        decay_.pull_back_total(i, d_transition_(i, i) * decay_.total(i));
      }
      const auto p = chunk.p.topRows(moments_);
      auto d_p = gradient.p.topRows(moments_);
      d_lookups_.resize(moments_, shape_.d_k);
      d_lower_.resize(moments_, moments_);
      if (shape_.is_delta) {
        pull_back_delta(d_scores, d_queries, d_keys);
        decay_.pull_back_gram(p, p_at, k, k_at, lower_, d_lower_, d_p, d_k);
      } else {
        const auto u = chunk.u.topRows(moments_);
        auto d_u = gradient.u.topRows(moments_);
        pull_back_removals(d_scores, d_queries, d_keys);
        decay_.pull_back_gram(p, p_at, u, u_at, lower_, d_lower_, d_p, d_u);
        decay_.pull_back_gram(p, p_at, k, k_at, lookup_key_, d_lookup_key_, d_p, d_k);
        decay_.pull_back_gram(q, q_at, u, u_at, query_removal_, d_query_removal_, d_q, d_u);
        decay_.pull_back_to_end(removals_, u_at, d_removals_);
        d_u += d_removals_;
      }
      decay_.pull_back_from_start(lookups_, p_at, d_lookups_);
      d_p += d_lookups_;
    }
    decay_.pull_back_gram(q, q_at, k, k_at, query_key_, d_scores, d_q, d_k);
    decay_.pull_back_from_start(decayed_queries_, q_at, d_queries);
    d_q += d_queries;
    decay_.pull_back_to_end(decayed_keys_, k_at, d_keys);
    d_k += d_keys;
    decay_.finish_pull_back(gradient.decay.topRows(shape_.decays > 0 ? moments_ : 0));
  }

 private:
  /// The part that rank-one updates add.
  void forward_updates(const Chunk<Scalar>& chunk, const Views& rows, bool reads) {
    const auto& k = rows.k;
    const auto p = chunk.p.topRows(moments_);
    lookups_ = p;
    decay_.decay_from_start(lookups_, shape_.lookups_at());
    lower_.resize(moments_, moments_);
    if (shape_.is_delta) {
      decay_.gram(p, shape_.lookups_at(), k, shape_.leaves_at(), lower_);
      invert_unit_lower(lower_, inverse_, scratch_);
      const Moments q_at = shape_.queries_at(), k_at = shape_.leaves_at();
      keys_.resize(leaves_, shape_.d_k);
      product_of_transposed_pairs<Into::replace>(inverse_, k_at, k_at, decayed_keys_, keys_);
      if (!reads) return;
      scores_.resize(tokens_, leaves_);
      queries_ = decayed_queries_;
      product_within_pairs<Into::replace>(query_key_, q_at, k_at, inverse_, scores_);
      clear_unseen(q_at, k_at, scores_);
      product_of_pairs<Into::subtract>(scores_, q_at, k_at, lookups_, queries_);
      return;
    }
    const auto u = chunk.u.topRows(moments_);
    removals_ = u;
    decay_.decay_to_end(removals_, shape_.removals_at());
    lookup_key_.resize(moments_, leaves_);
    found_.resize(moments_, shape_.d_k);
    found_leaves_.resize(moments_, leaves_);
    decay_.gram(p, shape_.lookups_at(), u, shape_.removals_at(), lower_);
    decay_.gram(p, shape_.lookups_at(), k, shape_.leaves_at(), lookup_key_);
    invert_unit_lower(lower_, inverse_, scratch_);
    product<Into::replace>(inverse_, lookups_, found_);
    product<Into::replace>(inverse_, lookup_key_, found_leaves_);
    keys_ = decayed_keys_;
    product<Into::subtract>(found_leaves_.transpose(), removals_, keys_);
    if (!reads) return;
    query_removal_.resize(tokens_, moments_);
    decay_.gram(rows.q, shape_.queries_at(), u, shape_.removals_at(), query_removal_);
    scores_ = query_key_;
    queries_ = decayed_queries_;
    product<Into::subtract>(query_removal_, found_leaves_, scores_);
    product<Into::subtract>(query_removal_, found_, queries_);
  }

  /// A = D - written^T sought.
  [[nodiscard]] const Matrix& written() const { return shape_.is_delta ? keys_ : removals_; }
  [[nodiscard]] const Matrix& sought() const { return shape_.is_delta ? lookups_ : found_; }

  /// Backwards through scores = G T, keys = T^T K, queries = q D - scores P and A = D - keys^T P,
  /// with T = (I + L)^-1: dL = -T^T dT T^T = -(scores^T d_scores + keys d_keys^T) T^T. On return
  /// d_scores is dG and d_keys is dK.
  void pull_back_delta(Matrix& d_scores, const Matrix& d_queries, Matrix& d_keys) {
    const Moments q_at = shape_.queries_at(), k_at = shape_.leaves_at();
    d_lookups_.setZero();
    product_of_transposed_pairs<Into::subtract>(scores_, q_at, k_at, d_queries, d_lookups_);
    product<Into::subtract>(keys_, d_transition_, d_lookups_);
    transpose_into(d_transition_, transposed_);
    product<Into::subtract>(lookups_, transposed_, d_keys);
    transpose_into(lookups_, transposed_);
    product_to_pairs<Into::subtract>(d_queries, q_at, transposed_, k_at, d_scores);
    transpose_into(d_keys, transposed_);
    product_of_transposed_pairs<Into::replace>(scores_, q_at, k_at, d_scores, scratch_);
    product_to_pairs<Into::add>(keys_, k_at, transposed_, k_at, scratch_);
    transpose_into(inverse_, transposed_);
    d_lower_.setZero();
    product_within_pairs<Into::subtract>(scratch_, k_at, k_at, transposed_, d_lower_);
    d_query_removal_.setZero(tokens_, leaves_);
    product_within_pairs<Into::replace>(d_scores, q_at, k_at, transposed_, d_query_removal_);
    d_scores.swap(d_query_removal_);
    carried_.resize(leaves_, shape_.d_k);
    product_of_pairs<Into::replace>(inverse_, k_at, k_at, d_keys, carried_);
    d_keys.swap(carried_);
  }

  /// Backwards through the general form; the names are those of the equations at the top.
  void pull_back_removals(const Matrix& d_scores, const Matrix& d_queries, const Matrix& d_keys) {
    d_query_removal_.setZero(tokens_, moments_);
    transpose_into(found_, transposed_);
    product<Into::subtract>(d_queries, transposed_, d_query_removal_);
    transpose_into(found_leaves_, transposed_);
    product<Into::subtract>(d_scores, transposed_, d_query_removal_);

    d_removals_.setZero(moments_, shape_.d_k);
    transpose_into(d_transition_, transposed_);
    product<Into::subtract>(found_, transposed_, d_removals_);
    product<Into::subtract>(found_leaves_, d_keys, d_removals_);

    d_found_.setZero(moments_, shape_.d_k);
    product<Into::subtract>(query_removal_.transpose(), d_queries, d_found_);
    product<Into::subtract>(removals_, d_transition_, d_found_);
    product<Into::replace>(inverse_.transpose(), d_found_, d_lookups_);

    d_found_leaves_.setZero(moments_, leaves_);
    product<Into::subtract>(query_removal_.transpose(), d_scores, d_found_leaves_);
    transpose_into(d_keys, transposed_);
    product<Into::subtract>(removals_, transposed_, d_found_leaves_);
    d_lookup_key_.resize(moments_, leaves_);
    product<Into::replace>(inverse_.transpose(), d_found_leaves_, d_lookup_key_);

    d_lower_.setZero();
    transpose_into(found_, transposed_);
    product<Into::subtract>(d_lookups_, transposed_, d_lower_);
    transpose_into(found_leaves_, transposed_);
    product<Into::subtract>(d_lookup_key_, transposed_, d_lower_);
  }

  SequenceShape shape_;
  ChunkDecay<Scalar> decay_;
  Index tokens_ = 0, leaves_ = 0, moments_ = 0;
  bool is_formed_ = false;
  Matrix decayed_queries_, decayed_keys_, query_key_;  // q D, k D, <q, k>_D
  Matrix lookups_, removals_;                          // p D, u D
  Matrix query_removal_, lookup_key_, lower_;          // <q, u>_D, <p, k>_D, L
  Matrix inverse_, found_, found_leaves_;              // T, T p D, T <p, k>_D
  Matrix scores_, queries_, keys_, transition_;
  Matrix d_transition_, d_lookups_, d_removals_, d_lower_, d_query_removal_, d_lookup_key_;
  Matrix d_found_, d_found_leaves_;
  Matrix scratch_, carried_, transposed_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_SEQUENCE_DETAIL_CHUNK_MAP_HPP
