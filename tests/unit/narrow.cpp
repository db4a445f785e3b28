// SPDX-License-Identifier: MIT
// Packets of half and bfloat16 numbers against Eigen's conversions of single numbers, for every
// narrow number and for floats of every exponent, where denormal numbers are flushed and where they
// are not. CMakeLists.txt compiles this file for each instruction set that the machine has.
#include "loglinear/detail/base/narrow.hpp"

#include <cmath>
#include <cstdint>
#include <vector>

#include "catch.hpp"

#if defined(__SSE2__)
#  include <xmmintrin.h>
#endif

namespace {

using namespace loglinear::detail;

/// Whether denormal numbers are flushed, as long as this lives.
class Flushing {
 public:
#if defined(__SSE2__)
  explicit Flushing(bool on) : before_(_mm_getcsr()) {
    _mm_setcsr(on ? before_ | 0x8040u : before_ & ~0x8040u);
  }
  ~Flushing() {
    _mm_setcsr(before_);
  }

 private:
  unsigned before_;
#else
  explicit Flushing(bool) {}
#endif
 public:
  Flushing(const Flushing&) = delete;
  Flushing& operator=(const Flushing&) = delete;
};

template <class Stored>
Stored narrow_of(std::uint16_t bits) {
  return Eigen::numext::bit_cast<Stored>(bits);
}
template <class Stored>
std::uint16_t bits_of(Stored number) {
  return Eigen::numext::bit_cast<std::uint16_t>(number);
}
bool is_nan(float x) {
  return (std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFu) > 0x7F800000u;
}
template <class Stored>
bool is_nan(Stored x) {
  constexpr std::uint16_t infinity = std::is_same_v<Stored, Eigen::half> ? 0x7C00 : 0x7F80;
  return (bits_of(x) & 0x7FFF) > infinity;
}

/// The numbers whose bits differ; but one NaN is as good as another.
Eigen::Index differences(const std::vector<float>& got, const std::vector<float>& expected) {
  Eigen::Index count = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (is_nan(got[i]) && is_nan(expected[i])) continue;
    count += std::bit_cast<std::uint32_t>(got[i]) != std::bit_cast<std::uint32_t>(expected[i]);
  }
  return count;
}
template <class Stored>
Eigen::Index differences(const std::vector<Stored>& got, const std::vector<Stored>& expected) {
  Eigen::Index count = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (is_nan(got[i]) && is_nan(expected[i])) continue;
    count += bits_of(got[i]) != bits_of(expected[i]);
  }
  return count;
}

/// Every narrow number, and what each is.
template <class Stored>
struct Every {
  std::vector<Stored> narrow;
  std::vector<float> wide;

  Every() {
    for (unsigned bits = 0; bits < 0x10000u; ++bits) {
      narrow.push_back(narrow_of<Stored>(static_cast<std::uint16_t>(bits)));
      wide.push_back(static_cast<float>(narrow.back()));
    }
  }
};

template <class Stored, std::size_t N>
std::vector<float> widened_by_blocks(const std::vector<Stored>& narrow) {
  std::vector<float> wide(narrow.size());
  constexpr auto block = static_cast<Index>(N * packet_length<float>);
  for (Index j = 0; j < static_cast<Index>(narrow.size()); j += block) {
    Packet<float> packets[N];
    for_each_packet<float, N>(narrow.data() + j,
                              [&](std::size_t n, const Packet<float>& p) { packets[n] = p; });
    store_from_order_of<Stored, N>(wide.data() + j, packets);
  }
  return wide;
}

/// Floats of both signs and every exponent with all fractions that decide how 2048 neighbours of a
/// kind are rounded: on a tie of either type, beside it, and at either end.
std::vector<float> floats_that_matter() {
  std::vector<float> floats;
  for (std::uint32_t top = 0; top < (1u << 20); ++top) {  // sign, exponent, 11 digits
    for (const std::uint32_t rest : {0u, 1u, 0x7FFu, 0x800u, 0xFFFu}) {
      floats.push_back(std::bit_cast<float>((top << 12) | rest));
    }
  }
  return floats;
}

}  // namespace

