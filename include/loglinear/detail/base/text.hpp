// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_TEXT_HPP
#define LOGLINEAR_DETAIL_BASE_TEXT_HPP

// Messages put together from words and numbers, the same under every locale.

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
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

/// One part of a message: words, an integer or another number. It refers to the words.
class TextPart {
 public:
  template <class Value>
  TextPart(const Value& value) {  // NOLINT(google-explicit-constructor)
    if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
      words_ = static_cast<std::string_view>(value);
    } else if constexpr (std::is_integral_v<Value>) {
      sort_ = value < 0 ? Sort::negative : Sort::natural;
      integer_ =
          value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
    } else if constexpr (std::is_same_v<Value, float>) {
      sort_ = Sort::single;
      number_ = static_cast<double>(value);
    } else {
      sort_ = Sort::number;
      number_ = to_double(value);
    }
  }

  void append_to(TextStorage& storage) const {
    if (sort_ == Sort::words) {
      storage.append(words_);
    } else if (sort_ == Sort::number) {
      storage.append(Decimal(number_).text());
    } else if (sort_ == Sort::single) {
      storage.append(Decimal(static_cast<float>(number_)).text());
    } else {
      if (sort_ == Sort::negative) storage.append("-");
      std::array<char, 24> digits;
      const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), integer_).ptr;
      storage.append({digits.data(), static_cast<std::size_t>(end - digits.data())});
    }
  }

 private:
  enum class Sort { words, natural, negative, single, number };

  std::string_view words_{};
  std::uint64_t integer_ = 0;
  double number_ = 0;
  Sort sort_ = Sort::words;
};

/// Its parts one after the other: `Text("at most ", n, " tokens")`. Numbers are written in the
/// shortest way that reads back as the same number.
class Text {
 public:
  template <class... Parts>
  explicit Text(const Parts&... parts)
      : Text(std::initializer_list<TextPart>{TextPart(parts)...}) {}
  explicit Text(std::initializer_list<TextPart> parts) {
    for (const TextPart& part : parts) part.append_to(storage_);
  }

  [[nodiscard]] const char* c_str() const { return storage_.c_str(); }
  [[nodiscard]] operator std::string_view() const { return storage_; }

 private:
  TextStorage storage_{};
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_TEXT_HPP
