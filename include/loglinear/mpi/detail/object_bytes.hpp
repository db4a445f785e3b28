// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MPI_DETAIL_OBJECT_BYTES_HPP
#define LOGLINEAR_MPI_DETAIL_OBJECT_BYTES_HPP

// An object as bytes, for a process that runs the same program: the options that a checkpoint of it
// records (checkpoint/configuration.hpp), then its parts (detail/base/parts.hpp) one after the
// other, arrays with their sizes.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "loglinear/checkpoint/configuration.hpp"
#include "loglinear/detail/base/checks.hpp"
#include "loglinear/detail/base/parts.hpp"
#include "loglinear/detail/base/types.hpp"

namespace loglinear::detail {

/// Whether a part has options that it must have in common with the object that it is read into.
template <class Part>
concept ConfiguredPart = requires(const Part& part) {
  { configuration_of(part) } -> std::convertible_to<Configuration>;
};

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
      if constexpr (ConfiguredPart<Part>) {
        for (const auto& [option, value] : configuration_of(part)) put_text(value);
      }
      Parts::visit(part, *this);
    }
  }

 private:
  void put_text(const std::string& text) const {
    put(std::uint64_t{text.size()});
    for (const char letter : text) put(letter);
  }
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
  /// \param scope  what the names of options begin with
  ObjectReader(const std::vector<std::byte>& bytes, std::size_t& at, std::string scope)
      : bytes_(bytes), at_(at), scope_(std::move(scope)) {}

  template <class Part>
  void operator()(std::string_view name, Part&& part) const {
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
      const std::string scope = name.empty() ? scope_ : scope_ + std::string(name) + '.';
      if constexpr (ConfiguredPart<Type>) require_same(scope, configuration_of(part));
      Parts::visit(part, ObjectReader(bytes_, at_, scope));
    }
  }

 private:
  void require_same(const std::string& scope, const Configuration& own) const {
    for (const auto& [option, value] : own) {
      const std::string sent = take_text();
      if (sent == value) continue;
      fail(scope + option, '"' + value + '"', '"' + sent + "\", as in the object that is sent");
    }
  }
  [[nodiscard]] std::string take_text() const {
    const auto size = take<std::uint64_t>();
    if (size > bytes_.size() - at_) fail_short();
    std::string text;
    for (std::uint64_t i = 0; i < size; ++i) text += take<char>();
    return text;
  }
  [[noreturn]] void fail_short() const {
    fail("the bytes of another rank's object", bytes_.size(), "those of an object like this one");
  }
  template <class Number>
  [[nodiscard]] Number take() const {
    Number number;
    if (sizeof number > bytes_.size() - at_) fail_short();
    std::memcpy(&number, bytes_.data() + at_, sizeof number);
    at_ += sizeof number;
    return number;
  }

  const std::vector<std::byte>& bytes_;
  std::size_t& at_;
  std::string scope_;
};

/// Appends an object to `bytes`.
template <class Object>
void write_object(const Object& object, std::vector<std::byte>& bytes) {
  ObjectWriter{bytes}("", object);
}
/// Reads an object that was constructed with the same options from the bytes at `at`, and moves
/// `at` behind them. Throws if the bytes are not of such an object; the object must not be used
/// then.
template <class Object>
void read_object(const std::vector<std::byte>& bytes, std::size_t& at, Object& object) {
  ObjectReader{bytes, at, ""}("", object);
}

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MPI_DETAIL_OBJECT_BYTES_HPP
