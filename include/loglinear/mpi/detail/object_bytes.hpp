// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_OBJECT_BYTES_HPP
#define LOGLINEAR_MPI_DETAIL_OBJECT_BYTES_HPP

// An object as bytes, for a process that runs the same program: its parts (detail/base/parts.hpp)
// one after the other, arrays with their sizes.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Whether a part is an Eigen vector, matrix or view.
template <class Part>
concept DensePart = requires {
  typename Part::PlainObject;
  Part::ColsAtCompileTime;
};

class ObjectWriter {
 public:
  explicit ObjectWriter(std::vector<std::byte>& bytes) : bytes_(bytes) {}

  template <class Part>
  void operator()(std::string_view, const Part& part) const {
    if constexpr (std::is_arithmetic_v<Part>) {
      put(part);
    } else if constexpr (DensePart<Part>) {
      put(std::int64_t{part.rows()});
      put(std::int64_t{part.cols()});
      for (Index i = 0; i < part.rows(); ++i) {
        for (Index j = 0; j < part.cols(); ++j) put(part.coeff(i, j));
      }
    } else {
      Parts::visit(part, *this);
    }
  }

 private:
  template <class Number>
  void put(const Number& number) const {
    static_assert(std::is_trivially_copyable_v<Number>);
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof number);
    std::memcpy(bytes_.data() + at, &number, sizeof number);
  }

  std::vector<std::byte>& bytes_;
};

class ObjectReader {
 public:
  ObjectReader(const std::vector<std::byte>& bytes, std::size_t& at) : bytes_(bytes), at_(at) {}

  template <class Part>
  void operator()(std::string_view, Part&& part) const {
    using Type = std::remove_cvref_t<Part>;
    if constexpr (std::is_arithmetic_v<Type>) {
      part = take<Type>();
    } else if constexpr (DensePart<Type>) {
      const auto rows = static_cast<Index>(take<std::int64_t>());
      const auto columns = static_cast<Index>(take<std::int64_t>());
      if constexpr (std::is_base_of_v<Eigen::PlainObjectBase<Type>, Type>) {
        if (part.size() == 0) part.resize(rows, columns);
      }
      require_size("an array of another rank's object (rows)", rows, part.rows());
      require_size("an array of another rank's object (columns)", columns, part.cols());
      for (Index i = 0; i < rows; ++i) {
        for (Index j = 0; j < columns; ++j) part.coeffRef(i, j) = take<typename Type::Scalar>();
      }
    } else {
      Parts::visit(part, *this);
    }
  }

 private:
  template <class Number>
  [[nodiscard]] Number take() const {
    Number number;
    if (sizeof number > bytes_.size() - at_) {
      fail("the bytes of another rank's object", bytes_.size(), "those of an object like this one");
    }
    std::memcpy(&number, bytes_.data() + at_, sizeof number);
    at_ += sizeof number;
    return number;
  }

  const std::vector<std::byte>& bytes_;
  std::size_t& at_;
};

/// Appends an object to `bytes`.
template <class Object>
void write_object(const Object& object, std::vector<std::byte>& bytes) {
  Parts::visit(object, ObjectWriter(bytes));
}
/// Writes to an object that was constructed with the same options, from `at` on, which is moved to
/// its end. Throws where the bytes are not of such an object, which is good for nothing then.
template <class Object>
void read_object(const std::vector<std::byte>& bytes, std::size_t& at, Object& object) {
  Parts::visit(object, ObjectReader(bytes, at));
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_OBJECT_BYTES_HPP