TEST_CASE("the conversions of single numbers are what the formats say", "") {
  const Flushing off(false);
  int wrong = 0;
  for (unsigned bits = 0; bits < 0x7C00u; ++bits) {
    const int exponent = static_cast<int>(bits >> 10), fraction = static_cast<int>(bits & 0x3FFu);
    const float value = exponent == 0
                            ? std::ldexp(static_cast<float>(fraction), -24)
                            : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    const auto half = narrow_of<Eigen::half>(static_cast<std::uint16_t>(bits));
    wrong += static_cast<float>(half) != value;
    wrong += bits_of(Eigen::half(value)) != bits;
  }
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    const auto narrow = narrow_of<Eigen::bfloat16>(static_cast<std::uint16_t>(bits));
    wrong += std::bit_cast<std::uint32_t>(static_cast<float>(narrow)) != bits << 16;
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("every narrow number is widened exactly", "", Eigen::half, Eigen::bfloat16) {
  const Every<TestType> every;
  for (const bool flushes : {false, true}) {
    CAPTURE(flushes);
    std::vector<float> one(every.narrow.size()), two, four, eight;
    {
      const Flushing setting(flushes);
      convert(every.narrow.data(), static_cast<Index>(one.size()), one.data());
      two = widened_by_blocks<TestType, 2>(every.narrow);
      four = widened_by_blocks<TestType, 4>(every.narrow);
      eight = widened_by_blocks<TestType, 8>(every.narrow);
    }
    CHECK(differences(one, every.wide) == 0);
    CHECK(differences(two, every.wide) == 0);
    CHECK(differences(four, every.wide) == 0);
    CHECK(differences(eight, every.wide) == 0);
  }
}

TEMPLATE_TEST_CASE("floats of every exponent are rounded to the nearest narrow number", "",
                   Eigen::half, Eigen::bfloat16) {
  const std::vector<float> floats = floats_that_matter();
  std::vector<TestType> expected;
  {
    const Flushing off(false);
    for (const float x : floats) expected.push_back(static_cast<TestType>(x));
  }
  for (const bool flushes : {false, true}) {
    CAPTURE(flushes);
    std::vector<TestType> got(floats.size());
    {
      const Flushing setting(flushes);
      convert(floats.data(), static_cast<Index>(floats.size()), got.data());
    }
    CHECK(differences(got, expected) == 0);
  }
}

TEMPLATE_TEST_CASE("narrow numbers survive a round trip and those that are written as such", "",
                   Eigen::half, Eigen::bfloat16) {
  const Every<TestType> every;
  for (const bool flushes : {false, true}) {
    CAPTURE(flushes);
    std::vector<TestType> back(every.narrow.size());
    {
      const Flushing setting(flushes);
      convert(every.wide.data(), static_cast<Index>(back.size()), back.data());
    }
    CHECK(differences(back, every.narrow) == 0);
  }
}

TEMPLATE_TEST_CASE("rows of every length are converted whole and nothing beside them", "",
                   Eigen::half, Eigen::bfloat16) {
  for (Index size = 0; size <= 70; ++size) {
    CAPTURE(size);
    std::vector<TestType> narrow(80, TestType(7.0F)), back(80, TestType(3.0F));
    std::vector<float> wide(80, 5.0F);
    for (Index j = 0; j < size; ++j) {
      narrow[static_cast<std::size_t>(j)] = TestType(static_cast<float>(j + 1));
    }
    convert(narrow.data(), size, wide.data());
    convert(wide.data(), size, back.data());
    Index wrong = 0;
    for (std::size_t j = 0; j < 80; ++j) {
      const bool is_inside = static_cast<Index>(j) < size;
      const float number = static_cast<float>(j + 1);
      wrong += wide[j] != (is_inside ? number : 5.0F);
      wrong += static_cast<float>(back[j]) != (is_inside ? number : 3.0F);
    }
    float buffer[packet_length<float>];
    const Index first = size / packet_size<float> * packet_size<float>;
    const float* const rest = wide_rest<float>(narrow.data(), first, size, buffer);
    for (Index j = first; j < size; ++j) wrong += rest[j - first] != static_cast<float>(j + 1);
    CHECK(wrong == 0);
  }
}
