// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_POOL_DETAIL_POOL_TOKEN_HPP
#define LOGLINEAR_POOL_DETAIL_POOL_TOKEN_HPP

// One token of one head of a stream whose levels lie in an arena: what can be refused first, then
// the writing, which cannot fail.

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/sequence/recurrent.hpp"
#include "loglinear/stream/detail/admitted.hpp"
#include "loglinear/stream/detail/carry.hpp"

namespace loglinear::detail {

template <class Scalar>
class PoolToken {
 public:
  /// Reads the levels, `level(l)` for l in `active`, and takes note of what is to be written.
  /// \return the read, 1 x d_v \throws std::invalid_argument where the levels would overflow or the
  /// read would not be finite
  template <class Level>
  [[nodiscard]] RowMajorMatrix<Scalar> read(const SequenceInputs<Scalar>& in, double magnitude,
                                            const ActiveLevels& active, Level level) {
    note(in);
    const SequenceTransition<Scalar> transition(in);
    const double leaf = leaf_magnitude(keys_, values_);
    const Index size = keys_.rows() * values_.rows();
    admitted_ = admit<Scalar>(magnitude, transition.norm_bound(), leaf, [&](bool exactly) {
      double sum = 0;
      for (const int l : active) {
        sum += exactly ? norm_of(level(l), size)
                       : max_abs(level(l), size) * std::sqrt(static_cast<double>(size));
      }
      return sum;
    });
    RowMajorMatrix<Scalar> query = in.q, out = RowMajorMatrix<Scalar>::Zero(1, in.d_v());
    const RowMajorMatrix<Scalar> from_keys = query * keys_;
    transition.left_transposed(query);
    for (const int l : active) {
      weighted_rows(level(l), in.d_k(), in.d_v(), in.d_v(), query.data(), found_.data());
      scaled_row<true>(in.lambda(0, l + 1), found_.data(), in.d_v(), out.data());
    }
    transition.right(out);
    out += (in.lambda(0, 0) * from_keys) * values_.transpose();
    require_finite_reads(out, 0);
    return out;
  }
  /// A level undergoes the token's transition.
  void undergo(Scalar* level) {
    const Index d_k = keys_.rows(), d_v = values_.rows(), updates = u_.rows();
    const Scalar common = decay_.size() == 1 ? decay_[0] : Scalar(1);
    const Scaling<Scalar> decay{common, decay_.size() > 1 ? decay_.data() : nullptr, nullptr};
    for (Index j = 0; j < updates; ++j) {
      weighted_rows(level, d_k, d_v, d_v, p_.data() + j * d_k, found_.data());
      const OuterProduct<Scalar> removed{u_.data() + j * d_k, found_.data()};
      step_rows<1, false>(level, d_k, d_v, d_v, j == 0 ? decay : Scaling<Scalar>{}, &removed, 1);
    }
    const bool scales_rows = updates == 0 && decay_.size() > 0;
    if (!scales_rows && value_decay_.size() == 0) return;
    scale(
        level, d_k, d_v, d_v, [&](Index i) { return scales_rows ? decay.row(i) : Scalar(1); },
        value_decay_.size() == 0 ? nullptr : value_decay_.data());
  }
  /// target = the leaf, added to what it holds if `adds`.
  void push(Scalar* target, bool adds) const {
    const Index d_v = values_.rows();
    for (Index i = 0; i < keys_.rows(); ++i) {
      for (Index n = 0; n < keys_.cols(); ++n) {
        const Scalar* const value = values_.data() + n * d_v;
        adds || n > 0 ? scaled_row<true>(keys_(i, n), value, d_v, target + i * d_v)
                      : scaled_row<false>(keys_(i, n), value, d_v, target + i * d_v);
      }
    }
  }
  /// The bound of the levels' norm with this token.
  [[nodiscard]] double magnitude() const { return admitted_.magnitude; }

 private:
  void note(const SequenceInputs<Scalar>& in) {
    leaves_of(in, 0, keys_, values_);
    found_.resize(in.d_v());
    decay_.resize(in.g.size());
    if (in.g.size() > 0) decays_of(in.g, decay_.transpose());
    value_decay_.resize(in.g_value.size());
    if (in.g_value.size() > 0) decays_of(in.g_value, value_decay_.transpose());
    // D - u p^T, to be added: u is kept negative.
    u_.resize(in.updates(), in.d_k());
    p_.resize(in.updates(), in.d_k());
    for (Index j = 0; j < in.updates(); ++j) {
      if (in.beta.size() == 0) {
        u_.row(j) = -in.u.row(j);
        p_.row(j) = in.p.row(j);
        continue;
      }
      u_.row(j) = -in.beta(0, j) * in.k.row(j);
      p_.row(j) = in.k.row(j);
      for (Index i = 0; j == 0 && decay_.size() > 0 && i < in.d_k(); ++i) {
        p_(0, i) *= decay_[decay_.size() == 1 ? 0 : i];  // the first finds the decayed state
      }
    }
  }

  Matrix<Scalar> keys_{}, values_{};  // the leaf
  RowMajorMatrix<Scalar> u_{}, p_{};
  Vector<Scalar> decay_{}, value_decay_{}, found_{};
  Admitted admitted_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_POOL_DETAIL_POOL_TOKEN_HPP
