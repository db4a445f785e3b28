// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_PENDING_HPP
#define LOGLINEAR_STREAM_DETAIL_PENDING_HPP

// What levels have yet to undergo: the product of the transitions of several tokens, kept apart so
// that the levels need not be rewritten at every token. A read takes its query back through the
// product instead, (P S diag(r))^T q = diag(r) S^T (P^T q).
//
// Products of diagonal kinds are of the same kind; those of all others are dense.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/narrow.hpp"
#include "loglinear/detail/base/product.hpp"
#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_dots.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/weighted_rows.hpp"
#include "loglinear/stream/detail/low_rank_product.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear::detail {

/// Whether the kind multiplies everything by one number, `factor()`.
template <class Kind>
concept OneFactor = requires(const Kind& kind) {
  kind.factor();
};

/// Whether r can differ from 1; assumed of kinds that do not say.
template <class Kind>
inline constexpr bool scales_values = [] {
  if constexpr (requires { Kind::scales_values; }) {
    return Kind::scales_values;
  } else {
    return true;
  }
}();

/// The product of diagonal transitions of one kind.
template <class Kind>
class DiagonalProduct {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = true;

  DiagonalProduct(Index key_rows, Index d_v) : product_(key_rows, d_v) {}

  /// Scalars that `apply` and `follow` need apart.
  [[nodiscard]] static Index scratch_size(Index) { return 0; }

  [[nodiscard]] bool fits(Index key_rows, Index d_v) const { return product_.fits(key_rows, d_v); }
  /// P = I
  void reset() { product_.reset(); }
  /// P <- L P, and the same for r
  void follow(const Kind& later) { product_.follow(later); }
  void follow(const DiagonalProduct& later, Vector<Scalar>&) { product_.follow(later.product_); }
  /// P = another product, which becomes I.
  void take(DiagonalProduct& other) {
    product_ = other.product_;
    other.reset();
  }
  void clear_negligible() {}

  /// pulled = P^T q
  void pull(const Scalar* q, auto&& pulled, Vector<Scalar>&) const {
    pulled = Eigen::Map<const Vector<Scalar>>(q, pulled.size());
    product_.left_transposed(pulled);
  }
  /// s <- P s
  void push(auto&& s, Vector<Scalar>&) const { product_.left(s); }
  /// z <- z diag(r), a row
  void right(auto&& z) const { product_.right(z); }
  [[nodiscard]] Scalar factor() const requires OneFactor<Kind> { return product_.factor(); }
  /// By how much a norm can grow, an upper bound; and by how much coefficients about do, 1 or more.
  [[nodiscard]] double norm_bound() const { return product_.norm_bound(); }
  [[nodiscard]] double growth() const { return (std::max)(1.0, norm_bound()); }

  /// m <- P m diag(r), row-major in memory.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Vector<Scalar>&) const {
    if constexpr (OneFactor<Kind>) {
      if (is_exactly(product_.factor(), Scalar(1))) return;
    }
    scale(
        m, rows, columns, columns, [&](Index i) { return product_.row_factor(i); },
        product_.column_factors());
    detail::clear_negligible(m, rows * columns);
  }

  /// For checkpoints.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if constexpr (requires { self.product_.decay; }) {
      part("decay", self.product_.decay);
    } else {
      static_assert(std::is_same_v<Kind, Identity<Scalar>>,
                    "checkpoints know the products of the kinds of transition in transition.hpp: "
                    "leave `follow` out of your own kind, and a dense product is kept instead");
    }
  }

  /// The same product, in this scalar.
  template <class OtherKind>
  void assign(const DiagonalProduct<OtherKind>& other) {
    if constexpr (requires { product_.decay.size(); }) {
      product_.decay = other.product_.decay.template cast<Scalar>();
    } else if constexpr (requires { product_.decay; }) {
      product_.decay = static_cast<Scalar>(other.product_.decay);
    }
  }

 private:
  template <class>
  friend class DiagonalProduct;

  Kind product_;
};

/// The product of any transitions.
template <class Kind>
class DenseProduct {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = false;

  DenseProduct(Index key_rows, Index d_v)
      : left_(RowMajorMatrix<Scalar>::Identity(key_rows, key_rows)),
        right_(Vector<Scalar>::Ones(d_v)) {}

  /// For columns that are too long for the stack.
  [[nodiscard]] static Index scratch_size(Index key_rows) {
    return key_rows > most_on_stack ? 2 * columns_at_once * key_rows : 0;
  }
  [[nodiscard]] bool fits(Index key_rows, Index d_v) const {
    return left_.rows() == key_rows && right_.size() == d_v;
  }
  void reset() {
    left_.setIdentity();
    right_.setOnes();
  }
  void follow(const Kind& later) {
    later.left(left_);
    if constexpr (scales_values<Kind>) later.right(right_.transpose());
  }
  void follow(const DenseProduct& later, Vector<Scalar>& scratch) {
    later.apply(left_.data(), left_.rows(), left_.cols(), nullptr, scratch);
    if constexpr (scales_values<Kind>) right_.array() *= later.right_.array();
  }
  void take(DenseProduct& other) {
    std::swap(left_, other.left_);
    std::swap(right_, other.right_);
    other.reset();
  }
  void take(LowRankProduct<Kind>& other) {
    other.write_to(left_);
    other.reset();
  }
  void clear_negligible() {
    detail::clear_negligible(left_.data(), left_.size());
    detail::clear_negligible(right_.data(), right_.size());
  }

