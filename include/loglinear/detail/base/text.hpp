// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_TEXT_HPP
#define LOGLINEAR_DETAIL_BASE_TEXT_HPP

// Messages put together from words and numbers, the same under every locale.

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
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
      append_words(part);
    } else if constexpr (std::is_integral_v<Part>) {
      append_integer<std::conditional_t<std::is_signed_v<Part>, std::intmax_t, std::uintmax_t>>(
          part);
    } else if constexpr (std::is_same_v<Part, float>) {
      append_number(part);
    } else {
      append_number(to_double(part));
    }
  }
  // Errors are rare and their texts many: a call each, and a compiler has little to do.
  [[gnu::noinline]] void append_words(std::string_view words) { storage_.append(words); }
  template <class Number>
  [[gnu::noinline]] void append_number(Number value) {
    append_words(Decimal(value).text());
  }
  template <class Integer>
  [[gnu::noinline]] void append_integer(Integer value) {
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    append_words({digits.data(), static_cast<std::size_t>(end - digits.data())});
  }

  TextStorage storage_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_TEXT_HPP
