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
#include <cstdint>
#include <type_traits>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/transitions/steps.hpp"

namespace loglinear::detail {

template <class Kind>
class LowRankProduct {
 public:
  using Scalar = typename Kind::Scalar;

  /// \param tokens  the most transitions before a reset
  LowRankProduct(Index key_rows, Index tokens)
      : LowRankProduct(key_rows, tokens * step_counts<Kind>(key_rows, 1).updates, nullptr) {}

  /// Numbers that `pull` needs for its sums.
  [[nodiscard]] Index score_columns() const { return scores_.size(); }

  void reset() {
    diagonal_.setOnes();
    count_ = 0;
  }

  /// As `other`, which must have been made for as many rows and tokens; copies only what counts.
  void copy(const LowRankProduct& other) {
    diagonal_ = other.diagonal_;
    count_ = other.count_;
    u_.topRows(count_) = other.u_.topRows(count_);
    u_factors_.head(count_) = other.u_factors_.head(count_);
    z_.topRows(count_) = other.z_.topRows(count_);
  }
  [[nodiscard]] bool has_shape_of(const LowRankProduct& other) const {
    return u_.rows() == other.u_.rows() && u_.cols() == other.u_.cols();
  }

  /// Whether nothing has followed since the last reset, updates of rank one that is.
  [[nodiscard]] bool is_identity() const { return count_ == 0; }

  void follow(const Kind& later) {
    Following steps{*this, nullptr};
    later.visit_steps(steps);
  }
  /// The same where `pull` has been called with p, of the only update, already.
  void follow(const Kind& later, const Vector<Scalar>& pulled_p) {
    Following steps{*this, pulled_p.data()};
    later.visit_steps(steps);
  }

  /// pulled = P^T q, in contiguous memory.
  void pull(const Scalar* q, auto&& pulled, Vector<Scalar>& scores) const {
    row_dots(u_.data(), count_, u_.cols(), q, scores.data());
    scores.head(count_).array() *= -u_factors_.head(count_).array();
    Eigen::Map<Vector<Scalar>> to(pulled.data(), diagonal_.size());
    to = diagonal_.cwiseProduct(Eigen::Map<const Vector<Scalar>>(q, to.size()));
    weighted_rows<true>(z_.data(), count_, to.size(), to.size(), scores.data(), to.data());
  }

  /// The same for q and p at once.
  void pull(const Scalar* q, const Scalar* p, auto&& pulled_q, auto&& pulled_p,
            Vector<Scalar>& scores, Vector<Scalar>& scores_of_p) const {
    row_dots(u_.data(), count_, u_.cols(), q, p, scores.data(), scores_of_p.data());
    scores.head(count_).array() *= -u_factors_.head(count_).array();
    scores_of_p.head(count_).array() *= -u_factors_.head(count_).array();
    const Index rows = diagonal_.size();
    using View = Eigen::Map<const Vector<Scalar>>;
    pulled_q = diagonal_.cwiseProduct(View(q, rows));
    pulled_p = diagonal_.cwiseProduct(View(p, rows));
    weighted_rows_pair<true>(z_.data(), count_, rows, rows, scores.data(), scores_of_p.data(),
                             pulled_q.data(), pulled_p.data());
  }

  /// s <- P s
  void push(auto&& s, Vector<Scalar>& scratch) const {
    scratch = diagonal_.cwiseProduct(s);
    for (Index j = 0; j < count_; ++j) {
      scratch -= (u_factors_[j] * z_.row(j).dot(s)) * u_.row(j).transpose();
    }
    s = scratch;
  }

  void clear_negligible() {
    detail::clear_negligible(diagonal_.data(), diagonal_.size());
    detail::clear_negligible(u_factors_.data(), count_);
    detail::clear_negligible(u_.data(), count_ * u_.cols());
    detail::clear_negligible(z_.data(), count_ * z_.cols());
  }

  /// By how much coefficients about grow, and norms at most.
  [[nodiscard]] double growth() const {
    return (std::max)(1.0, max_abs(diagonal_)) +
           static_cast<double>(count_) * max_abs(u_.topRows(count_)) * max_abs(z_.topRows(count_));
  }
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(diagonal_.size()) * growth();
  }

