// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_DIAGONAL_PRODUCT_HPP
#define LOGLINEAR_STREAM_DETAIL_DIAGONAL_PRODUCT_HPP

#include <algorithm>
#include <tuple>
#include <type_traits>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/kernels/negligible.hpp"
#include "loglinear/detail/kernels/row_updates.hpp"
#include "loglinear/detail/kernels/vectors.hpp"
#include "loglinear/stream/detail/fields.hpp"
#include "loglinear/stream/detail/kind_traits.hpp"
#include "loglinear/transitions/transition.hpp"

namespace loglinear::detail {

/// The product of diagonal transitions of one kind, P and r.
template <class Kind>
class DiagonalProduct {
 public:
  using Scalar = typename Kind::Scalar;
  static constexpr bool is_diagonal = true;

  DiagonalProduct(Index key_rows, Index d_v)
      : key_rows_(key_rows), d_v_(d_v), product_(key_rows, d_v) {}

  /// The length of the scratch memory that `apply` and `follow` need.
  [[nodiscard]] static Index scratch_size(Index) { return 0; }

  [[nodiscard]] bool fits(Index key_rows, Index d_v) const { return product_.fits(key_rows, d_v); }
  /// P = I
  void reset() { product_.reset(); }
  /// P <- L P, and the same for r
  void follow(const Kind& later) { product_.follow(later); }
  void follow(const DiagonalProduct& later, Scalar*) { product_.follow(later.product_); }
  /// P = another product, which becomes I.
  void take(DiagonalProduct& other) {
    product_ = other.product_;
    other.reset();
  }
  void clear_negligible() {}

  /// pulled = P^T q = P q
  void pull(const Scalar* q, Scalar* pulled, Scalar*) const {
    if constexpr (HasRowFactors<Kind>) {
      const Scalar* const factors = product_.row_factors();
      if (factors != nullptr) return multiply(q, factors, key_rows_, pulled);
      scale_to<Scalar>(product_.row_factor(0), q, key_rows_, pulled);
    } else {
      if (pulled != q) copy(q, key_rows_, pulled);
      product_.left_transposed(Eigen::Map<Vector<Scalar>>(pulled, key_rows_));
    }
  }
  /// s <- P s
  void push(Scalar* s, Scalar*) const { pull(s, s, nullptr); }
  /// z <- z diag(r)
  void right(Scalar* z) const {
    const Scalar* const factors = product_.column_factors();
    if (factors != nullptr) multiply(z, factors, d_v_, z);
  }
  [[nodiscard]] Scalar factor() const requires OneFactor<Kind> { return product_.factor(); }
  /// An upper bound of the factor by which a norm can grow; `growth` is about the factor by which
  /// coefficients do, at least 1.
  [[nodiscard]] double norm_bound() const { return product_.norm_bound(); }
  [[nodiscard]] double growth() const { return (std::max)(1.0, norm_bound()); }

  /// m <- P m diag(r), row-major in memory.
  template <class Stored>
  void apply(Stored* m, Index rows, Index columns, Scalar*) const {
    if constexpr (OneFactor<Kind>) {
      if (is_exactly(product_.factor(), Scalar(1))) return;
    }
    scale(
        m, rows, columns, columns, [&](Index i) { return product_.row_factor(i); },
        product_.column_factors());
    detail::clear_negligible(m, rows * columns);
  }

  /// See fields.hpp.
  template <class Use, class... Self>
  static void fields(Use use, Self&... self) {
    use("product", self.product_...);
  }
  template <class Self>
  static auto fixed(Self& self) {
    return std::tie(self.key_rows_, self.d_v_);
  }
  /// For checkpoints: the kind's only member.
  template <class Self, class Visit>
  static void visit(Self& self, Visit&& part) {
    if constexpr (requires { self.product_.decay; }) {
      static_assert(sizeof self.product_ == sizeof self.product_.decay);
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
    if constexpr (std::is_same_v<Kind, OtherKind>) {
      product_ = other.product_;
    } else if constexpr (requires { product_.decay.size(); }) {
      product_.decay = other.product_.decay.template cast<Scalar>();
    } else if constexpr (requires { product_.decay; }) {
      product_.decay = static_cast<Scalar>(other.product_.decay);
    }
  }

 private:
  template <class>
  friend class DiagonalProduct;

  Index key_rows_, d_v_;
  Kind product_;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_DIAGONAL_PRODUCT_HPP
