// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_PARTS_HPP
#define LOGLINEAR_DETAIL_BASE_PARTS_HPP

// The way into a class for what stores an object and brings it back, see checkpoint.hpp. A class
// names its parts in one static member:
//
//     template <class Self, class Visit>
//     static void visit(Self& self, Visit&& part) {
//       part("count", self.count_);               // numbers
//       part("values", self.values_.head(n));     // Eigen vectors, matrices and views of them
//       part("inside", self.inside_);             // objects that have parts; "" adds no name
//     }
//
// everything on which the object's future depends, and nothing else. A const Self is read. Any
// other is written to, part by part in this order. Therefore numbers stand before the parts whose
// sizes depend on them and are checked in between, and at its end `visit` checks the class
// invariants. It throws std::invalid_argument, and the object must not be used any more then: let
// it be a copy.

#include "loglinear/detail/base/cpp20.hpp"

#include <type_traits>
#include <utility>

namespace loglinear::detail {

/// A friend of each such class.
struct Parts {
  template <class Object, class... Arguments>
  static void visit(Object& object, Arguments&&... arguments) {
    std::remove_const_t<Object>::visit(object, std::forward<Arguments>(arguments)...);
  }
};

/// Whether `visit` writes to the parts.
template <class Self>
inline constexpr bool is_written = !std::is_const_v<Self>;

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_PARTS_HPP
