// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_MODE_TEXT_HPP
#define LOGLINEAR_MODE_MODE_TEXT_HPP

/// \file
/// Modes as text, both ways: `"gla"`, `"gated_delta_net(beta=per_token, gate_bias=6)"`,
/// `"log_linear(delta_product(n_compositions=3), max_levels=20)"`.
///
///     mode     = name [ "(" [ argument { "," argument } ] ")" ]
///     argument = name "=" value
///     value    = number | "true" | "false" | "fixed" | "per_token" | "1/max_levels"
///
/// with space anywhere between those. `log_linear` has its inner mode in front of its arguments.
/// What is not mentioned has its default; that of `lambda_init` is no number but the word
/// `1/max_levels`. All names stand in one table, `detail::mode_entry`.

#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "loglinear/mode/detail/entries.hpp"
#include "loglinear/mode/detail/reader.hpp"
#include "loglinear/mode/detail/writer.hpp"
#include "loglinear/mode/mode.hpp"
#include "loglinear/mode/mode_syntax_error.hpp"

namespace loglinear {

/// A mode as text, with those arguments that differ from their defaults; `parse_mode` reads the
/// same mode back, bit for bit, if it is valid.
[[nodiscard]] inline std::string to_text(const AttentionMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for an inner mode.
[[nodiscard]] inline std::string to_text(const InnerMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for one alternative, such as `to_text(GLA{.gate_bias = 6})`.
template <detail::HasModeEntry Mode>
[[nodiscard]] std::string to_text(const Mode& mode) {
  return detail::mode_to_text(mode, false);
}

/// The mode that a text describes; the grammar stands at the top of this file. \throws
/// ModeSyntaxError where the text breaks the grammar, names what does not exist, repeats an
/// argument or gives a value that is out of its range
[[nodiscard]] inline AttentionMode parse_mode(std::string_view text) {
  return detail::ModeReader(text).read_all<AttentionMode>();
}
/// The same for an inner mode: `log_linear` is refused.
[[nodiscard]] inline InnerMode parse_inner_mode(std::string_view text) {
  return detail::ModeReader(text).read_all<InnerMode>();
}

/// The name of a mode in its text, such as `"gated_delta_net"`.
[[nodiscard]] inline std::string_view mode_name(const AttentionMode& mode) {
  return std::visit([]<class Mode>(const Mode&) { return detail::mode_entry<Mode>.name; }, mode);
}

/// One line a mode, with all arguments and their defaults, for a help text:
/// `"retnet(gamma=0.95)"`, ... `parse_mode` reads each as the mode with its defaults.
[[nodiscard]] inline std::vector<std::string> mode_signatures() {
  return []<class... Modes>(std::type_identity<std::variant<Modes...>>) {
    return std::vector<std::string>{detail::mode_to_text(Modes{}, true)...};
  }(std::type_identity<AttentionMode>{});
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_TEXT_HPP
