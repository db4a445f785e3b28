// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHUNKS_STRETCH_HPP
#define LOGLINEAR_CHUNKS_STRETCH_HPP

// A stretch of a sequence that is computed apart from what comes before it. States are linear in
// what was there before, S -> P S diag(r) + own, and so are reads: the query of token t meets a
// state S from before the stretch as
//
//     o_t += lambda(t, level of S) (S^T q'_t) * r_t        q'_t = (A_t ... A_first)^T q_t
//
// with r_t the decays of the value columns up to token t. So a stretch begins at its absolute count
// with empty levels, and keeps P, r and the queries q', which are factors times q where nothing but
// one decay a token happens; what came in is read and added later, all of it at once.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "loglinear/chunks/chunk.hpp"
#include "loglinear/chunks/hierarchy.hpp"
#include "loglinear/chunks/level_mask.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/vectors.hpp"

namespace loglinear::detail {

/// What the transitions of a stretch multiply to, S -> P S diag(r).
template <class Scalar>
struct StretchMap {
  using Matrix = RowMajorMatrix<Scalar>;

  /// The identity. \param is_dense  whether P is a matrix; else it is kept as its diagonal
  StretchMap(Index d_k, Index d_v, bool is_dense, bool decays_values)
      : left(Matrix::Ones(d_k, 1)), right(Matrix::Ones(decays_values ? 1 : 0, d_v)) {
    if (is_dense) left = Matrix::Identity(d_k, d_k);
  }

  Matrix left;   ///< P, d_k x d_k, or its diagonal, d_k x 1
  Matrix right;  ///< r, 1 x d_v, or no row where value columns do not decay

  [[nodiscard]] bool is_dense() const { return left.cols() == left.rows() && left.cols() > 1; }

  /// to = P s diag(r); not in place.
  void carry(const Matrix& s, Matrix& to) const {
    apply_left(s, to);
    apply_right(to);
  }
  /// d = P^T d_after diag(r), the pullback of `carry`; not in place.
  void pull_back(const Matrix& d_after, Matrix& d) const {
    if (is_dense()) {
      resize(d, d_after.rows(), d_after.cols());
      product<Into::replace>(block_of(left).transpose(), d_after, d);
    } else {
      apply_left(d_after, d);
    }
    apply_right(d);
  }
  /// The product of this map and a later one: P <- P_later P.
  void follow(const StretchMap& later) {
    Matrix both;
    later.apply_left(left, both);
    clear_negligible(both.data(), both.size());
    left.swap(both);
    if (right.size() > 0) multiply(right.data(), later.right.data(), right.size(), right.data());
  }

 private:
  void apply_left(const Matrix& s, Matrix& to) const {
    resize(to, s.rows(), s.cols());
    if (is_dense()) return product<Into::replace>(left, s, to);
    for (Index i = 0; i < s.rows(); ++i) {
      scale_to(left.data()[i], s.data() + i * s.cols(), s.cols(), to.data() + i * s.cols());
    }
  }
  void apply_right(Matrix& to) const {
    for (Index i = 0; right.size() > 0 && i < to.rows(); ++i) {
      multiply(to.data() + i * to.cols(), right.data(), to.cols(), to.data() + i * to.cols());
    }
    clear_negligible(to.data(), to.size());
  }
};

/// `own`, the levels of a stretch alone, become those after it: `before` undergoes the stretch, and
/// each of its levels falls whole into the one that holds its tokens then.
template <class Scalar>
void add_earlier(const Hierarchy<Scalar>& before, const StretchMap<Scalar>& map,
                 Hierarchy<Scalar>& own) {
  RowMajorMatrix<Scalar> carried;
  std::uint64_t filled = 0;
  for (int l : own.active()) filled |= std::uint64_t{1} << l;
  for (int l : before.active()) {
    map.carry(before.level(l), carried);
    const int holder = own.holder(own.count(), before.bucket(l).first);
    RowMajorMatrix<Scalar>& to = own.level(holder);
    if ((filled >> holder) & 1u) {
      add(to.data(), carried.data(), to.size(), to.data());
    } else {
      to.swap(carried);
    }
    filled |= std::uint64_t{1} << holder;
  }
  own.set_origin(before.origin());
}

/// The pullback: adds to `d_before`, all levels before the stretch, what the gradient with respect
/// to the levels after it contributes.
template <class Scalar>
void add_later_gradient(const Hierarchy<Scalar>& d_after, const StretchMap<Scalar>& map,
                        Hierarchy<Scalar>& d_before) {
  RowMajorMatrix<Scalar> pulled;
  for (int l : d_before.active()) {
    map.pull_back(d_after.level(d_before.holder(d_after.count(), d_before.bucket(l).first)),
                  pulled);
    RowMajorMatrix<Scalar>& to = d_before.level(l);
    add(to.data(), pulled.data(), to.size(), to.data());
  }
}

/// What a stretch keeps for the states from before it.
template <class Scalar>
struct Stretch {
  using Matrix = RowMajorMatrix<Scalar>;

