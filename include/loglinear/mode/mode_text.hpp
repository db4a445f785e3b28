// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_MODE_TEXT_HPP
#define LOGLINEAR_MODE_MODE_TEXT_HPP

/// \file
/// Modes as text, both ways: `"gla"`, `"gated_delta_net(beta=per_token, gate_bias=6)"`,
/// `"log_linear(delta_product(n_compositions=3), max_levels=20)"`.
///
///     mode     = name [ "(" [ argument { "," argument } ] ")" ]
///     argument = name "=" value
///     value    = number | "true" | "false" | "fixed" | "per_token" | "1/max_levels" | weights
///     weights  = name [ "(" [ argument { "," argument } ] ")" ]
///
/// Spaces may stand between these. `log_linear` has its inner mode in front of its arguments. The
/// value of its `level_weights` is a level weighting with its own arguments, as in
/// `"log_linear(gla, level_weights=mean_mixture(tau=0.5))"`; `level_weights_signatures()` lists
/// them all. An argument that is left out has its default; that of `lambda_init` is not a number
/// but the word `1/max_levels`. Names and ranges come from `info` and `hyperparameters` of each
/// rule and each weighting.

#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "loglinear/mode/detail/reader.hpp"
#include "loglinear/mode/detail/writer.hpp"
#include "loglinear/mode/mode.hpp"
#include "loglinear/mode/mode_syntax_error.hpp"

namespace loglinear {

/// A mode as text, with the arguments that differ from their defaults. `parse_mode` reads a valid
/// mode back bit for bit. Allocates.
[[nodiscard]] inline std::string to_text(const AttentionMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for an inner mode.
[[nodiscard]] inline std::string to_text(const InnerMode& mode) {
  return std::visit([](const auto& one) { return detail::mode_to_text(one, false); }, mode);
}
/// The same for one alternative, such as `to_text(GLA{.gate_bias = 6})`.
template <detail::Listed Mode>
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
  return std::visit([]<class Mode>(const Mode&) { return Mode::info.text; }, mode);
}

/// Level weights as text, as in the text of a mode.
[[nodiscard]] inline std::string to_text(const LevelWeighting& weights) {
  return detail::value_to_text(weights);
}
/// The level weights that a text describes. \throws ModeSyntaxError as `parse_mode`
[[nodiscard]] inline LevelWeighting parse_level_weights(std::string_view text) {
  return detail::ModeReader(text).read_all<LevelWeighting>();
}

namespace detail {

template <class... Modes>
[[nodiscard]] std::vector<std::string> signatures_of(std::type_identity<std::variant<Modes...>>) {
  return {mode_to_text(Modes{}, true)...};
}

}  // namespace detail

/// One line a mode, with all arguments and their defaults, for a help text:
/// `"retnet(gamma=0.95)"`, ... `parse_mode` reads each as the mode with its defaults.
[[nodiscard]] inline std::vector<std::string> mode_signatures() {
  return detail::signatures_of(std::type_identity<AttentionMode>{});
}
/// The same for level weights: `"normalized_mixture(lambda_init=1/max_levels, tau=1)"`, ...
[[nodiscard]] inline std::vector<std::string> level_weights_signatures() {
  return detail::signatures_of(std::type_identity<LevelWeighting>{});
}

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_MODE_TEXT_HPP