  /// Whether `apply` can be called: it has its sums on the stack, one for each update.
  [[nodiscard]] bool can_apply() const { return count_ <= most_on_stack; }
  /// m <- P m, row-major in memory, some columns at a time.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Vector<Scalar>&) const {
    std::array<Scalar, most_on_stack> found, one_row;
    const Index most = most_on_stack / (std::max)(count_, Index{1});
    for (Index first = 0; first < columns; first += most) {
      const Index piece = (std::min)(most, columns - first);
      Eigen::Map<RowMajorMatrix<Scalar>> sums(found.data(), count_, piece);
      Eigen::Map<Vector<Scalar>> row(one_row.data(), piece);
      sums.setZero();
      for (Index i = 0; i < rows; ++i) {
        convert(m + first + i * columns, piece, row.data());
        for (Index j = 0; j < count_; ++j) sums.row(j) += z_(j, i) * row.transpose();
      }
      for (Index j = 0; j < count_; ++j) sums.row(j) *= u_factors_[j];
      for (Index i = 0; i < rows; ++i) {
        convert(m + first + i * columns, piece, row.data());
        row *= diagonal_[i];
        for (Index j = 0; j < count_; ++j) row -= u_(j, i) * sums.row(j).transpose();
        convert(row.data(), piece, m + first + i * columns);
      }
    }
  }

  /// m = P, row-major. Uses the product up: a reset must follow.
  void write_to(RowMajorMatrix<Scalar>& m) {
    for (Index j = 0; j < count_; ++j) z_.row(j) *= -u_factors_[j];
    product<Into::replace>(u_.topRows(count_).transpose(), z_.topRows(count_), m);
    m.diagonal() += diagonal_;
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    std::int64_t updates_so_far = self.count_;
    part("updates", updates_so_far);
    require_between("updates", updates_so_far, std::int64_t{0}, std::int64_t{self.z_.rows()});
    if constexpr (is_written<Self>)
      self.count_ = static_cast<decltype(self.count_)>(updates_so_far);
    part("diagonal", self.diagonal_);
    part("u", self.u_.topRows(self.count_));
    part("u_factors", self.u_factors_.head(self.count_));
    part("z", self.z_.topRows(self.count_));
  }

  /// The same product, in this scalar.
  template <class OtherKind>
  void assign(const LowRankProduct<OtherKind>& other) {
    diagonal_ = other.diagonal_.template cast<Scalar>();
    u_ = other.u_.template cast<Scalar>();
    u_factors_ = other.u_factors_.template cast<Scalar>();
    z_ = other.z_.template cast<Scalar>();
    count_ = other.count_;
  }

 private:
  template <class>
  friend class LowRankProduct;
  static constexpr Index most_on_stack = 4096;

  LowRankProduct(Index key_rows, Index updates, std::nullptr_t)
      : diagonal_(Vector<Scalar>::Ones(key_rows)),
        u_(RowMajorMatrix<Scalar>::Zero(updates, key_rows)),
        u_factors_(Vector<Scalar>::Ones(updates)),
        z_(RowMajorMatrix<Scalar>::Zero(updates, key_rows)),
        scores_(Vector<Scalar>::Zero(updates)) {}

  /// The steps of a later transition.
  struct Following {
    LowRankProduct& product;
    const Scalar* pulled_p;

    void decay(const Scalar& a) {
      scale_by(a, product.diagonal_.data(), product.diagonal_.size());
      scale_by(a, product.u_factors_.data(), product.count_);
    }
    void decay_rows(const Scalar* w) {
      const Index rows = product.diagonal_.size();
      multiply(product.diagonal_.data(), w, rows, product.diagonal_.data());
      for (Index j = 0; j < product.count_; ++j) {
        Scalar* const u = product.u_.data() + j * rows;
        multiply(u, w, rows, u);
      }
    }
    void decay_values(const Scalar*) {}  // none: such kinds have other products
    void look_up(const Scalar* p) {
      Eigen::Map<Vector<Scalar>> z(product.z_.data() + product.count_ * product.z_.cols(),
                                   product.z_.cols());
      if (pulled_p == nullptr) {
        product.pull(p, z, product.scores_);
      } else {
        detail::copy(pulled_p, z.size(), z.data());
      }
    }
    void write_back(const Scalar* u) {
      const Index rows = product.diagonal_.size();
      detail::copy(u, rows, product.u_.data() + product.count_ * rows);
      product.u_factors_[product.count_++] = Scalar(1);
    }
  };

  Vector<Scalar> diagonal_;   // E
  RowMajorMatrix<Scalar> u_;  // u_j, a row each, but for a factor
  Vector<Scalar> u_factors_;  // what decays of the whole state have made of it
  RowMajorMatrix<Scalar> z_;  // z_j, a row each
  Vector<Scalar> scores_;
  Index count_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_LOW_RANK_PRODUCT_HPP
