// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_CHECKPOINT_ERROR_HPP
#define LOGLINEAR_CHECKPOINT_ERROR_HPP

#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "loglinear/detail/base/error.hpp"

namespace loglinear {

/// What is wrong with a checkpoint or a tensor: a std::invalid_argument whose message names the
/// file, the tensor, what was found there and what would be legal.
class CheckpointError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

namespace detail {

/// Text from a file, fit for a message: without control characters and not longer than `longest`
/// bytes of whole UTF-8 characters.
[[nodiscard]] inline std::string shortened(std::string_view text, std::size_t longest = 80) {
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
  std::size_t end = text.size();
  if (end > longest) {
    end = longest;
    while (end > 0 && (byte(end) & 0xC0u) == 0x80u) --end;
  }
  std::string result;
  for (std::size_t at = 0; at < end; ++at) {
    const bool is_wide_control = byte(at) == 0xC2u && at + 1 < end && byte(at + 1) < 0xA0u;
    const bool is_control = byte(at) < 0x20u || byte(at) == 0x7Fu || is_wide_control;
    result += is_control ? '?' : text[at];
    if (is_wide_control) ++at;
  }
  return result + (end < text.size() ? "..." : "");
}

/// A name from a file, fit for a message.
[[nodiscard]] inline std::string in_quotes(std::string_view text) {
  return '"' + shortened(text) + '"';
}

/// Several names in quotes, as many as fit into a message, and the number of the others.
[[nodiscard]] inline std::string in_quotes(const std::vector<std::string>& names) {
  constexpr std::size_t longest = 300;
  std::string result;
  std::size_t shown = 0;
  while (shown < names.size() && result.size() < longest) {
    result += (shown == 0 ? "" : " ") + in_quotes(std::string_view(names[shown]));
    ++shown;
  }
  const std::size_t others = names.size() - shown;
  return result + (others == 0 ? "" : " and " + std::to_string(others) + " others");
}

/// Raises CheckpointError: "loglinear: <source>: <problem>".
[[noreturn]] inline void refuse(std::string_view source, std::string_view problem) {
  raise(CheckpointError(std::string("loglinear: ").append(source).append(": ").append(problem)));
}
/// The same about one tensor.
[[noreturn]] inline void refuse_tensor(std::string_view source, std::string_view name,
                                       std::string_view problem) {
  refuse(source, std::string("tensor ").append(in_quotes(name)).append(": ").append(problem));
}

}  // namespace detail

}  // namespace loglinear

#endif  // LOGLINEAR_CHECKPOINT_ERROR_HPP
