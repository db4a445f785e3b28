// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_SEQUENCE_ARRAY_HPP
#define LOGLINEAR_SEQUENCE_ARRAY_HPP

#include <memory>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/types.hpp"
#include "loglinear/detail/base/vector_argument.hpp"

namespace loglinear {

namespace detail {

/// The stride type of a SequenceArray. It tells a SequenceArray, which may own its numbers, from
/// every other Eigen::Map.
class ArrayStride : public Eigen::OuterStride<> {
 public:
  using Eigen::OuterStride<>::OuterStride;
};
template <class Scalar>
using ArrayView = Eigen::Map<const RowMajorMatrix<Scalar>, Eigen::Unaligned, ArrayStride>;

/// Whether the numbers of an Eigen object lie outside it, so that they outlive it.
template <class Type>
inline constexpr bool refers_elsewhere = false;
template <class Plain, int Options, class Stride>
inline constexpr bool refers_elsewhere<Eigen::Map<Plain, Options, Stride>> =
    !std::is_same_v<Stride, ArrayStride>;
template <class Plain, int Options, class Stride>  // a Ref to const may hold a copy
inline constexpr bool refers_elsewhere<Eigen::Ref<Plain, Options, Stride>> =
    !std::is_const_v<Plain>;
template <class All, int Rows, int Columns, bool inner>
inline constexpr bool refers_elsewhere<Eigen::Block<All, Rows, Columns, inner>> =
    refers_elsewhere<std::remove_const_t<All>>;
template <class All, int Size>
inline constexpr bool refers_elsewhere<Eigen::VectorBlock<All, Size>> =
    refers_elsewhere<std::remove_const_t<All>>;

/// Whether an Eigen object may hold a copy of what it was made from, which is destroyed with it.
template <class Type>
inline constexpr bool may_hold_a_copy = false;
template <class Plain, int Options, class Stride>
inline constexpr bool may_hold_a_copy<Eigen::Ref<const Plain, Options, Stride>> = true;
template <class All, int Rows, int Columns, bool inner>
inline constexpr bool may_hold_a_copy<Eigen::Block<All, Rows, Columns, inner>> =
    may_hold_a_copy<std::remove_const_t<All>>;
template <class All, int Size>
inline constexpr bool may_hold_a_copy<Eigen::VectorBlock<All, Size>> =
    may_hold_a_copy<std::remove_const_t<All>>;

/// Whether an Eigen object is a column in memory, of any stride.
template <class Type>
inline constexpr bool is_column_memory = [] {
  if constexpr (requires { Type::InnerStrideAtCompileTime; }) {
    return Type::ColsAtCompileTime == 1 && (Type::Flags & Eigen::DirectAccessBit) != 0;
  } else {
    return false;
  }
}();

/// Whether an argument of type In&& can be viewed where it is.
template <class In, class Type = std::remove_cvref_t<In>>
inline constexpr bool can_be_viewed = (is_row_major_memory<Type> ||
                                       is_column_memory<Type>)&&!may_hold_a_copy<Type> &&
                                      (std::is_lvalue_reference_v<In> || refers_elsewhere<Type>);

/// The rows of a matrix, or of a column, where they are.
template <class In>
[[nodiscard]] ArrayView<typename In::Scalar> rows_in_place(const In& in) {
  const Index stride = is_column_memory<In> ? in.innerStride() : in.outerStride();
  return {in.data(), in.rows(), in.cols(), ArrayStride(stride)};
}

/// A matrix, vector or expression of Eigen's.
template <class Type>
concept EigenObject = decltype(is_eigen(std::declval<std::remove_cvref_t<Type>*>()))::value;
/// Memory that is not Eigen's: std::vector, std::array, std::span.
template <class Type>
concept OtherMemory = !EigenObject<Type> && requires(const Type& memory) {
  memory.data();
  memory.size();
};

/// What a SequenceArray owns. It is a base class so that it is constructed before the view of it.
template <class Scalar>
struct OwnedRows {
  RowMajorMatrix<Scalar> owned_{};
};

}  // namespace detail

/// One array of a sequence, a row a token: a view of the caller's numbers where their layout allows
/// it, otherwise a matrix of its own.
///
/// * A named object with contiguous rows is viewed and must outlive this one: a row-major matrix, a
///   Map, Ref or Block of such a matrix, a column of any stride.
/// * A Map is viewed also where it has no name, and so are a Ref that can be written to and a Block
///   of either.
/// * A temporary row-major matrix is moved in.
/// * A Ref to const is copied, with a name too: as the parameter of a function it may hold a copy
///   that ends with the call.
/// * Anything else is copied: column-major matrices, expressions, other strides, and a part of a
///   matrix that has no name, since the matrix itself may be a temporary. Give the part a name to
///   have it viewed, `const auto part = all.middleRows(8, 4)`.
///
/// A copy of a view is a view of the same memory; a copy of an array that owns its numbers owns a
/// copy of them. An array that has been moved from is absent, and so is one without coefficients,
/// whatever its shape.
///
/// It is itself a read-only Eigen expression. What is made of it, such as `in.q.row(0)`, refers to
/// it; another array that is made of such a part copies it, unless the part has a name.
///
/// \tparam Scalar_  float, double, ...: that of everything it is made from
template <class Scalar_>
class SequenceArray : private detail::OwnedRows<Scalar_>, public detail::ArrayView<Scalar_> {
  using Owned = detail::OwnedRows<Scalar_>;
  using View = detail::ArrayView<Scalar_>;