  void pull(const Scalar* q, auto&& pulled, Vector<Scalar>&) const {
    weighted_rows(left_.data(), left_.rows(), left_.cols(), left_.cols(), q, pulled.data());
  }
  void push(auto&& s, Vector<Scalar>& scratch) const {
    row_dots(left_.data(), left_.rows(), left_.cols(), s.data(), scratch.data());
    s = scratch;
  }
  void right(auto&& z) const { z.array() *= right_.transpose().array(); }
  [[nodiscard]] double norm_bound() const {
    return static_cast<double>(left_.rows()) * max_abs(left_) * max_abs(right_);
  }
  [[nodiscard]] double growth() const {
    return (std::max)(1.0, max_abs(left_)) * (std::max)(1.0, max_abs(right_));
  }

  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Vector<Scalar>& scratch) const {
    apply(m, rows, columns, scales_values<Kind> ? right_.data() : nullptr, scratch);
  }

  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    part("left", self.left_);
    if constexpr (scales_values<Kind>) part("right", self.right_);
  }

  template <class OtherKind>
  void assign(const DenseProduct<OtherKind>& other) {
    left_ = other.left_.template cast<Scalar>();
    right_ = other.right_.template cast<Scalar>();
  }

 private:
  template <class>
  friend class DenseProduct;

  static constexpr Index most_on_stack = 32 * 1024 / sizeof(Scalar);
  static constexpr Index columns_at_once = 64;

  /// By pieces of some columns, which are copied to the stack or else to `scratch`.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, const Scalar* of_column,
             Vector<Scalar>& scratch) const {
    const auto by_pieces = [&](Index width, Scalar* before, Scalar* after) {
      for (Index first = 0; first < columns; first += width) {
        apply_to_piece(m + first, rows, (std::min)(width, columns - first), columns,
                       of_column == nullptr ? nullptr : of_column + first, before, after);
      }
    };
    if (rows > most_on_stack) {
      by_pieces(columns_at_once, scratch.data(), scratch.data() + columns_at_once * rows);
      return;
    }
    std::array<Scalar, array_size(most_on_stack)> before;
    std::array<Scalar, is_narrow<Stored> ? array_size(most_on_stack) : 1> after;
    const Index whole = most_on_stack / rows;
    by_pieces(whole > columns_at_once ? whole / columns_at_once * columns_at_once : whole,
              before.data(), after.data());
  }
  template <class Stored>
  void apply_to_piece(Stored* m, Index rows, Index columns, Index stride, const Scalar* of_column,
                      Scalar* before, Scalar* after) const {
    using Piece = Eigen::Map<RowMajorMatrix<Scalar>, 0, Eigen::OuterStride<>>;
    Piece old(before, rows, columns, Eigen::OuterStride<>(columns));
    for (Index i = 0; i < rows; ++i) convert(m + i * stride, columns, &old(i, 0));
    if constexpr (is_narrow<Stored>) {
      Piece changed(after, rows, columns, Eigen::OuterStride<>(columns));
      write_product(old, changed, of_column);
      for (Index i = 0; i < rows; ++i) convert(&changed(i, 0), columns, m + i * stride);
    } else {
      Piece target(m, rows, columns, Eigen::OuterStride<>(stride));
      write_product(old, target, of_column);
    }
  }
  template <class Changed>
  void write_product(const auto& old, Changed& changed, const Scalar* of_column) const {
    product<Into::replace>(left_, old, changed);
    if (of_column != nullptr) {
      scale(
          changed.data(), changed.rows(), changed.cols(), changed.outerStride(),
          [](Index) { return Scalar(1); }, of_column);
    }
    for (Index i = 0; i < changed.rows(); ++i) {
      detail::clear_negligible(&changed(i, 0), changed.cols());
    }
  }

  RowMajorMatrix<Scalar> left_;
  Vector<Scalar> right_;
};

/// The product of any number of transitions.
template <class Kind>
using PendingProduct =
    std::conditional_t<HasOwnProducts<Kind>, DiagonalProduct<Kind>, DenseProduct<Kind>>;

/// The product of so few transitions that it need not be dense.
template <class Kind>
using RecentProduct =
    std::conditional_t<!HasOwnProducts<Kind> && HasSteps<Kind> && !scales_values<Kind>,
                       LowRankProduct<Kind>, PendingProduct<Kind>>;

template <class Kind>
[[nodiscard]] RecentProduct<Kind> make_recent(Index key_rows, Index d_v,
                                              [[maybe_unused]] Index tokens) {
  if constexpr (std::is_same_v<RecentProduct<Kind>, LowRankProduct<Kind>>) {
    return {key_rows, tokens};
  } else {
    return {key_rows, d_v};
  }
}

/// to = from; does not allocate where `to` has the same shape.
template <class Product>
void copy_product(const Product& from, Product& to) {
  if constexpr (requires { to.copy(from); }) {
    if (to.has_shape_of(from)) return to.copy(from);
  }
  to = from;
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_PENDING_HPP
