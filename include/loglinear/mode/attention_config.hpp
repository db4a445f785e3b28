// SPDX-License-Identifier: MIT
#ifndef LOGLINEAR_MODE_ATTENTION_CONFIG_HPP
#define LOGLINEAR_MODE_ATTENTION_CONFIG_HPP

/// \file
/// A layer chosen at run time, as a value.

#include <cstdint>
#include <optional>
#include <type_traits>
#include <variant>

#include "loglinear/layer/multi_head_attention.hpp"
#include "loglinear/layer/step.hpp"
#include "loglinear/mode/mode.hpp"

namespace loglinear {

/// Where a layer of this mode bounds its output unless told otherwise: a log-linear layer always; a
/// one-state layer in `forward` and `train_one` if its rule normalises its key or is HGRN2
/// (`RuleInfo::bounds_output`); any other nowhere.
[[nodiscard]] inline OutputBound output_bound_of(const AttentionMode& mode) {
  return std::visit(
      []<class Mode>(const Mode&) {
        if (std::is_same_v<Mode, LogLinear>) return OutputBound::always;
        const bool bounded = detail::normalizes_key<Mode>() || Mode::info.bounds_output;
        return bounded ? OutputBound::forward : OutputBound::none;
      },
      mode);
}

/// A multi-head layer as a value: the names of `MultiHeadAttention::Options`, with a mode in place
/// of rule, level weights and max_levels. Both structs list all of their members, since in C++20
/// designators cannot reach those of a base.
struct AttentionConfig {
  Eigen::Index d_model = 16;                     ///< length of x and of the output, 1 to 2^26
  int n_heads = 4;                               ///< at least 1; n_heads d_v at most 2^26
  Eigen::Index d_k = 4;                          ///< length of a head's keys, 1 to 2^26
  Eigen::Index d_v = 4;                          ///< length of a head's values, 1 to 2^26
  AttentionMode mode = RetNet{};                 ///< the rule and what it is applied to
  std::uint64_t seed = 42;                       ///< of all weights, at least 1
  ReadOrder read_order = ReadOrder::after_push;  ///< what `forward` reads
  std::optional<double> learning_rate{};         ///< finite, >= 0; that of `step` unless given
  std::optional<Step> step{};                    ///< as in `LogLinearAttention::Options`
  std::optional<bool> bias{};                    ///< as there
  double weight_scale = 0.01;                    ///< as there
  std::optional<OutputBound> bound{};            ///< `output_bound_of(mode)` unless given
  int threads = 1;                               ///< at least 1; see `Attention::threads_used`

  /// Checks sizes, threads and mode; the layer that is made of it checks the other members. \throws
  /// std::invalid_argument naming the first that is out of its range
  void validate() const {
    detail::require_length("d_model", d_model);
    detail::require_positive("n_heads", n_heads);
    detail::require_length("d_k", d_k);
    detail::require_length("d_v", d_v);
    detail::require_length("n_heads * d_v", n_heads * d_v);
    detail::require_positive("threads", threads);
    loglinear::validate(mode);
  }
};

}  // namespace loglinear

#endif  // LOGLINEAR_MODE_ATTENTION_CONFIG_HPP