 public:
  using Scalar = Scalar_;
  using Matrix = detail::RowMajorMatrix<Scalar>;

  /// Absent. Does not allocate.
  SequenceArray() noexcept : View(nothing()) {}

  /// Any Eigen matrix or vector of this scalar. Allocates where the list above says that it copies.
  template <detail::EigenObject In>
  requires(!std::is_same_v<std::remove_cvref_t<In>, SequenceArray>) SequenceArray(In&& in)
      : SequenceArray(Views<In>(), std::forward<In>(in)) {}

  /// Refuses memory that is not of Eigen, with advice.
  template <detail::OtherMemory In>
  SequenceArray(const In&) : View(nothing()) {
    static_assert(detail::EigenObject<In>,
                  "an array of a sequence is an Eigen matrix or vector: wrap other memory, "
                  "Eigen::Map<const Eigen::VectorXd>(data, size)");
  }

  /// Views what the other views; owns a copy of what it owns.
  SequenceArray(const SequenceArray& other)
      : Owned(other),
        View(owns() ? detail::rows_in_place(this->owned_) : static_cast<const View&>(other)) {}
  /// Takes over what the other owns; the other is absent then.
  SequenceArray(SequenceArray&& other) noexcept
      : Owned(std::move(other)), View(static_cast<const View&>(other)) {
    std::destroy_at(&other);
    std::construct_at(&other);
  }
  SequenceArray& operator=(SequenceArray other) noexcept {
    std::destroy_at(this);
    return *std::construct_at(this, std::move(other));
  }
  ~SequenceArray() = default;

  /// Whether it has no coefficients: what was not given.
  [[nodiscard]] bool is_absent() const noexcept { return this->size() == 0; }
  /// Whether the coefficients are its own.
  [[nodiscard]] bool owns() const noexcept { return this->owned_.size() > 0; }

 private:
  template <class In>
  using Views = std::bool_constant<detail::can_be_viewed<In>>;

  template <class In>
  SequenceArray(std::true_type, const In& in) : View(detail::rows_in_place(in)) {
    require_scalar<In>();
  }
  template <class In>
  SequenceArray(std::false_type, In&& in)
      : Owned{evaluated(std::forward<In>(in))}, View(detail::rows_in_place(this->owned_)) {}

  [[nodiscard]] static View nothing() noexcept { return {nullptr, 0, 0, detail::ArrayStride(0)}; }

  template <class In>
  [[nodiscard]] static Matrix evaluated(In&& in) {
    require_scalar<std::remove_cvref_t<In>>();
    if constexpr (std::is_base_of_v<Eigen::ArrayBase<std::remove_cvref_t<In>>,
                                    std::remove_cvref_t<In>>) {
      return in.matrix();
    } else {
      return Matrix(std::forward<In>(in));
    }
  }
  template <class In>
  static constexpr void require_scalar() {
    static_assert(std::is_same_v<typename In::Scalar, Scalar>,
                  "an array of a sequence must have the scalar of its SequenceInputs or span: "
                  "convert it with .cast<Scalar>()");
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_SEQUENCE_ARRAY_HPP
