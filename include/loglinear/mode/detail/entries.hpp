// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_DETAIL_ENTRIES_HPP
#define LOGLINEAR_MODE_DETAIL_ENTRIES_HPP

// The table of all modes: their names in a text and those of their hyperparameters.

#include <array>
#include <string_view>
#include <tuple>
#include <type_traits>

#include "loglinear/mode/mode.hpp"

namespace loglinear::detail {

/// A hyperparameter: its name in the text and its place in the mode.
template <class Mode, class Value>
struct ModeArgument {
  std::string_view name;
  Value Mode::*member;
};
template <class Mode, class Value>
[[nodiscard]] constexpr ModeArgument<Mode, Value> arg(std::string_view name, Value Mode::*member) {
  return {name, member};
}

/// A mode: its name in the text and its hyperparameters, which its `validate` checks one by one.
template <class... Arguments>
struct ModeEntry {
  std::string_view name;
  std::tuple<Arguments...> arguments;
};
template <class... Arguments>
[[nodiscard]] constexpr ModeEntry<Arguments...> entry(std::string_view name,
                                                      Arguments... arguments) {
  return {name, {arguments...}};
}

// Every mode. A new one is an alternative of `InnerMode` and a line here.
template <class Mode>
inline constexpr auto mode_entry = nullptr;
template <>
inline constexpr auto mode_entry<RetNet> = entry("retnet", arg("gamma", &RetNet::gamma));
template <>
inline constexpr auto mode_entry<Hawk> = entry("hawk", arg("gate_bias", &Hawk::gate_bias),
                                               arg("input_bias", &Hawk::input_bias));
template <>
inline constexpr auto mode_entry<GLA> = entry("gla", arg("gate_bias", &GLA::gate_bias));
template <>
inline constexpr auto mode_entry<GLAVector> = entry("gla_vector",
                                                    arg("gate_bias", &GLAVector::gate_bias));
template <>
inline constexpr auto mode_entry<DeltaNet> = entry("delta_net");
template <>
inline constexpr auto mode_entry<GatedDeltaNet> =
    entry("gated_delta_net", arg("beta_scale", &GatedDeltaNet::beta_scale),
          arg("beta", &GatedDeltaNet::beta), arg("gate_bias", &GatedDeltaNet::gate_bias),
          arg("beta_bias", &GatedDeltaNet::beta_bias));
template <>
inline constexpr auto mode_entry<RWKV> = entry("rwkv", arg("initial_decay", &RWKV::initial_decay),
                                               arg("gate_bias", &RWKV::gate_bias));
template <>
inline constexpr auto mode_entry<MLSTM> = entry("mlstm", arg("gate_bias", &MLSTM::gate_bias),
                                                arg("input_bias", &MLSTM::input_bias));
template <>
inline constexpr auto mode_entry<DeltaProductMode> = entry(
    "delta_product", arg("n_compositions", &DeltaProductMode::n_compositions),
    arg("reflections", &DeltaProductMode::reflections),
    arg("gate_bias", &DeltaProductMode::gate_bias), arg("beta_bias", &DeltaProductMode::beta_bias));
template <>
inline constexpr auto mode_entry<RWKV7> = entry("rwkv7", arg("decay_first", &RWKV7::decay_first),
                                                arg("gate_bias", &RWKV7::gate_bias),
                                                arg("iclr_bias", &RWKV7::iclr_bias));
template <>
inline constexpr auto mode_entry<HGRN2> = entry("hgrn2", arg("lower_bound", &HGRN2::lower_bound),
                                                arg("gate_bias", &HGRN2::gate_bias));
template <>
inline constexpr auto mode_entry<Mamba2> = entry("mamba2",
                                                 arg("initial_a_log", &Mamba2::initial_a_log),
                                                 arg("initial_dt_bias", &Mamba2::initial_dt_bias));
template <>
inline constexpr auto mode_entry<LogLinear> = entry("log_linear",
                                                    arg("max_levels", &LogLinear::max_levels),
                                                    arg("lambda_init", &LogLinear::lambda_init),
                                                    arg("key_only", &LogLinear::key_only));

// The words of values that are not numbers, by the value's number.
inline constexpr std::array<std::string_view, 2> bool_words = {"false", "true"};
inline constexpr std::array<std::string_view, 2> beta_words = {"fixed", "per_token"};
[[nodiscard]] constexpr const auto& words_of(bool) {
  return bool_words;
}
[[nodiscard]] constexpr const auto& words_of(Beta) {
  return beta_words;
}

/// The default of `LogLinear::lambda_init`: a word, since it follows another argument.
inline constexpr std::string_view inverse_levels = "1/max_levels";

template <class Mode>
concept HasModeEntry = !std::is_null_pointer_v<std::remove_cv_t<decltype(mode_entry<Mode>)>>;

}  // namespace loglinear::detail

#endif  // LOGLINEAR_MODE_DETAIL_ENTRIES_HPP