  Stretch(const SequenceShape& shape, Index tokens, bool is_dense, bool decays_values)
      : map(shape.d_k, shape.d_v, is_dense, decays_values),
        length(tokens),
        value_decay(decays_values ? tokens : 0, shape.d_v),
        order(shape.order) {}

  StretchMap<Scalar> map;
  Index length;              ///< tokens
  Vector<Scalar> factors{};  ///< q' is factor times q, if there are any
  Matrix queries{};          ///< q', if not
  Matrix value_decay;        ///< r_t, or no rows
  ReadOrder order;
  std::vector<StretchMap<Scalar>> before_kept{};  ///< before each chunk that a tape keeps

  /// Adds the reads of `states`, those before the stretch, under the level weights `lambda`.
  /// \param q  the tokens' own queries
  /// \return whether all sums are finite
  [[nodiscard]] bool read(const Hierarchy<Scalar>& states, const ConstRowBlock<Scalar>& q,
                          const ConstRowBlock<Scalar>& lambda, const RowBlock<Scalar>& out) const {
    const bool decays = value_decay.rows() > 0;
    bool is_finite = true;
    Matrix reads;
    for_each_piece([&](Index first, Index tokens) {
      const RowBlock<Scalar> sums = out.middleRows(first, tokens);
      if (decays) set_zero(reads, tokens, out.cols());
      for_each_weights(states, lambda, first, tokens, [&](int l, const Scalar* weights) {
        product<Into::add_scaled>(rows(q).middleRows(first, tokens), states.level(l),
                                  decays ? RowBlock<Scalar>(reads) : sums, weights);
      });
      for (Index t = 0; decays && t < tokens; ++t) {
        add_product(reads.data() + t * reads.cols(), value_decay.data() + (first + t) * out.cols(),
                    out.cols(), sums.row(t));
      }
      is_finite = is_finite && all_finite(sums);
    });
    return is_finite;
  }

  /// The pullback of `read` to the states: `gradient`, all levels before the stretch, is added to.
  void pull_back(const ConstRowBlock<Scalar>& q, const ConstRowBlock<Scalar>& lambda,
                 const ConstRowBlock<Scalar>& d_out, Hierarchy<Scalar>& gradient) const {
    Matrix weighted;
    for_each_piece([&](Index first, Index tokens) {
      resize(weighted, tokens, d_out.cols());
      for_each_weights(gradient, lambda, first, tokens, [&](int l, const Scalar* weights) {
        for (Index t = 0; t < tokens; ++t) {
          Scalar* const row = weighted.data() + t * weighted.cols();
          scale_to(weights[t], d_out.row(first + t), weighted.cols(), row);
          if (value_decay.rows() == 0) continue;
          multiply(row, value_decay.data() + (first + t) * weighted.cols(), weighted.cols(), row);
        }
        product<Into::add>(rows(q).middleRows(first, tokens).transpose(), weighted,
                           gradient.level(l));
      });
    });
  }

 private:
  /// The rows that are q' once they are multiplied by the factors.
  [[nodiscard]] ConstRowBlock<Scalar> rows(const ConstRowBlock<Scalar>& q) const {
    return factors.size() > 0 ? q : block_of(queries);
  }
  /// Calls `visit(first, tokens)` for 64 tokens at a time, which fit into a near cache.
  template <class Visit>
  void for_each_piece(Visit visit) const {
    for (Index first = 0; first < length; first += 64) {
      visit(first, (std::min)(Index{64}, length - first));
    }
  }
  /// Calls `visit(l, weights)` for each level, with the weight that each of the tokens gives it
  /// times the token's factor.
  template <class Visit>
  void for_each_weights(const Hierarchy<Scalar>& states, const ConstRowBlock<Scalar>& lambda,
                        Index first, Index tokens, Visit visit) const {
    const LevelMask mask{order, states.max_levels(), states.count()};
    Vector<Scalar> weights(tokens);
    for (int l : states.active()) {
      const std::uint64_t bucket = states.bucket(l).first;
      for (Index t = 0; t < tokens; ++t) {
        weights[t] = lambda(first + t, mask.level(bucket, first + t));
      }
      if (factors.size() > 0) {
        multiply(weights.data(), factors.data() + first, tokens, weights.data());
      }
      visit(l, weights.data());
    }
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_CHUNKS_STRETCH_HPP
