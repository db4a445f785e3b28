// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_DETAIL_BASE_DECIMAL_HPP
#define LOGLINEAR_DETAIL_BASE_DECIMAL_HPP

// Numbers as text for messages: the shortest decimal that reads back as the same number. The
// standard library's way brings tables of 100 KB, or follows the locale.

#include "loglinear/detail/base/cpp20.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

namespace loglinear::detail {

/// A natural number below 2^1280, for exact arithmetic on any double: none needs more than 1140
/// bits.
class Natural {
 public:
  constexpr explicit Natural(std::uint64_t value)
      : words_{static_cast<std::uint32_t>(value), static_cast<std::uint32_t>(value >> 32)} {}

  constexpr void multiply(std::uint32_t factor) {
    std::uint64_t carry = 0;
    for (std::uint32_t& word : words_) {
      carry += std::uint64_t{word} * factor;
      word = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  constexpr void shift(int bits) {  // multiplies by 2^bits
    for (; bits >= 31; bits -= 31) multiply(std::uint32_t{1} << 31);
    multiply(std::uint32_t{1} << bits);
  }
  constexpr void add(const Natural& other) {
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      carry += std::uint64_t{words_[i]} + other.words_[i];
      words_[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
  }
  constexpr void subtract(const Natural& other) {  // one that is not larger
    std::uint64_t borrow = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const std::uint64_t difference = std::uint64_t{words_[i]} - other.words_[i] - borrow;
      words_[i] = static_cast<std::uint32_t>(difference);
      borrow = difference >> 63;
    }
  }
  /// Negative, 0 or positive, as the first is smaller, the same or larger.
  [[nodiscard]] static constexpr int compare(const Natural& a, const Natural& b) {
    for (std::size_t i = a.words_.size(); i-- > 0;) {
      if (a.words_[i] != b.words_[i]) return a.words_[i] < b.words_[i] ? -1 : 1;
    }
    return 0;
  }

 private:
  std::array<std::uint32_t, 40> words_;
};

/// 0.d1 d2 ... dn * 10^exponent
struct Digits {
  std::array<char, 20> digit{};
  int count = 0, exponent = 0;
};

/// The shortest digits nearer to a number than to its neighbours, and of these the nearest: the
/// free-format algorithm of Steele and White, 1990.
/// \param mantissa  at least 1
/// \param uneven    whether the lower neighbour is half as far away as the upper one
[[nodiscard, gnu::cold]] constexpr Digits shortest_digits(std::uint64_t mantissa, int exponent,
                                                          bool uneven) {
  // The number is rest / one; the numbers that are rounded to it reach up by above / one and down
  // by below / one, ends included where the mantissa is even.
  Natural rest(mantissa), one(1), above(1), below(1);
  rest.shift(exponent > 0 ? exponent : 0);
  above.shift(exponent > 0 ? exponent : 0);
  one.shift(exponent < 0 ? -exponent : 0);
  below = above;
  rest.shift(uneven ? 2 : 1);
  one.shift(uneven ? 2 : 1);
  above.shift(uneven ? 1 : 0);
  const int closed = mantissa % 2 == 0 ? 1 : 0;
  const auto reaches_one = [&] {
    Natural end = rest;
    end.add(above);
    return Natural::compare(end, one) + closed > 0;
  };
  const auto next_place = [&] {
    for (Natural* number : {&rest, &above, &below}) number->multiply(10);
  };
  Digits found;
  for (; reaches_one(); ++found.exponent) one.multiply(10);
  for (;; --found.exponent) {
    const Natural kept[] = {rest, above, below};
    next_place();
    if (!reaches_one()) continue;
    rest = kept[0];
    above = kept[1];
    below = kept[2];
    break;
  }
  for (;;) {
    next_place();
    char digit = '0';
    for (; Natural::compare(rest, one) >= 0; ++digit) rest.subtract(one);
    const bool low = Natural::compare(rest, below) - closed < 0, high = reaches_one();
    if (low || high) {
      Natural twice = rest;
      twice.multiply(2);
      const int half = Natural::compare(twice, one);
      if (high && (!low || half > 0 || (half == 0 && digit % 2 != 0))) ++digit;
    }
    found.digit[static_cast<std::size_t>(found.count++)] = digit;
    if (low || high) return found;
  }
}

/// A float or a double as text.
class Decimal {
 public:
  constexpr explicit Decimal(double value) { write(value); }
  constexpr explicit Decimal(float value) { write(value); }

  [[nodiscard]] constexpr std::string_view text() const {
    return {text_.data(), static_cast<std::size_t>(size_)};
  }

 private:
  template <class Float>
  constexpr void write(Float value) {
    static_assert(std::numeric_limits<Float>::is_iec559 && sizeof(Float) <= 8);
    using Bits = std::conditional_t<sizeof(Float) == 8, std::uint64_t, std::uint32_t>;
    constexpr int width = std::numeric_limits<Float>::digits - 1;  // of the stored mantissa
    constexpr Bits hidden = Bits{1} << width;
    constexpr int special = 2 * std::numeric_limits<Float>::max_exponent - 1;
    const Bits bits = std::bit_cast<Bits>(value);
    const Bits fraction = bits % hidden;
    const int exponent = static_cast<int>(bits >> width) & special;
    if (exponent == special && fraction != 0) return put("nan");
    if (bits >> (8 * sizeof(Float) - 1) != 0) put("-");
    if (exponent == special) return put("inf");
    if (exponent == 0 && fraction == 0) return put("0");
    constexpr int bias = std::numeric_limits<Float>::max_exponent - 1 + width;
    put(shortest_digits(exponent == 0 ? fraction : fraction + hidden,
                        (exponent == 0 ? 1 : exponent) - bias, fraction == 0 && exponent > 1));
  }

  constexpr void put(char c) { text_[static_cast<std::size_t>(size_++)] = c; }
  constexpr void put(std::string_view text) {
    for (const char c : text) put(c);
  }
  constexpr void put_zeros(int count) {
    for (int i = 0; i < count; ++i) put('0');
  }
  constexpr void put(const Digits& number, int first, int end) {
    for (int i = first; i < end; ++i) put(number.digit[static_cast<std::size_t>(i)]);
  }
  /// Numbers from 0.0001 to 10^16 are written out, others have an exponent.
  constexpr void put(const Digits& number) {
    const int point = number.exponent, count = number.count;
    if (point > -4 && point <= 0) {
      put("0.");
      put_zeros(-point);
      return put(number, 0, count);
    }
    const bool is_written_out = point > 0 && point <= 16;
    const int whole = !is_written_out ? 1 : point < count ? point : count;
    put(number, 0, whole);
    if (is_written_out) put_zeros(point - whole);
    if (count > whole) put('.');
    put(number, whole, count);
    if (is_written_out) return;
    int exponent = point - 1;
    put(exponent < 0 ? "e-" : "e+");
    if (exponent < 0) exponent = -exponent;
    if (exponent >= 100) put(static_cast<char>('0' + exponent / 100));
    put(static_cast<char>('0' + exponent / 10 % 10));
    put(static_cast<char>('0' + exponent % 10));
  }

  std::array<char, 32> text_{};
  int size_ = 0;
};

}  // namespace loglinear::detail

#endif  // LOGLINEAR_DETAIL_BASE_DECIMAL_HPP
