// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_TEXT_HPP
#define LOGLINEAR_DETAIL_BASE_TEXT_HPP

// Messages put together from words and numbers, the same under every locale.

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "loglinear/detail/base/compiled_once.hpp"
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

/// Converts a value to one of the few types of `TextPart`, so that few functions are compiled.
template <class Value>
[[nodiscard]] auto told(const Value& value) {
  if constexpr (std::is_convertible_v<const Value&, const char*>) {
    return static_cast<const char*>(value);
  } else if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
    return static_cast<std::string_view>(value);
  } else if constexpr (std::is_integral_v<Value>) {
    using Wide = std::conditional_t<std::is_signed_v<Value>, std::int64_t, std::uint64_t>;
    return static_cast<Wide>(value);
  } else if constexpr (std::is_same_v<Value, float>) {
    return value;
  } else {
    return to_double(value);
  }
}

/// One part of a message: words, an integer or another number. It refers to the words.
class TextPart {
 public:
  explicit TextPart(const char* words) : words_(words) {}
  explicit TextPart(std::string_view words) : words_(words) {}
  explicit TextPart(std::uint64_t value) : integer_(value), sort_(Sort::natural) {}
  explicit TextPart(std::int64_t value)
      : integer_(value < 0 ? 0 - static_cast<std::uint64_t>(value)
                           : static_cast<std::uint64_t>(value)),
        sort_(value < 0 ? Sort::negative : Sort::natural) {}
  explicit TextPart(float value) : number_(static_cast<double>(value)), sort_(Sort::single) {}
  explicit TextPart(double value) : number_(value), sort_(Sort::number) {}

  [[gnu::cold]] void append_to(TextStorage& storage) const {
    if (sort_ == Sort::words) {
      storage.append(words_);
    } else if (sort_ == Sort::number) {
      storage.append(Decimal(number_).text());
    } else if (sort_ == Sort::single) {
      storage.append(Decimal(static_cast<float>(number_)).text());
    } else {
      if (sort_ == Sort::negative) storage.append("-");
      std::array<char, 20> digits;
      std::size_t first = digits.size();
      std::uint64_t rest = integer_;
      do {
        digits[--first] = static_cast<char>('0' + rest % 10);
        rest /= 10;
      } while (rest != 0);
      storage.append({digits.data() + first, digits.size() - first});
    }
  }

 private:
  enum class Sort { words, natural, negative, single, number };

  std::string_view words_{};
  std::uint64_t integer_ = 0;
  double number_ = 0;
  Sort sort_ = Sort::words;
};

/// Appends parts one after the other. A template, so that it can be compiled once.
template <class Part>
[[gnu::cold]] void append_parts(std::initializer_list<Part> parts, TextStorage& storage) {
  for (const Part& part : parts) part.append_to(storage);
}

/// A message made of parts one after the other: `Text("at most ", n, " tokens")`. Numbers are
/// written in the shortest way that reads back as the same number.
class Text {
 public:
  template <class... Parts>
  explicit Text(const Parts&... parts)
      : Text(std::initializer_list<TextPart>{TextPart(told(parts))...}) {}
  explicit Text(std::initializer_list<TextPart> parts) { append_parts(parts, storage_); }

  [[nodiscard]] const char* c_str() const { return storage_.c_str(); }
  [[nodiscard]] operator std::string_view() const { return storage_; }

 private:
  TextStorage storage_{};
};

}  // namespace loglinear::detail

#define LOGLINEAR_APPEND_PARTS(EXTERN, PART)                                     \
  EXTERN template void detail::append_parts(std::initializer_list<detail::PART>, \
                                            detail::TextStorage&);
LOGLINEAR_COMPILED_ONCE_FOR(LOGLINEAR_APPEND_PARTS, TextPart)

#endif  // LOGLINEAR_DETAIL_BASE_TEXT_HPP
