// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_TESTS_FUZZ_TARGET_HPP
#define LOGLINEAR_TESTS_FUZZ_TARGET_HPP

// What the fuzz targets share. A target defines LLVMFuzzerTestOneInput, which takes any bytes and
// aborts where a property does not hold: libFuzzer looks for such bytes (tests/fuzz/run),
// replay.cpp goes through those that are known.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace loglinear::test {

/// A property that must hold.
inline void require(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "broken: %s\n", property);
  std::abort();
}

/// Numbers from a fuzzer's bytes; zeros when they run out.
class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  template <class Number>
  Number take() {
    Number number{};
    const std::size_t count = rest_.size() < sizeof number ? rest_.size() : sizeof number;
    if (count > 0) std::memcpy(&number, rest_.data(), count);
    rest_ = rest_.subspan(count);
    return number;
  }
  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] std::span<const std::uint8_t> rest() const { return rest_; }

 private:
  std::span<const std::uint8_t> rest_;
};

}  // namespace loglinear::test

#endif  // LOGLINEAR_TESTS_FUZZ_TARGET_HPP
