// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_STREAM_DETAIL_FIELDS_HPP
#define LOGLINEAR_STREAM_DETAIL_FIELDS_HPP

// What the values of a stream are made of, listed once each. Copies, snapshots, checkpoints and
// casts all go through that list:
//
//     template <class Use, class... Self>
//     static void fields(Use use, Self&... self) {
//       use("updates", count_field(self.count_, self.most())...);     // a count and its bound
//       use("u", rows_field(self.u_, self.count_)...);                // the first rows of memory
//       use("growth", self.growth_...);                               // numbers, and other values
//     }
//     template <class Self>
//     static auto fixed(Self& self) { return std::tie(self.scores_); }  // the rest
//
// for one object, or for two of equal shape side by side, to assign one to the other. A count
// stands before what it counts. `fixed` is what the constructor settles, and scratch memory;
// tests/unit/stream_fields.cpp fails where a member is in neither list.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// A count from 0 to `most`.
template <class Count>
struct CountField {
  Count& count;
  Index most;
};
template <class Count>
[[nodiscard]] CountField<Count> count_field(Count& count, Index most) {
  return {count, most};
}

/// The first `rows` rows of a row-major matrix, or numbers of a vector.
template <class Numbers>
struct RowsField {
  using Scalar = typename Numbers::Scalar;
  using Owned = std::remove_const_t<Numbers>;

  Numbers& numbers;
  Index rows;

  [[nodiscard]] Index size() const { return rows * numbers.cols(); }
  /// For checkpoints.
  [[nodiscard]] auto view() const {
    using Plain = std::conditional_t<std::is_const_v<Numbers>, const Owned, Owned>;
    return Eigen::Map<Plain>(numbers.data(), rows, numbers.cols());
  }
};
template <class Numbers>
[[nodiscard]] RowsField<Numbers> rows_field(Numbers& numbers, Index rows) {
  static_assert(Numbers::IsRowMajor || Numbers::ColsAtCompileTime == 1);
  return {numbers, rows};
}

/// Several values of one type without the first, which always is as the constructor made it.
template <class Values>
struct LaterField {
  Values& values;
};
template <class Values>
[[nodiscard]] LaterField<Values> later_field(Values& values) {
  return {values};
}

/// to = from, converted where the scalars differ. `to` must have room for what `from` counts.
struct AssignField {
  template <class To, class From>
  void operator()(const char*, CountField<To> to, CountField<From> from) const {
    to.count = from.count;
  }
  template <class To, class From>
  void operator()(const char*, RowsField<To> to, RowsField<From> from) const {
    using Scalar = typename RowsField<To>::Scalar;
    if constexpr (std::is_same_v<Scalar, typename RowsField<From>::Scalar>) {
      std::copy_n(from.numbers.data(), from.size(), to.numbers.data());
    } else {
      std::transform(from.numbers.data(), from.numbers.data() + from.size(), to.numbers.data(),
                     [](const auto& number) { return static_cast<Scalar>(number); });
    }
  }
  template <class To, class From>
  void operator()(const char*, LaterField<To> to, LaterField<From> from) const {
    for (std::size_t i = 1; i < to.values.size(); ++i) to.values[i].assign(from.values[i]);
  }
  template <class To, class From>
  void operator()(const char*, To& to, const From& from) const {
    if constexpr (requires { to.assign(from); }) {
      to.assign(from);
    } else {
      to = static_cast<To>(from);
    }
  }
};

/// For checkpoints: each field is a part, under its name.
template <class Visit>
struct VisitField {
  Visit& part;

  template <class Count>
  void operator()(const char* name, CountField<Count> field) const {
    std::int64_t count = field.count;  // the same in a file whatever Index is
    part(name, count);
    require_between(name, count, std::int64_t{0}, static_cast<std::int64_t>(field.most));
    if constexpr (is_written<Count>) field.count = static_cast<Count>(count);
  }
  template <class Numbers>
  void operator()(const char* name, RowsField<Numbers> field) const {
    part(name, field.view());
  }
  template <class Values>
  void operator()(const char* name, LaterField<Values> field) const {
    for (std::size_t i = 1; i < field.values.size(); ++i) {
      part(name + std::to_string(i), field.values[i]);
    }
  }
  template <class Value>
  void operator()(const char* name, Value& value) const {
    part(name, value);
  }
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_STREAM_DETAIL_FIELDS_HPP
