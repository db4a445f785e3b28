// SPDX-License-Identifier: MIT
// Any text is a mode, whose own text means the same mode again, or is refused at a column of it.
#include <loglinear/mode/mode_text.hpp>
#include <string_view>

#include "target.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace loglinear;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const AttentionMode mode = parse_mode(text);
    validate(mode);
    const std::string own = to_text(mode);
    test::require(parse_mode(own) == mode, "a mode's own text means the mode");
    test::require(to_text(parse_mode(own)) == own, "the text of a mode does not change");
  } catch (const ModeSyntaxError& error) {
    test::require(error.column() >= 1 && error.column() <= size + 1, "the column is in the text");
    for (const char* c = error.what(); *c != 0; ++c) {
      test::require(*c >= 0x20 && *c < 0x7F, "the message is printable");
    }
  }
  return 0;
}
