// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP

// The product of some transitions that are diagonal or diagonal minus rank one, as a diagonal minus
// a matrix whose rank is the number of the latter:
//
//     (D - u p^T) (E - sum_j u_j z_j^T) = D E - sum_j (D u_j) z_j^T - u z^T,
//     z = E p - sum_j z_j (u_j . p)
//
// with products of decays only, so that decays near 0 are harmless. A token costs what the columns
// so far cost to read, not what a dense product does.

#include <algorithm>
#include <array>
#include <cstddef>
#include <tuple>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/stream/detail/fields.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear::detail {

template <class Kind>
class LowRankProduct {
 public:
  using Scalar = typename Kind::Scalar;

  /// \param tokens  the most transitions before a reset, of tokens with so many leaves
  LowRankProduct(Index key_rows, Index tokens, Index leaves)
      : LowRankProduct(key_rows, tokens * step_counts<Kind>(key_rows, 1, leaves).updates, nullptr) {
  }

  /// The length of the scratch memory `scores` of `pull`.
  [[nodiscard]] Index score_columns() const { return scores_.size(); }

  void reset() {
    std::fill_n(diagonal_.data(), diagonal_.size(), Scalar(1));
    count_ = 0;
  }

  /// Whether no update of rank one has followed since the last reset.
  [[nodiscard]] bool is_identity() const { return count_ == 0; }

  /// What it is made of: D, and the updates u_factor u_j z_j^T.
  struct Update {
    const Scalar* z;
    const Scalar* u;
    Scalar u_factor;
  };
  [[nodiscard]] const Scalar* diagonal() const { return diagonal_.data(); }
  [[nodiscard]] Index update_count() const { return count_; }
  [[nodiscard]] Update update(Index j) const { return {row(z_, j), row(u_, j), u_factors_[j]}; }

  void follow(const Kind& later) {
    Following steps{*this, nullptr};
    later.visit_steps(steps);
  }
  /// The same if `pull` has been called already with p of the transition's only update; `pulled_p`
  /// is what it gave.
  void follow(const Kind& later, const Scalar* pulled_p) {
    Following steps{*this, pulled_p};
    later.visit_steps(steps);
  }

  /// pulled = P^T q
  void pull(const Scalar* q, Scalar* pulled, Scalar* scores) const {
    const Index rows = key_rows();
    row_dots(u_.data(), count_, rows, rows, q, scores);
    negate_scores(scores);
    multiply(diagonal_.data(), q, rows, pulled);
    weighted_rows<true>(z_.data(), count_, rows, rows, scores, pulled);
  }

  /// The same for q and p at once.
  void pull(const Scalar* q, const Scalar* p, Scalar* pulled_q, Scalar* pulled_p, Scalar* scores,
            Scalar* scores_of_p) const {
    const Index rows = key_rows();
    row_dots(u_.data(), count_, rows, rows, q, p, scores, scores_of_p);
    negate_scores(scores);
    negate_scores(scores_of_p);
    multiply(diagonal_.data(), q, rows, pulled_q);
    multiply(diagonal_.data(), p, rows, pulled_p);
    weighted_rows_pair<true>(z_.data(), count_, rows, rows, scores, scores_of_p, pulled_q,
                             pulled_p);
  }

  /// s <- P s
  void push(Scalar* s, Scalar* scratch) const {
    const Index rows = key_rows();
    multiply(diagonal_.data(), s, rows, scratch);
    for (Index j = 0; j < count_; ++j) {
      axpy<Scalar>(-(u_factors_[j] * dot(row(z_, j), s, rows)), row(u_, j), rows, scratch);
    }
    detail::copy(scratch, rows, s);
  }

  void clear_negligible() {
    detail::clear_negligible(diagonal_.data(), diagonal_.size());
    detail::clear_negligible(u_factors_.data(), count_);
    detail::clear_negligible(u_.data(), count_ * u_.cols());
    detail::clear_negligible(z_.data(), count_ * z_.cols());
  }

