// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_VECTOR_ARGUMENT_HPP
#define LOGLINEAR_DETAIL_BASE_VECTOR_ARGUMENT_HPP

// How a layer takes a vector: any Eigen expression, row or column, or numbers that lie one after
// the other, such as a std::vector, std::array or std::span. It is checked and copied once.

#include <algorithm>
#include <iterator>
#include <type_traits>
#include <utility>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/flush_to_zero.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

template <class Derived>
std::true_type is_eigen(const Eigen::EigenBase<Derived>*);
std::false_type is_eigen(const void*);

/// Whether a type is one of Eigen's.
template <class Type>
inline constexpr bool is_eigen_type =
    decltype(is_eigen(std::declval<std::remove_cvref_t<Type>*>()))::value;

/// Whether std::data and std::size of an object that is none of Eigen's give an array of numbers.
template <class Type>
inline constexpr bool is_array_of_numbers = [] {
  if constexpr (is_eigen_type<Type>) {
    return false;
  } else {
    return requires(const Type& numbers) {
      std::data(numbers)[std::size(numbers)];
    };
  }
}();

/// Refuses, with advice, whatever is not an Eigen vector of the right scalar.
template <class Scalar, class Argument>
constexpr void require_vector_type() {
  using Type = std::remove_cvref_t<Argument>;
  constexpr bool number = std::is_arithmetic_v<Type>, eigen = is_eigen_type<Type> || number;
  static_assert(!number,
                "a layer takes vectors: one number is Eigen::VectorX<Scalar>::Constant(1, number)");
  static_assert(eigen || !std::is_same_v<Scalar, double>,
                "a layer takes Eigen vectors: wrap other memory, Eigen::Map<const "
                "Eigen::VectorXd>(data, size)");
  static_assert(eigen || !std::is_same_v<Scalar, float>,
                "a layer takes Eigen vectors: wrap other memory, Eigen::Map<const "
                "Eigen::VectorXf>(data, size)");
  static_assert(eigen || std::is_same_v<Scalar, double> || std::is_same_v<Scalar, float>,
                "a layer takes Eigen vectors: wrap other memory, Eigen::Map<const "
                "Eigen::VectorX<Scalar>>(data, size)");
  if constexpr (is_eigen_type<Type>) {
    static_assert(Type::IsVectorAtCompileTime,
                  "a layer takes vectors: rows or columns whose type says so, such as m.row(i), "
                  "m.col(i) or Eigen::VectorX<Scalar>");
    static_assert(std::is_same_v<typename Type::Scalar, Scalar>,
                  "the vector must have the layer's scalar: convert it with .cast<Scalar>()");
  }
}

/// Throws unless `out` is an Eigen vector, row or column, of the right size to be written to.
template <class Scalar, class Out>
void require_output(const Eigen::MatrixBase<Out>& out, Index size) {
  require_vector_type<Scalar, Out>();
  require_size("out", out.size(), size);
}

/// into = in, a vector of the right size: an Eigen vector, row or column, or an array of numbers.
template <class In, class Scalar>
void copy_vector(const In& in, const char* name, Vector<Scalar>& into) {
  if constexpr (is_array_of_numbers<In>) {
    using Number = std::remove_cvref_t<decltype(std::data(in)[0])>;
    static_assert(std::is_same_v<Number, Scalar>,
                  "the numbers of a std::vector, std::array or std::span must have the layer's "
                  "scalar: convert them, or give the layer theirs");
    require_size(name, static_cast<Index>(std::size(in)), into.size());
    std::copy_n(std::data(in), into.size(), into.data());
  } else if constexpr (!is_eigen_type<In>) {
    require_vector_type<Scalar, In>();  // which refuses it
  } else {
    require_vector_type<Scalar, In>();
    if (in.size() != into.size()) require_size(name, in.size(), into.size());
    if constexpr (has_pieces<In>) {
      std::copy_n(in.derived().data(), into.size(), into.data());
    } else {
      into.noalias() = as_column(in.derived().matrix());
    }
  }
}

/// The same, and finite.
template <class In, class Scalar>
void load_vector(const In& in, const char* name, Vector<Scalar>& into) {
  const FlushToZero<Scalar> flush;
  copy_vector(in, name, into);
  require_finite(name, into);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_VECTOR_ARGUMENT_HPP
