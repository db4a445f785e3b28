// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_TEXT_HPP
#define LOGLINEAR_DETAIL_BASE_TEXT_HPP

// Messages put together from words and numbers, the same under every locale.

#include <array>
#include <charconv>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/decimal.hpp"

namespace loglinear::detail {

template <class Scalar>
[[nodiscard]] double to_double(const Scalar& value);  // in types.hpp

#ifdef __cpp_exceptions
using TextStorage = std::string;
#else
/// A string of at most 511 characters, the rest is lost: where exceptions are off a message takes
/// no heap, and no code that throws.
class TextStorage {
 public:
  void append(std::string_view text) {
    for (const char c : text) {
      if (size_ + 1 < characters_.size()) characters_[size_++] = c;
    }
  }
  [[nodiscard]] const char* c_str() const { return characters_.data(); }
  [[nodiscard]] operator std::string_view() const { return {characters_.data(), size_}; }

 private:
  std::array<char, 512> characters_{};
  std::size_t size_ = 0;
};
#endif

/// Its parts one after the other: `Text("at most ", n, " tokens")`. Numbers are written in the
/// shortest way that reads back as the same number.
class Text {
 public:
  template <class... Parts>
  explicit Text(const Parts&... parts) {
    (append(parts), ...);
  }

  [[nodiscard]] const char* c_str() const { return storage_.c_str(); }
  [[nodiscard]] operator std::string_view() const { return storage_; }

 private:
  template <class Part>
  void append(const Part& part) {
    if constexpr (std::is_convertible_v<const Part&, std::string_view>) {
      storage_.append(static_cast<std::string_view>(part));
    } else if constexpr (std::is_integral_v<Part>) {
      append_integer(part);
    } else if constexpr (std::is_same_v<Part, float>) {
      storage_.append(Decimal(part).text());
    } else {
      storage_.append(Decimal(to_double(part)).text());
    }
  }
  template <class Integer>
  void append_integer(Integer value) {
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), +value).ptr;
    storage_.append({digits.data(), static_cast<std::size_t>(end - digits.data())});
  }

  TextStorage storage_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_TEXT_HPP