  /// About the factor by which coefficients grow; `norm_bound` is an upper bound of that of norms.
  [[nodiscard]] double growth() const {
    return (std::max)(1.0, max_abs(diagonal_)) + static_cast<double>(count_) *
                                                     max_abs(u_.data(), count_ * key_rows()) *
                                                     max_abs(z_.data(), count_ * key_rows());
  }
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(diagonal_.size()) * growth();
  }

  /// Whether `apply` can be called: it has its sums on the stack, one for each update.
  [[nodiscard]] bool can_apply() const { return count_ <= most_on_stack; }
  /// Whether that takes fewer operations than a dense product.
  [[nodiscard]] bool is_low_rank() const { return can_apply() && 2 * count_ <= key_rows(); }
  /// m <- P m, row-major in memory, some columns at a time.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Scalar*) const {
    std::array<Scalar, most_on_stack> found;
    const Index most = (std::max)(most_on_stack / (std::max)(count_, Index{1}), Index{1});
    for (Index first = 0; first < columns; first += most) {
      const Index piece = (std::min)(most, columns - first);
      if constexpr (is_narrow<Stored>) {
        apply_to_narrow(m + first, rows, columns, piece, found.data());
      } else {
        apply_to_piece(m + first, rows, columns, piece, found.data());
      }
    }
  }

  /// m = P, row-major. Destroys the product: a reset must follow.
  void write_to(Scalar* m) {
    const Index rows = key_rows();
    for (Index j = 0; j < count_; ++j) scale_by<Scalar>(-u_factors_[j], row(z_, j), rows);
    if (count_ > 0) {
      const LeftOperand<Scalar> u{u_.data(), 1, rows};  // transposed
      product_kernel(Into::replace, u, rows, count_, rows, z_.data(), rows, m, rows);
    } else {
      std::fill_n(m, rows * rows, Scalar(0));
    }
    for (Index i = 0; i < rows; ++i) m[i * (rows + 1)] += diagonal_[i];
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("updates", count_field(self.count_, self.z_.rows())...);
    use("diagonal", rows_field(self.diagonal_, self.diagonal_.rows())...);
    use("u", rows_field(self.u_, self.count_)...);
    use("u_factors", rows_field(self.u_factors_, self.count_)...);
    use("z", rows_field(self.z_, self.count_)...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.scores_);
  }
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    fields(VisitField<std::remove_reference_t<Visit>>{part}, self);
  }
  /// The same product, in this scalar; `other` was made for as many rows, tokens and leaves.
  template <class OtherKind>
  void assign(const LowRankProduct<OtherKind>& other) {
    fields(AssignField{}, *this, other);
  }

 private:
  template <class>
  friend class LowRankProduct;
  static constexpr Index most_on_stack = 4096;

  LowRankProduct(Index key_rows, Index updates, std::nullptr_t)
      : diagonal_(ones<Scalar>(key_rows)),
        u_(zeros<RowMajorMatrix<Scalar>>(updates, key_rows)),
        u_factors_(ones<Scalar>(updates)),
        z_(zeros<RowMajorMatrix<Scalar>>(updates, key_rows)),
        scores_(zeros<Scalar>(updates)) {}

  [[nodiscard]] Index key_rows() const { return diagonal_.size(); }
  [[nodiscard]] Scalar* row(RowMajorMatrix<Scalar>& m, Index j) const {
    return m.data() + j * key_rows();
  }
  [[nodiscard]] const Scalar* row(const RowMajorMatrix<Scalar>& m, Index j) const {
    return m.data() + j * key_rows();
  }
  /// `piece` columns of m: found_j = -u_factor_j z_j^T m, then m <- E m + sum_j u_j found_j.
  void apply_to_piece(Scalar* m, Index rows, Index stride, Index piece, Scalar* found) const {
    if (count_ == 0) {
      for (Index i = 0; i < rows; ++i) scale_by(diagonal_[i], m + i * stride, piece);
    } else {
      const LeftOperand<Scalar> z{z_.data(), rows, 1}, u{u_.data(), 1, rows, diagonal_.data()};
      product_kernel(Into::replace, z, count_, rows, piece, m, stride, found, piece);
      for (Index j = 0; j < count_; ++j) scale_by<Scalar>(-u_factors_[j], found + j * piece, piece);
      // u is transposed.
      product_kernel(Into::add_to_scaled, u, rows, count_, piece, found, piece, m, stride);
    }
    for (Index i = 0; i < rows; ++i) detail::clear_negligible(m + i * stride, piece);
  }
  /// The same row by row, each of which is rounded once.
  template <class Stored>
  void apply_to_narrow(Stored* m, Index rows, Index stride, Index piece, Scalar* found) const {
    std::array<Scalar, most_on_stack> one_row;
    const auto sums = [&](Index j) { return found + j * piece; };
    std::fill_n(found, count_ * piece, Scalar(0));
    for (Index i = 0; i < rows; ++i) {
      convert(m + i * stride, piece, one_row.data());
      for (Index j = 0; j < count_; ++j) axpy(row(z_, j)[i], one_row.data(), piece, sums(j));
    }
    for (Index j = 0; j < count_; ++j) scale_by(u_factors_[j], sums(j), piece);
    for (Index i = 0; i < rows; ++i) {
      convert(m + i * stride, piece, one_row.data());
      scale_by(diagonal_[i], one_row.data(), piece);
      for (Index j = 0; j < count_; ++j) {
        axpy<Scalar>(-row(u_, j)[i], sums(j), piece, one_row.data());
      }
      convert(one_row.data(), piece, m + i * stride);
    }
  }
  /// Scores of u_j from those of what is stored of it, with the sign of its update.
  void negate_scores(Scalar* scores) const {
    namespace ei = Eigen::internal;
    using P = Packet<Scalar>;
    const Scalar* const factors = u_factors_.data();
    fill_by_packets(
        scores, count_,
        [&](Index j) {
          return ei::pmul(ei::ploadu<P>(scores + j), ei::pnegate(ei::ploadu<P>(factors + j)));
        },
        [&](Index j) { return scores[j] * -factors[j]; });
  }

  /// The steps of a later transition.
  struct Following {
    LowRankProduct& product;
    const Scalar* pulled_p;

    void decay(const Scalar& a) {
      scale_by(a, product.diagonal_.data(), product.key_rows());
      scale_by(a, product.u_factors_.data(), product.count_);
    }
    void decay_rows(const Scalar* w) {
      const Index rows = product.key_rows();
      multiply(product.diagonal_.data(), w, rows, product.diagonal_.data());
      for (Index j = 0; j < product.count_; ++j) {
        Scalar* const u = product.row(product.u_, j);
        multiply(u, w, rows, u);
      }
    }
    void decay_values(const Scalar*) {}  // none: such kinds have other products
    void look_up(const Scalar* p) {
      Scalar* const z = product.row(product.z_, product.count_);
      if (pulled_p == nullptr) {
        product.pull(p, z, product.scores_.data());
      } else {
        detail::copy(pulled_p, product.key_rows(), z);
      }
    }
    void write_back(const Scalar* u) {
      detail::copy(u, product.key_rows(), product.row(product.u_, product.count_));
      product.u_factors_[product.count_++] = Scalar(1);
    }
  };

  Vector<Scalar> diagonal_;   // E
  RowMajorMatrix<Scalar> u_;  // u_j, a row each, but for a factor
  Vector<Scalar> u_factors_;  // what decays of the whole state have made of it
  RowMajorMatrix<Scalar> z_;  // z_j, a row each
  Vector<Scalar> scores_;     // scratch
  Index count_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP
