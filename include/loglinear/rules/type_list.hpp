// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_RULES_TYPE_LIST_HPP
#define LOGLINEAR_RULES_TYPE_LIST_HPP

// Lists of types, from which variants, loops and other lists are made.

#include "loglinear/detail/base/cpp20.hpp"

#include <type_traits>

namespace loglinear::detail {

template <class... Types>
struct TypeList {
  /// `Template<Types...>`
  template <template <class...> class Template>
  using Into = Template<Types...>;
  template <class Type>
  static constexpr bool contains = (std::is_same_v<Type, Types> || ...);

  /// Calls `work(std::type_identity<Type>{})` for each type in order.
  static constexpr void for_each(auto&& work) { (work(std::type_identity<Types>{}), ...); }
};

template <class... First, class... Second>
[[nodiscard]] TypeList<First..., Second...> operator+(TypeList<First...>, TypeList<Second...>);

/// The types of a list of which a predicate, `Is<Type>::value`, is true.
template <class List, template <class> class Is>
struct Filter;
template <class... Types, template <class> class Is>
struct Filter<TypeList<Types...>, Is> {
  using Type = decltype((TypeList<>{} + ... +
                         std::conditional_t<Is<Types>::value, TypeList<Types>, TypeList<>>{}));
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_RULES_TYPE_LIST_HPP
