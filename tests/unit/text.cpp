// SPDX-License-Identifier: MIT
#include "loglinear/detail/base/text.hpp"

#include <bit>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cstdint>
#include <limits>
#include <locale>
#include <random>
#include <string>
#include <vector>

#include "catch.hpp"
#include "loglinear/detail/base/types.hpp"

using loglinear::detail::Decimal;
using loglinear::detail::Text;

namespace {

std::string text(const auto&... parts) {
  return std::string(std::string_view(Text(parts...)));
}

// The significant digits, without sign, point and exponent.
std::string digits_of(std::string_view number) {
  std::string digits;
  for (const char c : number.substr(0, number.find('e'))) {
    if (c >= '0' && c <= '9') digits += c;
  }
  digits.erase(0, digits.find_first_not_of('0'));
  return digits.substr(0, digits.find_last_not_of('0') + 1);
}

// Whether the text reads back as the number, with the digits of the standard library's shortest.
template <class Float>
bool is_shortest(Float value) {
  const std::string own = text(value);
  Float read = 0;
  const char* const end = own.data() + own.size();
  if (std::from_chars(own.data(), end, read).ptr != end) return false;
  std::array<char, 64> buffer;
  const auto stop = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                  std::chars_format::scientific);
  return std::bit_cast<std::array<char, sizeof(Float)>>(read) ==
             std::bit_cast<std::array<char, sizeof(Float)>>(value) &&
         digits_of(own) ==
             digits_of({buffer.data(), static_cast<std::size_t>(stop.ptr - buffer.data())});
}

template <class Float>
std::vector<Float> numbers() {
  using Bits = std::conditional_t<sizeof(Float) == 8, std::uint64_t, std::uint32_t>;
  using Limits = std::numeric_limits<Float>;
  std::vector<Float> all{Limits::denorm_min(), (Limits::min)(), (Limits::max)(), Limits::epsilon()};
  std::mt19937_64 random(7);
  for (int i = 0; i < 3000; ++i) {
    const auto any = std::bit_cast<Float>(static_cast<Bits>(random()));
    if (std::isfinite(any)) all.push_back(any);
    all.push_back(static_cast<Float>(static_cast<double>(random() % 2'000'001) / 1000 - 1000));
    all.push_back(std::bit_cast<Float>(static_cast<Bits>(random() % 1000 + 1)));  // denormal
  }
  for (int e = Limits::min_exponent - Limits::digits; e < Limits::max_exponent; ++e) {
    const Float power = std::ldexp(Float(1), e);
    for (const Float value : {power, std::nextafter(power, Float(0)), power * 5, -power}) {
      if (std::isfinite(value)) all.push_back(value);
    }
  }
  return all;
}

// What "1234567.5" would become in many countries.
struct Grouping final : std::numpunct<char> {
  char do_thousands_sep() const override { return '.'; }
  char do_decimal_point() const override { return ','; }
  std::string do_grouping() const override { return "\3"; }
};

}  // namespace

TEMPLATE_TEST_CASE("A number is written in the shortest way that reads back", "", float, double) {
  bool all = true;
  for (const TestType value : numbers<TestType>()) {
    if (!is_shortest(value)) UNSCOPED_INFO(text(value));
    all = all && is_shortest(value);
  }
  CHECK(all);
}

TEST_CASE("The form of numbers") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  CHECK(text(0.0, " ", -0.0, " ", 1.0, " ", -2.5F) == "0 -0 1 -2.5");
  CHECK(text(0.1F, " ", 0.1, " ", 1e-4, " ", 1e-5) == "0.1 0.1 0.0001 1e-05");
  CHECK(text(1e15, " ", 1e16, " ", 1.5e300, " ", 1e-300) ==
        "1000000000000000 1e+16 1.5e+300 1e-300");
  CHECK(text(infinity, " ", -infinity, " ", std::nan("")) == "inf -inf nan");
  CHECK(text(-std::nan("")) == "nan");
  CHECK(text(1.5L, " ", Eigen::half(0.5F), " ", Eigen::bfloat16(2)) == "1.5 0.5 2");
  static_assert(Decimal(1e23).text() == "1e+23");
}

TEST_CASE("The form of everything else") {
  CHECK(text((std::numeric_limits<std::int64_t>::min)()) == "-9223372036854775808");
  CHECK(text((std::numeric_limits<std::uint64_t>::max)(), short{-3}, 7u) ==
        "18446744073709551615-37");
  CHECK(text("a", std::string("b"), std::string_view("c"), Text("d", 1)) == "abcd1");
  CHECK(text().empty());
}

TEST_CASE("No locale changes it") {
  const std::string before = text(1234567, " ", 1234567.5, " ", 0.5F);
  const std::locale old = std::locale::global(std::locale(std::locale(), new Grouping));
  const std::string with_facet = text(1234567, " ", 1234567.5, " ", 0.5F);
  std::locale::global(old);
  CHECK(before == "1234567 1234567.5 0.5");
  CHECK(with_facet == before);
  if (std::setlocale(LC_ALL, "de_DE.UTF-8") != nullptr) {
    CHECK(text(1234567.5) == "1234567.5");
    std::setlocale(LC_ALL, "C");
  }
}
